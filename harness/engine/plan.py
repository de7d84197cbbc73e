"""What an engine intends to do, as values that can be printed and compared without doing it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import relative
from harness.stack import by_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine.presets import Cluster
    from harness.engine.users import User
    from harness.images.dockerfiles import Need
    from harness.keeper.messages import Hooks
    from harness.stack import HealthCheck, Probe, Seed


@dataclass(frozen=True)
class Endpoint:
    """Where a published port of a service can be reached from this machine.

    Attributes:
        service: the service's name.
        left: the number that tests and in-network clients use.
        right: the number inside a container.
        host: address.
        port: the number to connect to.
        protocol: tcp or udp.
    """

    service: str
    left: int
    right: int
    host: str
    port: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class FileCopy:
    """A mounted file as the service sees it: where it is from, where the copy goes, its content and mode.

    ``hidden`` is whether the content is a secret, which is shown nowhere.
    """

    source: str
    target: Path
    content: bytes = field(repr=False)
    mode: int = 0o600
    hidden: bool = False


@dataclass(frozen=True)
class HostFile:
    """A file or folder of this machine that is copied into a container before its start.

    Attributes:
        source: where it is.
        target: where it goes.
        mode: its permissions there, None for those that it has here, with its owner's number.
        uid: its owner, where ``mode`` is given.
        gid: its group, likewise.
    """

    source: Path
    target: str
    mode: int | None = None
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class ServicePlan:
    """One service on an engine.

    Attributes:
        stack: its stack.
        service: its name.
        endpoints: its published ports.
        env: its environment; of a container, what the stack file gives it.
        grace: seconds between TERM and KILL when it is stopped, 0 for KILL at once.
        ready: its probes, with what placeholders and names stand for in it.
        has_health: whether its engine can tell its health.
    """

    stack: str
    service: str
    env: Mapping[str, str] = field(repr=False)
    endpoints: tuple[Endpoint, ...] = ()
    grace: float = 0.0
    ready: tuple[Probe, ...] = ()

    ours: ClassVar[bool] = True
    """Whether it is started, and ended, by us."""
    contained: ClassVar[bool] = False
    """Whether it has a network and files of its own, and an engine that starts it in its order."""
    is_local: ClassVar[bool] = False
    """Whether it is a local process."""
    health_key: ClassVar[str] = "healthcheck"
    """Where a stack file says how its health is told."""

    @property
    def has_health(self) -> bool:
        """Whether its health can be told."""
        return False

    @property
    def can_be_held(self) -> bool:
        """Whether a debugger can hold it: a subject as a local process."""
        return False

    @property
    def folder(self) -> str:
        """The folder that it runs in, "" where that is not of this machine."""
        return ""

    @property
    def launcher(self) -> tuple[str, ...]:
        """What is put before a command so that it runs as the service's user."""
        return ()

    @property
    def paths(self) -> Mapping[str, str]:
        """Path that it knows -> path here, of files that are mounted by us."""
        return {}

    @property
    def files(self) -> tuple[FileCopy, ...]:
        """The files that are written for it."""
        return ()

    def endpoint(self, number: int) -> Endpoint | None:
        """Return the endpoint that ``number`` means, None for none."""
        return by_number(self.endpoints).get(number)

    def lines(self) -> list[str]:
        """Return what is planned, for people."""
        lines = [f"    {end.left} -> {end} ({end.protocol})" for end in self.endpoints]
        return [*lines, f"    stop: {f'{self._asked_by()}, {self.grace:g} s, KILL' if self.grace else 'KILL'}"]

    def _asked_by(self) -> str:
        return "TERM"


