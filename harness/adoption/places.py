"""How a project's files say where its services are: at ``localhost``, or by variables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LOCAL = re.compile(r"\blocalhost\b|\b127\.0\.0\.1\b")
_READ = re.compile(
    r"""(?:environ(?:\.get)?\s*[\[(]\s*|getenv\(\s*|process\.env(?:\.|\[\s*)|\benv[\w.]*\(\s*)["']?(\w+)"""
)
_SECRET = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)
_HOSTS = ("HOST", "ADDR", "ADDRESS", "SERVER", "SERVERS")


@dataclass(frozen=True)
class Reached:
    """A service that something outside reaches.

    Attributes:
        name: of the service.
        ports: the numbers of its published ports inside, each with the one that it is published as.
        port: the one that its kind listens at, 0 where the kind is not known.
        words: what a text that uses it says.
        environment: of its containers.
    """

    name: str
    ports: Mapping[int, int]
    port: int = 0
    words: Sequence[str] = ()
    environment: Mapping[str, str] | None = None


def local_places(texts: Mapping[str, str], services: Sequence[Reached]) -> list[str]:
    """Return where files look for a service's published port at localhost, as ``FILE:LINE (PORT of SERVICE)``."""
    return [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1} ({left} of {service.name})"
        for path, text in texts.items()
        if (match := _LOCAL.search(text))
        for service in services
        for right, left in service.ports.items()
        if _says(text, left) or (right == left == service.port and _names(text, service.words))
    ]


def _says(text: str, number: int) -> bool:
    return re.search(rf"(?<![\d.]){number}(?![\d.]*\d)", text) is not None


def _names(text: str, words: Sequence[str]) -> bool:
    return any(re.search(rf"\b{word}", text, re.IGNORECASE) for word in words)


def read_names(texts: Mapping[str, str]) -> set[str]:
    """Return the names of the variables that files read."""
    return {name for text in texts.values() for name in _READ.findall(text)}


def variables(services: Sequence[Reached], wanted: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables that tests need, by what containers are told; and the names of those that are secrets.

    Args:
        services: all of them.
        wanted: names of variables that the project's files read.
    """
    found: dict[str, str] = {}
    secret: list[str] = []
    for service in services:
        beside: dict[str, str] = {}
        for name, value in (service.environment or {}).items():
            text = _with_places(name, value, services)
            if text != value:
                found.setdefault(name, text)
                beside[name] = value
        for name, value in (service.environment or {}).items():
            stem = _stem(name)
            partner = next((beside[other] for other in beside if stem and _stem(other) == stem), "")
            if name in found or name not in wanted or not partner:
                continue
            if name.endswith("PORT") and value.isdecimal():
                found[name] = f"{{port:{partner}:{value}}}"
            elif _SECRET.search(name):
                secret.append(name)
            else:
                found[name] = value
    return {name: text for name, text in found.items() if name in wanted}, list(dict.fromkeys(secret))


def moved_ports(environment: Mapping[str, str], services: Sequence[Reached]) -> dict[str, str]:
    """Return the variables with a number that a local process must be told anew: there a port is the published one.

    Where a variable says ``NAME:PORT`` in one, the harness sees to it.
    """
    by_name = {service.name: service for service in services}
    hosts = {_stem(name): by_name[value] for name, value in environment.items() if value in by_name}
    found = {}
    for name, value in environment.items():
        service = hosts.get(_stem(name)) if name.endswith("PORT") and value.isdecimal() else None
        left = service.ports.get(int(value)) if service else None
        if left and str(left) != value:
            found[name] = str(left)
    return found


def _stem(name: str) -> str:
    return name.rpartition("_")[0]


def _with_places(variable: str, value: str, services: Sequence[Reached]) -> str:
    """Return a variable's value with placeholders where it names a service as containers do."""
    for service in services:
        if value == service.name and variable.endswith(_HOSTS):
            return f"{{host:{service.name}}}"
        for number in _numbers(service):
            value = re.sub(
                rf"(?<![\w.-]){re.escape(service.name)}:{number}(?!\d)", f"{{endpoint:{service.name}:{number}}}", value
            )
    return value


def _numbers(service: Reached) -> Iterator[int]:
    yield from dict.fromkeys((*service.ports, *service.ports.values()))
