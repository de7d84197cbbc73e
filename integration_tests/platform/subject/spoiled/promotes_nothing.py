"""Says that a version is live, and has the one before predict."""

import sys

from serving import views
from serving.__main__ import main
from serving.api import Answer, Asked
from serving.models import Model


def _invoke(asked: Asked, pk: int) -> Answer:
    model: Model = Model.objects.get(pk=pk, application__owner=asked.user)
    return views._invoke(asked, model.versions.order_by("number").first())


views.invoke_model = _invoke

if __name__ == "__main__":
    sys.exit(main())
