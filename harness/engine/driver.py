"""What the stages need to know of an engine; each has a folder here, whose ``driver`` says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.daemon import Daemon
    from harness.engine.identity import Identity
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint, Image, StackPlan
    from harness.stack import Tree


class Driver(Protocol):
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
