"""What should exist: frozen values, made from Compose files. Durations are seconds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from harness.config.subjects import Subject  # noqa: TC001 - the model has it at run time
from harness.durations import parse_duration
from harness.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0),
    WithJsonSchema(
        {
            "description": "a duration such as 90s or 1m30s, or seconds",
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^(\d+(\.\d+)?|(\d+(\.\d+)?(us|ms|s|m|h))+)$"},
            ],
        }
    ),
]
PortNumber = Annotated[int, Field(ge=1, le=65535)]
Words = Annotated[tuple[str, ...], Field(min_length=1)]
Reference = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
IndexName = Annotated[str, Field(pattern=r"^[^A-Z\\/*?\"<>| ,#:_+-][^A-Z\\/*?\"<>| ,#:]*$")]
"""What an index may be called, as the engine has it."""
BrokerName = Annotated[str, Field(pattern=r"^[\w.-]+:\d+$")]


class Frozen(BaseModel):
    """A value: immutable, and without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# -- what users write under x-harness --------------------------------------------------------------------------------


class HttpProbe(Frozen):
    """An HTTP request answers as wanted; with ``json`` (dotted path: value) it proves use, else it must do so twice."""

    port: PortNumber | None = None
    path: str = "/"
    status: Annotated[tuple[int, ...], Field(min_length=1)] = (200,)
    json_: dict[str, Any] = Field(default_factory=dict, alias="json")


class MessageWanted(Frozen):
    """A message that must have come since its service was started."""

    topic: str
    schema_: str = Field(default="", alias="schema", min_length=4, max_length=4)


class KafkaProbe(Frozen):
    """A Kafka broker is usable, has topics with leaders, or got a message. ``broker`` is a NAME:PORT of the stack."""

    broker: BrokerName | None = None
    topics: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    message: MessageWanted | None = None


class RedisProbe(Frozen):
    """A Redis (or Valkey) server answers PING and is not loading. It has the password that its own command says."""


class SearchProbe(Frozen):
    """A search engine (OpenSearch) has the health that is wanted, and indices hold at least so many documents.

    The documents are counted after a refresh. ``port`` is the service's usual one (9200) if it is not given.
    """

    port: PortNumber | None = None
    status: Literal["green", "yellow"] = "green"
    indices: dict[IndexName, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)


def _one_key(model: type[Frozen], value: Any, keys: tuple[str, ...], owner: str) -> Any:  # noqa: ANN401 - as written
    fields = {field.alias or name for name, field in model.model_fields.items()}
    # A key that is not known is the more useful thing to say, and pydantic says it.
    if isinstance(value, dict) and fields.issuperset(value):
        present = [key for key in keys if key in value]
        if len(present) != 1:
            raise ValueError(f"{owner} has {', '.join(present) or 'none'}; exactly one is needed of: {', '.join(keys)}")
        if value[present[0]] is None and present[0] != "json":
            raise ValueError(f"{owner} needs a value for {present[0]}; it has none")
    return value


