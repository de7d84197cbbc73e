"""Says that a version is asleep, or awake, as it is asked to, and leaves it as it is."""

import sys

from serving import views
from serving.__main__ import main
from serving.api import Answer, Asked


def _scale(asked: Asked, pk: int) -> Answer:
    state = "running" if asked.body("replicas").get("replicas") else "asleep"
    return 200, views._version(asked, pk).told() | {"state": state}


views.scale = _scale

if __name__ == "__main__":
    sys.exit(main())
