"""Which engines there are, and which one a run gets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.daemon import AUTO_BUDGET, Daemon, ask, find_daemon
from harness.engine.attach import plan as attach
from harness.engine.compose import plan as compose
from harness.engine.layout import Local
from harness.engine.process import plan as embedded
from harness.errors import ConfigError, EngineUnreachableError
from harness.stack import find_compose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config import Settings
    from harness.engine import Endpoint, Image, StackPlan
    from harness.engine.compose.plan import Identity
    from harness.engine.layout import Layout
    from harness.stack import Tree


class Engine(Protocol):
    """What the stages need to know of an engine before anything runs on it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def daemon(self) -> Daemon | None:
        """The Docker engine that its containers are on, None without containers."""
        ...

    def check(self) -> None:
        """Do nothing when it can be used. Raises EngineUnreachableError or ConfigError."""
        ...

    def locate(self, tree: Tree) -> Mapping[str, tuple[Endpoint, ...]]:
        """Return the endpoints of services that are somewhere already, by ``stack/service``. Raises ConfigError."""
        ...

    def plan(self, tree: Tree, name: str, layout: Layout, identity: Identity, images: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is on it. Raises ConfigError with all that cannot work."""
        ...


@dataclass(frozen=True)
class Embedded:
    """Services as local processes."""

    name: str = embedded.NAME
    daemon: Daemon | None = None

    def check(self) -> None:
        """Nothing is needed."""

    def locate(self, _: Tree) -> Mapping[str, tuple[Endpoint, ...]]:
        """Nothing is there before it is started."""
        return {}

    def plan(self, tree: Tree, name: str, layout: Layout, _: Identity, __: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is as processes."""
        return embedded.plan_stack(tree, name, layout)


@dataclass(frozen=True)
class Compose:
    """Services as containers of a Docker engine."""

    daemon: Daemon
    name: str = compose.NAME

    def check(self) -> None:
        """See that the engine answers, is on this machine, and that there is a Compose to drive it."""
        if not self.daemon.is_local:
            raise ConfigError(
                f"Docker engine {self.daemon.host} ({self.daemon.origin}) is not on this machine, "
                "and its published ports could not be reached; remote engines are not supported yet"
            )
        ask(self.daemon)
        find_compose(os.environ, checked=True)

    def locate(self, _: Tree) -> Mapping[str, tuple[Endpoint, ...]]:
        """Nothing is there before it is started."""
        return {}

    def plan(self, tree: Tree, name: str, layout: Layout, identity: Identity, images: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is as containers."""
        return compose.plan_stack(tree, name, layout, identity, images)


@dataclass(frozen=True)
class Attach:
    """Services that somebody else has started."""

    settings: Settings
    name: str = attach.NAME
    daemon: Daemon | None = None

    def check(self) -> None:
        """Whether they answer, their probes tell."""

    def locate(self, tree: Tree) -> Mapping[str, tuple[Endpoint, ...]]:
        """Return what the environment and pyproject.toml say of them."""
        settings = self.settings
        return attach.locate(tree, settings.environ, settings.attach, Local(settings.local_build, settings.local))

    def plan(self, tree: Tree, name: str, layout: Layout, _: Identity, __: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is that is there already."""
        return attach.plan_stack(tree, name, layout)


def choose_engine(settings: Settings, kept: Mapping[str, str] | None = None) -> tuple[Engine, str]:
    """Return the engine of a run and, in a few words, why it is that one.

    Args:
        settings: what was asked for.
        kept: the engines on which this checkout has a live kept environment -> its id.

    Raises:
        ConfigError: the Docker context does not exist.
        EngineUnreachableError: an engine was configured, on CI, and does not answer.
    """
    if settings.engine == embedded.NAME:
        return Embedded(), f"asked for by {settings.origins['engine']}"
    if settings.engine == attach.NAME:
        return Attach(settings), f"asked for by {settings.origins['engine']}"
    if settings.engine == compose.NAME:
        return Compose(find_daemon(settings.environ)), f"asked for by {settings.origins['engine']}"
    for name, env in (kept or {}).items():
        why = f"auto: {env} is up"
        return (Embedded(), why) if name == embedded.NAME else (Compose(find_daemon(settings.environ)), why)
    daemon = find_daemon(settings.environ)
    if not daemon.is_local and not settings.environ.get("CI"):
        return Embedded(), f"auto: Docker engine {daemon.host} ({daemon.origin}) is not on this machine"
    try:
        version = ask(daemon, within=AUTO_BUDGET).version
    except EngineUnreachableError as error:
        if daemon.configured and settings.environ.get("CI"):
            raise
        reason = error.summary.rpartition("does not answer: ")[2]
        return Embedded(), f"auto: no Docker engine answers at {daemon.host} ({daemon.origin}): {reason}"
    return Compose(daemon), f"auto: Docker engine {version} answers at {daemon.host} ({daemon.origin})"
