"""An engine that starts nothing, and notes what it is asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.engine import ServicePlan, StackPlan
from harness.engine.layout import endpoints
from harness.engine.local import planned_seeds
from harness.errors import BrokenStack, ConfigError
from harness.procs import Finished
from harness.readiness import Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.engine.driver import Addresses, Around, Place
    from harness.engine.known import Known
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint
    from harness.keeper.messages import ServiceFacts
    from harness.stack import Service, Tree

NAME = "recording"


@dataclass(frozen=True)
class RecordedPlan(ServicePlan):
    """A service that is never started, and always well."""

    @property
    def has_health(self) -> bool:
        """Whether it can be asked how it is."""
        return True


@dataclass
class Recorder:
    """The engine.

    Attributes:
        calls: what it was asked for, in order.
        broken: services that cannot be started.
        dying: services that end as soon as they are asked how they are.
    """

    calls: list[str] = field(default_factory=list)
    broken: frozenset[str] = frozenset()
    dying: frozenset[str] = frozenset()
    name: str = NAME
    daemon: None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, call: str) -> None:
        """Take down a call."""
        with self.lock:
            self.calls.append(call)

    def check(self) -> None:
        """It can always be used."""
        self.note("check")

    def locate(self, _: Tree) -> Mapping[str, tuple[Endpoint, ...]]:
        """Nothing is anywhere yet."""
        return {}

    def plan(self, tree: Tree, name: str, layout: Layout, _: object, __: object) -> StackPlan:
        """Plan services of its own kind."""
        self.note(f"plan {name}")
        stack = tree.stack(name)
        services = tuple(
            RecordedPlan(name, service.name, service.environment, endpoints(name, service, layout))
            for service in stack.services
        )
        return StackPlan(name, NAME, services, seeds=planned_seeds(tree, stack, layout))

    def launch(self, plan: StackPlan, _: object) -> None:
        """Nothing is started together."""
        self.note(f"launch {plan.stack}")

    def host(self, plan: ServicePlan, _: Service, around: Around) -> RecordedHost:
        """Return what notes the calls for one service."""
        return RecordedHost(self, plan, around)

    def cells(self, _: object) -> NoReturn:
        """There is no place for cells."""
        raise ConfigError("no cells here")

    def act(self, known: Known, act: str, grace: float, place: Place) -> ServiceFacts:
        """Say that it was done."""
        self.note(f"{act} {known.service} in {grace:g} s")
        return _facts(known.stack, known.service, place)

    def execute(self, known: Known, argv: Sequence[str], _: float, __: object) -> Finished:
        """Say the words."""
        self.note(f"execute in {known.service}: {' '.join(argv)}")
        return Finished(tuple(argv), 0, " ".join(argv), "")

    def execute_here(self, known: Known, argv: Sequence[str]) -> int:
        """Say how many words there are."""
        self.note(f"execute here in {known.service}: {' '.join(argv)}")
        return len(argv)

    def shell(self, known: Known, environ: Mapping[str, str]) -> int:
        """Say how many variables there are."""
        self.note(f"shell in {known.service}")
        return len(environ)

    def copy_out(self, known: Known, path: str, to: Path, _: object) -> None:
        """Write the path into the copy."""
        self.note(f"copy {path} out of {known.service}")
        to.write_text(path)


@dataclass
class RecordedHost:
    """One service of it on its way up."""

    engine: Recorder
    plan: ServicePlan
    around: Around

    def prepare(self) -> None:
        """Say that its files are made."""
        self.engine.note(f"prepare {self.plan.service}")

    def start(self) -> bool:
        """Say that it runs, unless it is ``broken``."""
        name = self.plan.service
        self.engine.note(f"start {name}")
        if name in self.engine.broken:
            raise BrokenStack(f"Service {name!r} could not be started: it is broken", service=name)
        self.around.facts[name] = _facts(self.plan.stack, name, self.around.place)
        return True

    def restart(self, grace: float) -> ServiceFacts:
        """Say that it runs again."""
        self.engine.note(f"restart {self.plan.service} in {grace:g} s")
        return _facts(self.plan.stack, self.plan.service, self.around.place)

    def target(self, addresses: Addresses) -> Target:
        """Return what is healthy."""
        plan = self.plan
        return Target(service=plan.service, stack=plan.stack, address=addresses.own, healthy=self.healthy)

    def healthy(self) -> str:
        """Say that it is well, unless it is ``dying``."""
        name, place = self.plan.service, self.around.place
        self.engine.note(f"ask {name}")
        if name not in self.engine.dying:
            return ""
        facts = _facts(self.plan.stack, name, place)
        facts["exit_code"] = 3
        place.lives.hear({"event": "exit", "record": True, **facts})
        return "it is dying"

    def refuse_strangers(self) -> None:
        """Nobody is in its way."""
        self.engine.note(f"refuse strangers of {self.plan.service}")

    def listening(self, _: Mapping[str, Any]) -> None:
        """It listens on nothing that could be seen."""


def _facts(stack: str, service: str, place: Place) -> ServiceFacts:
    return {
        "stack": stack,
        "service": service,
        "state": "running",
        "pid": 0,
        "start_time": 0,
        "exit_code": None,
        "expected": False,
        "under": "",
        "starts": 1,
        "restarts": 0,
        "log": str(place.folder / "services" / f"{service}.log"),
        "log_start": 0,
        "container": f"recorded-{service}",
        "health": "",
        "oom": False,
        "pre_stop": "",
    }
