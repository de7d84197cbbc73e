"""What the platform is told by its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT = 10
"""Seconds for a connection to PostgreSQL, which starts a process for each; many may come at once."""
BUSY_TIMEOUT = 20
"""Seconds that SQLite waits for who writes."""


class BadVariableError(Exception):
    """A variable means nothing; the words say which, what was seen and what was needed."""


@dataclass(frozen=True)
class Variables:
    """The environment, read once.

    Attributes:
        database: Django's settings of the database.
        deployer_url: where the deployer is, "" without one.
        deployer_token_file: the file that has its token.
        invoke_timeout: seconds that a model server has for an answer.
        quota: deployments that a user may have who was promised no other number.
        host: where the platform listens.
        port: on which port.
    """

    database: dict[str, Any]
    deployer_url: str
    deployer_token_file: str
    invoke_timeout: float
    quota: int
    host: str
    port: int


def read_variables(environ: Mapping[str, str]) -> Variables:
    """Return what an environment says. Raises BadVariableError."""
    host, _, port = environ.get("LISTEN", "127.0.0.1:8000").rpartition(":")
    if not host or not port.isdecimal():
        raise BadVariableError(f"LISTEN is {environ['LISTEN']!r}, HOST:PORT was needed")
    url = environ.get("HARNESS_DEPLOYER_URL", "")
    parts = urlsplit(url)
    if url and (parts.scheme != "http" or not parts.hostname or not parts.port):
        raise BadVariableError(f"HARNESS_DEPLOYER_URL is {url!r}, http://HOST:PORT was needed")
    return Variables(
        database(environ.get("DATABASE_URL", "sqlite:///platform.sqlite3")),
        url.rstrip("/"),
        environ.get("HARNESS_DEPLOYER_TOKEN_FILE", ""),
        _number(environ, "INVOKE_TIMEOUT", 2.0),
        int(_number(environ, "QUOTA", 20)),
        host,
        int(port),
    )


def database(url: str) -> dict[str, Any]:
    """Return Django's settings of the database that a URL names. Raises BadVariableError, without the password."""
    parts = urlsplit(url)
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme == "sqlite" and name and not parts.netloc:
        # What is read in a transaction is then still so when it writes: it is who writes from its begin on.
        options: dict[str, Any] = {"timeout": BUSY_TIMEOUT, "transaction_mode": "IMMEDIATE"}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": options}
    try:
        port = parts.port or 5432
    except ValueError:
        port = 0
    if parts.scheme not in ("postgres", "postgresql") or not name or not parts.hostname or not port:
        raise BadVariableError(
            f"DATABASE_URL has the scheme {parts.scheme!r}; postgresql://USER:PASSWORD@HOST:PORT/NAME or "
            "sqlite:///PATH was needed"
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": port,
        "OPTIONS": {"connect_timeout": CONNECT_TIMEOUT},
    }


def _number(environ: Mapping[str, str], key: str, default: float) -> float:
    written = environ.get(key) or str(default)
    try:
        number = float(written)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise BadVariableError(f"{key} is {written!r}, a number from 0 on was needed")
    return number
