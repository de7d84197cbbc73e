"""Services as local processes, which every engine can have: what one is, and what its placeholders stand for.

Nothing is touched here but the files that are read.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.sources import read_env_file
from harness.engine import keys, presets
from harness.engine.layout import LOOPBACK, endpoints, moved_ports, process_of, variables, visible_ports
from harness.engine.mounts import folders_to_make, missing_sources
from harness.engine.plan import FileCopy, ProcessPlan
from harness.engine.proxies import exceptions
from harness.engine.rendering import Names
from harness.engine.users import user_of
from harness.errors import ConfigError
from harness.stack import DEPLOYER, TOKEN_FILE, URL, Mount, by_number, numbers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine.layout import Layout
    from harness.engine.users import User
    from harness.stack import Port, Probe, Process, Seed, Service, Stack, Tree

SUBJECT_GRACE = 2.0
TOKEN = "token"  # noqa: S105 - the file that a deployer writes its token to
# What a process may see of the caller's environment: where things are and how to print, nothing that makes it differ
# from the same service in a container.
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_PASSED_ON_TOO = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VIRTUAL_ENV")


def planned_seeds(tree: Tree, stack: Stack, layout: Layout) -> tuple[Seed, ...]:
    """Return the seeds of a stack with their commands rendered for the services that these run in.

    Raises:
        ConfigError: with every placeholder that has no value there.
    """
    seeds: list[Seed] = []
    problems: list[str] = []
    for seed in stack.settings.seed:
        try:
            seeds.append(_planned_seed(tree, stack, seed, layout))
        except ConfigError as error:
            problems.append(f"{error.summary} ({stack.files[0]}, seed {seed.key!r})")
    if problems:
        raise ConfigError.of(problems)
    return tuple(seeds)


def _planned_seed(tree: Tree, stack: Stack, seed: Seed, layout: Layout) -> Seed:
    if seed.exec is None:
        return seed
    owner, service = tree.visible(stack.name)[seed.exec.service]
    if process_of(service, layout.engine, layout.local):
        names = _names(tree, owner, service, _map_mounts(owner, service, layout)[0], layout)
        # The names of services are those that the seed's stack sees.
        names = replace(names, addresses=_addresses(tree, stack, layout), ports=visible_ports(tree, stack.name, layout))
        words = _command_line(seed.exec.command, names)
    else:
        words = names_inside(service, layout).words(seed.exec.command)
    return seed.model_copy(update={"exec": seed.exec.model_copy(update={"command": words})})


def names_inside(service: Service, layout: Layout) -> Names:
    """Return what placeholders stand for in a container, where names of services mean what Compose says."""
    log_file = service.settings.log_file
    mounts = {mount.target: mount.target for mount in service.mounts}
    return Names(
        service=service.name,
        addresses={},
        ports={},
        own_ports={number: port.right for number, port in by_number(service.ports).items()},
        named=layout.ports,
        mounts=mounts | ({log_file: log_file} if log_file else {}),
        values={"address": LOOPBACK, **({"log": log_file} if log_file else {})},
    )


def _addresses(tree: Tree, stack: Stack, layout: Layout) -> dict[str, str]:
    """Return name -> address of the services that a stack sees."""
    return {name: layout.host(owner.name, service) for name, (owner, service) in tree.visible(stack.name).items()}


def _other_names(tree: Tree, stack: Stack, service: Service) -> dict[str, str]:
    """Return name -> the service that a service reaches by it, of names that are no service's own."""
    visible = tree.visible(stack.name)
    names: dict[str, str] = {}
    for name, (_, reached) in visible.items():
        for other in reached.other_names:
            names.setdefault(other, name)
    for link in service.compose.get("links") or ():
        name, _, other = str(link).partition(":")
        names |= {other: name} if other else {}
    return {other: name for other, name in names.items() if other not in visible and name in visible}


