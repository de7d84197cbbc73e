"""The engine ``compose``: services as containers of a Docker engine."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from harness import procs
from harness.daemon import AUTO_BUDGET, ask, connect, rootless
from harness.engine.compose import hands, log_drivers
from harness.engine.compose.health import QUICK
from harness.engine.compose.host import ContainerHost
from harness.engine.compose.launch import Launch
from harness.engine.compose.plan import NAME, plan_stack
from harness.engine.driver import act_by_keeper
from harness.engine.layout import process_of
from harness.errors import ConfigError, HarnessError
from harness.locality import why_elsewhere
from harness.stack import find_compose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.daemon import Daemon
    from harness.engine.compose.cells import ContainerSites
    from harness.engine.driver import Around, Place
    from harness.engine.identity import Identity
    from harness.engine.known import Known
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint, Image, ServicePlan, StackPlan
    from harness.keeper.messages import ServiceFacts
    from harness.procs import Finished
    from harness.stack import Service, Tree

ROOTFUL = (
    "as root: `systemctl start podman.socket`, then DOCKER_HOST=unix:///run/podman/podman.sock; or --engine embedded"
)

ELSEWHERE = "use --inside, with which tests run in a container there; or an engine that is on this machine"


@dataclass(frozen=True)
class Compose:
    """Services as containers of a Docker engine.

    Attributes:
        daemon: the engine.
        inside: whether what uses the services runs in a container beside them, so that the engine may be elsewhere.
        name: the name of this engine.
    """

    daemon: Daemon
    inside: bool = False
    name: str = NAME

    @cached_property
    def _is_podman(self) -> bool:
        """Whether the engine is Podman; one that does not answer is planned for as Docker."""
        with suppress(HarnessError):
            return ask(self.daemon, within=AUTO_BUDGET).is_podman
        return False

    def check(self) -> None:
        """See that the engine answers, can be used from here, and that there is a Compose to drive it."""
        if not self.inside and (why := why_elsewhere(self.daemon)):
            raise ConfigError(
                f"Docker engine {self.daemon.host} ({self.daemon.origin}) is not on this machine ({why}), "
                "and its published ports could not be reached",
                hint=ELSEWHERE,
            )
        if ask(self.daemon).is_podman and (problem := rootless(self.daemon)):
            raise ConfigError(problem, hint=ROOTFUL)
        find_compose(os.environ, checked=True)

    def locate(self, _: Tree) -> Mapping[str, tuple[Endpoint, ...]]:
        """Nothing is there before it is started."""
        return {}

    def plan(self, tree: Tree, name: str, layout: Layout, identity: Identity, images: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is as containers."""
        processes = [service for service in tree.stack(name).services if process_of(service, NAME, layout.local)]
        here = [service.name for service in processes]
        beside = [service.name for service in processes if not service.is_for_this_machine]
        if self.elsewhere:
            layout = replace(layout, elsewhere=True)
            self._refuse_beside(here, layout)
        if self._is_podman and beside:
            raise ConfigError(
                f"Service {beside[0]!r} cannot be a local process on Podman (--local, --local-build, x-harness.host): "
                "it makes the network of containers with the first of them, so there is no address beside them yet",
                hint="with fixed ports a host process needs none; else use --engine embedded, or a Docker engine",
            )
        logs = log_drivers.PODMAN if self._is_podman else log_drivers.DOCKER
        return plan_stack(tree, name, layout, identity, images, logs)

    @property
    def elsewhere(self) -> str:
        """Why the engine is taken to be on another machine, "" when it is not."""
        return why_elsewhere(self.daemon)

    def _refuse_beside(self, here: Sequence[str], layout: Layout) -> None:
        """Do nothing when nothing of this machine is to be in the containers' network. Raises ConfigError."""
        where = f"Docker engine {self.daemon.host} ({self.daemon.origin}) is not on this machine ({self.elsewhere})"
        if here:
            raise ConfigError(
                f"Service {here[0]!r} cannot be a local process (--local, --local-build, x-harness.host): "
                f"{where}, and containers there could not reach it"
            )
        if layout.container_addresses:
            raise ConfigError(
                f"addresses = container: {where}, so no container's address can be reached from here",
                hint="leave it out: each service has an address of this machine, and a relay passes on what goes there",
            )

    def launch(self, plan: StackPlan, place: Place) -> Launch | None:
        """Return Compose at work, None when all services of the stack are local processes."""
        return Launch(place, plan) if plan.containers else None

    def host(self, plan: ServicePlan, service: Service, around: Around) -> ContainerHost:
        """Return what waits for a container."""
        # Podman has systemd run checks, which there may not be.
        return ContainerHost(plan, service, around, 0.0 if self._is_podman else QUICK)

    def cells(self, place: Place) -> ContainerSites:
        """Return where cells take place as containers."""
        from harness.engine.compose.cells import ContainerSites  # noqa: PLC0415 - only a matrix needs it

        return ContainerSites(place)

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

    def shell(self, known: Known, _: object) -> int:
        """Open ``sh`` in its container, which must run, by the Docker CLI."""
        argv = ["docker", "exec", "-it", known.container, "sh"]
        try:
            return procs.run_interactive(argv, env={**os.environ, **self.daemon.environment()})
        except OSError as error:
            raise ConfigError(f"A shell in a container needs the Docker CLI: {error.strerror}") from error

    def copy_out(self, known: Known, path: str, to: Path, place: Place) -> None:
        """Copy out of its container."""
        hands.copy_out(place.client, known.container, path, to)
