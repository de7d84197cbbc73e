"""The ledger of flakes: how each test ended in the runs of a checkout, on which stacks, and how often it failed.

One JSON file, which survives the folders of runs: ``{"schema": 1, "checkout": ..., "tests": {TEST: {FINGERPRINT:
[[TIME, OUTCOME, RUN], ...]}}}``, oldest first. Its lock is beside it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness.artifacts import read_regular, unwritable, write_atomically
from harness.errors import ConfigError
from harness.ownership.locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.results import Status

How = Literal["passed", "failed", "flaky", "broken"]
SCHEMA = 1
MOST_EACH = 100  # outcomes of one test on one stack
MOST = 50_000  # outcomes of all
LARGEST = 64 << 20  # bytes
LOCK_BUDGET = 10.0  # seconds in which another session has written what it adds
_Z = 1.959963984540054  # of 95 %
_HOW: Mapping[Status, How] = {
    "succeeded": "passed", "failed": "failed", "quarantined": "failed", "flaky": "flaky", "broken": "broken",
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """How a test ended in a session.

    Attributes:
        test: its node id.
        stacks: fingerprint of the stacks that it used, "" for none.
        how: passed, failed (in quarantine, too), flaky: it failed, and passed when it was run again; or broken.
    """

    test: str
    stacks: str
    how: How


@dataclass(frozen=True)
class Seen:
    """One outcome in the ledger: seconds since 1970, how the test ended, and the id of the run."""

    time: int
    how: How
    run: str


Ledger = dict[str, dict[str, list[Seen]]]
"""Test -> fingerprint of its stacks -> how it ended, oldest first."""


@dataclass(frozen=True)
class Rate:
    """How often a test failed on one stack.

    Attributes:
        test: its node id.
        stacks: fingerprint of the stacks, "" for none.
        counts: outcome -> how often.
        last: when it ran last, in seconds since 1970.
    """

    test: str
    stacks: str
    counts: Mapping[How, int]
    last: int

    @property
    def bad(self) -> int:
        """How often it failed, those times included in which it passed when it was run again."""
        return self.counts["failed"] + self.counts["flaky"]

    @property
    def tries(self) -> int:
        """How often it came to an end of its own: what its stack broke says nothing of it."""
        return self.bad + self.counts["passed"]

    @property
    def rate(self) -> float:
        """The share of these that were bad, 0 where there were none."""
        return self.bad / self.tries if self.tries else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true rate is, with 95 % confidence."""
        return wilson(self.bad, self.tries)


def how_of(status: Status) -> How | None:
    """Return what the ledger has for a status, None for what tells nothing: a skipped test, one known to fail."""
    return _HOW.get(status)


def word_of(engine: str, stacks: Iterable[str]) -> str:
    """Return one word for the stacks of a test, each ``NAME=FINGERPRINT``, on an engine; "" for none."""
    names = sorted(set(stacks))
    return f"{engine}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}" if names else ""


def wilson(bad: int, tries: int) -> tuple[float, float]:
    """Return the Wilson score interval (95 %) of a rate: all of 0 to 1 where nothing was tried."""
    if not tries:
        return 0.0, 1.0
    square = _Z * _Z
    share, span = bad / tries, 1 + square / tries
    centre = (share + square / (2 * tries)) / span
    half = _Z / span * math.sqrt(share * (1 - share) / tries + square / (4 * tries * tries))
    return (0.0 if bad == 0 else centre - half), (1.0 if bad == tries else centre + half)


def rates(ledger: Ledger, *, since: float = 0.0, every: bool = False) -> list[Rate]:
    """Return how often tests failed, on each of their stacks: highest rate first, then the surest, then by name.

    Args:
        ledger: what is known.
        since: only what came after this, in seconds since 1970.
        every: also those that never failed.
    """
    found = []
    for test, stacks in ledger.items():
        for fingerprint, all_seen in stacks.items():
            seen = [one for one in all_seen if one.time >= since]
            counts: dict[How, int] = {how: sum(one.how == how for one in seen) for how in get_args(How)}
            rate = Rate(test, fingerprint, counts, max((one.time for one in seen), default=0))
            if rate.bad or (every and seen):
                found.append(rate)
    return sorted(found, key=lambda rate: (-rate.rate, -rate.interval[0], rate.test, rate.stacks))


# -- the file --------------------------------------------------------------------------------------------------------


