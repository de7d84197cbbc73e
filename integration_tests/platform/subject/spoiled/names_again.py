"""Gives what has a name that is taken another one."""

import sys

from serving import views
from serving.__main__ import main
from serving.api import Answer, Asked
from serving.models import Application, Model


def _new_application(asked: Asked) -> Answer:
    name = asked.name()
    while Application.objects.filter(owner=asked.user, name=name).exists():
        name += "'"
    return 201, Application.objects.create(owner=asked.user, name=name).told()


def _new_model(asked: Asked, pk: int) -> Answer:
    of, name = views._application(asked, pk), asked.name()
    while Model.objects.filter(application=of, name=name).exists():
        name += "'"
    return 201, Model.objects.create(application=of, name=name).told()


views.new_application, views.new_model = _new_application, _new_model

if __name__ == "__main__":
    sys.exit(main())