def _names(tree: Tree, stack: Stack, service: Service, mounts: Mapping[str, str], layout: Layout) -> Names:
    ports = visible_ports(tree, stack.name, layout)
    addresses = _addresses(tree, stack, layout)
    own_ports = {number: real for (name, number), (_, real) in ports.items() if name == service.name}
    for other, name in _other_names(tree, stack, service).items():
        addresses[other] = addresses[name]
        ports |= {(other, number): place for (owner, number), place in ports.items() if owner == name}
    scratch = _scratch(stack, service, layout)
    return Names(
        service=service.name,
        addresses=addresses,
        ports=ports,
        own_ports=own_ports,
        named=layout.ports,
        mounts=mounts,
        values={
            "address": next((end.host for end in endpoints(stack.name, service, layout)), addresses[service.name]),
            "data": str(scratch / "data"),
            "log": str(layout.log_file(stack.name, service.name)),
            **({"build": str(layout.local.build)} if layout.local.build else {}),
        },
    )


def _granted(stack: Stack, service: Service, layout: Layout) -> tuple[dict[str, str], list[FileCopy], list[str]]:
    """Return container path -> path here of a service's secrets and configs, their files, and what is wrong."""
    mapped: dict[str, str] = {}
    files: list[FileCopy] = []
    problems: list[str] = []
    environ: dict[str, str] = {}
    for path in stack.env_files or (stack.folder / ".env",):
        environ |= read_env_file(path, layout.environ)
    environ |= layout.environ
    for key, tables, folder in (("secrets", stack.secrets, "/run/secrets/"), ("configs", stack.configs, "/")):
        for grant in service.compose.get(key) or ():
            name = str(grant["source"])
            if (tables.get(name) or {}).get("external"):
                continue  # refused for the stack
            target = str(grant.get("target") or name)
            target = target if target.startswith("/") else folder + target
            here = _mounted_at(stack, service, Mount(kind="bind", source="", target=target), layout)
            try:
                content = _content_of(tables.get(name) or {}, environ)
            except OSError as error:
                problems.append(f"{key} {name!r}: {error}")
                continue
            mode = _mode_of(grant.get("mode"))
            source = f"{key} {name}"
            files.append(FileCopy(source, here, content, (mode & 0o700) | 0o400, hidden=key == "secrets"))
            mapped[target] = str(here)
    return mapped, files, problems


def _mode_of(written: object) -> int:
    """Return the mode of a secret or config: Compose writes it as octal digits, before 2.33 as a decimal number."""
    if isinstance(written, int) and not isinstance(written, bool):
        return written
    text = str(written or "0444")
    return int(text, 8) if text.strip("0o").isdigit() and not set("89") & set(text) else 0o444


def _content_of(table: Mapping[str, object], environ: Mapping[str, str]) -> bytes:
    """Return what is in a secret or config. Raises OSError when its source is missing."""
    if "content" in table:
        return str(table["content"]).encode()
    if "environment" in table:
        variable = str(table["environment"])
        if variable not in environ:
            raise OSError(f"environment variable {variable!r} is not set")
        return environ[variable].encode()
    return Path(str(table.get("file", ""))).read_bytes()


def _map_mounts(
    stack: Stack, service: Service, layout: Layout
) -> tuple[dict[str, str], list[tuple[Path, Path]], list[Path]]:
    """Return container path -> path here, the files to copy, the folders to make."""
    mapped: dict[str, str] = {}
    copies: list[tuple[Path, Path]] = []
    folders = [_scratch(stack, service, layout) / "data", *folders_to_make(service)]
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
        users = (other for other in stack.services for its in other.mounts if its.source == mount.source)
        elsewhere = any(_user_of(other, layout) for other in users)
        return (layout.place if elsewhere else layout.work) / "volumes" / stack.name / mount.source
    return _scratch(stack, service, layout) / "mounts" / mount.target.strip("/")


def _scratch(stack: Stack, service: Service, layout: Layout) -> Path:
    """Return the folder of a service's data and mounted files: where its user can reach it, if it has one."""
    return (layout.place if _user_of(service, layout) else layout.work) / stack.name / service.name


def _user_of(service: Service, layout: Layout) -> User | None:
    """Return who a service runs as, None for the caller. Raises ConfigError as ``users.user_of`` does."""
    process = process_of(service, layout.engine, layout.local)
    if process is None:
        return None
    return user_of(process.user) if process.user else presets.default_user(process)


