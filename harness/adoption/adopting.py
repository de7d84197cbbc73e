"""What is written into a project that is adopted, and what is to be told: a value, made from what the project has."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.adoption import writing
from harness.adoption.kinds import Kind, asks_a_port, fits, kind_of
from harness.adoption.places import Reached, local_places, moved_ports, read_names, variables
from harness.adoption.processes import Built, UnknownError, process_of
from harness.config.sources import COMPOSE_FILES
from harness.images.dockerfiles import Program, program_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.stack import Mount, Service, Stack

_URL = re.compile(r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])[^\s'\"|;)]*")
_OF_PYTEST_DOCKER = re.compile(r"\bdocker_(services|compose_file|ip)\b")


@dataclass(frozen=True)
class Checkout:
    """A project, as far as an adoption looks at it.

    Attributes:
        compose: its Compose file, relative to its folder.
        table: ``[tool.harness]``.
        texts: path -> text of the files that may say where services are; all paths are relative to the project.
        tests: folder of its Python tests, "." for the project itself, "" for none.
        read: gives the text of any file, "" for none.
        listed: gives the names in a folder.
        has_module: whether the interpreter that runs the harness has a module.
        has_program: whether a program is in PATH.
    """

    compose: str
    table: Mapping[str, Any]
    texts: Mapping[str, str]
    tests: str
    read: Callable[[str], str]
    listed: Callable[[str], list[str]]
    has_module: Callable[[str], bool]
    has_program: Callable[[str], bool]

    @property
    def folder(self) -> str:
        """The folder of the Compose file, relative to the project's."""
        return posixpath.dirname(self.compose)

    @property
    def overlay(self) -> str:
        """The path of its overlay: the one that is written down, else one beside it."""
        return str(self.table.get("overlays", {}).get(self.compose) or overlay_name(self.compose))

    def beside(self, name: str) -> str:
        """Return the text of a file, by its path from the Compose file's folder."""
        return self.read(posixpath.normpath(posixpath.join(self.folder, name)))


@dataclass(frozen=True)
class Text:
    """A file to write: its path relative to the project, and its text before ("" for none) and after."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Adoption:
    """What an adoption writes, and what it tells.

    Attributes:
        texts: files that change.
        told: what is to be known of what was written.
        unknown: what could not be known.
        command: what runs the project's tests then.
        extras: of the harness's own distribution that are needed.
    """

    texts: tuple[Text, ...]
    told: tuple[str, ...]
    unknown: tuple[str, ...]
    command: str
    extras: tuple[str, ...] = ()


@dataclass
class _Notes:
    told: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    extras: set[str] = field(default_factory=set)
    seeds: list[dict[str, Any]] = field(default_factory=list)


def overlay_name(compose: str) -> str:
    """Return the path of the overlay that stands beside a Compose file."""
    stem, suffix = posixpath.splitext(compose)
    return f"{stem}.harness{suffix}"


def adopt(stack: Stack, checkout: Checkout) -> Adoption:
    """Return what is missing in a project for its own Compose file to be run by the harness.

    Args:
        stack: the file, as Compose reads it.
        checkout: the project.
    """
    notes = _Notes()
    kinds = {service.name: _kind(service, checkout) for service in stack.services}
    reached = [_reached(service, kinds[service.name]) for service in stack.services]
    tables = _tables(stack, kinds, checkout, notes)
    for service in stack.services:
        embedded = tables.get(service.name, {}).get("x-harness", {}).get("embedded", {})
        if "command" in embedded and (moved := moved_ports(service.environment, reached)):
            embedded["environment"] = {**embedded.get("environment", {}), **moved}
    keys, more = _where(reached, checkout, notes)
    if tables and checkout.compose not in checkout.table.get("overlays", {}):
        more["overlays"] = {checkout.compose: checkout.overlay}
    after = {
        checkout.overlay: _overlay(checkout, tables, notes),
        "pyproject.toml": _pyproject(stack, checkout, keys, more),
        ".gitignore": writing.gitignore(checkout.read(".gitignore"), ["/logs/"]),
        **_fixture(checkout, notes),
    }
    before = {path: checkout.read(path) for path in after}
    return Adoption(
        texts=tuple(Text(path, before[path], text) for path, text in after.items() if text != before[path]),
        told=tuple(notes.told),
        unknown=tuple(notes.unknown),
        command=_command(checkout),
        extras=tuple(sorted(notes.extras)),
    )


# -- services ----------------------------------------------------------------------------------------------------------


def _tables(
    stack: Stack, kinds: Mapping[str, Kind | None], checkout: Checkout, notes: _Notes
) -> dict[str, dict[str, Any]]:
    """Return what is laid over the services of a stack; those that lack nothing are not in it."""
    tables = {service.name: _table(service, kinds[service.name], checkout, notes) for service in stack.services}
    for service in stack.services:
        if "preset" in tables[service.name].get("x-harness", {}).get("embedded", {}):
            tables[service.name] |= _scripts(service, stack, checkout, notes)
        if waits := _waits(service, tables):
            tables[service.name] = {"depends_on": waits, **tables[service.name]}
    return {name: table for name, table in tables.items() if table}


def _waits(service: Service, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return on which services a service depends that it shall find usable, now that they can be asked."""
    return {
        name: {"condition": "service_healthy"}
        for name, condition in service.depends_on.items()
        if condition == "service_started" and tables.get(name, {}).get("x-harness", {}).get("ready")
    }


