"""The engine ``embedded``: services as local processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.engine.process.plan import NAME, plan_stack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.daemon import Daemon
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint, Image, StackPlan
    from harness.stack import Tree


@dataclass(frozen=True)
class Embedded:
    """Services as local processes."""

    name: str = NAME
    daemon: Daemon | None = None

    def check(self) -> None:
        """Nothing is needed."""

    def locate(self, _: Tree) -> Mapping[str, tuple[Endpoint, ...]]:
        """Nothing is there before it is started."""
        return {}

    def plan(self, tree: Tree, name: str, layout: Layout, _: object, __: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is as processes."""
        return plan_stack(tree, name, layout)