def inherited(caller: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a local process has of its caller's, and those that it has in any case."""
    env = {key: caller[key] for key in (*_PASSED_ON, *_PASSED_ON_TOO) if key in caller}
    env["PATH"] = f"{Path(sys.executable).parent}:{caller.get('PATH', '/usr/local/bin:/usr/bin:/bin')}"
    env["PYTHONUNBUFFERED"] = "1"  # a log must have a line before its process dies
    return env


def _environment(
    process: Process,
    service: Service,
    names: Names,
    places: Mapping[str, str],
    layout: Layout,
) -> dict[str, str]:
    caller, hosts = layout.environ, {*layout.addresses.values(), "localhost", "127.0.0.1"}
    env = inherited(caller)
    env |= places
    env |= {key: names.value(key, text) for key, text in service.environment.items()}
    for key, value in process.environment.items():
        if value is None:
            env.pop(key, None)
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            env[key] = names.value(key, names.placeholders(text))
    return env | service.given | exceptions(env, hosts)


def _deployer(tree: Tree, stack: Stack, service: Service, layout: Layout) -> dict[str, str]:
    """Return what a service is told of the deployer of its stack: where it is, and the file with its token."""
    deployer, asked = stack.settings.deployer, stack.service(DEPLOYER)
    if deployer is None or asked is None or service.name not in deployer.tells:
        return {}
    host, port = visible_ports(tree, stack.name, layout)[DEPLOYER, asked.ports[0].left]
    return {URL: f"http://{host}:{port}", TOKEN_FILE: str(_scratch(stack, asked, layout) / "data" / TOKEN)}


def plan_process(
    tree: Tree, stack: Stack, service: Service, process: Process, layout: Layout, notes: list[str]
) -> ProcessPlan:
    """Return what one service is as a local process. Raises ConfigError as ``plan_stack`` does."""
    where = f"Service {service.name!r} ({stack.files[0]})"
    declared_as = process
    try:
        user = _user_of(service, layout)
        process = presets.applied(process, service)
        cluster = presets.cluster_of(process, service)
    except ConfigError as error:
        raise ConfigError(f"{error.summary} ({stack.files[0]})", hint=error.hint) from error
    notes += presets.notes(process, service)
    if user and service.settings.log_file:
        raise ConfigError(f"{where}: log_file is in the run's folder, where user {user.name!r} cannot write")
    problems = list(missing_sources(tree, stack, service))
    problems += [f"{stack.files[0]}: {why}" for why in keys.refused(service.name, service.compose, keys.PROCESS)]
    notes += keys.told(service.name, service.compose, keys.PROCESS)
    mapped, copies, folders = _map_mounts(stack, service, layout)
    granted, files, missing = _granted(stack, service, layout)
    mapped |= granted
    problems += [f"{where}: {why}" for why in missing]
    names = _names(tree, stack, service, mapped, layout)
    argv: tuple[str, ...] = process.command
    env: dict[str, str] = {}
    stop: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    ready: tuple[Probe, ...] = ()
    try:
        argv = _command_line(process.command, names)
        places = variables(visible_ports(tree, stack.name, layout)) | _deployer(tree, stack, service, layout)
        env = _environment(process, service, names, places, layout)
        stop = _command_line(process.stop, names) if process.stop else ()
        if process.healthcheck:
            health = _health_command(process.healthcheck.test, names)
        ready = tuple(_probe(probe, names) for probe in service.settings.ready)
    except ConfigError as error:
        problems.append(f"{error.summary} ({stack.files[0]})")
    if user and cluster:
        cluster, argv = presets.within_reach(cluster, argv, user, layout.place)
    cwd = stack.folder / names.placeholders(process.cwd or ".")
    if not cwd.is_dir():
        problems.append(f"{where}: cwd {cwd} is no folder")
    elif not problems:
        program = process.command[0] if process.preset else argv[0]  # a copy of it is made in time
        problems += [f"{where}: {why}" for why in _not_executable(program, cwd, env, copies)]
    for kind, declared in service.settings.processes.items():
        if declared_as is declared and declared.command and (place := service.merged.get(kind)):
            notes.append(
                f"service {service.name!r}: Compose merged the {kind} command at {place} with another file's into: "
                f"{' '.join(process.command)}; `command: !override [...]` replaces it"
            )
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
        copies=(*(_copy(source, target, names) for source, target in copies), *files),
        folders=tuple(folders),
        mounts=mapped,
        endpoints=endpoints(stack.name, service, layout),
        grace=max(grace_of(stack, service), presets.POSTGRES_GRACE if cluster else 0.0),
        ready=ready,
        stop=stop,
        stop_signal=_stop_signal(service.compose.get("stop_signal") or ("SIGINT" if cluster else None)),
        health=health,
        check=process.healthcheck,
        subject=bool(service.settings.subject) or declared_as is not service.process,
        loopback=layout.addresses.get(f"{stack.name}/{service.name}", ""),
        user=user,
        place=layout.place if user else None,
        cluster=cluster,
        data=_scratch(stack, service, layout) / "data",
    )