class Probe(Frozen):
    """One condition for a service to be ready."""

    http: HttpProbe | None = None
    tcp: PortNumber | None = None
    kafka: KafkaProbe | None = None
    log: str | None = None
    exec: Words | None = None
    file: str | None = None
    healthy: Literal[True] | None = None
    python: Reference | None = None
    sql: Annotated[str, Field(pattern=r"\S")] | None = None
    """Holds when PostgreSQL runs it and the first value that it gives, if it gives rows, is neither null nor false."""
    redis: RedisProbe | None = None
    search: SearchProbe | None = None

    @model_validator(mode="before")
    @classmethod
    def _exactly_one(cls, value: Any) -> Any:  # noqa: ANN401
        return _one_key(cls, value, tuple(cls.model_fields), "a probe")

    @model_validator(mode="after")
    def _parses(self) -> Self:
        if self.log is not None:
            try:
                re.compile(self.log)
            except re.error as error:
                raise ValueError(f"log: {self.log!r} is no regular expression: {error}") from error
        return self

    @property
    def kind(self) -> str:
        """The name of the one key that is set."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)


class HealthCheck(Frozen):
    """How a local process is asked for its health, in Compose's own words.

    Without ``interval`` it is asked as often as any probe; without ``retries`` it may fail until the time is up.
    """

    test: Words | str
    interval: Seconds | None = None
    timeout: Seconds = 5.0
    retries: Annotated[int, Field(ge=1)] | None = None
    start_period: Seconds | None = None
    start_interval: Seconds | None = None

    @model_validator(mode="after")
    def _has_a_command(self) -> Self:
        if self.test in ("", ("NONE",), ("CMD",), ("CMD-SHELL",)):
            raise ValueError("a healthcheck needs a command: [CMD, word, ...], [CMD-SHELL, line] or a line")
        return self


PRESETS = ("postgres", "redis", "search")
PRESET_PROBES = {
    "postgres": Probe(sql="select 1"),
    "redis": Probe(redis=RedisProbe()),
    "search": Probe(search=SearchProbe()),
}
"""The probe that a service of a preset has when it declares none."""
STORE_PORTS = {"postgres": 5432, "redis": 6379, "search": 9200}
"""The port of a store in its image, by the kind of store."""


def _known_preset(value: object) -> object:
    if isinstance(value, str) and value not in PRESETS:
        raise ValueError(f"preset {value!r} is not known{nearest(value, PRESETS)}; presets: {', '.join(PRESETS)}")
    return value


class Process(Frozen):
    """A service as a local process: by a command, or by a preset, which has one of its own."""

    command: Words = ()
    preset: Annotated[str | None, BeforeValidator(_known_preset), WithJsonSchema({"enum": [*PRESETS, None]})] = None
    user: Annotated[str, Field(pattern=r"^[\w.-]+(:[\w.-]+)?$")] | None = None
    """Who it runs as, where the caller is root: a name or number, and a group after a colon."""
    cwd: str | None = None
    environment: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    stop: Words | None = None
    healthcheck: HealthCheck | None = None

    @model_validator(mode="after")
    def _has_one_command(self) -> Self:
        if self.command and self.preset:
            raise ValueError("command and preset are both given; a preset has a command of its own")
        if not (self.command or self.preset):
            raise ValueError("command is missing (or preset: " + ", ".join(PRESETS) + ")")
        return self


Permission = Literal[
    "privileged", "cap_add", "host-namespace", "engine-socket", "root-filesystem", "docker-in-docker", "external"
]
"""What a service may not have unless its ``x-harness.allow`` names it (``external``: volumes and networks)."""


class UnitTests(Frozen):
    """Unit tests that a stage of a build runs: it writes their report and exit code; a later stage fails on that."""

    stage: Annotated[str, Field(min_length=1)]
    report: Annotated[str, Field(pattern=r"^/.*[^/]$")]
    """The JUnit report, as the stage sees it."""


class ServiceSettings(Frozen):
    """``x-harness`` of a service."""

    subject: str | None = None
    role: Literal["service", "oneshot"] = "service"
    ready: tuple[Probe, ...] = ()
    embedded: Process | None = None
    local: Process | None = None
    host: Process | None = None
    """The service as a local process on every engine that starts something."""
    fixed: bool = False
    sources: tuple[str, ...] = ()
    reset: bool | None = None
    """Whether its databases are copied when they are seeded, so that they can be brought back to that.

    True: also where sessions have to be terminated for it. False: never. By default where nobody is connected then.
    Of a local process that is no store True has its files copied, for which it is stopped and started again.
    """
    allow: tuple[Permission, ...] = ()
    log_file: Annotated[str, Field(pattern=r"^/.*[^/]$")] | None = None
    """The file, as a container sees it, to which the service writes a log of its own."""
    unit_tests: UnitTests | None = Field(default=None, alias="unit-tests")
    """The unit tests that its build runs."""

    @property
    def processes(self) -> dict[str, Process]:
        """The ways in which it is declared to run as a local process, by their keys."""
        ways = {"host": self.host, "embedded": self.embedded, "local": self.local}
        return {key: process for key, process in ways.items() if process}

    @model_validator(mode="after")
    def _runs_in_one_way(self) -> Self:
        if self.host and self.embedded:
            raise ValueError("host and embedded are both given; host is how it runs on every engine")
        if self.host and self.host.preset:
            raise ValueError("host.preset is not possible: a preset is for the embedded engine; host needs a command")
        return self


class Timeouts(Frozen):
    """Budgets of a stack."""

    up: Seconds = 120.0
    ready: Seconds = 90.0
    down: Seconds = 7.0


class MessageSeed(Frozen):
    """A Kafka message to send."""

    topic: str
    key: str | None = None
    value: str | None = None
    json_: Any = Field(default=None, alias="json")
    file: str | None = None
    broker: BrokerName | None = None

    @model_validator(mode="before")
    @classmethod
    def _exactly_one(cls, value: Any) -> Any:  # noqa: ANN401
        return _one_key(cls, value, ("value", "json", "file"), "a message")


class HttpSeed(Frozen):
    """An HTTP request to make."""

    service: str
    port: PortNumber
    path: str = "/"
    method: str = "POST"
    json_: Any = Field(default=None, alias="json")
    file: str | None = None
    status: tuple[int, ...] = (200, 201, 202, 204)


class ExecSeed(Frozen):
    """A command to run in a service."""

    service: str
    command: Words


class SqlSeed(Frozen):
    """SQL to run in a PostgreSQL database: a file as for ``psql``, or statements. The database is that of the service.

    Each statement is committed by itself.
    """

    service: str
    file: str | None = None
    statements: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    database: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _exactly_one(cls, value: Any) -> Any:  # noqa: ANN401
        return _one_key(cls, value, ("file", "statements"), "a seed of SQL")


class RedisSeed(Frozen):
    """Commands to send to a Redis server: a file with one in each line, as for ``redis-cli``."""

    file: str
    service: str | None = None
    """Default: the only service of the stack that publishes port 6379."""


class SearchSeed(Frozen):
    """Documents to put into an index of a search engine, which is made if it is not there."""

    index: IndexName
    file: str | None = None
    """Documents, one a line; ``_id`` of one is its id, else the number of its line is."""
    mapping: str | None = None
    """JSON: mappings of the index, or a whole body with ``settings``, ``mappings`` or ``aliases``."""
    service: str | None = None
    """Default: the only service of the stack that publishes port 9200."""

    @model_validator(mode="after")
    def _has_something(self) -> Self:
        if self.file is None and self.mapping is None:
            raise ValueError("a seed of a search engine needs a file of documents, a mapping, or both")
        return self


class Seed(Frozen):
    """Data that a stack starts with."""

    key: str
    before: str | None = None
    topics: dict[str, Annotated[int, Field(ge=1)]] | None = None
    message: MessageSeed | None = None
    http: HttpSeed | None = None
    exec: ExecSeed | None = None
    python: Reference | None = None
    sql: SqlSeed | None = None
    redis: RedisSeed | None = None
    search: SearchSeed | None = None

    @model_validator(mode="before")
    @classmethod
    def _exactly_one(cls, value: Any) -> Any:  # noqa: ANN401
        return _one_key(cls, value, ("topics", "message", "http", "exec", "python", "sql", "redis", "search"), "a seed")


class Template(Frozen):
    """A stack of one service, of which copies are made while others run.

    A copy may be given the variables that ``environment`` names; there are ``most`` of them at once.
    """

    file: str
    service: Annotated[str, Field(min_length=1)]
    environment: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    most: Annotated[int, Field(ge=1, le=100)] = 20


TemplateName = Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9])*$", max_length=40)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Deployer(Frozen):
    """What makes copies of templates at the request of services, which it ``tells`` where it is."""

    tells: Annotated[Words, BeforeValidator(_listed)]
    templates: Annotated[dict[TemplateName, Template], Field(min_length=1)]


class StackSettings(Frozen):
    """``x-harness`` at the top of a Compose file."""

    seed: tuple[Seed, ...] = ()
    timeouts: Timeouts = Timeouts()
    data: tuple[str, ...] = ()
    deployer: Deployer | None = None


# -- what is made of it ----------------------------------------------------------------------------------------------


class Port(Frozen):
    """A published port: ``left:right`` in Compose's short form."""

    left: PortNumber
    right: PortNumber
    protocol: str = "tcp"


