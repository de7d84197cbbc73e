"""The engine ``attach``: services that somebody else has started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.engine.attach import plan as attach
from harness.engine.layout import Local

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config import Settings
    from harness.daemon import Daemon
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint, Image, StackPlan
    from harness.stack import Tree


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

    def plan(self, tree: Tree, name: str, layout: Layout, _: object, __: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is that is there already."""
        return attach.plan_stack(tree, name, layout)
