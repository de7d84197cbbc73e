"""How a service is started, asked and looked at, by what it is: a process, a container, or somebody else's.

What settles a stack (``settling``) asks a ``Host`` for all of it, so that it need not know which of them a service is.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from harness import artifacts
from harness.clock import YOUNG, Deadline, now, poll
from harness.engine import AttachedPlan, ContainerPlan, ProcessPlan
from harness.engine.compose import hands
from harness.engine.process.plan import start
from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.keeper.messages import ServiceFacts, Services
from harness.readiness import Family, Hopeless, Stop, Target, is_silent, stranger_at
from harness.refusals import missing_for_good, why_not_started
from harness.runs.observing import listening_in_container, listening_of_process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.engine import Endpoint, ServicePlan
    from harness.runs.environment import Environment
    from harness.runs.launching import Launch
    from harness.sockets import Listener
    from harness.stack import Service, Stack

EXPLAIN_BUDGET = 5.0
HEALTH_LOOK = 1.0  # seconds after which the engine is asked what the checks of a container say
_NO_FACTS = cast("ServiceFacts", {})  # of a service that no keeper knows


@dataclass(frozen=True)
class Around:
    """What the services of one stack have around them on their way up.

    Attributes:
        environment: where they are.
        stack: their stack.
        up: when it is given up.
        stop: set when nobody is to wait any longer.
        launch: Compose at work, None where there are no containers.
        facts: service -> the keeper's facts of its start.
    """

    environment: Environment
    stack: Stack
    up: Deadline
    stop: Stop
    launch: Launch | None = None
    facts: dict[str, ServiceFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class Addresses:
    """Where a service is, and the brokers that its probes name.

    Attributes:
        own: number of a port -> host and port.
        brokers: index of a probe -> ``host:port``.
    """

    own: dict[int, tuple[str, int]]
    brokers: dict[int, str]


class Host(Protocol):
    """What a service runs as."""

    def start(self) -> ServiceFacts | None:
        """Start it, or wait until it was; return the keeper's facts, None when the wait was given up.

        Raises:
            BrokenStack: it could not be started, or was not in time.
        """
        ...

    def restarted(self, facts: ServiceFacts) -> ServiceFacts:
        """Return the facts of a new life, given what the keeper answered when it was asked for. Raises as ``start``."""
        ...

    def target(self, addresses: Addresses) -> Target:
        """Return what its probes are asked of."""
        ...

    def refuse_strangers(self) -> None:
        """Do nothing when nobody else has its addresses.

        Raises:
            PortTaken: somebody has one of them, who is named.
            ConfigError: the same, and its file says that it is fixed.
        """
        ...

    def listening(self, facts: Mapping[str, Any]) -> tuple[Listener, ...] | None:
        """Return what it listens on, None when that cannot be seen."""
        ...


def host_of(plan: ServicePlan, service: Service, around: Around) -> Host:
    """Return what a service runs as."""
    return _HOSTS[type(plan)](plan, service, around)


class PortTaken(BrokenStack):
    """Somebody else listens where a service should.

    Attributes:
        endpoint: the address.
    """

    def __init__(self, service: str, endpoint: Endpoint, who: str) -> None:
        super().__init__(f"Service {service!r}: its address {endpoint} is held by {who}", service=service)
        self.endpoint = endpoint


class _Process:
    """A service as a local process."""

    def __init__(self, plan: ProcessPlan, service: Service, around: Around) -> None:
        self._plan = plan
        self._service = service
        self._around = around

    def start(self) -> ServiceFacts | None:
        """Have the keeper start it, or a debugger hold it."""
        plan, environment = self._plan, self._around.environment
        environment.forget(plan.stack, plan.service)
        if environment.debugger and plan.subject:
            return environment.debugger.start(plan, environment, lambda: self._around.stop.stopped)
        try:
            return start(plan, environment.link)
        except HarnessError as error:
            why = why_not_started(error.summary)
            raise BrokenStack(f"Service {plan.service!r} could not be started: {why}", service=plan.service) from error

    def restarted(self, facts: ServiceFacts) -> ServiceFacts:
        """Return the same facts, and forget the end that was asked for."""
        plan, environment = self._plan, self._around.environment
        ended = environment.exit_of(plan.stack, plan.service)
        if ended and ended["starts"] < facts["starts"]:
            environment.forget(plan.stack, plan.service)
        return facts

    def target(self, addresses: Addresses) -> Target:
        """Return a target with its folder, files and health command."""
        plan = self._plan
        # A path that is here already stays, also where a mount's target is above it, such as /tmp.
        here = {str(path): str(path) for path in (*plan.mounts.values(), *plan.folders)}
        services = self._around.stack.services
        return Target(
            service=plan.service,
            stack=plan.stack,
            address=addresses.own,
            brokers=addresses.brokers,
            env=plan.env,
            cwd=plan.cwd,
            mounts={**plan.mounts, **here},
            health=plan.health,
            check=plan.check,
            is_awaited=any(service.depends_on.get(plan.service) == "service_healthy" for service in services),
            stranger=lambda host, port: stranger_at(host, port, self._family()),
        )

    def _family(self) -> Family:
        """Return the processes among which who listens for it must be."""
        plan, environment = self._plan, self._around.environment
        facts = self._around.facts.get(plan.service) or environment.started(plan.stack, plan.service)
        return Family(environment.env, environment.link.facts["pid"], facts["pid"] if facts else 0)

    def refuse_strangers(self) -> None:
        """Look who listens on each of its TCP addresses."""
        for end in self._plan.endpoints:
            who = stranger_at(end.host, end.port, self._family()) if end.protocol == "tcp" else ""
            if who and self._service.settings.fixed:
                name = self._plan.service
                raise ConfigError(
                    f"Service {name!r}: its address {end} is held by {who}, and it cannot move: it is fixed"
                )
            if who:
                raise PortTaken(self._plan.service, end, who)

    def listening(self, facts: Mapping[str, Any]) -> tuple[Listener, ...] | None:
        """Look at its processes."""
        plan = self._plan
        return listening_of_process(
            self._around.environment.env, f"{plan.stack}/{plan.service}", int(facts.get("pid") or 0)
        )


class _Container:
    """A service as a container."""

    def __init__(self, plan: ContainerPlan, service: Service, around: Around) -> None:
        self._plan = plan
        self._service = service
        self._around = around

    def start(self) -> ServiceFacts | None:
        """Wait until Compose has started it."""
        plan, around = self._plan, self._around
        launch = around.launch
        for _ in poll(around.up, wake=around.stop.subscribe()):
            if facts := around.environment.started(plan.stack, plan.service):
                return facts
            if launch and launch.failed:
                raise launch.failed
            if around.stop.stopped:
                return None
        raise BrokenStack(
            f"Service {plan.service!r} was not started in {around.up.budget:g} s "
            f"({around.environment.show(launch.log) if launch else ''})",
            service=plan.service,
            details=[f"  {line}" for line in artifacts.last_lines(launch.log)] if launch else [],
        )

    def restarted(self, facts: ServiceFacts) -> ServiceFacts:
        """Wait until its start was told."""
        return self.start() or facts

    def target(self, addresses: Addresses) -> Target:
        """Return a target that is asked by way of the engine."""
        plan, environment = self._plan, self._around.environment
        silence = Silence(environment, plan)

        def container() -> str:
            facts = environment.started(plan.stack, plan.service)
            return facts["container"] if facts else ""

        return Target(
            service=plan.service,
            stack=plan.stack,
            address=addresses.own,
            brokers=addresses.brokers,
            env=plan.env,
            silence=silence.asked,
            refuted=silence.accepted,
            execute=lambda argv, timeout: hands.execute(environment.client, container(), argv, timeout),
            exists=lambda path: hands.exists(environment.client, container(), path),
            healthy=ContainerHealth(environment, plan.stack, plan.service, _health_line(self._service)),
        )

    def refuse_strangers(self) -> None:
        """Its ports are the engine's to publish."""

    def listening(self, facts: Mapping[str, Any]) -> tuple[Listener, ...] | None:
        """Look into its network."""
        return listening_in_container(self._around.environment, self._plan, str(facts.get("container") or ""))


