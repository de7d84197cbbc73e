"""The engine ``compose``: services as containers of a Docker engine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.daemon import ask
from harness.engine.compose.plan import NAME, plan_stack
from harness.errors import ConfigError
from harness.stack import find_compose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.daemon import Daemon
    from harness.engine.identity import Identity
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint, Image, StackPlan
    from harness.stack import Tree


@dataclass(frozen=True)
class Compose:
    """Services as containers of a Docker engine."""

    daemon: Daemon
    name: str = NAME

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
        return plan_stack(tree, name, layout, identity, images)