def read(path: Path) -> Ledger:
    """Return a ledger, an empty one where there is none. Raises ConfigError: it cannot be read, or is none."""
    try:
        return _parse(read_regular(path, LARGEST))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        hint = "the next session with a stack keeps it aside and begins a new one"
        raise ConfigError(f"Ledger of flakes {path} cannot be read: {why}", hint=hint) from error


def _parse(data: bytes) -> Ledger:
    """Return what the bytes of a ledger say. Raises ValueError."""
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"it has no schema {SCHEMA}")
    try:
        return {
            test: {stacks: [_seen(*values) for values in seen] for stacks, seen in by_stacks.items()}
            for test, by_stacks in document["tests"].items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it is damaged: {error}") from error


def _seen(when: Any, how: Any, run: Any) -> Seen:  # noqa: ANN401 - any JSON value
    if type(when) is not int or how not in get_args(How) or not isinstance(run, str):
        raise ValueError(f"it is damaged: {[when, how, run]} is no outcome")
    return Seen(when, how, run)


def record(
    path: Path, results: Sequence[Result], *, run: str, checkout: str, when: float | None = None
) -> tuple[frozenset[str], str]:
    """Add what came out of a session to the ledger at ``path``; several sessions may do so at once.

    Args:
        path: its file, made if need be.
        results: how tests ended.
        run: id of the run.
        checkout: the project's folder.
        when: seconds since 1970, default: now.

    Returns:
        The tests that are flaky and were not known to be, and a line for people, "" for none: what was there was
        damaged and is kept aside.

    Raises:
        ConfigError: it cannot be written, or another session holds its lock for long.
        BrokenStack: there is no room for it.
    """
    moment = int(time.time() if when is None else when)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path.with_name(f"{path.name}.lock"), LOCK_BUDGET, purpose="to add what came out of tests"):
            ledger, told = _read_or_begin(path, moment)
            new = frozenset(result.test for result in results if result.how == "flaky" and not _was(ledger, result))
            for result in results:
                seen = ledger.setdefault(result.test, {}).setdefault(result.stacks, [])
                seen.append(Seen(moment, result.how, run))
            write_atomically(path, _text(bounded(ledger), checkout))
    except OSError as error:
        raise unwritable(f"Ledger of flakes {path} cannot be written", error) from error
    return new, told


def _was(ledger: Ledger, result: Result) -> bool:
    return any(one.how == "flaky" for seen in ledger.get(result.test, {}).values() for one in seen)


def _read_or_begin(path: Path, moment: int) -> tuple[Ledger, str]:
    """Return the ledger, and a line for people where a damaged one is kept aside for a new one. Raises OSError."""
    try:
        return read(path), ""
    except ConfigError as error:
        aside = path.with_name(f"{path.name}.damaged-{moment}")
        os.rename(path, aside)  # noqa: PTH104 - whatever it is
        return {}, f"{error.summary}; it is kept as {aside.name}, a new one was begun"


def bounded(ledger: Ledger, most: int = MOST, most_each: int = MOST_EACH) -> Ledger:
    """Return the newest outcomes of a ledger: so many of each test on a stack, and so many sessions as have so many."""
    short = {
        test: {stacks: seen[-most_each:] for stacks, seen in by_stacks.items()} for test, by_stacks in ledger.items()
    }
    moments = sorted(one.time for by_stacks in short.values() for seen in by_stacks.values() for one in seen)
    if len(moments) <= most:
        return short
    since = moments[-most]  # no session is cut in two
    kept = {
        test: {stacks: left for stacks, seen in by_stacks.items() if (left := [o for o in seen if o.time >= since])}
        for test, by_stacks in short.items()
    }
    return {test: by_stacks for test, by_stacks in kept.items() if by_stacks}


def _text(ledger: Ledger, checkout: str) -> str:
    tests = {
        test: {stacks: [[one.time, one.how, one.run] for one in seen] for stacks, seen in by_stacks.items()}
        for test, by_stacks in ledger.items()
    }
    return json.dumps({"schema": SCHEMA, "checkout": checkout, "tests": tests}, separators=(",", ":")) + "\n"


def results_of(ended: Iterable[tuple[str, Status, str]]) -> list[Result]:
    """Return what the ledger takes of (test, status, fingerprint of its stacks)."""
    return [Result(test, stacks, how) for test, status, stacks in ended if (how := how_of(status))]
