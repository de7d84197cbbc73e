"""How databases and stores are logged in to, as their services say: in the words of the official images."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.stack.model import STORE_PORTS

if TYPE_CHECKING:
    from harness.stack.model import Process, Service

_REQUIREPASS = "--requirepass"


@dataclass(frozen=True)
class Login:
    """What a service says of itself as a store.

    Attributes:
        kind: ``postgres``, ``redis`` or ``search``.
        port: its port, by its left number.
        user: who logs in, "" for nobody in particular.
        password: "" without one.
        database: its database, "" where there is none.
    """

    kind: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""


@dataclass(frozen=True)
class Store:
    """A database or store that can be connected to.

    Attributes:
        service: whose it is.
        login: how.
        host: its address here.
        port: the number to connect to.
    """

    service: str
    login: Login
    host: str
    port: int

    def url(self, database: str | None = None) -> str:
        """Return its URL, with the password; ``database``: another one than that of the service."""
        login = self.login
        who = quote(login.user, safe="") + (f":{quote(login.password, safe='')}" if login.password else "")
        scheme = {"postgres": "postgresql", "search": "http"}.get(login.kind, login.kind)
        at = f"{scheme}://{who + '@' if who else ''}{self.host}:{self.port}"
        return f"{at}/{quote(login.database if database is None else database, safe='')}".removesuffix("/")


def _kind_of(service: Service) -> str:
    """Return which kind of store a service is, "" for none: by its preset, its probes, or its usual port."""
    embedded = service.settings.embedded
    if embedded and embedded.preset:
        return embedded.preset
    for probe in service.settings.ready:
        if probe.sql:
            return "postgres"
        if probe.redis:
            return "redis"
        if probe.search:
            return "search"
    return next((kind for kind, number in STORE_PORTS.items() if service.port(number)), "")


def login_of(service: Service, kind: str = "") -> Login | None:
    """Return how a service is logged in to as a store, None when it is none; ``kind``: which kind it is, if known."""
    kind = kind or _kind_of(service)
    port = service.store_port(kind) if kind else None
    if port is None:
        return None
    if kind == "redis":
        return Login(kind, port.left, password=_password_in(_words(service.compose.get("command"))))
    if kind == "search":
        return Login(kind, port.left)
    environment = service.environment
    user = environment.get("POSTGRES_USER") or "postgres"
    database = environment.get("POSTGRES_DB") or user
    return Login(kind, port.left, user, environment.get("POSTGRES_PASSWORD", ""), database)


def _words(command: object) -> list[str]:
    if isinstance(command, str):
        try:
            return shlex.split(command)
        except ValueError:
            return command.split()
    return [str(word) for word in command] if isinstance(command, list | tuple) else []


def _password_in(words: list[str]) -> str:
    """Return the password that a redis-server is started with, also where the command is a line for a shell."""
    words = [part for word in words for part in (_words(word) if _REQUIREPASS in word and " " in word else [word])]
    return words[words.index(_REQUIREPASS) + 1] if _REQUIREPASS in words[:-1] else ""


def has_files(service: Service) -> bool:
    """Return whether a service may have files of its own: in a volume or folder that it may write, or in ``{data}``."""
    settings = service.settings
    writes = (mount for mount in service.mounts if not mount.read_only)
    if any(mount.kind != "bind" or not Path(mount.source).is_file() for mount in writes):
        return True
    return any(uses_data(service, process) for process in settings.processes.values())


def uses_data(service: Service, process: Process) -> bool:
    """Return whether a service, as this process, is told of its folder ``{data}``."""
    texts = [*process.command, *map(str, process.environment.values()), *service.environment.values()]
    return any("{data}" in text for text in texts)