def _copy(source: Path, target: Path, names: Names) -> FileCopy:
    mode = source.stat().st_mode & 0o700
    return FileCopy(str(source), target, names.content(source.read_bytes()), mode)


def _stop_signal(written: object) -> signal.Signals:
    """Return the signal of a ``stop_signal``, by name or number as Docker has it; TERM by default.

    Raises:
        ConfigError: there is no such signal.
    """
    text = str(written or "SIGTERM").upper()
    try:
        return signal.Signals(int(text)) if text.isdigit() else signal.Signals[f"SIG{text.removeprefix('SIG')}"]
    except (KeyError, ValueError):
        raise ConfigError(f"stop_signal {written!r} is no signal of this machine") from None


def grace_of(stack: Stack, service: Service) -> float:
    """Return the seconds between TERM and KILL for a service.

    That is what its file says, else some for subjects, and for those that have something to do before their end.
    """
    by_default = SUBJECT_GRACE if service.settings.subject or service.compose.get("pre_stop") else 0.0
    wanted = by_default if service.stop_grace is None else service.stop_grace
    return min(wanted, stack.settings.timeouts.down)


def _command_line(words: tuple[str, ...], names: Names) -> tuple[str, ...]:
    argv = names.words(words)
    return (sys.executable, *argv[1:]) if argv[0] == "python" else argv


def _probe(probe: Probe, names: Names) -> Probe:
    if probe.exec is not None:
        return probe.model_copy(update={"exec": _command_line(probe.exec, names)})
    return names.probe(probe)


def _not_executable(program: str, cwd: Path, env: Mapping[str, str], copies: list[tuple[Path, Path]]) -> list[str]:
    """Return why a program cannot be executed, nothing when it can."""
    if "/" not in program:
        return (
            []
            if shutil.which(program, path=env.get("PATH", ""))
            else [f"executable {program!r} was not found in PATH or {cwd}"]
        )
    # A mounted program is copied, with its mode, before it is started; what it is copied from is what is there now.
    path = next((source for source, target in copies if target == cwd / program), cwd / program)
    if not path.is_file():
        return [f"executable {program!r} was not found in PATH or {cwd}"]
    return [] if os.access(path, os.X_OK) else [f"{path} is not executable; `chmod +x` makes it so"]


def _health_command(test: tuple[str, ...] | str, names: Names) -> tuple[str, ...]:
    words = ("CMD-SHELL", test) if isinstance(test, str) else test
    if words[0] == "CMD-SHELL":
        return ("/bin/sh", "-c", names.tokens(names.placeholders(words[1])))
    return _command_line(words[1:] if words[0] == "CMD" else words, names)


def _unused_port(service: Service, process: Process, copies: list[tuple[Path, Path]], port: Port) -> str:
    """Return why a process would not follow when its port moves, "" when it would."""
    texts = [*process.command, *map(str, process.environment.values()), *service.environment.values()]
    texts += [source.read_text(errors="replace") for source, _ in copies]
    numbers = numbers_of(port, service.ports)
    follows = any(
        f"{{port:{number}}}" in text or f"{service.name}:{number}" in text for text in texts for number in numbers
    )
    return "" if follows else f"its command does not use {{port:{port.left}}}"
