"""The engine ``compose``: services as containers of a Docker engine."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.daemon import ask, connect
from harness.engine.compose import hands
from harness.engine.compose.host import ContainerHost
from harness.engine.compose.launch import Launch
from harness.engine.compose.plan import NAME, plan_stack
from harness.engine.driver import act_by_keeper
from harness.errors import ConfigError
from harness.stack import find_compose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.daemon import Daemon
    from harness.engine.driver import Around, Place
    from harness.engine.identity import Identity
    from harness.engine.known import Known
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint, Image, ServicePlan, StackPlan
    from harness.keeper.messages import ServiceFacts
    from harness.procs import Finished
    from harness.stack import Service, Tree


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

    def launch(self, plan: StackPlan, place: Place) -> Launch | None:
        """Return Compose at work, None when all services of the stack are local processes."""
        return Launch(place, plan) if plan.containers else None

    def host(self, plan: ServicePlan, service: Service, around: Around) -> ContainerHost:
        """Return what waits for a container."""
        return ContainerHost(plan, service, around)

    def act(self, known: Known, act: str, grace: float, place: Place) -> ServiceFacts:
        """Have the keeper act on it."""
        return act_by_keeper(known, act, grace, place)

    def execute(self, known: Known, argv: Sequence[str], timeout: float, place: Place) -> Finished:
        """Run a command in its container."""
        return hands.execute(place.client, known.container, argv, timeout)

    def execute_here(self, known: Known, argv: Sequence[str]) -> int:
        """Run it in its container, without standard input."""
        with closing(connect(self.daemon, timeout=None)) as client:
            return hands.attach(client, known.container, argv)

    def copy_out(self, known: Known, path: str, to: Path, place: Place) -> None:
        """Copy out of its container."""
        hands.copy_out(place.client, known.container, path, to)
