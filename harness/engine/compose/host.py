"""A service as a container: how its start is seen, and how it is asked and looked at."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import artifacts, procs, sockets
from harness.clock import YOUNG, now, poll
from harness.engine.compose import hands
from harness.engine.compose.health import QUICK, ContainerHealth
from harness.engine.driver import act_by_keeper
from harness.errors import BrokenStack, HarnessError
from harness.keeper.messages import Services
from harness.readiness import Target, is_silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine.driver import Addresses, Around, Place
    from harness.engine.plan import ServicePlan
    from harness.keeper.messages import ServiceFacts
    from harness.sockets import Listener
    from harness.stack import Service

EXPLAIN_BUDGET = 5.0
LOOK_BUDGET = 2.0
KNOCK_BUDGET = 5.0
_DNS_OF_ENGINE = "127.0.0.11"  # Docker's own resolver, in every container on a network that was made


@dataclass(frozen=True)
class ContainerHost:
    """A service as a container, whose checks with intervals up to ``_quick`` seconds are left to the engine."""

    _plan: ServicePlan
    _service: Service
    _around: Around
    _quick: float = QUICK

    def prepare(self) -> None:
        """Nothing is run in a container before its start."""

    def start(self) -> bool:
        """Start it, or wait until the keeper has done so."""
        plan, around = self._plan, self._around
        launch = around.launch
        if launch:
            launch.start(plan.service, around.up, around.stop)
        for _ in poll(around.up, wake=around.stop.subscribe()):
            if facts := around.place.lives.started(plan.stack, plan.service):
                around.facts[plan.service] = facts
                return True
            if launch and launch.failed:
                raise launch.failed
            if around.stop.stopped:
                return False
        raise BrokenStack(
            f"Service {plan.service!r} was not started in {around.up.budget:g} s "
            f"({around.place.show(launch.log) if launch else ''})",
            service=plan.service,
            details=[f"  {line}" for line in artifacts.last_lines(launch.log)] if launch else [],
        )

    def restart(self, grace: float) -> ServiceFacts:
        """Have the keeper do it, and wait until its start was told."""
        facts = act_by_keeper(self._plan, "restart", grace, self._around.place)
        return self._around.facts[self._plan.service] if self.start() else facts

    def target(self, addresses: Addresses) -> Target:
        """Return a target that is asked by way of the engine."""
        plan, place = self._plan, self._around.place
        silence = Silence(place, plan)

        def container() -> str:
            facts = place.lives.started(plan.stack, plan.service)
            return facts["container"] if facts else ""

        return Target(
            service=plan.service,
            stack=plan.stack,
            address=addresses.own,
            brokers=addresses.brokers,
            env=plan.env,
            silence=silence.asked,
            refuted=silence.accepted,
            execute=lambda argv, timeout: hands.execute(place.client, container(), argv, timeout),
            exists=lambda path: hands.exists(place.client, container(), path),
            healthy=ContainerHealth(
                place,
                plan.stack,
                plan.service,
                _health_line(self._service),
                awaited=self._around.stack.awaits(plan.service),
                quick=self._quick,
            ),
        )

    def refuse_strangers(self) -> None:
        """Its ports are the engine's to publish."""

    def listening(self, facts: Mapping[str, Any]) -> tuple[Listener, ...] | None:
        """Look into its network."""
        return _listening(self._around.place, self._plan, str(facts.get("container") or ""))


class Silence:
    """Whether anything listens in a container, once it has been asked in vain for a while, or has accepted.

    The proxy of a published port accepts for a container in which nothing listens; who asks on keeps it busy. So does a
    relay, which is asked to try from where it makes connections.
    """

    def __init__(self, place: Place, plan: ServicePlan) -> None:
        self._place = place
        self._plan = plan
        self._container = ""
        self._look_from = 0.0
        self._first_process = 0

    def asked(self, host: str, port: int) -> str:
        """Return why an address need not be asked, "" when it may answer, that cannot be seen or it is early."""
        return self._look(host, port, early=False)

    def accepted(self, host: str, port: int) -> str:
        """Return why a connection that was accepted counts for nothing, "" when it may count or that cannot be seen."""
        return self._look(host, port, early=True)

    def _look(self, host: str, port: int, *, early: bool) -> str:
        end = next((end for end in self._plan.endpoints if (end.host, end.port) == (host, port)), None)
        facts = self._place.lives.started(self._plan.stack, self._plan.service)
        if end is None or facts is None:
            return ""
        if facts["container"] != self._container:
            self._container, self._look_from, self._first_process = facts["container"], now() + YOUNG, 0
        if now() < self._look_from and not early:
            return ""
        if self._place.relay:
            return self._place.relay.knock(self._plan.service, end.right, KNOCK_BUDGET)
        self._first_process = self._first_process or self._pid()
        silent = is_silent(self._first_process, self._container, end.right)
        return f"{end}: nothing listens on port {end.right} in the container" if silent else ""

    def _pid(self) -> int:
        plan = self._plan
        with suppress(HarnessError):
            for facts in self._place.link.ask(Services(), timeout=EXPLAIN_BUDGET)["services"]:
                if (facts["stack"], facts["service"]) == (plan.stack, plan.service):
                    return int(facts["pid"])
        return 0


def _health_line(service: Service | None) -> str:
    test = ((service.compose.get("healthcheck") or {}) if service else {}).get("test") or ""
    return test if isinstance(test, str) else " ".join(test)


def _listening(place: Place, plan: ServicePlan, container: str) -> tuple[Listener, ...] | None:
    """Return what listens in a container's network, None when it cannot be seen.

    By /proc, or by a look in it where its process is not seen here.
    """
    pid = int(place.explain(plan.stack, plan.service).get("pid") or 0)
    if pid and procs.is_in_container(pid, container):
        listeners = sockets.listeners(pid)
    else:
        try:
            argv = ("cat", "/proc/net/tcp", "/proc/net/tcp6")
            done = hands.execute(place.client, container, argv, LOOK_BUDGET)
        except HarnessError:
            return None
        if not done.stdout:
            return None
        listeners = sockets.parse_listeners(done.stdout)
    return tuple(listener for listener in listeners if listener.host != _DNS_OF_ENGINE)