class Numbered(Protocol):
    """What has the two numbers of a published port."""

    @property
    def left(self) -> int:
        """The number that tests and in-network clients use."""
        ...

    @property
    def right(self) -> int:
        """The number inside a container."""
        ...


_Numbered = TypeVar("_Numbered", bound=Numbered)


def by_number(ports: Iterable[_Numbered]) -> dict[int, _Numbered]:
    """Return number -> the port that it means: the one whose left number it is, else the one whose right number it is.

    A left number goes before a right one of *any* port, and of two ports with one number the first is meant. This is
    the only place that says so; left numbers come first in what is returned.
    """
    ports = tuple(ports)
    meant: dict[int, _Numbered] = {}
    for port in ports:
        meant.setdefault(port.left, port)
    for port in ports:
        meant.setdefault(port.right, port)
    return meant


def numbers_of(port: _Numbered, ports: Iterable[_Numbered]) -> tuple[int, ...]:
    """Return the numbers that mean ``port``, one of ``ports``: its left one, and its right one if it means no other."""
    other = by_number(ports).get(port.right, port)
    alone = (other.left, other.right) == (port.left, port.right)
    return tuple(dict.fromkeys((port.left, port.right) if alone else (port.left,)))


class Mount(Frozen):
    """A volume of a service; ``source`` is an absolute path for a bind and a name for a volume.

    ``create`` is whether its file says, by ``create_host_path``, that a source that is missing is made as a folder.
    """

    kind: str
    source: str
    target: str
    read_only: bool = False
    create: bool = False