def _kind(service: Service, checkout: Checkout) -> Kind | None:
    """Return what is known of a service by its image, or by that from which it is built."""
    text, target = _dockerfile(service, checkout)
    if not service.compose.get("build"):
        return kind_of(service.image, service.environment)
    base = kind_of(program_of(text, _arguments(service), target).base, service.environment) if text else None
    return base if base and base.port and not base.name.startswith("HTTP") else None


def _dockerfile(service: Service, checkout: Checkout) -> tuple[str, str]:
    """Return the text of the Dockerfile that a service is built by, and the stage of it, "" for the last."""
    build = service.compose.get("build") or {}
    if not build:
        return "", ""
    text = str(build.get("dockerfile_inline") or "")
    path = posixpath.join(str(build.get("context") or "."), str(build.get("dockerfile") or "Dockerfile"))
    return text or checkout.read(path), str(build.get("target") or "")


def _arguments(service: Service) -> dict[str, str]:
    arguments = (service.compose.get("build") or {}).get("args") or {}
    return {str(name): str(value) for name, value in arguments.items() if value is not None}


def _numbers(service: Service) -> dict[int, int]:
    return {port.right: port.left for port in service.ports if port.protocol == "tcp"}


def _reached(service: Service, kind: Kind | None) -> Reached:
    name, words, port = service.name, kind.words if kind else (), kind.port if kind else 0
    return Reached(name, _numbers(service), port, words, service.environment)


def _overlay(checkout: Checkout, tables: Mapping[str, Mapping[str, Any]], notes: _Notes) -> str:
    return writing.overlay(posixpath.basename(checkout.compose), tables, notes.seeds) if tables else ""


def _table(service: Service, kind: Kind | None, checkout: Checkout, notes: _Notes) -> dict[str, Any]:
    """Return what is laid over a service: ``x-harness``, and the port at which it is asked where it publishes none."""
    numbers = _numbers(service)
    unasked = kind is not None and asks_a_port(kind) and kind.port not in (*numbers, *numbers.values())
    if kind and unasked:
        numbers = {**numbers, kind.port: kind.port}
    ready = _ready(service, kind, numbers, notes)
    embedded = _embedded(service, kind, checkout, notes)
    if kind and kind.extra and (ready or embedded):
        notes.extras.update(kind.extra.split(","))
    inner = {key: value for key, value in (("ready", ready), ("embedded", embedded)) if value}
    ports = {"ports": [str(kind.port)]} if kind and unasked else {}
    return {**ports, "x-harness": inner} if inner else {}


