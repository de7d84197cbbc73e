"""What is expected of cells, as ``expect.toml`` says, and how that compares with what became of them."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import ConfigError, nearest
from harness.matrix.tables import Table, shown
from harness.matrix.verdicts import STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.matrix.cells import Cell
    from harness.matrix.verdicts import Status, Verdict


@dataclass(frozen=True)
class Expectation:
    """What may become of the cells that it is about.

    Attributes:
        where: file and number, for people.
        status: what may become of them, the typical one first.
        reason: why.
        test: pattern of tests' names; likewise ``worker`` and ``driver`` of implementations' names.
        params: name of a parameter -> pattern of its value.
        pass_rate: share of runs that succeed, None where the status alone decides.
        window: how many runs that is looked at in.
        expires: the last day on which it holds, None for always.
    """

    where: str
    status: tuple[Status, ...]
    reason: str
    test: str = "*"
    worker: str = "*"
    driver: str = "*"
    params: Mapping[str, str] = field(default_factory=dict)
    pass_rate: float | None = None
    window: int = 20
    expires: dt.date | None = None


@dataclass(frozen=True)
class Comparison:
    """Whether a verdict is what was expected.

    Attributes:
        kind: ``expected``, ``unexpected``, or ``unexpected pass``, which counts as unexpected.
        reason: one sentence, of what was expected and why.
        expected: the statuses that were.
    """

    kind: Literal["expected", "unexpected", "unexpected pass"]
    reason: str = ""
    expected: tuple[Status, ...] = ("succeeded", "unsupported", "skipped")


DEFAULT: tuple[Status, ...] = ("succeeded", "unsupported", "skipped")
"""What may become of a cell of which nothing is said."""
ALPHA = 0.01
"""How unlikely a number of successes must be, given the pass rate that is expected, to be unexpected."""
_KEYS = ("test", "worker", "driver", "params", "status", "pass-rate", "pass_rate", "window", "reason", "expires")
_MOST = 10_000  # runs of a window


def read_expectations(file: Path, data: Mapping[str, Any]) -> tuple[Expectation, ...]:
    """Return what ``expect.toml`` says. Raises ConfigError with everything that is wrong in it."""
    problems: list[str] = []
    top = Table(str(file), data, problems, ("expect",))
    tables = data.get("expect", [])
    if not isinstance(tables, list):
        top.unlike("expect", "a list of tables [[expect]]")
        tables = []
    found = []
    for number, table in enumerate(tables, start=1):
        where = f"{file}: [[expect]] {number}"
        if isinstance(table, dict):
            found.append(_read(Table(where, table, problems, _KEYS)))
        else:
            problems.append(f"{where} is {shown(table)}, a table was needed")
    if problems:
        raise ConfigError.of(problems)
    return tuple(found)


def _read(table: Table) -> Expectation:
    statuses = table.texts("status")
    if not statuses:
        table.wrong(f"status is missing; one or more of {', '.join(STATUSES)} were needed")
    for status in statuses:
        if status not in STATUSES:
            table.wrong(f"status has {status!r}, one of {', '.join(STATUSES)} was needed{nearest(status, STATUSES)}")
    if not table.text("reason").strip():
        table.wrong("reason is missing; a sentence was needed")
    rate = "pass_rate" if table.has("pass_rate") else "pass-rate"
    expires = table.data.get("expires")
    if isinstance(expires, str):
        try:
            expires = dt.date.fromisoformat(expires)
        except ValueError:
            table.unlike("expires", "a day such as 2027-01-31")
            expires = None
    elif isinstance(expires, dt.datetime):
        expires = expires.date()
    elif expires is not None and not isinstance(expires, dt.date):
        table.unlike("expires", "a day such as 2027-01-31")
        expires = None
    window = int(table.number("window", 20, 1, _MOST))
    if table.has("window") and not table.has(rate):
        table.wrong("window goes with pass-rate, which is missing")
    return Expectation(
        table.where,
        tuple(known for status in statuses for known in STATUSES if known == status),
        table.text("reason"),
        table.text("test", "*"),
        table.text("worker", "*"),
        table.text("driver", "*"),
        table.values("params"),
        table.number(rate, 1.0, 0.0, 1.0) if table.has(rate) else None,
        window,
        expires,
    )


def in_force(expectations: Iterable[Expectation], today: dt.date) -> tuple[Expectation, ...]:
    """Return those that have not expired."""
    return tuple(each for each in expectations if each.expires is None or each.expires >= today)


def expired(expectations: Iterable[Expectation], today: dt.date) -> tuple[str, ...]:
    """Return a sentence about each that has expired, and so counts as absent."""
    return tuple(
        f"{each.where} has expired on {each.expires} and is left out: {each.reason}"
        for each in expectations
        if each.expires is not None and each.expires < today
    )


def unmatched(expectations: Iterable[Expectation], cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return a sentence about each that is about none of ``cells``, which are those of the whole matrix."""
    return tuple(
        f"{each.where} is about no cell: {_of(each)}{_near(each, cells)}"
        for each in expectations
        if not any(_is_about(each, cell) for cell in cells)
    )


