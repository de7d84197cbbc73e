"""All that an engine must be; each has a folder here, whose ``driver`` says it.

A ``Driver`` is asked for plans before anything runs. A stack's services are then started by its ``Launch``, where
several are started together, and each is followed by its ``Host``. Those that run are acted on as they are ``Known``.
Nothing is removed by a driver: services belong to the keeper, which ends and removes what it has started.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import BrokenStack
from harness.keeper.messages import Act

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from harness.clock import Deadline
    from harness.config import Settings
    from harness.daemon import Daemon
    from harness.docker_sdk import APIClient
    from harness.engine.identity import Identity
    from harness.engine.known import Known
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint, Image, ProcessPlan, ServicePlan, StackPlan
    from harness.images.fingerprint import Found
    from harness.keeper.client import KeeperLink
    from harness.keeper.messages import Event, Explained, ServiceFacts
    from harness.matrix.site import Sites
    from harness.procs import Finished
    from harness.readiness import Stop, Target
    from harness.relay import Relay
    from harness.reporting import RunFolder
    from harness.sockets import Listener
    from harness.stack import Service, Stack, Tree

ACT_BUDGET = 60.0  # seconds beyond the grace that a service is given


class Debugger(Protocol):
    """Who starts subjects and holds them at their first instruction."""

    def start(self, plan: ProcessPlan, place: Place, stopped: Callable[[], bool]) -> ServiceFacts:
        """Start a subject, held; return the keeper's facts once it goes on or ``stopped`` says to give up."""
        ...


class Lives(Protocol):
    """When the services of an environment started and ended, as it is told."""

    def started(self, stack: str, service: str) -> ServiceFacts | None:
        """Return the facts of a service's start, None before it was told."""
        ...

    def exit_of(self, stack: str, service: str) -> ServiceFacts | None:
        """Return the facts of a service's end, None while it runs."""
        ...

    def hear(self, message: Event) -> None:
        """Take over an event of a service; needed of engines only whose services the keeper does not follow."""
        ...

    def forget(self, stack: str, service: str) -> None:
        """A service is about to be started: what an earlier life of it left does not count."""
        ...

    def health(self, stack: str, service: str) -> str:
        """Return the health of a container as it was told last: "", starting, healthy or unhealthy."""
        ...


class Place(Protocol):
    """An environment as an engine sees it."""

    settings: Settings
    daemon: Daemon | None
    env: str
    folder: Path
    link: KeeperLink
    report: RunFolder
    relay: Relay | None
    images: dict[str, Found]
    """Name -> image, of what this run has built or found built so far; of its stack and those that this includes."""

    @property
    def lives(self) -> Lives:
        """When its services started and ended."""
        ...

    @property
    def debugger(self) -> Debugger | None:
        """Who holds subjects, None when nobody does."""
        ...

    @property
    def client(self) -> APIClient:
        """A client of the Docker engine. Raises EngineUnreachableError."""
        ...

    def divert(self, stack: str, hear: Callable[[Event | None], None] | None) -> None:
        """Have one hear of a stack's services in place of ``lives``, until None does; told None, the keeper is gone."""
        ...

    def explain(self, stack: str, service: str, *, ask: bool = True) -> Explained:
        """Return what the Docker engine knows of a container, {} when it does not say."""
        ...

    def show(self, log: Path) -> str:
        """Return a log's path for people."""
        ...


class Launch(Protocol):
    """What makes the services of one stack that are made together, and starts them."""

    log: Path

    def prepare(self, say: Callable[[str], None]) -> StackPlan:
        """Build and get what is needed; return the plan with what is known by then. Raises BrokenStack."""
        ...

    def begin(self, names: Sequence[str], first: Collection[str], news: Callable[[], None], timeout: float) -> None:
        """Make services, and start those of them that come ``first``; returns at once.

        ``news`` is called when that is done, or cannot be.
        """
        ...

    def start(self, name: str, up: Deadline, stop: Stop) -> None:
        """Start a service that did not come first, once it is made. Raises BrokenStack when it cannot be."""
        ...

    @property
    def failed(self) -> BrokenStack | None:
        """Why not everything could be started, None while it may be."""
        ...

    def stop(self) -> None:
        """Give up what is being started. Raises HarnessError."""
        ...