_SCRIPTS = "/docker-entrypoint-initdb.d"


def _scripts(service: Service, stack: Stack, checkout: Checkout, notes: _Notes) -> dict[str, Any]:
    """Return the mounts of a database without the scripts that its image runs at first: these become seeds.

    A seed does the same on every engine; an image that found them as well would do it twice.
    """
    mounts = [mount for mount in service.mounts if posixpath.normpath(mount.target).startswith(_SCRIPTS)]
    files = [file for mount in mounts for file in _files_of(mount.source, checkout)]
    if not files:
        return {}
    if not all(file.endswith(".sql") for file in files) or any(posixpath.isabs(file) for file in files):
        notes.unknown.append(f"{service.name}: what {', '.join(files)} do, which only its image runs; write seeds")
        return {}
    dependant = next((other.name for other in stack.services if service.name in other.depends_on), "")
    for file in files:
        path = _from_compose(file, checkout)
        key, sql = posixpath.basename(file), {"service": service.name, "file": path}
        notes.seeds.append({"key": key, **({"before": dependant} if dependant else {}), "sql": sql})
    notes.told.append(f"{service.name}: {', '.join(files)} became seeds, which are the same on every engine")
    left = [mount for mount in service.mounts if mount not in mounts]
    return {"volumes": writing.Instead(_mount(mount, checkout) for mount in left)}


def _files_of(source: str, checkout: Checkout) -> list[str]:
    names = sorted(checkout.listed(source))
    return [posixpath.join(source, name) for name in names] if names else [source]


def _mount(mount: Mount, checkout: Checkout) -> dict[str, Any]:
    source = mount.source
    if mount.kind == "bind":
        source = _from_compose(source, checkout)
        source = source if posixpath.isabs(source) or source.startswith("..") else f"./{source}"
    entry: dict[str, Any] = {"type": mount.kind, **({"source": source} if source else {}), "target": mount.target}
    return entry | ({"read_only": True} if mount.read_only else {})


def _ready(service: Service, kind: Kind | None, numbers: Mapping[int, int], notes: _Notes) -> list[Any]:
    """Return the probes that fit a service."""
    if kind:
        ready, told = fits(kind, numbers)
        if told:
            notes.unknown.append(f"{service.name} ({kind.name}): {told}; write x-harness.ready where more is needed")
        return list(ready)
    if service.has_healthcheck:
        return _asked_by_url(service, numbers)
    if numbers:
        notes.unknown.append(
            f"{service.name}: what proves that it is usable; until it has x-harness.ready, such as "
            f"[{{http: {{port: {next(iter(numbers.values()))}, path: /health}}}}], it is when its ports listen"
        )
    return []


def _asked_by_url(service: Service, numbers: Mapping[int, int]) -> list[Any]:
    """Return a probe by the URL that a healthcheck asks; without one, the healthcheck is asked anyway."""
    test = service.compose["healthcheck"].get("test") or ""
    match = _URL.search(test if isinstance(test, str) else " ".join(map(str, test)))
    url = urlsplit(match[0]) if match else None
    if url is None or url.scheme != "http" or (url.port or 80) not in numbers:
        return []
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return [{"http": {"port": numbers[url.port or 80], "path": path}}]


