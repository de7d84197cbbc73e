"""Where services can be reached: the same plan on every engine.

Each service has an address of its own in the environment's loopback network, and listens (or is published) there on the
left numbers of its ``ports``. A port that somebody else holds on the wildcard address moves to 127.0.0.1 and a free
number. With container addresses, an option of the compose engine, a service is reached where its container is. On
localhost every published port is on 127.0.0.1, as plain Compose has it, and none moves; so are, always, the ports of a
service that is a local process on every engine and whose ports are fixed.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.engine.plan import Endpoint
from harness.engine.rendering import named_ports
from harness.errors import ConfigError
from harness.keeper.networks import Network
from harness.stack import Process, by_number

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from harness.stack import Port, Service, Stack, Tree

LOOPBACK = "127.0.0.1"
CONTAINER, LOCALHOST = "container", "localhost"  # of the setting ``addresses``
EMBEDDED, ATTACH = "embedded", "attach"  # engines by name: one has no containers, the other starts nothing
_COMMAND_SHOWN = 30  # of a stranger's command; its pid tells the rest


@dataclass(frozen=True)
class Stranger:
    """Somebody who holds a port on the wildcard address, which blocks it on every loopback address."""

    port: int
    protocol: str
    pid: int | None
    command: str

    @property
    def who(self) -> str:
        """Its process, in words."""
        return f"pid {self.pid} ({self.command})" if self.pid else "a process that cannot be seen"

    def __str__(self) -> str:
        return f"port {self.port}/{self.protocol} is held on every address by {self.who}"


@dataclass(frozen=True)
class Needs:
    """What stacks need leased: addresses for ``stack/service`` names, numbers for port names."""

    addresses: tuple[str, ...]
    ports: tuple[str, ...]


@dataclass(frozen=True)
class Local:
    """What runs as a local process on every engine, because its user says so.

    Attributes:
        build: folder of subjects that were built by hand; they run as ``x-harness.local`` says.
        commands: service -> command line.
    """

    build: Path | None = None
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.build or self.commands)


@dataclass(frozen=True)
class Layout:
    """Where things are in one environment.

    Attributes:
        engine: name of the engine.
        work: scratch folder.
        logs: folder of service logs.
        environ: the caller's environment.
        addresses: ``stack/service`` -> address.
        ports: port name -> number.
        strangers: (port, protocol) -> who holds it on the wildcard address.
        settled: ``stack/service`` -> endpoints, of stacks that are up already and stay where they are.
        local: what runs as a local process on every engine.
        located: ``stack/service`` -> endpoints, of services that somebody else has started.
        network: the containers' network, None where there are no containers.
        container_addresses: whether containers are reached at their own addresses.
        place: the scratch folder of services that run as another user.
        localhost: whether published ports are on 127.0.0.1, as the file says.
        elsewhere: whether the containers' engine is on another machine: it sees no file of this one, and what it
            publishes cannot be reached; each port is passed on by a relay.
    """

    engine: str
    work: Path
    logs: Path
    environ: Mapping[str, str] = field(repr=False)
    addresses: Mapping[str, str]
    ports: Mapping[str, int]
    strangers: Mapping[tuple[int, str], Stranger] = field(default_factory=dict)
    settled: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    local: Local = Local()
    located: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    network: Network | None = None
    container_addresses: bool = False
    place: Path = Path("/nonexistent")
    localhost: bool = False
    elsewhere: bool = False

    def log_file(self, stack: str, service: str) -> Path:
        """Return where a log goes that a service writes itself, beside what it prints."""
        return self.logs / f"{service}@{stack}.file.log"

    def host(self, stack: str, service: Service) -> str:
        """Return the address of a service."""
        if located := self.located.get(f"{stack}/{service.name}"):
            return located[0].host
        leased = LOOPBACK if self.localhost and service.ports else self.addresses[f"{stack}/{service.name}"]
        if service.is_at_localhost:
            return LOOPBACK
        if self.network is None or service.is_ours:
            return leased
        if process_of(service, self.engine, self.local):
            # Containers can reach a process of this machine only where their bridge is.
            return self.network.gateway
        if self.container_addresses and (settled := self.settled.get(f"{stack}/{service.name}")):
            return settled[0].host
        return self.network.address(int(leased.rpartition(".")[2])) if self.container_addresses else leased


def process_of(service: Service, engine: str, local: Local) -> Process | None:
    """Return how a service runs as a local process on an engine, None when it does not.

    The command of a preset is not known yet: ``presets.applied`` makes it.
    """
    if service.name in local.commands:
        # What a process of it needs beside its container's environment, its stack says for the embedded engine.
        declared = service.process
        return Process(
            command=local.commands[service.name],
            cwd=str(Path.cwd()),
            environment=declared.environment if declared else {},
            healthcheck=declared.healthcheck if declared else None,
        )
    if local.build and service.settings.local:
        return service.settings.local
    if engine == ATTACH:
        return None
    return service.process if engine == EMBEDDED else service.settings.host


def _fallback_name(stack: str, service: str, port: int) -> str:
    return f"{stack}/{service}:{port}"


def free_port_of(stack: str, service: str, endpoint: Endpoint, layout: Layout) -> str:
    """Return the name of the free port that an endpoint has since its own is taken, "" when it has its own."""
    name = _fallback_name(stack, service, endpoint.left)
    return name if layout.ports.get(name) == endpoint.port else ""


def needs(tree: Tree, strangers: Mapping[tuple[int, str], Stranger], engine: str, local: Local = Local()) -> Needs:
    """Return what the stacks of ``tree`` need leased before they can be planned."""
    addresses, ports = [], []
    for stack in tree.stacks:
        for service in stack.services:
            addresses.append(f"{stack.name}/{service.name}")
            process = process_of(service, engine, local)
            if process:
                # A preset's command names no port but the service's own.
                texts = [*process.command, *map(str, process.environment.values()), *(process.stop or ())]
                if process.healthcheck:
                    test = process.healthcheck.test
                    texts += [test] if isinstance(test, str) else test
                ports += [name for text in texts for name in named_ports(text)]
            asked = [word for probe in service.settings.ready for word in (*(probe.exec or ()), probe.log or "")]
            ports += [name for text in asked for name in named_ports(text)]
            ports += [
                _fallback_name(stack.name, service.name, port.left)
                for port in service.ports
                if (port.left, port.protocol) in strangers and not service.is_at_localhost
            ]
        run = [word for seed in stack.settings.seed if seed.exec for word in seed.exec.command]
        ports += [name for text in run for name in named_ports(text)]
    return Needs(tuple(addresses), tuple(dict.fromkeys(ports)))


def find_strangers(tree: Tree) -> dict[tuple[int, str], Stranger]:
    """Return who holds ports of ``tree`` on the wildcard address. Nothing is connected to."""
    wanted = {
        (port.left, port.protocol)
        for stack in tree.stacks
        for service in stack.services
        for port in service.ports
        if not service.is_at_localhost  # of these nobody may have one on 127.0.0.1 either
    }
    # 127.0.2.x is leased by nobody, so only a wildcard holder can be in the way.
    return _holders({(port, protocol) for port, protocol in wanted if not _can_bind("127.0.2.254", port, protocol)})


def find_holders(ports: Collection[tuple[int, str]]) -> dict[tuple[int, str], Stranger]:
    """Return who holds any of these ports on 127.0.0.1, or on every address. Nothing is connected to."""
    return _holders({key for key in ports if not _can_bind(LOOPBACK, *key)}, LOOPBACK)


def _holders(taken: Collection[tuple[int, str]], *addresses: str) -> dict[tuple[int, str], Stranger]:
    """Return who holds ports that are taken, on every address or on one of some."""
    if not taken:
        return {}
    import psutil  # noqa: PLC0415 - seldom is a port taken, and it takes a while to load

    holders = {}
    everywhere = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    for connection in psutil.net_connections(kind="inet"):
        if not connection.laddr or connection.laddr.ip not in (*everywhere, *addresses):
            continue
        protocol = "tcp" if connection.type == socket.SOCK_STREAM else "udp"
        key = (connection.laddr.port, protocol)
        if key in taken and (protocol == "udp" or connection.status == psutil.CONN_LISTEN):
            holders[key] = Stranger(*key, connection.pid, _command(connection.pid))
    return {key: holders.get(key, Stranger(*key, None, "?")) for key in taken}


def _can_bind(address: str, port: int, protocol: str) -> bool:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if protocol == "tcp" else 0)
        try:
            probe.bind((address, port))
        except PermissionError:
            return True
        except OSError:
            return False
    return True


def _command(pid: int | None) -> str:
    return procs.command_of(pid)[:_COMMAND_SHOWN] if pid else "?"


def dry_layout(
    tree: Tree,
    environ: Mapping[str, str],
    strangers: Mapping[tuple[int, str], Stranger],
    engine: str,
    *,
    local: Local = Local(),
    container_addresses: bool = False,
) -> Layout:
    """Return a layout that is good enough to find every mistake of ``tree`` before anything is created."""
    wanted = needs(tree, strangers, engine, local)
    return Layout(
        engine=engine,
        work=Path("/nonexistent"),
        logs=Path("/nonexistent"),
        environ=environ,
        addresses=dict.fromkeys(wanted.addresses, LOOPBACK),
        ports=dict.fromkeys(wanted.ports, 1),
        strangers=strangers,
        local=local,
        network=None if engine != "compose" else Network("dry", "127.0.0.0/24", LOOPBACK),
        container_addresses=container_addresses,
    )


def at_localhost(stack: Stack, *, every: bool) -> tuple[Service, ...]:
    """Return the services of a stack whose ports are on 127.0.0.1: those that say so, or with ``every`` all."""
    return tuple(service for service in stack.services if every or service.is_at_localhost)


def clashes(tree: Tree, *, localhost: bool) -> list[str]:
    """Return which ports of a tree cannot be on 127.0.0.1 together, in words; with ``localhost`` all have to be."""
    why = "with addresses = localhost there is one of it" if localhost else "both are on 127.0.0.1, as host processes"
    owners: dict[tuple[int, str], str] = {}
    problems = []
    for stack in tree.stacks:
        for service in at_localhost(stack, every=localhost):
            for key in dict.fromkeys((port.left, port.protocol) for port in service.ports):
                if key in owners:
                    problems.append(
                        f"Port {key[0]}/{key[1]} is published by the services {owners[key]!r} and {service.name!r}; "
                        f"{why}"
                    )
                owners.setdefault(key, service.name)
    return problems


def endpoints(stack: str, service: Service, layout: Layout) -> tuple[Endpoint, ...]:
    """Return where the published ports of a service are, or will be."""
    if f"{stack}/{service.name}" in layout.located:
        return layout.located[f"{stack}/{service.name}"]
    if f"{stack}/{service.name}" in layout.settled:
        return layout.settled[f"{stack}/{service.name}"]
    ends = []
    in_container = layout.network is not None and not process_of(service, layout.engine, layout.local)
    for port in service.ports:
        host, number = layout.host(stack, service), port.left
        if in_container and layout.container_addresses:
            number = port.right
        elif (port.left, port.protocol) in layout.strangers and not service.is_at_localhost:
            host, number = LOOPBACK, layout.ports[_fallback_name(stack, service.name, port.left)]
        ends.append(Endpoint(service.name, port.left, port.right, host, number, port.protocol))
    return tuple(ends)


def moved_ports(
    where: str, service: Service, layout: Layout, notes: list[str], hindrance: Callable[[Port], str] = lambda _: ""
) -> list[str]:
    """Say which ports moved because a stranger holds them; return those that cannot.

    Args:
        where: the service and its file, for the problems.
        service: whose ports.
        layout: who holds what.
        notes: takes a line for each port that moved.
        hindrance: why a port of a service that is not fixed cannot move, "" when it can.
    """
    problems: list[str] = []
    if service.is_at_localhost:
        return problems  # its ports are claimed, and told of, before anything is started
    for port in service.ports:
        stranger = layout.strangers.get((port.left, port.protocol))
        if stranger is None:
            continue
        if why := "it is fixed" if service.settings.fixed else hindrance(port):
            problems.append(f"{where}: {stranger}, and it cannot move: {why}")
        else:
            move = f"service {service.name!r} is on {LOOPBACK} with a free port instead of {port.left}"
            notes.append(f"{stranger}; {move}")
    return problems


def variables(ports: Mapping[tuple[str, int], tuple[str, int]]) -> dict[str, str]:
    """Return ``HARNESS_HOST_<SERVICE>`` and ``HARNESS_PORT_<SERVICE>_<PORT>`` for (service, port) -> (host, port)."""
    env = {}
    for (name, number), (host, port) in ports.items():
        variable = "".join(char if char.isalnum() else "_" for char in name.upper())
        env[f"HARNESS_HOST_{variable}"] = host
        env[f"HARNESS_PORT_{variable}_{number}"] = str(port)
    return env


def visible_ports(tree: Tree, stack: str, layout: Layout) -> dict[tuple[str, int], tuple[str, int]]:
    """Return (service, declared port) -> (address, real port) for what the stack sees, by left and by right number."""
    ports: dict[tuple[str, int], tuple[str, int]] = {}
    for name, (owner, service) in tree.visible(stack).items():
        meant = by_number(endpoints(owner.name, service, layout))
        ports |= {(name, number): (end.host, end.port) for number, end in meant.items()}
    return ports


def refuse_remote(gateway: str) -> None:
    """Do nothing when a container network's gateway is an address of this machine.

    Without that, a container's address may be somebody else's, and what is sent there leaves this machine.

    Raises:
        ConfigError: it is not.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((gateway, 0))
        except OSError as error:
            raise ConfigError(
                f"The containers' network is not on this machine ({gateway}: {error.strerror}), "
                "and container addresses or local builds need it to be",
                hint="use addresses = published, and no --local-build, with this engine",
            ) from error
