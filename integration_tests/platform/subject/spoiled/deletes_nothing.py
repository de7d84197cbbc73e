"""Says that something is deleted, and deletes nothing."""

import sys

from serving import views
from serving.__main__ import main
from serving.api import Answer, Asked


def _delete(asked: Asked, pk: int) -> Answer:
    del asked, pk
    return 200, {}


views.delete_application = views.delete_model = views.delete_version = _delete

if __name__ == "__main__":
    sys.exit(main())
