"""The embedded engine: services as local processes, planned here, kept by the keeper.

``needs`` and ``plan_stack`` decide and touch nothing but the files that they read; ``start`` does what a plan says.
"""

from __future__ import annotations

import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from harness.engine.plan import Endpoint, FileCopy, ServicePlan, StackPlan
from harness.engine.rendering import Names, named_ports
from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.stack import Mount, Process, Service, Stack, Tree

NAME = "embedded"
SUBJECT_GRACE = 2.0
# What a process may see of the caller's environment: where things are and how to print, nothing that makes it differ
# from the same service in a container.
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_PASSED_ON_TOO = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VIRTUAL_ENV")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Stranger:
    """Somebody who holds a port on the wildcard address, which blocks it on every loopback address."""

    port: int
    protocol: str
    pid: int | None
    command: str

    def __str__(self) -> str:
        who = f"pid {self.pid} ({self.command})" if self.pid else "a process that cannot be seen"
        return f"port {self.port}/{self.protocol} is held on every address by {who}"


@dataclass(frozen=True)
class Needs:
    """What stacks need leased: addresses for ``stack/service`` names, numbers for port names."""

    addresses: tuple[str, ...]
    ports: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Where things are in one environment.

    Attributes:
        work: scratch folder.
        logs: folder of service logs.
        environ: the caller's environment.
        addresses: ``stack/service`` -> address.
        ports: port name -> number.
        strangers: (port, protocol) -> who holds it on the wildcard address.
        settled: ``stack/service`` -> endpoints, of stacks that are up already and stay where they are.
    """

    work: Path
    logs: Path
    environ: Mapping[str, str] = field(repr=False)
    addresses: Mapping[str, str]
    ports: Mapping[str, int]
    strangers: Mapping[tuple[int, str], Stranger] = field(default_factory=dict)
    settled: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)


def _fallback_name(stack: str, service: str, port: int) -> str:
    return f"{stack}/{service}:{port}"


def needs(tree: Tree, strangers: Mapping[tuple[int, str], Stranger]) -> Needs:
    """Return what the stacks of ``tree`` need leased before they can be planned."""
    addresses, ports = [], []
    for stack in tree.stacks:
        for service in stack.services:
            addresses.append(f"{stack.name}/{service.name}")
            process = service.settings.embedded
            if process:
                texts = [*process.command, *map(str, process.environment.values()), *(process.stop or ())]
                if process.healthcheck:
                    test = process.healthcheck.test
                    texts += [test] if isinstance(test, str) else test
                ports += [name for text in texts for name in named_ports(text)]
            ports += [
                _fallback_name(stack.name, service.name, port.left)
                for port in service.ports
                if (port.left, port.protocol) in strangers
            ]
    return Needs(tuple(addresses), tuple(dict.fromkeys(ports)))


def find_strangers(tree: Tree) -> dict[tuple[int, str], Stranger]:
    """Return who holds ports of ``tree`` on the wildcard address. Nothing is connected to."""
    wanted = {(port.left, port.protocol) for stack in tree.stacks for one in stack.services for port in one.ports}
    taken = {(port, protocol) for port, protocol in wanted if not _can_bind(port, protocol)}
    if not taken:
        return {}
    found = {}
    for connection in psutil.net_connections(kind="inet"):
        if not connection.laddr or connection.laddr.ip not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            continue
        protocol = "tcp" if connection.type == socket.SOCK_STREAM else "udp"
        key = (connection.laddr.port, protocol)
        if key in taken and (protocol == "udp" or connection.status == psutil.CONN_LISTEN):
            found[key] = Stranger(*key, connection.pid, _command(connection.pid))
    return {key: found.get(key, Stranger(*key, None, "?")) for key in taken}


def _can_bind(port: int, protocol: str) -> bool:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if protocol == "tcp" else 0)
        try:
            # 127.0.2.x is leased by nobody, so only a wildcard holder can be in the way.
            probe.bind(("127.0.2.254", port))
        except PermissionError:
            return True
        except OSError:
            return False
    return True


def _command(pid: int | None) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[:100] if pid else "?"
    except psutil.Error:
        return "?"


def dry_layout(tree: Tree, environ: Mapping[str, str], strangers: Mapping[tuple[int, str], Stranger]) -> Layout:
    """Return a layout that is good enough to find every mistake of ``tree`` before anything is created."""
    wanted = needs(tree, strangers)
    return Layout(
        work=Path("/nonexistent"),
        logs=Path("/nonexistent"),
        environ=environ,
        addresses=dict.fromkeys(wanted.addresses, LOOPBACK),
        ports=dict.fromkeys(wanted.ports, 1),
        strangers=strangers,
    )


def plan_stack(tree: Tree, name: str, layout: Layout) -> StackPlan:
    """Return what the stack ``name`` of ``tree`` is as local processes.

    Raises:
        ConfigError: with everything in its file that cannot work on this engine.
    """
    stack = tree.stack(name)
    problems: list[str] = []
    notes: list[str] = []
    services = []
    for service in stack.services:
        process = service.settings.embedded
        if process is None:
            problems.append(
                f"Service {service.name!r} ({stack.files[0]}) has no x-harness.embedded, which this engine needs"
            )
            continue
        try:
            services.append(_plan_service(tree, stack, service, process, layout, notes))
        except ConfigError as error:
            problems += [detail.strip() for detail in error.details] or [error.summary]
    if problems:
        raise ConfigError.of(problems)
    return StackPlan(stack=name, engine=NAME, services=tuple(services), notes=tuple(notes))


def endpoints(stack: str, service: Service, layout: Layout) -> tuple[Endpoint, ...]:
    """Return where the published ports of a service are, or will be."""
    if f"{stack}/{service.name}" in layout.settled:
        return layout.settled[f"{stack}/{service.name}"]
    made = []
    for port in service.ports:
        host, number = layout.addresses[f"{stack}/{service.name}"], port.left
        if (port.left, port.protocol) in layout.strangers:
            host, number = LOOPBACK, layout.ports[_fallback_name(stack, service.name, port.left)]
        made.append(Endpoint(service.name, port.left, port.right, host, number, port.protocol))
    return tuple(made)


def _names(tree: Tree, stack: Stack, service: Service, mounts: Mapping[str, str], layout: Layout) -> Names:
    addresses: dict[str, str] = {}
    ports: dict[tuple[str, int], tuple[str, int]] = {}
    for name, (owner, one) in tree.visible(stack.name).items():
        addresses[name] = layout.addresses[f"{owner.name}/{name}"]
        ends = endpoints(owner.name, one, layout)
        ports |= {(name, end.right): (end.host, end.port) for end in ends}
        ports |= {(name, end.left): (end.host, end.port) for end in ends}
    scratch = layout.work / stack.name / service.name
    return Names(
        service=service.name,
        addresses=addresses,
        ports=ports,
        own_ports={number: real for (name, number), (_, real) in ports.items() if name == service.name},
        named=layout.ports,
        mounts=mounts,
        values={
            "address": next((one.host for one in endpoints(stack.name, service, layout)), addresses[service.name]),
            "data": str(scratch / "data"),
            "log": str(layout.logs / f"{service.name}.file.log"),
        },
    )


def _map_mounts(
    stack: Stack, service: Service, layout: Layout, problems: list[str]
) -> tuple[dict[str, str], list[tuple[Path, Path]], list[Path]]:
    """Return container path -> path here, the files to copy, the folders to make."""
    mapped: dict[str, str] = {}
    copies: list[tuple[Path, Path]] = []
    folders = [layout.work / stack.name / service.name / "data"]
    for mount in service.mounts:
        here = _mounted_at(stack, service, mount, layout)
        source = Path(mount.source)
        if mount.kind != "bind":
            folders.append(here)
        elif source.is_file():
            copies.append((source, here))
        elif source.is_dir():
            here = source
        else:
            problems.append(f"Service {service.name!r} ({stack.files[0]}): mounted file {source} does not exist")
        mapped[mount.target] = str(here)
    return mapped, copies, folders


def _mounted_at(stack: Stack, service: Service, mount: Mount, layout: Layout) -> Path:
    if mount.kind == "volume" and mount.source:
        return layout.work / "volumes" / stack.name / mount.source
    return layout.work / stack.name / service.name / "mounts" / mount.target.strip("/")


def _environment(process: Process, service: Service, names: Names, layout: Layout) -> dict[str, str]:
    caller = layout.environ
    env = {key: caller[key] for key in (*_PASSED_ON, *_PASSED_ON_TOO) if key in caller}
    env["PATH"] = f"{Path(sys.executable).parent}:{caller.get('PATH', '/usr/local/bin:/usr/bin:/bin')}"
    env["PYTHONUNBUFFERED"] = "1"  # a log must have a line before its process dies
    for (name, number), (host, port) in names.ports.items():
        variable = "".join(char if char.isalnum() else "_" for char in name.upper())
        env[f"HARNESS_HOST_{variable}"] = host
        env[f"HARNESS_PORT_{variable}_{number}"] = str(port)
    env |= {key: names.value(key, text) for key, text in service.environment.items()}
    for key, value in process.environment.items():
        if value is None:
            env.pop(key, None)
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            env[key] = names.value(key, names.placeholders(text))
    return env


def _plan_service(
    tree: Tree, stack: Stack, service: Service, process: Process, layout: Layout, notes: list[str]
) -> ServicePlan:
    where = f"Service {service.name!r} ({stack.files[0]})"
    problems: list[str] = []
    mapped, copies, folders = _map_mounts(stack, service, layout, problems)
    names = _names(tree, stack, service, mapped, layout)
    argv: tuple[str, ...] = process.command
    env: dict[str, str] = {}
    stop: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    try:
        argv = _command_line(process.command, names)
        env = _environment(process, service, names, layout)
        stop = _command_line(process.stop, names) if process.stop else ()
        if process.healthcheck:
            health = _health_command(process.healthcheck.test, names)
    except ConfigError as error:
        problems.append(f"{error.summary} ({stack.files[0]})")
    cwd = stack.folder / (process.cwd or ".")
    if not cwd.is_dir():
        problems.append(f"{where}: cwd {cwd} is no folder")
    elif not problems:
        found = shutil.which(str(cwd / argv[0]) if "/" in argv[0] else argv[0], path=env.get("PATH", ""))
        if not found:
            problems.append(f"{where}: executable {argv[0]!r} was not found in PATH or {cwd}")
    problems += _fallback_problems(where, service, process, copies, layout, notes)
    if problems:
        raise ConfigError(problems[0], details=problems)
    if service.has_healthcheck and not process.healthcheck:
        notes.append(f"service {service.name!r}: its container's healthcheck is ignored here")
    grace = service.stop_grace
    if grace is None:
        grace = SUBJECT_GRACE if service.settings.subject else 0.0
    return ServicePlan(
        stack=stack.name,
        service=service.name,
        argv=argv,
        env=env,
        cwd=cwd.resolve(),
        copies=tuple(FileCopy(source, target, names.content(source.read_bytes())) for source, target in copies),
        folders=tuple(folders),
        mounts=mapped,
        endpoints=endpoints(stack.name, service, layout),
        grace=min(grace, stack.settings.timeouts.down),
        stop=stop,
        health=health,
    )


def _command_line(words: tuple[str, ...], names: Names) -> tuple[str, ...]:
    argv = tuple(names.argument(names.placeholders(word)) for word in words)
    return (sys.executable, *argv[1:]) if argv[0] == "python" else argv


def _health_command(test: tuple[str, ...] | str, names: Names) -> tuple[str, ...]:
    words = ("CMD-SHELL", test) if isinstance(test, str) else test
    if words[0] == "CMD-SHELL":
        return ("/bin/sh", "-c", names.tokens(names.placeholders(words[1])))
    return _command_line(words[1:] if words[0] == "CMD" else words, names)


def _fallback_problems(
    where: str,
    service: Service,
    process: Process,
    copies: list[tuple[Path, Path]],
    layout: Layout,
    notes: list[str],
) -> list[str]:
    """Say which ports moved, and which cannot."""
    problems = []
    for port in service.ports:
        stranger = layout.strangers.get((port.left, port.protocol))
        if stranger is None:
            continue
        texts = [*process.command, *map(str, process.environment.values()), *service.environment.values()]
        texts += [source.read_text(errors="replace") for source, _ in copies]
        movable = any(f"{{port:{port.left}}}" in text or f"{service.name}:{port.left}" in text for text in texts)
        if service.settings.fixed or not movable:
            why = "it is fixed" if service.settings.fixed else f"its command does not use {{port:{port.left}}}"
            problems.append(f"{where}: {stranger}, and it cannot move: {why}")
        else:
            name = f"service {service.name!r}"
            notes.append(f"{stranger}; {name} is on {LOOPBACK} with a free port instead of {port.left}")
    return problems


class Starter(Protocol):
    """The part of the keeper that this engine needs."""

    def ask(self, do: str, *, timeout: float = ..., **arguments: object) -> dict[str, Any]:
        """Send a request and return its answer."""
        ...


def start(plan: ServicePlan, keeper: Starter) -> dict[str, Any]:
    """Write the service's files and have the keeper start it; return the keeper's facts about it.

    Raises:
        HarnessError: it cannot be executed.
    """
    for folder in plan.folders:
        folder.mkdir(parents=True, exist_ok=True)
    for copy in plan.copies:
        copy.target.parent.mkdir(parents=True, exist_ok=True)
        copy.target.write_bytes(copy.content)
        copy.target.chmod(copy.source.stat().st_mode & 0o700)
    return keeper.ask(
        "start",
        stack=plan.stack,
        service=plan.service,
        spec={
            "argv": list(plan.argv),
            "env": dict(plan.env),
            "cwd": str(plan.cwd),
            "grace": plan.grace,
            "stop": list(plan.stop),
        },
    )
