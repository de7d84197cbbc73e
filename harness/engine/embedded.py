"""The embedded engine: services as local processes, planned here, kept by the keeper.

``plan_stack`` decides and touches nothing but the files that it reads; ``start`` does what a plan says.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.engine.addresses import endpoints, moved_ports, process_of, variables, visible_ports
from harness.engine.mounts import folders_to_make, missing_sources
from harness.engine.plan import FileCopy, ProcessPlan, StackPlan
from harness.engine.rendering import Names
from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine.addresses import Layout
    from harness.stack import Mount, Port, Process, Service, Stack, Tree

NAME = "embedded"
SUBJECT_GRACE = 2.0
# What a process may see of the caller's environment: where things are and how to print, nothing that makes it differ
# from the same service in a container.
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_PASSED_ON_TOO = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VIRTUAL_ENV")


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
        process = process_of(service, NAME, layout.local)
        if process is None:
            problems.append(
                f"Service {service.name!r} ({stack.files[0]}) has no x-harness.embedded, which this engine needs"
            )
            continue
        try:
            services.append(plan_process(tree, stack, service, process, layout, notes))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError.of(problems)
    return StackPlan(stack=name, engine=NAME, services=tuple(services), notes=tuple(notes))


def _names(tree: Tree, stack: Stack, service: Service, mounts: Mapping[str, str], layout: Layout) -> Names:
    ports = visible_ports(tree, stack.name, layout)
    addresses = {name: layout.host(owner.name, one) for name, (owner, one) in tree.visible(stack.name).items()}
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
            "log": str(layout.log_file(stack.name, service.name)),
            **({"build": str(layout.local.build)} if layout.local.build else {}),
        },
    )


def _map_mounts(
    stack: Stack, service: Service, layout: Layout
) -> tuple[dict[str, str], list[tuple[Path, Path]], list[Path]]:
    """Return container path -> path here, the files to copy, the folders to make."""
    mapped: dict[str, str] = {}
    copies: list[tuple[Path, Path]] = []
    folders = [layout.work / stack.name / service.name / "data", *folders_to_make(service)]
    for mount in service.mounts:
        here = _mounted_at(stack, service, mount, layout)
        source = Path(mount.source)
        if mount.kind != "bind":
            folders.append(here)
        elif source.is_file():
            copies.append((source, here))
        else:  # a folder, a socket, or what may come yet
            here = source
        mapped[mount.target] = str(here)
    if service.settings.log_file:
        mapped[service.settings.log_file] = str(layout.log_file(stack.name, service.name))
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
    env |= variables(names.ports)
    env |= {key: names.value(key, text) for key, text in service.environment.items()}
    for key, value in process.environment.items():
        if value is None:
            env.pop(key, None)
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            env[key] = names.value(key, names.placeholders(text))
    return env


def plan_process(
    tree: Tree, stack: Stack, service: Service, process: Process, layout: Layout, notes: list[str]
) -> ProcessPlan:
    """Return what one service is as a local process. Raises ConfigError as ``plan_stack`` does."""
    where = f"Service {service.name!r} ({stack.files[0]})"
    problems = list(missing_sources(tree, stack, service))
    mapped, copies, folders = _map_mounts(stack, service, layout)
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
    cwd = stack.folder / names.placeholders(process.cwd or ".")
    if not cwd.is_dir():
        problems.append(f"{where}: cwd {cwd} is no folder")
    elif not problems:
        found = shutil.which(str(cwd / argv[0]) if "/" in argv[0] else argv[0], path=env.get("PATH", ""))
        if not found:
            problems.append(f"{where}: executable {argv[0]!r} was not found in PATH or {cwd}")
    problems += moved_ports(where, service, layout, notes, lambda port: _unused_port(service, process, copies, port))
    if problems:
        raise ConfigError.of(problems)
    if service.has_healthcheck and not process.healthcheck:
        notes.append(f"service {service.name!r}: its container's healthcheck is ignored here")
    return ProcessPlan(
        stack=stack.name,
        service=service.name,
        argv=argv,
        env=env,
        cwd=cwd.resolve(),
        copies=tuple(FileCopy(source, target, names.content(source.read_bytes())) for source, target in copies),
        folders=tuple(folders),
        mounts=mapped,
        endpoints=endpoints(stack.name, service, layout),
        grace=grace_of(stack, service),
        stop=stop,
        health=health,
        check=process.healthcheck,
        subject=bool(service.settings.subject) or process is not service.settings.embedded,
        loopback=layout.addresses.get(f"{stack.name}/{service.name}", ""),
    )


def grace_of(stack: Stack, service: Service) -> float:
    """Return the seconds between TERM and KILL for a service: what its file says, else some for subjects only."""
    by_default = SUBJECT_GRACE if service.settings.subject else 0.0
    wanted = by_default if service.stop_grace is None else service.stop_grace
    return min(wanted, stack.settings.timeouts.down)


def _command_line(words: tuple[str, ...], names: Names) -> tuple[str, ...]:
    argv = tuple(names.argument(names.placeholders(word)) for word in words)
    return (sys.executable, *argv[1:]) if argv[0] == "python" else argv


def _health_command(test: tuple[str, ...] | str, names: Names) -> tuple[str, ...]:
    words = ("CMD-SHELL", test) if isinstance(test, str) else test
    if words[0] == "CMD-SHELL":
        return ("/bin/sh", "-c", names.tokens(names.placeholders(words[1])))
    return _command_line(words[1:] if words[0] == "CMD" else words, names)


def _unused_port(service: Service, process: Process, copies: list[tuple[Path, Path]], port: Port) -> str:
    """Return why a process would not follow when its port moves, "" when it would."""
    texts = [*process.command, *map(str, process.environment.values()), *service.environment.values()]
    texts += [source.read_text(errors="replace") for source, _ in copies]
    follows = any(f"{{port:{port.left}}}" in text or f"{service.name}:{port.left}" in text for text in texts)
    return "" if follows else f"its command does not use {{port:{port.left}}}"


class Starter(Protocol):
    """The part of the keeper that this engine needs."""

    def ask(self, do: str, *, timeout: float = ..., **arguments: object) -> dict[str, Any]:
        """Send a request and return its answer."""
        ...


def start(plan: ProcessPlan, keeper: Starter, *, hold: bool = False) -> dict[str, Any]:
    """Write the service's files and have the keeper start it; return the keeper's facts about it.

    With ``hold`` it stands at its first instruction until it is told to go.

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
            "hold": hold,
        },
    )
