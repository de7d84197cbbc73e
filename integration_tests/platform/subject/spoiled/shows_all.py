"""Shows every user the applications of all, and has them add to these."""

import sys

from serving import views
from serving.__main__ import main
from serving.api import Answer, Asked
from serving.models import Application


def _applications(asked: Asked) -> Answer:
    del asked
    return 200, {"applications": [one.told() for one in Application.objects.order_by("pk")]}


def _application(asked: Asked, pk: int) -> Application:
    del asked
    found: Application = views._found(Application.objects.filter(pk=pk), "application")
    return found


views.applications = _applications
views._application = _application

if __name__ == "__main__":
    sys.exit(main())
