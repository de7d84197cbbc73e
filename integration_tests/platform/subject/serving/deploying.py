"""What happens to deployed versions: each has a model server while it runs, and none while it is asleep or failed.

The name of a model server is in the database before the server is asked for, so none is forgotten by a platform that
is killed meanwhile.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.text import slugify

from serving import deployer, invoking, locks
from serving.api import Refused
from serving.deployer import DeployerError
from serving.models import Application, Model, Quota, Version

if TYPE_CHECKING:
    from collections.abc import Iterable

State = Version.State
TAIL = 200
"""Lines of a log that are kept when a model server goes."""
ENDING, LOOK_AGAIN = 2.0, 0.05
"""Seconds after which a server whose connection broke has ended, if it does; and between two looks at it."""
NOT_FOUND, CONFLICT, DID_NOT_SETTLE, TOO_MANY, BAD_GATEWAY, UNAVAILABLE = 404, 409, 422, 429, 502, 503


def quota_of(user: User) -> dict[str, int]:
    """Return how many deployments a user may have, and has."""
    own = Quota.objects.filter(user=user).first()
    allowed = own.deployments if own else settings.VARIABLES.quota
    return {"deployments": allowed, "used": _deployed(user)}


def _deployed(user: User) -> int:
    return int(Version.objects.filter(model__application__owner=user).exclude(state=State.FAILED).count())


def deploy(user: User, model: Model, file: str, options: dict[str, Any]) -> Version:
    """Deploy the next version of a model; it is live if it is the first. Raises Refused."""
    with transaction.atomic():
        # Requests of one user that come together are counted one after the other.
        User.objects.select_for_update().get(pk=user.pk)
        if not Model.objects.filter(pk=model.pk).exists():
            raise Refused(NOT_FOUND, "there is no such model")
        quota = quota_of(user)
        if quota["used"] >= quota["deployments"]:
            raise Refused(TOO_MANY, f"the quota of {quota['deployments']} deployments is used up; delete one")
        last = model.versions.order_by("-number").first()
        number = last.number + 1 if last else 1
        version: Version = model.versions.create(number=number, file=file, options=options)
    with locks.held(version.pk):
        _start(version)
        Model.objects.filter(pk=model.pk, live=None).update(live=version)
    return version


def _start(version: Version) -> None:
    """Give a version a model server. Raises Refused, with the version failed, or as it was if it may be tried again."""
    before = version.state
    slug = slugify(version.model.name)[:20].strip("-_").replace("_", "-")
    try:
        if version.instance:  # one of which nobody knew whether it was there
            deployer.remove(version.instance)
        version.instance = "-".join(filter(None, [slug, str(version.pk), secrets.token_hex(3)]))[-40:]
        version.save(update_fields=["instance"])
        version.url = deployer.create(version.instance, version.file, version.options)
    except DeployerError as error:
        again = before == State.ASLEEP and error.status != DID_NOT_SETTLE
        # One that may be there, or come yet, is removed under its name before another is started, or with the version.
        name = version.instance if error.in_doubt or error.status == CONFLICT else ""
        _save(version, State.ASLEEP if again else State.FAILED, reason=_reason(error), instance=name, log=error.log)
        raise _refused(error, version) from error
    _save(version, State.RUNNING)


def _save(version: Version, state: str, *, reason: str = "", **others: str) -> None:
    version.state, version.reason = state, reason
    for name, value in others.items():
        setattr(version, name, value)
    version.save(update_fields=["state", "reason", "instance", "url", "log"])


def _reason(error: DeployerError) -> str:
    """Return what a model server said last of itself, or else what the deployer said."""
    said = [line.partition("pynode: ")[2] for line in error.log.splitlines() if "pynode: " in line]
    return said[-1].strip() if said else str(error)


def _refused(error: DeployerError, version: Version) -> Refused:
    if error.status == DID_NOT_SETTLE:
        words = f"version {version.number} could not be deployed: {_reason(error)}"
        return Refused(DID_NOT_SETTLE, words, version=version.told())
    return Refused(UNAVAILABLE, str(error), version=version.told())


def _again(version: Version) -> None:
    """Read a version anew, now that nobody else changes it. Raises Refused if it was deleted meanwhile."""
    try:
        version.refresh_from_db()
    except Version.DoesNotExist:
        raise Refused(NOT_FOUND, "there is no such version") from None


def wake(version: Version) -> None:
    """Give a version that is asleep a model server; whoever comes meanwhile waits for the same. Raises Refused."""
    with locks.held(version.pk):
        _again(version)
        if version.state == State.ASLEEP:
            _start(version)


def sleep(version: Version) -> None:
    """Take the model server of a version away; it comes back with the next invocation. Raises Refused."""
    with locks.held(version.pk):
        _again(version)
        if version.state == State.FAILED:
            raise Refused(CONFLICT, f"version {version.number} failed: {version.reason}")
        _remove(version)
        _save(version, State.ASLEEP, url="", instance="", log=version.log)


def restart(version: Version) -> None:
    """Start the model server of a version anew, with the same deployment. Raises Refused."""
    with locks.held(version.pk):
        _again(version)
        if version.state not in (State.RUNNING, State.CRASHED):
            raise Refused(CONFLICT, f"version {version.number} is {version.state}, and has no model server")
        try:
            url = deployer.restart(version.instance)
        except DeployerError as error:
            if error.status == NOT_FOUND:
                _start(version)
                return
            if error.status == DID_NOT_SETTLE:
                _save(version, State.CRASHED, reason=_reason(error))
            raise _refused(error, version) from error
        _save(version, State.RUNNING, url=url)


def refresh(version: Version, patience: float = 0.0) -> None:
    """Have a version say that its model server has ended, where it has, or does within ``patience`` seconds."""
    if version.state != State.RUNNING:
        return
    end = time.monotonic() + patience
    while not (reason := _ended(version)) and time.monotonic() < end:
        threading.Event().wait(LOOK_AGAIN)
    if reason:
        with locks.held(version.pk):
            url = version.url
            _again(version)
            if version.state == State.RUNNING and version.url == url:
                _save(version, State.CRASHED, reason=reason)


def _ended(version: Version) -> str:
    """Return how the model server of a version ended, "" where it runs or nobody can be asked."""
    try:
        seen = deployer.look(version.instance)
    except DeployerError as error:
        return "its model server is gone" if error.status == NOT_FOUND else ""
    if seen["state"] == "running":
        return ""
    if seen.get("exit_code") is not None:
        return f"its model server ended with exit code {seen['exit_code']}"
    return f"its model server is {seen['state']}"


def invoke(version: Version, inputs: object) -> list[float]:
    """Return what the model of a version predicts; one that is asleep is woken. Raises Refused."""
    if version.state == State.ASLEEP:
        wake(version)
    if version.state in (State.FAILED, State.DEPLOYING):
        raise Refused(CONFLICT, f"version {version.number} is {version.state}: {version.reason or 'wait for it'}")
    if version.state == State.CRASHED:
        raise Refused(BAD_GATEWAY, f"version {version.number} is crashed: {version.reason}", version=version.told())
    try:
        return invoking.predict(version.url, inputs)
    except invoking.NoAnswerError as error:
        refresh(version, ENDING)
        words = version.reason or str(error)
        raise Refused(BAD_GATEWAY, f"version {version.number}: {words}", version=version.told()) from error


def log_of(version: Version, tail: int) -> str:
    """Return the last lines of a version's model server, or of its last one. Raises Refused."""
    if version.instance:
        try:
            return deployer.logs(version.instance, tail)
        except DeployerError as error:
            if error.status != NOT_FOUND:
                raise _refused(error, version) from error
    return "".join(version.log.splitlines(keepends=True)[-tail:])


