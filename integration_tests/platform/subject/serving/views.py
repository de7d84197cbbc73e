"""The paths of the API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.http import JsonResponse

from serving import deploying
from serving.api import Refused
from serving.models import Application, Model, Version

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from serving.api import Answer, Asked

OK, CREATED, BAD_REQUEST, NOT_FOUND, CONFLICT = 200, 201, 400, 404, 409
TAIL, LONGEST_TAIL = 100, 10_000
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,90}\.onnx")
OPTIONS = ("crash_at", "load_seconds", "seconds")
LONGEST = 60


def ready(_: HttpRequest) -> HttpResponse:
    """Answer without a key and without the database: the process serves."""
    return JsonResponse({"ready": True})


def applications(asked: Asked) -> Answer:
    """List the applications of the user."""
    return OK, {"applications": [one.told() for one in asked.user.applications.order_by("pk")]}


def new_application(asked: Asked) -> Answer:
    """Make an application."""
    name = asked.name()
    try:
        with transaction.atomic():
            made = Application.objects.create(owner=asked.user, name=name)
    except IntegrityError as error:
        raise Refused(CONFLICT, f"there is an application with the name {name!r} already") from error
    return CREATED, made.told()


def application(asked: Asked, pk: int) -> Answer:
    """Tell one application."""
    return OK, _application(asked, pk).told()


def delete_application(asked: Asked, pk: int) -> Answer:
    """Delete an application with everything in it."""
    deploying.delete_application(_application(asked, pk))
    return OK, {}


def new_model(asked: Asked, pk: int) -> Answer:
    """Make a model, which has no version yet."""
    of, name = _application(asked, pk), asked.name()
    try:
        with transaction.atomic():
            made = Model.objects.create(application=of, name=name)
    except IntegrityError as error:
        raise Refused(CONFLICT, f"there is a model with the name {name!r} already") from error
    return CREATED, made.told()


def model(asked: Asked, pk: int) -> Answer:
    """Tell one model."""
    return OK, _model(asked, pk).told()


def delete_model(asked: Asked, pk: int) -> Answer:
    """Delete a model with its versions."""
    deploying.delete_model(_model(asked, pk))
    return OK, {}


def new_version(asked: Asked, pk: int) -> Answer:
    """Deploy a version; the answer comes when it can be invoked."""
    of, body = _model(asked, pk), asked.body("file", "options")
    file = body.get("file")
    if not isinstance(file, str) or not FILE.fullmatch(file):
        raise Refused(BAD_REQUEST, "file must be the name of an .onnx file")
    return CREATED, deploying.deploy(asked.user, of, file, _options(body.get("options", {}))).told()


def _options(options: object) -> dict[str, Any]:
    if not isinstance(options, dict) or set(options) - set(OPTIONS):
        raise Refused(BAD_REQUEST, f"options must be an object with {', '.join(OPTIONS)}, or some of them")
    for key, value in options.items():
        kinds = int if key == "crash_at" else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= LONGEST:
            raise Refused(BAD_REQUEST, f"options.{key} is {value!r}, a number from 0 to {LONGEST} was needed")
    return options


def version(asked: Asked, pk: int) -> Answer:
    """Tell one version, with what its model server is doing now."""
    found = _version(asked, pk)
    deploying.refresh(found)
    return OK, found.told()


def delete_version(asked: Asked, pk: int) -> Answer:
    """Delete a version with its model server."""
    deploying.delete([_version(asked, pk)])
    return OK, {}


def promote(asked: Asked, pk: int) -> Answer:
    """Have invocations of the model go to this version."""
    found = _version(asked, pk)
    if found.state == Version.State.FAILED:
        raise Refused(CONFLICT, f"version {found.number} failed: {found.reason}")
    Model.objects.filter(pk=found.model_id).update(live=found)
    return OK, _model(asked, found.model_id).told()


def scale(asked: Asked, pk: int) -> Answer:
    """Take the model server of a version away, or have it back."""
    replicas = asked.body("replicas").get("replicas")
    if isinstance(replicas, bool) or replicas not in (0, 1):
        raise Refused(BAD_REQUEST, "replicas must be 0 or 1")
    found = _version(asked, pk)
    if replicas:
        deploying.wake(found)
    else:
        deploying.sleep(found)
    return OK, found.told()


def restart(asked: Asked, pk: int) -> Answer:
    """Start the model server of a version anew."""
    found = _version(asked, pk)
    deploying.restart(found)
    return OK, found.told()


def logs(asked: Asked, pk: int) -> Answer:
    """Tell the last lines of a version's model server."""
    found = _version(asked, pk)
    return OK, {"log": deploying.log_of(found, asked.number("tail", TAIL, LONGEST_TAIL))}


def invoke_version(asked: Asked, pk: int) -> Answer:
    """Have one version predict."""
    return _invoke(asked, _version(asked, pk))


def invoke_model(asked: Asked, pk: int) -> Answer:
    """Have the live version of a model predict."""
    found = _model(asked, pk)
    if found.live is None:
        raise Refused(CONFLICT, "the model has no live version")
    return _invoke(asked, found.live)


def _invoke(asked: Asked, found: Version) -> Answer:
    body = asked.body("inputs")
    if "inputs" not in body:
        raise Refused(BAD_REQUEST, "inputs is missing: a list of rows of numbers was needed")
    outputs = deploying.invoke(found, body["inputs"])
    return OK, {"outputs": outputs, "version": found.number}


def quota(asked: Asked) -> Answer:
    """Tell how many deployments the user may have, and has."""
    return OK, deploying.quota_of(asked.user)


def _application(asked: Asked, pk: int) -> Application:
    found: Application = _found(Application.objects.filter(pk=pk, owner=asked.user), "application")
    return found


def _model(asked: Asked, pk: int) -> Model:
    own = Model.objects.select_related("live", "application").filter(pk=pk, application__owner=asked.user)
    found: Model = _found(own, "model")
    return found


def _version(asked: Asked, pk: int) -> Version:
    own = Version.objects.select_related("model").filter(pk=pk, model__application__owner=asked.user)
    found: Version = _found(own, "version")
    return found


def _found(query: Any, what: str) -> Any:
    found = query.first()
    if found is None:
        raise Refused(NOT_FOUND, f"there is no such {what}")  # nobody learns what others have
    return found