class _Attached:
    """A service that somebody else has started."""

    def __init__(self, plan: AttachedPlan, _: Service, __: Around) -> None:
        self._plan = plan

    def start(self) -> ServiceFacts | None:
        """It is there already."""
        return _NO_FACTS

    def restarted(self, facts: ServiceFacts) -> ServiceFacts:
        """It cannot be restarted from here."""
        return facts

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


_HOSTS: dict[type[ServicePlan], Callable[..., Host]] = {
    ProcessPlan: _Process,
    ContainerPlan: _Container,
    AttachedPlan: _Attached,
}


class ContainerHealth:
    """What the engine says of a container's health, and, once a while, why: a check may be one that cannot succeed.

    Args:
        environment: where it is.
        stack: its stack.
        service: its name.
        line: its healthcheck as its file has it, "" where its image has it.
    """

    def __init__(self, environment: Environment, stack: str, service: str, line: str) -> None:
        self._environment = environment
        self._stack = stack
        self._service = service
        self._line = line
        self._next_look = now() + HEALTH_LOOK

    def __call__(self) -> str:
        """Return "" when it is healthy, else what is said. Raises Hopeless when its check has no program to run."""
        health = self._environment.health(self._stack, self._service)
        if health == "healthy":
            return ""
        said = f"its healthcheck says: {health or 'nothing yet'}"
        if self._environment.started(self._stack, self._service) and now() >= self._next_look:
            checks = self._environment.explain(self._stack, self._service).get("health_log", [])
            self._next_look = now() + HEALTH_LOOK
            if any(missing_for_good(self._line, check) for check in checks):
                raise Hopeless(f"{said}, {checks[-1]}")
        return said


class Silence:
    """Whether anything listens in a container, once it has been asked in vain for a while, or has accepted.

    The proxy of a published port accepts for a container in which nothing listens; who asks on keeps it busy.
    """

    def __init__(self, environment: Environment, plan: ServicePlan) -> None:
        self._environment = environment
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
        facts = self._environment.started(self._plan.stack, self._plan.service)
        if end is None or facts is None:
            return ""
        if facts["container"] != self._container:
            self._container, self._look_from, self._first_process = facts["container"], now() + YOUNG, 0
        if now() < self._look_from and not early:
            return ""
        self._first_process = self._first_process or self._pid()
        silent = is_silent(self._first_process, self._container, end.right)
        return f"{end}: nothing listens on port {end.right} in the container" if silent else ""

    def _pid(self) -> int:
        plan = self._plan
        with suppress(HarnessError):
            for facts in self._environment.link.ask(Services(), timeout=EXPLAIN_BUDGET)["services"]:
                if (facts["stack"], facts["service"]) == (plan.stack, plan.service):
                    return int(facts["pid"])
        return 0


def _health_line(service: Service | None) -> str:
    test = ((service.compose.get("healthcheck") or {}) if service else {}).get("test") or ""
    return test if isinstance(test, str) else " ".join(test)
