"""From a Compose file to a tree of stacks, with every problem of every file reported at once."""

from __future__ import annotations

import difflib
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from harness.durations import parse_duration
from harness.errors import ConfigError, nearest
from harness.stack.compose import run_config
from harness.stack.deploying import DEPLOYER, service_named, with_deployer, wrong_in_deployer
from harness.stack.model import (
    PRESET_PROBES,
    STORE_PORTS,
    Frozen,
    Mount,
    Port,
    Probe,
    Seed,
    Service,
    ServiceSettings,
    Stack,
    StackSettings,
    Tree,
)
from harness.stack.source import Source, line_using, place_in, read_source
from harness.stack.stores import has_files, login_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

X_HARNESS = "x-harness"
_NEAR = 0.8
_T = TypeVar("_T", bound=Frozen)
_DEFAULT_NAMES = ("compose", "docker-compose")
# Keys of the Compose specification, only for "did you mean" when Compose refuses one.
_SERVICE_KEYS = [
    "build",
    "command",
    "configs",
    "container_name",
    "depends_on",
    "deploy",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extends",
    "extra_hosts",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "labels",
    "logging",
    "networks",
    "platform",
    "ports",
    "privileged",
    "profiles",
    "restart",
    "secrets",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "volumes",
    "working_dir",
]
_TOP_KEYS = ["name", "include", "services", "networks", "volumes", "configs", "secrets"]


@dataclass
class _Unit:
    """One stack's files while they are read."""

    files: tuple[Path, ...]
    project_directory: Path | None = None
    env_files: tuple[Path, ...] = ()
    sources: tuple[Source, ...] = ()
    includes: list[_Unit] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    broken_include: bool = False
    error: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The folder of its project: paths in it, and its ``.env``, are there."""
        return self.project_directory or self.files[0].parent

    @property
    def name(self) -> str:
        """The stack's name: what the file is called, or, for Compose's default names, ``name:`` or its folder."""
        stem = self.files[0].stem
        if stem in _DEFAULT_NAMES:
            named = self.sources[0].scalars("name") if self.sources else None
            return str(named) if named and "$" not in str(named) else self.files[0].parent.name
        return stem


def read_tree(
    files: Sequence[Path],
    environ: Mapping[str, str],
    *,
    profiles: Iterable[str] = (),
    strict: bool = False,
    folder: Path | None = None,
    wanted: str = "",
) -> Tree:
    """Read a stack and all that it includes.

    Args:
        files: its Compose files; later ones are merged over the first, as by ``docker compose -f``.
        environ: variables for interpolation.
        profiles: active profiles.
        strict: whether a variable that is not set and has no default is a problem; else it is "", as with Compose, and
            that is among the notes of its stack.
        folder: where the command is given; its ``.env`` goes before those of the files' folders, as with Compose.
        wanted: a service that is one of its stack whatever its profiles, "" for none.

    Raises:
        ConfigError: with all problems of all files, each with file and line.
    """
    units: dict[tuple[Path, ...], _Unit] = {}
    problems: list[str] = []
    root = _collect(_Unit(tuple(file.resolve() for file in files)), units, (), problems)
    _share_env_files(root, units.values(), folder)
    # What cannot be read is not parsed, nor what includes it: Compose would only say the same again, without the line.
    sound = [unit for unit in units.values() if _is_sound(unit)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        for problem_list in pool.map(lambda unit: _parse(unit, environ, strict=strict), sound):
            problems += problem_list
    failed = [unit for unit in sound if unit.error and not _said_below(unit, unit.error)]
    problems += [_place_error(unit, error) for unit in failed for error in _apart(unit.error)]
    stacks: dict[str, Stack] = {}
    _build(root, stacks, _Active(set(profiles), wanted), problems)
    tree = Tree(stacks=tuple(stacks.values()))
    if not problems:
        problems += _check_references(tree, units.values())
    if problems:
        raise ConfigError.of(problems)
    return tree


def _share_env_files(root: _Unit, units: Iterable[_Unit], folder: Path | None) -> None:
    """Have every unit see the ``.env`` of the root's folder and of ``folder``; what comes later goes before."""
    shared = [place / ".env" for place in (root.folder, folder) if place and (place / ".env").is_file()]
    for unit in units:
        own = unit.env_files or tuple(path for path in (unit.folder / ".env",) if path.is_file())
        added = tuple(path for path in dict.fromkeys(shared) if path not in own)
        if added:
            unit.env_files = (*own, *added)


