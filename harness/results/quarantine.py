"""Quarantine: tests that may fail for a while without failing the run, each with an owner, a reason and an end.

``quarantine.toml`` has ``[[quarantine]]`` tables of ``test``, ``owner``, ``reason`` and ``expires``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from harness.artifacts import read_regular
from harness.errors import ConfigError, nearest
from harness.results.parity import is_declared_by

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = timedelta(days=30)
TODAY = "HARNESS_TODAY"  # stands for the date of today, where the clock shall not decide
TABLE = "quarantine"
_KEYS = ("test", "owner", "reason", "expires")
_LARGEST = 4 << 20
_WILD = "*?["


@dataclass(frozen=True)
class Entry:
    """A test, or several, in quarantine.

    Attributes:
        test: node id, one without parameters, or a pattern.
        owner: who mends it.
        reason: why it is here.
        expires: the last day on which its failures do not count.
    """

    test: str
    owner: str
    reason: str
    expires: date

    def means(self, test: str) -> bool:
        """Return whether it is about a test."""
        return is_declared_by(self.test, test)

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {**asdict(self), "expires": self.expires.isoformat()}

    def __str__(self) -> str:
        return f"{self.owner}, until {self.expires.isoformat()}: {self.reason}"


@dataclass(frozen=True)
class Quarantine:
    """What is in quarantine on a day.

    Attributes:
        entries: as they are written.
        today: the day.
        path: the file, for people.
    """

    entries: tuple[Entry, ...]
    today: date
    path: str = ""

    def of(self, test: str) -> Entry | None:
        """Return the entry of a test that counts today, else one that has lapsed, None for none."""
        found = [entry for entry in self.entries if entry.means(test)]
        return next((entry for entry in found if not self.has_lapsed(entry)), found[0] if found else None)

    def holds(self, test: str) -> Entry | None:
        """Return the entry by which a failure of a test does not count today, None for none."""
        entry = self.of(test)
        return entry if entry and not self.has_lapsed(entry) else None

    def has_lapsed(self, entry: Entry) -> bool:
        """Return whether its last day is over."""
        return entry.expires < self.today

    @property
    def lapsed(self) -> tuple[Entry, ...]:
        """Those whose last day is over: they mean nothing any more."""
        return tuple(entry for entry in self.entries if self.has_lapsed(entry))

    def unmatched(self, tests: Collection[str], scopes: Sequence[str]) -> tuple[Entry, ...]:
        """Return the entries that are about none of ``tests``.

        Args:
            tests: node ids of all that was collected.
            scopes: files and folders that were collected whole, from the project's folder, "" for all of that; of an
                entry that may be about tests elsewhere nothing can be told.
        """
        return tuple(
            entry
            for entry in self.entries
            if any(_is_within(entry.test, scope) for scope in scopes) and not any(map(entry.means, tests))
        )


def _is_within(pattern: str, scope: str) -> bool:
    """Return whether all that a pattern can mean is in a file or folder."""
    file = pattern.partition("::")[0]
    wild = min((file.find(char) for char in _WILD if char in file), default=len(file))
    fixed = PurePosixPath(file[:wild] if wild == len(file) else file[:wild].rpartition("/")[0])
    return not scope or fixed.is_relative_to(scope)


def today(environ: Mapping[str, str]) -> date:
    """Return the date of today in UTC, or what ``HARNESS_TODAY`` says. Raises ConfigError: that is no date."""
    text = environ.get(TODAY)
    if not text:
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{TODAY} {text!r} is no date, such as 2030-01-31") from error


def read_quarantine(path: Path, day: date, *, needed: bool = False) -> Quarantine:
    """Return what is in quarantine by a file; nothing where there is none.

    Args:
        path: the file.
        day: today.
        needed: whether it is an error that it is not there.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; all of it is told together.
    """
    try:
        document = tomllib.loads(read_regular(path, _LARGEST).decode())
    except FileNotFoundError as error:
        if needed:
            raise ConfigError(f"Quarantine {path} does not exist; a file was needed") from error
        return Quarantine((), day, str(path))
    except OSError as error:
        raise ConfigError(f"Quarantine {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # no TOML, no UTF-8
        raise ConfigError(f"Quarantine {path} cannot be read: {error}") from error
    problems = [f"{path}: key {key!r} is not known{nearest(key, [TABLE])}" for key in document if key != TABLE]
    tables = document.get(TABLE, [])
    if not isinstance(tables, list):
        raise ConfigError(f"{path}: {TABLE} is {type(tables).__name__}, tables [[{TABLE}]] were needed")
    entries = []
    for number, table in enumerate(tables, 1):
        wrong = list(_problems(table, day))
        problems += [f"{path}: entry {number} of {TABLE}{_named(table)} {problem}" for problem in wrong]
        if not wrong:
            test, owner, reason = (str(table[key]).strip() for key in ("test", "owner", "reason"))
            entries.append(Entry(test, owner, reason, _date(table["expires"])))
    if problems:
        raise ConfigError.of(problems, hint="docs/flakes.md has what an entry needs")
    return Quarantine(tuple(entries), day, str(path))


def _named(table: Any) -> str:  # noqa: ANN401 - any TOML value
    return f" ({table['test']})" if isinstance(table, dict) and isinstance(table.get("test"), str) else ""


def _problems(table: Any, day: date) -> Iterable[str]:  # noqa: ANN401 - any TOML value
    """Yield what is wrong with an entry."""
    if not isinstance(table, dict):
        yield f"is {type(table).__name__} {table!r}, a table was needed"
        return
    yield from (f"has key {key!r}, which is not known{nearest(key, _KEYS)}" for key in table if key not in _KEYS)
    for key in ("test", "owner", "reason"):
        value = table.get(key, "")
        if not isinstance(value, str):
            yield f"has {key} {value!r}, a text was needed"
        elif not value.strip():
            yield f"has no {key}"
    if "expires" not in table:
        yield "has no expires, the last day on which its failures do not count"
        return
    try:
        expires = _date(table["expires"])
    except ValueError:
        yield f"has expires {str(table['expires'])!r}, which is no date, such as {day.isoformat()}"
        return
    if expires > day + LONGEST:
        yield (
            f"expires {expires.isoformat()}, more than {LONGEST.days} days ahead;"
            f" {(day + LONGEST).isoformat()} is the latest day today"
        )


def _date(value: object) -> date:
    """Return the date that TOML has as such, or as text. Raises ValueError."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and len(value) == len("2030-01-31"):
        return date.fromisoformat(value)
    raise ValueError(value)
