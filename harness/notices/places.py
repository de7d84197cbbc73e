"""To whom notices go: the URLs in variables and files, each known by a name that is no secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from harness.artifacts import read_regular

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.config.notices import Notices

LARGEST = 1 << 16  # bytes of a file of URLs
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://\S+")
_HOST_FIRST = ("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms")  # whose host is no token


@dataclass(frozen=True)
class Place:
    """One that gets notices.

    Attributes:
        name: of the variable or file that has its URL; with ``#2`` where that is the second one there.
        url: what Apprise is given; a secret.
    """

    name: str
    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """It for people, without what its URL has of secrets."""
        scheme = self.url.partition("://")[0].lower()
        try:
            parts = urlsplit(self.url)
            host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}" if scheme in _HOST_FIRST else ""
        except ValueError:
            host = ""
        return f"{self.name} ({scheme}://{host}...)"

    @property
    def secrets(self) -> list[str]:
        """What of its URL must be seen nowhere: who logs in, all parts of the path, and values of the query."""
        scheme, _, rest = self.url.partition("://")
        before, _, query = rest.partition("?")
        user, _, after = before.rpartition("@")
        path = after.partition("/")[2] if scheme.lower() in _HOST_FIRST else after
        values = [pair.partition("=")[2] for pair in query.split("&")]
        parts = [*user.split(":", 1), *re.split(r"[/#:]", path), *values]
        return [self.url, *dict.fromkeys(form for part in parts if part for form in (part, unquote(part)))]


@dataclass(frozen=True)
class Places:
    """Who gets notices, and who could not be found.

    Attributes:
        places: those that can be tried.
        problems: what is wrong with others, a line each.
        unset: variables that are not set, which is no problem where notices are meant for another machine.
    """

    places: tuple[Place, ...] = ()
    problems: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()


def find_places(notices: Notices, environ: Mapping[str, str], root: Path) -> Places:
    """Return who gets notices: a variable or file has URLs with white space between them, ``#`` begins a comment."""
    places: list[Place] = []
    problems: list[str] = []
    unset: list[str] = []
    for name in dict.fromkeys(notices.urls):
        if "/" in name:
            text, problem = _read(root / Path(name).expanduser())
            problems += [f"file {name} {problem}"] if problem else []
        else:
            text = environ.get(name, "")
            if not text.strip():
                unset.append(name)
        urls = [
            word for line in text.splitlines() for word in line.partition(" #")[0].split() if line.strip()[:1] != "#"
        ]
        for number, url in enumerate(urls, 1):
            place = Place(name if number == 1 else f"{name}#{number}", url)
            if _URL.fullmatch(url):
                places.append(place)
            else:  # it is not shown, since it may be a password that was put there by mistake
                problems.append(
                    f"{place.name} has no URL such as mailtos://USER:PASSWORD@HOST?to=WHO; nothing goes there"
                )
    return Places(tuple(places), tuple(problems), tuple(unset))


def _read(path: Path) -> tuple[str, str]:
    """Return what a file of URLs has, and what is wrong with it."""
    try:
        text = read_regular(path, LARGEST).decode()
    except OSError as error:
        return "", f"cannot be read: {error.strerror or error}"
    except UnicodeDecodeError:
        return "", "cannot be read: it is no UTF-8"
    return text, "" if text.strip() else "has no URL in it"


def problems_of(found: Places) -> Sequence[str]:
    """Return what is to be said of places: variables that are not set only where some are, else nobody is meant."""
    if not found.places and not found.problems:
        return ()
    return (*found.problems, *(f"variable {name} is not set, so nothing goes there" for name in found.unset))
