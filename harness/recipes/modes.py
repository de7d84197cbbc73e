"""On what a suite runs in a job of a CI service."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from harness.errors import ConfigError

ENGINES = ("auto", "compose", "embedded")


class Mode(Enum):
    """On what a suite runs; the value is what the suite's command is told."""

    COMPOSE = "--engine compose"
    """Containers, on an engine of the job's own machine."""

    INSIDE = "--engine compose --inside"
    """Containers on another machine, where no port can be reached: the suite runs in one of them."""

    EMBEDDED = "--engine embedded"
    """Local processes."""


@dataclass(frozen=True)
class Suite:
    """The suite of a system.

    Attributes:
        system: its name, "" in a project that declares none.
        inside: whether the system says which of its services is the one that tests run in.
        embedded: "" when its stack can be local processes, else why not.
        builds: whether images are built for it.
        needs: programs that its local processes need, and an image of Python need not have.
    """

    system: str = ""
    inside: bool = False
    embedded: str = ""
    builds: bool = False
    needs: tuple[str, ...] = ()


def mode_of(ci: str, suite: Suite, engine: str = "auto") -> Mode:
    """Return on what a suite runs in a job of a CI service.

    A job of GitHub is a machine with an engine. One of GitLab is a container, whose engine is another machine's. One of
    CircleCI is either; a container starts sooner, so it is a machine only where nothing else will do.

    Args:
        ci: the service, by its name here.
        suite: the suite.
        engine: the engine that the user chose.

    Raises:
        ConfigError: it cannot run there.
    """
    if engine not in ENGINES:
        raise ConfigError(f"Engine {engine!r} is none that a job of CI can have; valid: {', '.join(ENGINES)}")
    is_simple = not (suite.inside or suite.embedded or suite.needs)
    if engine == "embedded" or (engine == "auto" and ci != "github" and is_simple):
        if suite.embedded:
            raise ConfigError(f"{_named(suite)} cannot be local processes: {suite.embedded}")
        return Mode.EMBEDDED
    if ci == "github":
        return Mode.COMPOSE
    if suite.inside:
        return Mode.INSIDE
    if ci == "circleci":
        return Mode.COMPOSE
    why = suite.embedded or (f"they need {', '.join(suite.needs)}, beside Python" if suite.needs else "")
    reason = f"; nor can it be local processes: {why}" if why else ""
    table = f"[tool.harness.systems.{suite.system or 'NAME'}]"
    raise ConfigError(
        f"{_named(suite)} cannot run in a job of GitLab: its containers are on another machine, where only tests in "
        f"one of them reach the others{reason}",
        hint=f'name the service that tests run in: inside = "SERVICE" in {table}',
    )


def _named(suite: Suite) -> str:
    return f"The suite of system {suite.system!r}" if suite.system else "The project's suite"
