"""Looks whether a name is taken and makes it then, which two can do at once; what the database says is a fault."""

import sys

from serving import views
from serving.__main__ import main
from serving.api import Answer, Asked, Refused
from serving.models import Model


def _new_model(asked: Asked, pk: int) -> Answer:
    of, name = views._application(asked, pk), asked.name()
    if Model.objects.filter(application=of, name=name).exists():
        raise Refused(409, f"there is a model with the name {name!r} already")
    return 201, Model.objects.create(application=of, name=name).told()


views.new_model = _new_model

if __name__ == "__main__":
    sys.exit(main())