class Service(Frozen):
    """One service of a stack."""

    name: str
    image: str = ""
    environment: dict[str, str] = Field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    depends_on: dict[str, str] = Field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    stop_grace: float | None = None
    has_healthcheck: bool = False
    has_settings: bool = False
    settings: ServiceSettings = ServiceSettings()
    merged: dict[str, str] = Field(default_factory=dict, repr=False)
    """``host``, ``embedded`` or ``local`` -> where its command is written, if Compose merged it with another file's."""
    compose: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Its table as Compose merged and normalised it, for engines that give it to Compose again."""
    source: Subject | None = Field(default=None, repr=False, exclude=True)
    """Where its image comes from, as the table of its subject says; ``compose`` has that one's section ``build``."""
    given: dict[str, str] = Field(default_factory=dict, repr=False)
    """Variables of a copy, which go before all others and are taken as they are."""
    is_ours: bool = False
    """Whether it is a part of harness, which no file declares."""

    def port(self, number: int) -> Port | None:
        """Return the port that ``number`` means, None for none."""
        return by_number(self.ports).get(number)

    def store_port(self, kind: str) -> Port | None:
        """Return the port of a store of this kind (a key of STORE_PORTS): the usual one, else its first TCP port."""
        return self.port(STORE_PORTS[kind]) or next((port for port in self.ports if port.protocol == "tcp"), None)

    @property
    def process(self) -> Process | None:
        """How it runs as a local process where there are no containers."""
        return self.settings.host or self.settings.embedded

    @property
    def is_at_localhost(self) -> bool:
        """Whether its ports are on 127.0.0.1 on every engine: a process of this machine whose ports are fixed."""
        return self.settings.host is not None and self.settings.fixed and bool(self.ports)

    @property
    def is_for_this_machine(self) -> bool:
        """Whether it is a process of this machine that no container can reach."""
        return self.is_at_localhost or self.is_ours

    @property
    def other_names(self) -> tuple[str, ...]:
        """The names beside its own under which other services reach it, as Compose has it."""
        names = [self.compose.get("hostname"), self.compose.get("container_name")]
        for network in (self.compose.get("networks") or {}).values():
            names += (network or {}).get("aliases") or ()
        return tuple(dict.fromkeys(str(name) for name in names if name and name != self.name))


class Stack(Frozen):
    """A stack: its own services, the names of the stacks that it stands on, and what is to be told of its files."""

    name: str
    files: tuple[Path, ...]
    includes: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    idle: tuple[Service, ...] = ()
    """Those of its files that are not started and have an image to build, which others may be built from."""
    settings: StackSettings = StackSettings()
    project_directory: Path | None = None
    env_files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    volumes: dict[str, Any] = Field(default_factory=dict, repr=False)
    networks: dict[str, Any] = Field(default_factory=dict, repr=False)
    configs: dict[str, Any] = Field(default_factory=dict, repr=False)
    secrets: dict[str, Any] = Field(default_factory=dict, repr=False)
    waits: bool = False
    """Whether its services do nothing by themselves: they wait for commands to be run in them."""
    maker: str = ""
    """The stack whose deployer has made it of a template; "" for none. Its file alone does not make it again."""

    @property
    def folder(self) -> Path:
        """The folder that relative paths of its file start from."""
        return self.files[0].parent

    def service(self, name: str) -> Service | None:
        """Return the own service ``name``, or None."""
        return next((service for service in self.services if service.name == name), None)

    def awaits(self, name: str) -> bool:
        """Return whether one of its services starts when the service ``name`` is healthy."""
        return any(service.depends_on.get(name) == "service_healthy" for service in self.services)


class Tree(Frozen):
    """A stack with everything that it stands on, what is included first."""

    stacks: tuple[Stack, ...]

    @property
    def root(self) -> Stack:
        """The stack that was asked for."""
        return self.stacks[-1]

    def stack(self, name: str) -> Stack:
        """Return the stack called ``name``."""
        return next(stack for stack in self.stacks if stack.name == name)

    def below(self, name: str) -> tuple[Stack, ...]:
        """Return the stack ``name`` and all that it includes, directly or not, in start order."""
        wanted, todo = set(), [name]
        while todo:
            included = todo.pop()
            if included not in wanted:
                wanted.add(included)
                todo += self.stack(included).includes
        return tuple(stack for stack in self.stacks if stack.name in wanted)

    def visible(self, name: str) -> dict[str, tuple[Stack, Service]]:
        """Return the services that names resolve to within the stack ``name``."""
        return {service.name: (stack, service) for stack in self.below(name) for service in stack.services}
