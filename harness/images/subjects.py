"""Which image a service runs: the one its file declares, or what ``<SUBJECT>_CONTAINER`` says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.stack import Service

Kind = Literal["declared", "build", "prebuilt", "skip"]
_PREBUILT = "prebuilt=NAME:TAG"
_VALID = ("build", _PREBUILT, "skip")
# A name and a tag or digest; what an image may really be called is the engine's to say.
_IMAGE = re.compile(r"[^\s:@=]+(?::\d+/[^\s:@=]+)?(?::[\w.\-]+|@\w+:[0-9a-f]+|:[\w.\-]+@\w+:[0-9a-f]+)", re.ASCII)


@dataclass(frozen=True)
class Choice:
    """What a service runs.

    Attributes:
        kind: ``declared`` as its file says, ``build`` anew from its build section, ``prebuilt`` another image, ``skip``
            it is not started.
        variable: the variable that decides, "" when none can.
        image: the image of a prebuilt one, else "".
    """

    kind: Kind
    variable: str = ""
    image: str = ""


def variable_of(service: Service) -> str:
    """Return the variable that chooses the image of ``service``; "" for services without x-harness."""
    if not service.has_settings:
        return ""
    return re.sub(r"[^A-Z0-9]", "_", (service.settings.subject or service.name).upper()) + "_CONTAINER"


def choose(service: Service, environ: Mapping[str, str]) -> Choice:
    """Return what ``service`` runs.

    Raises:
        ConfigError: its variable has a value that is none of the valid ones.
    """
    variable = variable_of(service)
    value = environ.get(variable, "") if variable else ""
    if not value:
        return Choice("declared", variable)
    kind, equals, image = value.partition("=")
    if value == "skip":
        return Choice("skip", variable)
    if value == "build":
        if not service.compose.get("build"):
            raise ConfigError(
                f"{variable}=build: service {service.name!r} has no build section",
                hint=f"set {variable}={_PREBUILT}, or write a build section",
            )
        return Choice("build", variable)
    if kind == "prebuilt" and equals:
        if not _IMAGE.fullmatch(image):
            raise ConfigError(f"{variable}={value}: {image!r} is no image with a tag; {_PREBUILT} was needed")
        return Choice("prebuilt", variable, image)
    raise ConfigError(
        f"{variable}={value}: valid are {', '.join(_VALID)}{nearest(kind, ('build', 'prebuilt', 'skip'))}"
    )