@dataclass(frozen=True)
class ProcessPlan(ServicePlan):
    """One service as a local process.

    Attributes:
        argv: its command, rendered.
        cwd: its folder.
        copies: files to write before it starts.
        folders: folders to make before it starts.
        mounts: container path -> path here.
        stop: command that asks it to stop, () for a signal.
        stop_signal: the signal that asks it to stop, where no command does.
        health: command that tells its health, () without one.
        check: how often and how long that is run, None without one.
        subject: whether it is what is tested.
        loopback: its address in the environment's loopback network, wherever it listens itself.
        user: who it runs as, None for the caller.
        place: the folder for what it has then, None where it has what it has among the environment's.
        cluster: what its data folder begins with, None for nothing.
        data: its data folder.
    """

    argv: tuple[str, ...] = ()
    cwd: Path = Path()
    copies: tuple[FileCopy, ...] = ()
    folders: tuple[Path, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    health: tuple[str, ...] = ()
    check: HealthCheck | None = None
    subject: bool = False
    loopback: str = ""
    user: User | None = None
    place: Path | None = None
    cluster: Cluster | None = None
    data: Path = Path()

    is_local: ClassVar[bool] = True
    health_key: ClassVar[str] = "embedded.healthcheck"

    @property
    def has_health(self) -> bool:
        """Whether a command tells its health."""
        return bool(self.health)

    @property
    def can_be_held(self) -> bool:
        """Whether it is a subject."""
        return self.subject

    @property
    def folder(self) -> str:
        """The folder that it runs in."""
        return str(self.cwd)

    @property
    def launcher(self) -> tuple[str, ...]:
        """What is put before a command so that it runs as the service's user."""
        return self.user.launcher() if self.user else ()

    @property
    def paths(self) -> Mapping[str, str]:
        """Its mounts."""
        return self.mounts

    @property
    def files(self) -> tuple[FileCopy, ...]:
        """The copies of what is mounted."""
        return self.copies

    def _asked_by(self) -> str:
        return self.stop_signal.name.removeprefix("SIG")

    def lines(self) -> list[str]:
        """Return what is planned, for people."""
        *ports, stop = super().lines()
        mounts = [f"    {target} = {path}" for target, path in self.mounts.items()]
        user = [f"    as {self.user.name} (uid {self.user.uid})"] if self.user else []
        return [f"  {self.service}: {' '.join(self.argv)}", f"    in {self.cwd}", *user, *ports, *mounts, stop]


@dataclass(frozen=True)
class ContainerPlan(ServicePlan):
    """One service as a container.

    Attributes:
        image: what it runs.
        healthcheck: whether its file, or its image where that is known, declares one.
        health_off: whether its file switches off that of the image.
        variable: the variable that chooses its image, "" when none does.
        strategy: how its image comes: ``declared``, ``build``, ``prebuilt`` or ``archive``.
        commit: the commit that its image is built from, "" where that is not known.
        about: version and licence of what is in its image, where they are known.
        log_file: a file for a log that it writes itself, to be made before it starts; None for none.
        folders: folders to make before it starts.
        is_pulled: whether its file lets its image be pulled.
        hooks: what is run in it after each start, and before it is asked to end; None for nothing.
        copied: files of this machine that are copied into it before its start, where its engine does not see them.
    """

    image: str = ""
    healthcheck: bool = False
    health_off: bool = False
    variable: str = ""
    strategy: str = "declared"
    commit: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    log_file: Path | None = None
    folders: tuple[Path, ...] = ()
    is_pulled: bool = True
    hooks: Hooks | None = field(default=None, repr=False)
    copied: tuple[HostFile, ...] = ()

    contained: ClassVar[bool] = True

    @property
    def has_health(self) -> bool:
        """Whether a healthcheck is declared."""
        return self.healthcheck

    def lines(self) -> list[str]:
        """Return what is planned, for people."""
        hooks = self.hooks or {"post_start": [], "pre_stop": []}
        told = [
            f"    {when}: {hook['command'][0]} and {len(hook['command']) - 1} words"
            for when, listed in (("after its start", hooks["post_start"]), ("before its end", hooks["pre_stop"]))
            for hook in listed
        ]
        copied = [f"    {file.target} is a copy of {file.source}" for file in self.copied]
        return [f"  {self.service}: image {self.image}", *super().lines(), *copied, *told]


@dataclass(frozen=True)
class AttachedPlan(ServicePlan):
    """One service that somebody else has started."""

    ours: ClassVar[bool] = False

    def lines(self) -> list[str]:
        """Return what is planned, for people."""
        *ports, _ = super().lines()
        return [f"  {self.service}: somebody else's", *ports]


@dataclass(frozen=True)
class Image:
    """What was decided about the image of a service.

    Attributes:
        name: the image that it runs.
        builds: whether it is built first (under a name of this checkout).
        arguments: build arguments that its file does not give.
        variable: the variable that chooses it, "" when none does.
        kind: what chose it: ``declared`` by its file, ``build``, ``prebuilt`` or ``archive``.
        commit: the commit that is built, "" where that is not known.
        about: version and licence of what is in it, where they are known.
    """

    name: str
    builds: bool = False
    arguments: Mapping[str, str] = field(default_factory=dict)
    variable: str = ""
    kind: str = "declared"
    commit: str = ""
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def strategy(self) -> str:
        """How it comes: ``build`` whatever chose that, else its kind."""
        return "build" if self.builds else "declared" if self.kind == "build" else self.kind


@dataclass(frozen=True)
class UnitTests:
    """Unit tests in a build: the stage that runs them, and the path of their JUnit report in it."""

    stage: str
    report: str


@dataclass(frozen=True)
class Recipe:
    """How the image of a service is built.

    Attributes:
        image: its name.
        bases: services whose images are built before.
        text: its Dockerfile as it is built, None where that is not on this machine.
        written: the same as its file has it.
        stands: image as its Dockerfile names it -> the one that stands for it, where that is another.
        platform: that of its service, "" for the engine's.
        is_rewritten: whether that is another than its file names.
        is_inline: whether the file has it between its own lines.
        ignored: what a list of files that it has for itself says, None without one.
        uses_engine: whether it is built from an image that only the engine has.
        contexts: additional contexts in the place of the file's, None where those stay.
        need: what in the Dockerfile needs BuildKit, None for nothing.
        of_client: keys of its build that only a client of the engine can serve.
        source: where the Dockerfile is, for people.
        section: the section ``build`` of its file, with what is added to it.
        unit_tests: those that its build runs, None for none.
        alone: what Compose is told of a service that is built and has no container here.
    """

    image: str
    bases: frozenset[str] = frozenset()
    text: str | None = field(default=None, repr=False)
    written: str | None = field(default=None, repr=False)
    stands: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    is_rewritten: bool = False
    is_inline: bool = False
    ignored: str | None = field(default=None, repr=False)
    uses_engine: bool = False
    contexts: Mapping[str, str] | None = None
    need: Need | None = None
    of_client: tuple[str, ...] = ()
    source: str = ""
    section: Mapping[str, Any] = field(default_factory=dict, repr=False)
    unit_tests: UnitTests | None = None
    alone: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Containers:
    """What Compose is given for the containers of a stack.

    Attributes:
        project: its project name.
        arguments: options of Compose that name its files; the override is added to them.
        override: the generated file.
        build: services whose images are built first.
        recipes: service -> how its image is built, of these and of what they are built from.
        env: variables for Compose beside the caller's.
        free: services that are all there when their containers are created: starting these, in any order, is all that
            is left to do.
        subnets: network that is to be made -> the subnets that its file gives it.
        again: whether services are created that were before: their containers are replaced.
    """

    project: str
    arguments: tuple[str, ...]
    override: str
    build: tuple[str, ...] = ()
    recipes: Mapping[str, Recipe] = field(default_factory=dict, repr=False)
    free: frozenset[str] = frozenset()
    subnets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    again: bool = False
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class StackPlan:
    """A stack on an engine.

    Attributes:
        stack: its name.
        engine: the engine's name.
        services: its services, in the order in which Compose gives them.
        notes: lines to tell the user once.
        containers: what Compose is given, None where there are no containers.
        seeds: its seeds, with what placeholders and names stand for in the services that they are for.
    """

    stack: str
    engine: str
    services: tuple[ServicePlan, ...]
    notes: tuple[str, ...] = ()
    containers: Containers | None = None
    seeds: tuple[Seed, ...] = ()

    @property
    def in_containers(self) -> tuple[ContainerPlan, ...]:
        """Those of its services that are containers."""
        return tuple(service for service in self.services if isinstance(service, ContainerPlan))

    def __str__(self) -> str:
        lines = [f"stack {self.stack} on {self.engine}"]
        for service in self.services:
            lines += service.lines()
        return "\n".join([*lines, *(f"  note: {relative(note)}" for note in self.notes)])
