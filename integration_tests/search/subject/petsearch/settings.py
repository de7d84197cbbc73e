"""What the application is told by its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_URL = "http://search:9200"
TIMEOUT = 5.0


class BadSettingError(Exception):
    """A setting means nothing; the words say which, what was seen and what was needed."""


@dataclass(frozen=True)
class Settings:
    """Where the search engine is, and how long an answer of it may take.

    Attributes:
        url: of the engine, as ``http://host:port``.
        timeout: seconds for one request to the engine.
        host: where the application listens.
        port: on which port.
    """

    url: str = DEFAULT_URL
    timeout: float = TIMEOUT
    host: str = "0.0.0.0"  # noqa: S104 - in its container; as a local process it is told its address
    port: int = 8080


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings that an environment has. Raises BadSettingError."""
    url = environ.get("SEARCH_URL") or DEFAULT_URL
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise BadSettingError(f"SEARCH_URL is {url!r}, http://HOST:PORT was needed")
    host, _, port = environ.get("LISTEN", "0.0.0.0:8080").rpartition(":")
    if not host or not port.isdecimal():
        raise BadSettingError(f"LISTEN is {environ['LISTEN']!r}, HOST:PORT was needed")
    return Settings(url.rstrip("/"), _seconds(environ.get("SEARCH_TIMEOUT", str(TIMEOUT))), host, int(port))


def _seconds(written: str) -> float:
    try:
        seconds = float(written)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadSettingError(f"SEARCH_TIMEOUT is {written!r}, a number of seconds above 0 was needed")
    return seconds
