"""What is asked of a deployer, as values: who may ask, what a request means, and why one is refused."""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTANCES = "instances"
LARGEST = 64 << 10  # bytes of a body
MOST_LINES = 10_000
DEFAULT_LINES = 200
_NAME = re.compile(r"[a-z0-9-]{1,40}")


class Refusal(Exception):
    """A request is answered with an error.

    Attributes:
        status: of HTTP.
        sentence: why.
        log: last lines of what did not settle, None where nothing was started.
    """

    def __init__(self, status: int, sentence: str, log: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.log = log

    def body(self) -> dict[str, str]:
        """Return it as JSON."""
        return {"error": self.sentence, **({} if self.log is None else {"log": self.log})}


@dataclass(frozen=True)
class Create:
    """Make a copy of a template."""

    template: str
    name: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ListAll:
    """Tell of all copies."""


@dataclass(frozen=True)
class LookAt:
    """Tell of one."""

    name: str


@dataclass(frozen=True)
class Logs:
    """Give the last lines of a copy's log."""

    name: str
    tail: int = DEFAULT_LINES


@dataclass(frozen=True)
class Restart:
    """Start a copy again."""

    name: str


@dataclass(frozen=True)
class Remove:
    """Remove a copy."""

    name: str


Asked = Create | ListAll | LookAt | Logs | Restart | Remove


def admit(header: str, token: str) -> None:
    """Do nothing for who has the token. Raises Refusal."""
    kind, _, given = header.partition(" ")
    # Compared as bytes: text that is not ASCII would be an error of its own.
    if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Refusal(401, "the header Authorization has no or another token: Bearer TOKEN was needed")


def meaning(method: str, target: str, body: bytes) -> Asked:
    """Return what a request asks for.

    Args:
        method: of HTTP.
        target: path and query.
        body: as it came.

    Raises:
        Refusal: it makes no sense.
    """
    url = urlsplit(target)
    words = [word for word in url.path.split("/") if word]
    match method, words:
        case "POST", ["instances"]:
            return _create(body)
        case "GET", ["instances"]:
            return ListAll()
        case "GET", ["instances", name]:
            return LookAt(name)
        case "GET", ["instances", name, "logs"]:
            return Logs(name, _tail(url.query))
        case "POST", ["instances", name, "restart"]:
            return Restart(name)
        case "DELETE", ["instances", name]:
            return Remove(name)
    raise Refusal(404, f"there is no {method} {url.path[:200]}")


def _tail(query: str) -> int:
    values = parse_qs(query, keep_blank_values=True)
    text = values.pop("tail", [str(DEFAULT_LINES)])[-1]
    if values or not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= MOST_LINES):
        raise Refusal(400, f"query {query[:100]!r} is not known; tail=N was needed, N from 1 to {MOST_LINES}")
    return int(text)


def _create(body: bytes) -> Create:
    try:
        table: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None
    if not isinstance(table, dict) or table.keys() - {"template", "name", "environment"}:
        raise Refusal(400, "the body is not {template, name, environment}")
    template, name, environment = table.get("template"), table.get("name"), table.get("environment", {})
    if not isinstance(template, str):
        raise Refusal(400, "template is missing, or no text")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refusal(400, f"name {str(name)[:60]!r} is none: 1 to 40 of a-z, 0-9 and - were needed")
    if not isinstance(environment, dict):
        raise Refusal(400, "environment is no table of names and texts")
    for key, value in environment.items():
        if not isinstance(value, str) or "\0" in value:
            raise Refusal(400, f"environment: {key[:60]} is no text")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refusal(400, f"environment: {key[:60]} is no text that can be encoded") from None
    return Create(template, name, environment)
