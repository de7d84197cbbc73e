"""How suites stood when somebody was last told, and what could not be told yet: a file that outlives runs."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.artifacts import read_regular, write_atomically
from harness.notices.message import Message
from harness.notices.standing import UNKNOWN, VERDICTS, Change, Standing, change_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

SCHEMA = 1
LARGEST = 8 << 20
MOST_SUITES, MOST_WAITING, MOST_FLAKES = 200, 50, 500
FORGOTTEN = 30 * 86400  # seconds after which a test that was flaky is news again


@dataclass(frozen=True)
class Suite:
    """What is told apart from all else.

    Attributes:
        branch: of the checkout, "" where none can be told.
        system: "" in a project that has none.
        engine: as it was asked for, since a run that could not begin has no other.
        words: how pytest was told to run a part of it, "" for all of it.
    """

    branch: str
    system: str
    engine: str
    words: str = ""

    @property
    def key(self) -> str:
        """It as one text."""
        return json.dumps([self.branch, self.system, self.engine, self.words])

    @classmethod
    def from_key(cls, key: str) -> Suite:
        """Return what has this key. Raises ValueError, TypeError: it is none."""
        return cls(*map(str, json.loads(key)))


@dataclass(frozen=True)
class Remembered:
    """How a suite stood.

    Attributes:
        standing: with all tests that are known to be flaky.
        flakes: test -> when it was last seen to be flaky, in seconds since 1970.
        when: of its last run.
    """

    standing: Standing
    flakes: Mapping[str, int]
    when: int


@dataclass(frozen=True)
class Waiting:
    """A message that is yet to be sent.

    Attributes:
        suite: key of the suite that it is about.
        to: name of the place.
        change: what its reader is told.
        message: how.
        since: seconds since 1970.
    """

    suite: str
    to: str
    change: Change
    message: Message
    since: int


@dataclass(frozen=True)
class Memory:
    """What is remembered; a value."""

    suites: Mapping[str, Remembered] = field(default_factory=dict)
    outbox: tuple[Waiting, ...] = ()

    def change(self, suite: Suite, now: Standing, when: int) -> Change:
        """Return what is news of a suite, at a time in seconds since 1970.

        A flake and a lapsed quarantine are news once on a branch, whichever suite comes upon them first. A part that
        never ran before is no news where it is not green and all of its suite was not, either.
        """
        branch = [known for key, known in self.suites.items() if Suite.from_key(key).branch == suite.branch]
        flakes = {test for known in branch for test, seen in known.flakes.items() if when - seen < FORGOTTEN}
        lapsed = frozenset().union(*(known.standing.lapsed for known in branch))
        before = replace(self._before(suite, now), flakes=frozenset(flakes), lapsed=lapsed)
        return change_of(before, now)

    def _before(self, suite: Suite, now: Standing) -> Standing:
        """Return what a suite is compared with."""
        known = self.suites.get(suite.key)
        if known is None and now.verdict != "green":
            known = self.suites.get(replace(suite, words="").key)
        return known.standing if known else UNKNOWN

    def with_run(self, suite: Suite, now: Standing, when: int) -> Memory:
        """Return it after a run of a suite, told to nobody."""
        known = self.suites.get(suite.key)
        flakes = {**(known.flakes if known else {}), **dict.fromkeys(now.flakes, when)}
        recent = sorted(
            (test for test, seen in flakes.items() if when - seen < FORGOTTEN), key=lambda test: flakes[test]
        )
        flakes = {test: flakes[test] for test in recent[-MOST_FLAKES:]}
        lapsed = now.lapsed
        if known and now.verdict == "broken":  # such as one that was killed before it had read the quarantine
            lapsed |= known.standing.lapsed
        standing = replace(now, flakes=frozenset(flakes), lapsed=lapsed)
        suites = {key: value for key, value in self.suites.items() if key != suite.key}
        newest = sorted(suites, key=lambda key: suites[key].when)[-(MOST_SUITES - 1) :]
        remembered = {key: suites[key] for key in newest} | {suite.key: Remembered(standing, flakes, when)}
        return replace(self, suites=remembered)

    def with_news(
        self, suite: Suite, change: Change, places: Sequence[str], message: Callable[[Change], Message], when: int
    ) -> Memory:
        """Return it with a message in the outbox for each place that has news to get.

        One that waits there already is replaced by what is news for a reader who has not got it: nothing, where all is
        again as that reader knows it.
        """
        waiting = {(entry.suite, entry.to): entry for entry in self.outbox}
        if change.is_any:
            for place in places:
                earlier = waiting.pop((suite.key, place), None)
                news = change.after(earlier.change if earlier else None)
                if news.is_any:
                    since = earlier.since if earlier else when
                    waiting[suite.key, place] = Waiting(suite.key, place, news, message(news), since)
        return replace(self, outbox=tuple(waiting.values())[-MOST_WAITING:])

    def without(self, sent: Sequence[Waiting]) -> Memory:
        """Return it without messages that were sent."""
        return replace(self, outbox=tuple(entry for entry in self.outbox if entry not in sent))

    def for_places(self, names: Sequence[str]) -> Memory:
        """Return it without messages for those who are no longer named, by variable or file."""
        return replace(self, outbox=tuple(entry for entry in self.outbox if entry.to.partition("#")[0] in names))


@dataclass(frozen=True)
class Shown:
    """How a suite stands, for people."""

    suite: Suite
    remembered: Remembered

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        when = datetime.fromtimestamp(self.remembered.when, UTC).isoformat()
        standing = self.remembered.standing
        return {**asdict(self.suite), "verdict": standing.verdict, "failed": list(standing.failed), "when": when}


def standings(state: Memory) -> list[Shown]:
    """Return how all suites stand, the newest run last."""
    newest_last = sorted(state.suites.items(), key=lambda entry: entry[1].when)
    return [Shown(Suite.from_key(key), remembered) for key, remembered in newest_last]


# -- the file ----------------------------------------------------------------------------------------------------------


def read(path: Path) -> Memory:
    """Return what is remembered at ``path``, nothing where there is no file. Raises OSError, ValueError."""
    try:
        data = read_regular(path, LARGEST)
    except FileNotFoundError:
        return Memory()
    try:
        document = json.loads(data)
        if document["schema"] != SCHEMA:
            raise ValueError(f"it has schema {document['schema']!r}, {SCHEMA} was needed")
        suites = {Suite.from_key(key).key: _remembered(table) for key, table in document["suites"].items()}
        return Memory(suites, tuple(_waiting(table) for table in document["outbox"]))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is damaged: {error}") from error


def read_or_begin(path: Path) -> tuple[Memory, str]:
    """Return what is remembered, and a line for people where a damaged file is kept aside for a new one.

    Raises:
        OSError: it cannot be moved.
    """
    try:
        return read(path), ""
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        os.rename(path, aside)  # noqa: PTH104 - whatever it is
        return Memory(), f"{path} cannot be read: {why}; it is kept as {aside.name}, a new one was begun"


def write(path: Path, memory: Memory) -> None:
    """Write what is remembered. Raises OSError."""
    document = {
        "schema": SCHEMA,
        "suites": {key: _table(remembered) for key, remembered in memory.suites.items()},
        "outbox": [
            {
                "suite": entry.suite,
                "to": entry.to,
                "change": {
                    "before": entry.change.before,
                    "now": entry.change.now,
                    "flakes": sorted(entry.change.flakes),
                    "lapsed": sorted(entry.change.lapsed),
                },
                "message": entry.message.as_dict(),
                "since": entry.since,
            }
            for entry in memory.outbox
        ],
    }
    write_atomically(path, json.dumps(document, indent=1) + "\n")


def _table(remembered: Remembered) -> dict[str, Any]:
    standing = remembered.standing
    return {
        "verdict": standing.verdict,
        "failed": list(standing.failed),
        "flakes": dict(remembered.flakes),
        "lapsed": sorted(standing.lapsed),
        "when": remembered.when,
    }


def _remembered(table: Mapping[str, Any]) -> Remembered:
    flakes = {str(test): int(seen) for test, seen in table["flakes"].items()}
    lapsed = frozenset(map(str, table["lapsed"]))
    standing = Standing(_verdict(table["verdict"]), tuple(map(str, table["failed"])), frozenset(flakes), lapsed)
    return Remembered(standing, flakes, int(table["when"]))


def _waiting(table: Mapping[str, Any]) -> Waiting:
    told = table["change"]
    flakes, lapsed = (frozenset(map(str, told[name])) for name in ("flakes", "lapsed"))
    change = Change(_verdict(told["before"]), _verdict(told["now"]), flakes, lapsed)
    message = Message.from_dict(table["message"])
    return Waiting(str(table["suite"]), str(table["to"]), change, message, int(table["since"]))


def _verdict(value: object) -> Any:  # noqa: ANN401 - one of three texts
    if value not in VERDICTS:
        raise ValueError(f"it is damaged: {value!r} is no verdict")
    return value
