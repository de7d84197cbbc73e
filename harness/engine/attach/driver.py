"""The engine ``attach``: services that somebody else has started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from harness.engine.attach import plan as attach
from harness.engine.known import Known
from harness.engine.layout import Local
from harness.errors import ConfigError
from harness.readiness import Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.config import Settings
    from harness.daemon import Daemon
    from harness.engine.driver import Addresses
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint, Image, ServicePlan, StackPlan
    from harness.keeper.messages import ServiceFacts
    from harness.procs import Finished
    from harness.sockets import Listener
    from harness.stack import Tree


@dataclass(frozen=True)
class Attach:
    """Services that somebody else has started. What is for whoever did that raises Unsupported."""

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

    def launch(self, _: StackPlan, __: object) -> None:
        """Nothing is started."""

    def host(self, plan: ServicePlan, _: object, __: object) -> _Host:
        """Return what knows where a service is."""
        return _Host(plan)

    def cells(self, _: object) -> NoReturn:
        """Nothing can be started where everything is somebody else's. Raises ConfigError."""
        raise ConfigError("A matrix needs an engine that starts its implementations: compose or embedded, not attach")

    def act(self, known: Known, act: str, _: float, __: object) -> ServiceFacts:
        """Raise Unsupported."""
        raise known.refusal(f"to {act} it")

    def execute(self, known: Known, _: Sequence[str], __: float, ___: object) -> Finished:
        """Raise Unsupported."""
        raise known.refusal("running a command in it")

    def execute_here(self, known: Known, _: Sequence[str]) -> int:
        """Raise Unsupported."""
        raise known.refusal("running a command in it")

    def shell(self, known: Known, _: object) -> int:
        """Raise Unsupported."""
        raise known.refusal("a shell in it")

    def copy_out(self, known: Known, _: str, __: Path, ___: object) -> None:
        """Raise Unsupported."""
        raise known.refusal("copying out of it")


class _Host:
    """A service that somebody else has started."""

    def __init__(self, plan: ServicePlan) -> None:
        self._plan = plan

    def prepare(self) -> None:
        """Nothing of it is ours."""

    def start(self) -> bool:
        """It is there already."""
        return True

    def restart(self, _: float) -> ServiceFacts:
        """Raise Unsupported."""
        raise Known.of(self._plan, "").refusal("to restart it")

    def target(self, addresses: Addresses) -> Target:
        """Return a target of which only addresses are known."""
        plan = self._plan
        return Target(
            service=plan.service, stack=plan.stack, address=addresses.own, brokers=addresses.brokers, env=plan.env
        )

    def refuse_strangers(self) -> None:
        """Whoever listens there is who was meant."""

    def listening(self, _: Mapping[str, Any]) -> tuple[Listener, ...] | None:
        """It cannot be seen."""
        return None