def _of(expectation: Expectation) -> str:
    patterns = {"test": expectation.test, "worker": expectation.worker, "driver": expectation.driver}
    said = [f"{name} {pattern!r}" for name, pattern in patterns.items() if pattern != "*"]
    return ", ".join([*said, *(f"{name}={pattern}" for name, pattern in expectation.params.items())]) or "any"


def _near(expectation: Expectation, cells: Sequence[Cell]) -> str:
    """Return the name that was perhaps meant, of the first pattern that nothing matches."""
    for attribute in ("test", "worker", "driver"):
        known = sorted({str(getattr(cell, attribute)) for cell in cells})
        pattern = str(getattr(expectation, attribute))
        if not any(fnmatchcase(name, pattern) for name in known):
            return nearest(pattern, known)
    return ""


def _is_about(expectation: Expectation, cell: Cell) -> bool:
    return (
        fnmatchcase(cell.test, expectation.test)
        and fnmatchcase(cell.worker, expectation.worker)
        and fnmatchcase(cell.driver, expectation.driver)
        and all(fnmatchcase(cell.params.get(name, ""), pattern) for name, pattern in expectation.params.items())
    )


def _wildcards(expectation: Expectation) -> tuple[int, int]:
    """Return how little an expectation says: wildcards, and then parameters of which it says nothing."""
    patterns = (expectation.test, expectation.worker, expectation.driver, *expectation.params.values())
    return sum(pattern.count(sign) for pattern in patterns for sign in "*?["), -len(expectation.params)


def expectation_for(cell: Cell, expectations: Iterable[Expectation]) -> Expectation | None:
    """Return the most specific one about a cell (with the fewest wildcards), of several the last."""
    about = [each for each in expectations if _is_about(each, cell)]
    return min(reversed(about), key=_wildcards, default=None)


def compare(verdict: Verdict, expectation: Expectation | None, history: Sequence[Status] = ()) -> Comparison:
    """Return whether a verdict is what was expected.

    Args:
        verdict: of the cell.
        expectation: about it, None where nothing is said.
        history: what became of the cell in earlier runs, oldest first.
    """
    status = verdict.status
    if expectation is None:
        return Comparison("expected" if status in DEFAULT else "unexpected", "", DEFAULT)
    allowed, reason = expectation.status, expectation.reason
    if status == "skipped":  # nothing was tried
        return Comparison("expected", reason, allowed)
    if expectation.pass_rate is not None:
        return _by_rate(status, expectation, history)
    if status in allowed:
        return Comparison("expected", reason, allowed)
    said = f"{' or '.join(allowed)} was expected: {reason}"
    return Comparison("unexpected pass" if status == "succeeded" else "unexpected", said, allowed)


def _by_rate(status: Status, expectation: Expectation, history: Sequence[Status]) -> Comparison:
    rate = expectation.pass_rate or 0.0
    allowed: tuple[Status, ...] = tuple(dict.fromkeys((*expectation.status, "succeeded")))
    if status not in allowed:
        return Comparison("unexpected", f"{' or '.join(allowed)} was expected: {expectation.reason}", allowed)
    tried = [each for each in (*history, status) if each not in ("skipped", "broken")][-expectation.window :]
    passes = tried.count("succeeded")
    chance = chance_of_at_most(passes, len(tried), rate)
    said = f"{passes} of {len(tried)} succeeded, {rate:g} of them were expected to: {expectation.reason}"
    is_unlikely = chance < ALPHA and not math.isclose(chance, ALPHA)
    return Comparison("unexpected" if is_unlikely else "expected", said, allowed)


def chance_of_at_most(passes: int, runs: int, rate: float) -> float:
    """Return how likely at most ``passes`` of ``runs`` are, each of which passes at ``rate``."""
    return sum(math.comb(runs, count) * rate**count * (1 - rate) ** (runs - count) for count in range(passes + 1))