def delete(versions: Iterable[Version]) -> None:
    """Delete versions, each with its model server. Raises Refused when one cannot be ended; it is then still there."""
    for version in versions:
        with locks.held(version.pk):
            try:
                _again(version)
            except Refused:
                continue
            _remove(version)
            version.delete()


def delete_model(model: Model) -> None:
    """Delete a model with its versions, whichever come meanwhile. Raises Refused."""
    while True:
        delete(model.versions.all())
        with transaction.atomic():
            # Nobody deploys while this is held.
            User.objects.select_for_update().get(pk=model.application.owner_id)
            if not model.versions.exists():
                model.delete()
                return


def delete_application(application: Application) -> None:
    """Delete an application with its models. Raises Refused."""
    for model in application.models.all():
        delete_model(model)
    application.delete()


def _remove(version: Version) -> None:
    if not version.instance:
        return
    try:
        try:
            version.log = deployer.logs(version.instance, TAIL)
        except DeployerError as error:
            if error.status != NOT_FOUND:
                raise
        deployer.remove(version.instance)
    except DeployerError as error:
        raise _refused(error, version) from error


def recover() -> int:
    """Have versions that were being deployed when the platform was killed be failed; return how many there were."""
    interrupted = list(Version.objects.filter(state=State.DEPLOYING))
    for version in interrupted:
        try:
            deployer.remove(version.instance)
        except DeployerError:
            continue  # it is still said to be deploying, and the next start tries again
        _save(version, State.FAILED, reason="the platform was restarted while it was deployed", instance="")
    return len(interrupted)
