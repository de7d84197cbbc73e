"""Calls of Compose: its words, and its environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stack import compose_environment, find_compose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.engine import Containers
    from harness.engine.driver import Place

FOLDER = "compose"


def argv_of(place: Place, containers: Containers, files: Sequence[Path], words: Sequence[str]) -> list[str]:
    """Return the command that has Compose do something with a stack's own files and ``files``."""
    added = [word for file in files for word in ("--file", str(file))]
    compose = find_compose(place.settings.environ)
    return [compose, "--ansi=never", "--progress=plain", *containers.arguments, *added, *words]


def environment_of(place: Place, containers: Containers, more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a command that uses the engine."""
    environ = place.settings.environ
    daemon = place.daemon
    assert daemon is not None  # an environment with containers has one
    child = {key: value for key, value in compose_environment(environ).items() if not key.startswith("DOCKER_")}
    if "DOCKER_CONFIG" in environ:
        child["DOCKER_CONFIG"] = environ["DOCKER_CONFIG"]
    return {**child, **daemon.environment(), **containers.env, **more}