def _is_sound(unit: _Unit) -> bool:
    readable = not unit.broken_include and all(not source.problem for source in unit.sources)
    return readable and all(_is_sound(included) for included in unit.includes)


def _said_below(unit: _Unit, error: str) -> bool:
    """Return whether Compose says ``error`` of something that ``unit`` includes, and of ``unit`` only because of it."""
    return any(included.error == error or _said_below(included, error) for included in unit.includes)


def _collect(unit: _Unit, units: dict[tuple[Path, ...], _Unit], chain: tuple[_Unit, ...], problems: list[str]) -> _Unit:
    """Follow ``include`` and fill ``units``, what is included first."""
    if unit.files in units:
        return units[unit.files]
    unit.sources = tuple(read_source(path) for path in unit.files)
    problems += [source.problem for source in unit.sources if source.problem]
    for source in unit.sources:
        entries = source.scalars("include")
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            place = source.at("include", index)
            included = _included(entry, source.path.parent, place, problems)
            if included is None:
                unit.broken_include = True
                continue
            above = [includer.files for includer in (*chain, unit)]
            if included.files in above:
                circle = [*above[above.index(included.files) :], included.files]
                names = " -> ".join(files[0].name for files in circle)
                problems.append(f"{place}: include cycle: {names}")
                unit.broken_include = True
                continue
            unit.includes.append(_collect(included, units, (*chain, unit), problems))
    same = [other for other in units.values() if other.name == unit.name and other.files != unit.files]
    if same:
        problems.append(f"{unit.files[0]}:1: stack {unit.name!r} is also the name of {same[0].files[0]}")
    units[unit.files] = unit
    return unit