@dataclass(frozen=True)
class Around:
    """What the services of one stack have around them on their way up.

    Attributes:
        place: where they are.
        stack: their stack.
        up: when it is given up.
        stop: set when nobody is to wait any longer.
        launch: what starts those that are started together, None where each is started by its host.
        facts: service -> the keeper's facts of its start.
    """

    place: Place
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


class PortTaken(BrokenStack):
    """Somebody else listens where a service should.

    Attributes:
        endpoint: the address.
    """

    def __init__(self, service: str, endpoint: Endpoint, who: str) -> None:
        super().__init__(f"Service {service!r}: its address {endpoint} is held by {who}", service=service)
        self.endpoint = endpoint


class Host(Protocol):
    """One service of a stack on its way up."""

    def prepare(self) -> None:
        """Make what a command finds that is run in it before its start: the files of a process, nothing of a container.

        Raises OSError.
        """
        ...

    def start(self) -> bool:
        """Start it, or wait until it was; return False when the wait was given up.

        What the keeper knows of the start, if it does, is then among ``Around.facts``.

        Raises:
            BrokenStack: it could not be started, or was not in time.
        """
        ...

    def restart(self, grace: float) -> ServiceFacts:
        """Stop it, with ``grace`` seconds between TERM and KILL, and start it; return the facts of its new life.

        Raises:
            BrokenStack: as ``start``.
            HarnessError: it cannot be done.
        """
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


class Driver(Protocol):
    """An engine."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def daemon(self) -> Daemon | None:
        """The Docker engine that its containers are on, None without containers."""
        ...

    # -- before anything runs -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Do nothing when it can be used. Raises EngineUnreachableError or ConfigError."""
        ...

    def locate(self, tree: Tree) -> Mapping[str, tuple[Endpoint, ...]]:
        """Return the endpoints of services that are somewhere already, by ``stack/service``. Raises ConfigError."""
        ...

    def plan(self, tree: Tree, name: str, layout: Layout, identity: Identity, images: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is on it. Raises ConfigError with all that cannot work."""
        ...

    # -- on its way up ------------------------------------------------------------------------------------------

    def launch(self, plan: StackPlan, place: Place) -> Launch | None:
        """Return what starts the services that are started together, None when each is started by its host."""
        ...

    def host(self, plan: ServicePlan, service: Service, around: Around) -> Host:
        """Return what starts a service, or sees it start, and follows it."""
        ...

    def cells(self, place: Place) -> Sites:
        """Return where cells of an interoperability matrix take place. Raises ConfigError where they cannot."""
        ...

    # -- when it is up ------------------------------------------------------------------------------------------

    def act(self, known: Known, act: str, grace: float, place: Place) -> ServiceFacts:
        """Kill, stop, start, restart, pause or unpause a service; return the keeper's facts of it.

        Args:
            known: the service.
            act: what is done to it, by one of these words.
            grace: seconds between TERM and KILL, where it is stopped.
            place: where it is.

        Raises:
            HarnessError: it cannot be done.
        """
        ...

    def execute(self, known: Known, argv: Sequence[str], timeout: float, place: Place) -> Finished:
        """Run a command in a service, with paths as it knows them on this engine.

        Raises:
            HarnessError: it cannot be run.
        """
        ...

    def execute_here(self, known: Known, argv: Sequence[str]) -> int:
        """Run a command in a service on this process's own streams; return its exit code. Raises as ``execute``."""
        ...

    def shell(self, known: Known, environ: Mapping[str, str]) -> int:
        """Open a shell in a service on this terminal, with ``environ`` beside its variables; return its exit code.

        Raises:
            HarnessError: there is none.
        """
        ...

    def copy_out(self, known: Known, path: str, to: Path, place: Place) -> None:
        """Copy a file or folder of a service to ``to``. Raises HarnessError when there is none."""
        ...


def act_by_keeper(service: ServicePlan | Known, act: str, grace: float, place: Place) -> ServiceFacts:
    """Do what ``Driver.act`` does to a service that the keeper has started."""
    return place.link.ask(
        Act(stack=service.stack, service=service.service, act=act, grace=grace), timeout=grace + ACT_BUDGET
    )