def _embedded(service: Service, kind: Kind | None, checkout: Checkout, notes: _Notes) -> dict[str, Any]:
    """Return what a service is as a local process, {} where that is not known, which is told."""
    text, target = _dockerfile(service, checkout)
    if kind and kind.embedded and not service.compose.get("build"):
        return dict(kind.embedded)
    why = f"nothing is known to stand for {service.image}" if service.image else "its Dockerfile cannot be read here"
    if kind and kind.alone:
        why = kind.alone
    if text and not kind:
        built = _built(service, program_of(text, _arguments(service), target), checkout)
        try:
            process = process_of(built, checkout.beside, checkout.has_module, checkout.has_program)
        except UnknownError as error:
            why = str(error)
        else:
            notes.told.append(f"{service.name}: as a local process it needs here what its Dockerfile installs")
            return process
    notes.unknown.append(
        f"{service.name}: how it runs as a local process: {why}; write x-harness.embedded.command, or use containers"
    )
    return {}


def _built(service: Service, program: Program, checkout: Checkout) -> Built:
    build = service.compose.get("build") or {}
    return Built(
        program=program,
        context=_from_compose(str(build.get("context") or "."), checkout),
        entrypoint=_words(service.compose.get("entrypoint")),
        command=_words(service.compose.get("command")),
        folder=str(service.compose.get("working_dir") or ""),
        mounts={
            mount.target: _from_compose(mount.source, checkout) for mount in service.mounts if mount.kind == "bind"
        },
        ports=_numbers(service),
    )


def _from_compose(path: str, checkout: Checkout) -> str:
    """Return a path of the project relative to the folder of the Compose file."""
    return posixpath.relpath(path or ".", checkout.folder or ".") if not posixpath.isabs(path) else path


def _words(value: object) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list) and value else None


# -- the project -------------------------------------------------------------------------------------------------------


def _where(
    services: list[Reached], checkout: Checkout, notes: _Notes
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Return keys and tables of ``[tool.harness]`` by which the project's files find services where they look."""
    places = local_places(checkout.texts, services)
    if places:
        shown = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")  # noqa: PLR2004
        notes.told.append(f'addresses = "localhost": files say so: {shown}')
        return {} if "addresses" in checkout.table else {"addresses": "localhost"}, {}
    found, secret = variables(services, read_names(checkout.texts))
    notes.unknown += [f"variable {name}: it may be a secret; write it into [tool.harness.env]" for name in secret]
    if not found and any(service.ports for service in services):
        notes.unknown.append(
            "how tests learn where services are: no file says localhost and a published port, and none reads a "
            "variable that containers are told; tests ask stack.endpoint(SERVICE, PORT)"
        )
    return {}, {"env": found} if found and "env" not in checkout.table else {}


def _pyproject(stack: Stack, checkout: Checkout, keys: dict[str, str], tables: dict[str, dict[str, Any]]) -> str:
    text = checkout.read("pyproject.toml")
    if checkout.compose not in COMPOSE_FILES and "systems" not in checkout.table:
        system = {"stacks": [f"./{checkout.compose}"], "default": f"./{checkout.compose}"}
        tables = {f"systems.{stack.name}": {"tests": checkout.tests or ".", **system}, **tables}
    if not keys and not tables:
        return text
    return writing.pyproject(text, keys, tables)


def _fixture(checkout: Checkout, notes: _Notes) -> dict[str, str]:
    """Return conftest.py with a fixture that has the stack up for every test."""
    if not checkout.tests:
        notes.told.append("no tests for pytest were found: `harness run -- COMMAND` has the stack up for any command")
        return {}
    path = posixpath.normpath(posixpath.join(checkout.tests, "conftest.py"))
    text = checkout.read(path)
    if _OF_PYTEST_DOCKER.search(text + "".join(t for name, t in checkout.texts.items() if name.endswith(".py"))):
        notes.told.append("the fixtures of pytest-docker are used: they are there without it, and no other was written")
        return {}
    return {path: text if writing.FIXTURE in text else writing.conftest(text, checkout.compose)}


def _command(checkout: Checkout) -> str:
    if checkout.tests:
        return "harness test"
    if checkout.read("manage.py"):
        return "harness run -- python manage.py test"
    return "harness run -- npm test" if checkout.read("package.json") else "harness run -- COMMAND"