def _included(entry: object, folder: Path, place: str, problems: list[str]) -> _Unit | None:
    table = entry if isinstance(entry, dict) else {"path": entry}
    paths = table.get("path")
    names = [str(name) for name in (paths if isinstance(paths, list) else [paths]) if name]
    if not names:
        problems.append(f"{place}: include has no path")
        return None
    if any("$" in name for name in names):
        problems.append(f"{place}: include {names} has a variable; harness needs the plain name of a file")
        return None
    files = tuple((folder / name).resolve() for name in names)
    missing = [file for file in files if not file.is_file()]
    if missing:
        near = difflib.get_close_matches(missing[0].name, [file.name for file in missing[0].parent.glob("*.y*ml")], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        problems.append(f"{place}: included file {missing[0]} does not exist{hint}")
        return None
    env_files = table.get("env_file") or []
    return _Unit(
        files,
        project_directory=folder / str(table["project_directory"]) if table.get("project_directory") else None,
        env_files=tuple(folder / str(name) for name in (env_files if isinstance(env_files, list) else [env_files])),
    )


def _parse(unit: _Unit, environ: Mapping[str, str], *, strict: bool) -> list[str]:
    """Parse a unit by Compose; return its problems."""
    problems = [line for source in unit.sources for line in _near_misses(source)]
    document, unset, error = run_config(
        unit.files, environ, project_directory=unit.project_directory, env_files=unit.env_files
    )
    unit.document, unit.error = document, error
    for name in unset:
        place, line = _place_of(unit, name)
        # One that an included file uses is told there.
        if not place and _used_below(unit, name):
            continue
        told = f"{place or f'{unit.files[0]}:1'}: variable {name} is not set and has no default"
        if strict or error or _leaves_no_image(unit, line):
            problems.append(told)
        else:
            unit.notes.append(f'{told}, so it is ""')
    return problems


def _place_of(unit: _Unit, variable: str) -> tuple[str, str]:
    """Return where a unit uses a variable without a default, as ``file:line``, and that line; "" for nowhere."""
    files = {source.path: source.text for source in unit.sources}
    for path in [*_env_files(unit), *unit.env_files]:
        with suppress(OSError, UnicodeDecodeError):
            files.setdefault(path, path.read_text(encoding="utf-8"))
    for path, text in files.items():
        if number := line_using(text, variable):
            return f"{path}:{number}", text.splitlines()[number - 1]
    return "", ""


def _env_files(unit: _Unit) -> list[Path]:
    """Return the files with the environments of a unit's services, as far as their names are written out."""
    found = []
    for source in unit.sources:
        for service in source.keys("services"):
            written = source.scalars("services", service, "env_file")
            for entry in written if isinstance(written, list) else [written]:
                path = entry.get("path") if isinstance(entry, dict) else entry
                if path:
                    found.append(unit.folder / str(path))
    return found


def _leaves_no_image(unit: _Unit, line: str) -> bool:
    """Return whether a line that uses a variable chooses an image, and what is left of its name can be none."""
    images = [str(table.get("image") or "") for table in (unit.document.get("services") or {}).values()]
    return re.search(r"\bimage\s*:", line) is not None and any(image.endswith((":", "@", "/")) for image in images)


def _used_below(unit: _Unit, variable: str) -> bool:
    used = (source.line_using(variable) for included in unit.includes for source in included.sources)
    return any(used) or any(_used_below(included, variable) for included in unit.includes)


def _near_misses(source: Source) -> list[str]:
    """Find misspelt ``x-harness``: Compose accepts any key that begins with x-."""
    problems = []
    places: list[tuple[str, ...]] = [(), *(("services", name) for name in source.keys("services"))]
    for path in places:
        for key in source.keys(*path):
            close = difflib.SequenceMatcher(None, key, X_HARNESS).ratio() >= _NEAR
            if key.startswith("x-") and key != X_HARNESS and close:
                problems.append(f"{source.at(*path, key)}: key {key!r} is not known; did you mean {X_HARNESS!r}?")
    return problems


def _apart(error: str) -> list[str]:
    """Return the errors of what Compose said: of variables that are required it says all, one after the other."""
    return re.split(r"\s+(?=error while interpolating )", error)


def _place_error(unit: _Unit, error: str) -> str:
    """Return Compose's error with file and line, as far as its words tell the place."""
    named = [source for source in unit.sources if str(source.path) in error]
    source = (named or list(unit.sources))[0]
    line, hint = 1, ""
    text = error.replace(f"validating {source.path}: ", "").replace(f"failed to parse {source.path}: ", "").strip()
    if env_line := re.fullmatch(r"failed to read (.+?): line (\d+): (.+)", text, re.DOTALL):
        return f"{env_line[1]}:{env_line[2]}: {env_line[3]}"
    if path := re.search(r"\b(services(?:\.[\w-]+)+)", text):
        keys = path[1].split(".")
        line = source.line(*keys)
        if len(keys) == 3 and ("false schema" in text or "not allowed" in text):  # noqa: PLR2004 - services.NAME.KEY
            hint = nearest(keys[2], [*_SERVICE_KEYS, X_HARNESS])
            text = f"services.{keys[1]}: key {keys[2]!r} is not known to Compose"
    elif field_ := re.search(r"\bservices\[([\w-]+)\]\.(\w+)", text):
        line = source.line("services", field_[1], field_[2])
    elif port := re.search(r"\binvalid (?:hostPort|containerPort|IP address): (\S+)", text):
        line = _line_of_item(source, "ports", port[1])
    elif env_file := re.search(r"\benv file (.+?) not found", text):
        line = source.line_of_text(Path(env_file[1]).name)
    elif service := re.search(r'service "([\w-]+)"', text):
        line = source.line("services", service[1])
    elif extra := re.search(r"additional properties '([\w-]+)' not allowed", text):
        line, hint = source.line(extra[1]), nearest(extra[1], [*_TOP_KEYS, X_HARNESS])
        text = f"key {extra[1]!r} is not known to Compose"
    elif numbers := re.findall(r"\bline (\d+): |\bL(\d+)\.C\d+", text):
        line = int(numbers[-1][0] or numbers[-1][1])
    return f"{source.path}:{line}: {text}{hint}"


def _line_of_item(source: Source, key: str, text: str) -> int:
    """Return the line of the first item with ``text`` in the list ``key`` of any service, 1 when there is none."""
    for name in source.keys("services"):
        items = source.scalars("services", name, key)
        for index, item in enumerate(items if isinstance(items, list) else []):
            if text in str(item):
                return source.line("services", name, key, index)
    return 1


class _Active(NamedTuple):
    """Which services are started: those without profiles, of these, and one by its name."""

    profiles: set[str]
    wanted: str

    def has(self, service: Service) -> bool:
        return not service.profiles or service.name == self.wanted or bool(self.profiles & set(service.profiles))


def _build(unit: _Unit, stacks: dict[str, Stack], active: _Active, problems: list[str]) -> None:
    """Make the stack of a unit, after those of its includes."""
    if unit.name in stacks:
        return
    for included in unit.includes:
        _build(included, stacks, active, problems)
    foreign = {name for included in unit.includes for name in included.document.get("services", {})}
    # Of these no container is wanted; nobody waits for one.
    off = {name for name, table in (unit.document.get("services") or {}).items() if _is_off(table)}
    services, idle = [], []
    for name, table in (unit.document.get("services") or {}).items():
        source = next((source for source in unit.sources if name in source.keys("services")), None)
        if name in foreign:
            if source:
                place = source.at("services", name)
                problems.append(f"{place}: service {name!r} is also in an included file; give it another name")
            continue
        service = _service(name, table, unit.sources, _made_when_missing(unit, name), problems)
        if service:
            needed = {name: how for name, how in service.depends_on.items() if name not in off}
            service = service.model_copy(update={"merged": _merged(service, unit.sources), "depends_on": needed})
        if service and name not in off and active.has(service):
            services.append(service)
        elif service and service.compose.get("build"):
            idle.append(service)
    settings = _validate(StackSettings, unit.document.get(X_HARNESS), unit.sources, (X_HARNESS,), problems)
    if settings and settings.deployer:
        taken = service_named(DEPLOYER, services)
        problems += [f"{place_in(unit.sources, 'services', DEPLOYER)}: {why}" for why in taken]
        services = with_deployer(services, settings.deployer)
    stacks[unit.name] = Stack(
        name=unit.name,
        files=unit.files,
        includes=tuple(included.name for included in unit.includes),
        services=tuple(services),
        idle=tuple(idle),
        settings=settings or StackSettings(),
        project_directory=unit.project_directory,
        env_files=unit.env_files,
        notes=tuple(unit.notes),
        volumes=_written_tables(unit, "volumes"),
        networks=_written_tables(unit, "networks"),
        configs=_written_tables(unit, "configs"),
        secrets=_written_tables(unit, "secrets"),
    )


def _written_tables(unit: _Unit, kind: str) -> dict[str, dict[str, Any]]:
    """Return the networks, volumes, secrets or configs of a unit, without the names that Compose made for them."""
    project = unit.document.get("name")
    return {
        key: {name: value for name, value in (table or {}).items() if (name, value) != ("name", f"{project}_{key}")}
        for key, table in (unit.document.get(kind) or {}).items()
    }


def _is_off(table: Mapping[str, Any]) -> bool:
    """Return whether a service's file asks for no container of it: ``scale: 0`` or ``replicas: 0``."""
    count = table.get("scale", (table.get("deploy") or {}).get("replicas"))
    return count is not None and int(count) == 0


def _made_when_missing(unit: _Unit, service: str) -> set[str]:
    """Return the targets of a service's mounts whose ``create_host_path`` is written as true.

    Compose leaves that out of what it makes of a file: to it, a mount in the short form says the same.
    """
    lists = [source.scalars("services", service, "volumes") for source in unit.sources]
    entries = [entry for items in lists if isinstance(items, list) for entry in items if isinstance(entry, dict)]
    options = [(str(entry.get("target", "")), entry.get("bind")) for entry in entries]
    return {target for target, bind in options if isinstance(bind, dict) and bind.get("create_host_path") == "true"}


def _service(
    name: str, table: Mapping[str, Any], sources: Sequence[Source], created: set[str], problems: list[str]
) -> Service | None:
    written = table.get(X_HARNESS)
    settings = _validate(ServiceSettings, written, sources, ("services", name, X_HARNESS), problems)
    if settings is None:
        return None
    if settings.embedded and settings.embedded.preset and not settings.ready:
        settings = settings.model_copy(update={"ready": (PRESET_PROBES[settings.embedded.preset],)})
    ports = []
    for port in table.get("ports") or ():
        published = str(port.get("published") or port["target"])
        # A range for one port, and 0, let the engine choose; here it gets its own number on its own address.
        left = int(port["target"] if "-" in published or published == "0" else published)
        ports.append(Port(left=left, right=int(port["target"]), protocol=port.get("protocol", "tcp")))
    grace = table.get("stop_grace_period")
    return Service(
        name=name,
        image=str(table.get("image", "")),
        environment={k: str(v) for k, v in (table.get("environment") or {}).items() if v is not None},
        ports=tuple(ports),
        mounts=tuple(
            Mount(
                kind=mount["type"],
                source=str(mount.get("source", "")),
                target=mount["target"],
                read_only=bool(mount.get("read_only")),
                create=mount["target"] in created,
            )
            for mount in table.get("volumes") or ()
        ),
        depends_on={k: v.get("condition", "service_started") for k, v in (table.get("depends_on") or {}).items()},
        profiles=tuple(table.get("profiles") or ()),
        stop_grace=parse_duration(grace) if grace is not None else None,
        has_healthcheck=_is_asked(table.get("healthcheck") or {}),
        has_settings=written is not None,
        settings=settings,
        compose={key: value for key, value in table.items() if key != X_HARNESS},
    )


def _merged(service: Service, sources: Sequence[Source]) -> dict[str, str]:
    """Return ``host``, ``embedded`` or ``local`` -> where its command is written, if Compose made another of it.

    Compose adds the words of a later file that an earlier one does not have. What begins with a dash is meant to be
    added to a command.
    """
    places: dict[str, str] = {}
    for kind, process in service.settings.processes.items():
        path = ("services", service.name, X_HARNESS, kind, "command")
        source = next((source for source in reversed(sources) if source.scalars(*path) is not None), None)
        words = source.scalars(*path) if source else None
        if source and isinstance(words, list) and words and not str(words[0]).startswith("-"):
            same = len(process.command) == len(words) and all(
                written == merged or "$" in written for written, merged in zip(words, process.command, strict=True)
            )
            places |= {} if same else {kind: source.at(*path)}
    return places


def _is_asked(healthcheck: Mapping[str, Any]) -> bool:
    return bool(healthcheck) and not healthcheck.get("disable") and healthcheck.get("test") != ["NONE"]


def _validate(
    model: type[_T], value: object, sources: Sequence[Source], path: tuple[str, ...], problems: list[str]
) -> _T | None:
    """Return ``value`` as ``model``, or None after adding what is wrong with it to ``problems``."""
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        inside = {error["loc"][:-1] for error in errors}
        for error in errors:
            if error["type"] == "too_short" and error["loc"] in inside:
                continue  # it only counts the items that are right
            where = ".".join(map(str, (*path, *error["loc"])))
            place = place_in(sources, *path, *error["loc"])
            if error["type"] == "extra_forbidden":
                keys = _keys_at(model, error["loc"][:-1])
                key = str(error["loc"][-1])
                near = nearest(key, keys) or f"; known here: {', '.join(keys)}"
                problems.append(f"{place}: {where}: key {key!r} is not known{near}")
            else:
                message = error["msg"].removeprefix("Value error, ")
                found = "" if isinstance(error["input"], dict | list) else f" (found {error['input']!r})"
                problems.append(f"{place}: {where}: {message}{found}")
        return None


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the part of ``model`` at ``location`` may have."""
    for step in location:
        if isinstance(step, int):
            continue
        named = {(field.alias or name): field for name, field in model.model_fields.items()}
        inner = _model_in(named[step].annotation) if step in named else None
        if inner is None:
            break
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if model := _model_in(inner):
            return model
    return None


def _check_references(tree: Tree, units: Iterable[_Unit]) -> list[str]:
    """Check the names of services that x-harness refers to."""
    problems = []
    sources = {unit.name: unit.sources for unit in units}
    for stack in tree.stacks:
        files = sources[stack.name]
        problems += [f"{place_in(files, 'include')}: {problem}" for problem in _twofold(tree, stack)]
        place = place_in(files, X_HARNESS, "deployer")
        problems += [f"{place}: deployer: {problem}" for problem in wrong_in_deployer(stack)]
        for index, seed in enumerate(stack.settings.seed):
            place = place_in(files, X_HARNESS, "seed", index)
            problems += [f"{place}: seed {seed.key!r}: {problem}" for problem in _wrong_in_seed(tree, stack, seed)]
        keys = [seed.key for seed in stack.settings.seed]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        problems += [f"{place_in(files, X_HARNESS, 'seed')}: seed key {key!r} is used twice" for key in twice]
        for service in stack.services:
            is_store = login_of(service) or service.port(KAFKA_PORT)
            if service.settings.reset and not is_store and not has_files(service):
                place = place_in(files, "services", service.name, X_HARNESS, "reset")
                why = "it is no database or store, and has no volume, folder or {data} that it writes to"
                problems.append(f"{place}: service {service.name!r} cannot be reset: {why}")
            for index, probe in enumerate(service.settings.ready):
                place = place_in(files, "services", service.name, X_HARNESS, "ready", index)
                problems += [f"{place}: {problem}" for problem in _wrong_in_probe(tree, stack, service, probe)]
    return problems


def _wrong_in_seed(tree: Tree, stack: Stack, seed: Seed) -> Iterator[str]:
    own, visible = [service.name for service in stack.services], tree.visible(stack.name)
    if seed.before and seed.before not in own:
        yield f"before {seed.before!r} is no service of this file{nearest(seed.before, own)}"
    target = seed.http or seed.exec or seed.sql
    if target and target.service not in visible and not seed.sql:
        yield f"service {target.service!r} does not exist{nearest(target.service, visible)}"
    elif seed.http and visible[seed.http.service][1].port(seed.http.port) is None:
        yield _no_port(visible[seed.http.service][1], seed.http.port)
    if seed.message or seed.topics is not None:
        try:
            broker_of(seed.message.broker if seed.message else None, None, tree, stack.name)
        except ConfigError as error:
            yield error.summary
    for kind, store in (("postgres", seed.sql), ("redis", seed.redis), ("search", seed.search)):
        if store:
            try:
                store_of(kind, store.service, tree, stack.name)
            except ConfigError as error:
                yield error.summary
    table = seed.message or seed.http or seed.sql or seed.redis or seed.search
    for file in (table.file if table else None, seed.search.mapping if seed.search else None):
        if file and not (stack.folder / file).is_file():
            yield f"file {stack.folder / file} does not exist"


def _wrong_in_probe(tree: Tree, stack: Stack, service: Service, probe: Probe) -> Iterator[str]:
    if probe.kafka:
        try:
            broker_of(probe.kafka.broker, service, tree, stack.name)
        except ConfigError as error:
            yield error.summary
    for kind, asked in (("postgres", probe.sql), ("redis", probe.redis), ("search", probe.search)):
        if asked and service.store_port(kind) is None:
            yield f"service {service.name!r} publishes no port to ask; {STORE_PORTS[kind]} was needed"
    number = probe.tcp or (probe.http.port if probe.http else None) or (probe.search.port if probe.search else None)
    if number and service.port(number) is None:
        yield _no_port(service, number)
    if probe.http and not probe.http.port and not service.ports:
        yield f"service {service.name!r} publishes no port to ask over HTTP"


def _no_port(service: Service, number: int) -> str:
    published = ", ".join(str(port.left) for port in service.ports) or "none"
    return f"service {service.name!r} has no port {number}; it has: {published}"


def _twofold(tree: Tree, stack: Stack) -> list[str]:
    """Return, in sentences, the names that mean services of several stacks that ``stack`` includes."""
    owners: dict[str, list[str]] = {}
    for included in tree.below(stack.name):
        for service in included.services:
            owners.setdefault(service.name, []).append(included.name)
    return [
        f"service {name!r} is in more than one included stack: {', '.join(stacks)}"
        for name, stacks in owners.items()
        if len(stacks) > 1 and not any(set(stacks) <= {s.name for s in tree.below(i)} for i in stack.includes)
    ]


KAFKA_PORT = 9092


def broker_of(written: str | None, service: Service | None, tree: Tree, stack: str) -> tuple[str, int]:
    """Return (service, port) of the Kafka broker that a probe or seed means.

    Written as NAME:PORT it is that; else the service itself if it publishes 9092, else the only visible one that does.

    Raises:
        ConfigError: there is no such service, or several.
    """
    visible = tree.visible(stack)
    if written:
        name, _, port = written.partition(":")
        if name not in visible or visible[name][1].port(int(port)) is None:
            raise ConfigError(f"broker {written!r} is no service and port of stack {stack!r}")
        return name, int(port)
    if service and service.port(KAFKA_PORT):
        return service.name, KAFKA_PORT
    brokers = [name for name, (_, service) in visible.items() if service.port(KAFKA_PORT)]
    if len(brokers) != 1:
        raise ConfigError(
            f"no broker is named and {'several services publish' if brokers else 'no service publishes'} "
            f"port {KAFKA_PORT}{': ' + ', '.join(brokers) if brokers else ''}; write broker: NAME:PORT"
        )
    return brokers[0], KAFKA_PORT


def store_of(kind: str, written: str | None, tree: Tree, stack: str) -> tuple[str, int]:
    """Return (service, left port) of the store that a seed means: the one that it names, else the only one.

    Args:
        kind: ``postgres``, ``redis`` or ``search``.
        written: the name of a service, or None.
        tree: the stacks.
        stack: whose seed it is.

    Raises:
        ConfigError: there is no such service, it has no port, or there are several.
    """
    visible = {name: service for name, (_, service) in tree.visible(stack).items()}
    usual = STORE_PORTS[kind]
    named = [written] if written else [name for name, service in visible.items() if service.port(usual)]
    if written and written not in visible:
        raise ConfigError(f"service {written!r} does not exist{nearest(written, visible)}")
    if len(named) != 1:
        raise ConfigError(
            f"no service is named and {'several publish' if named else 'none publishes'} port {usual}"
            f"{': ' + ', '.join(named) if named else ''}; write service: NAME"
        )
    port = visible[named[0]].store_port(kind)
    if port is None:
        raise ConfigError(f"service {named[0]!r} publishes no port; {usual} was needed")
    return named[0], port.left
