"""What is expected of cells, as ``expect.toml`` says, and how that compares with what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import datetime as dt
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


def read_expectations(file: Path, data: Mapping[str, Any]) -> tuple[Expectation, ...]:
    """Return what ``expect.toml`` says. Raises ConfigError with everything that is wrong in it."""
    raise NotImplementedError


def in_force(expectations: Iterable[Expectation], today: dt.date) -> tuple[Expectation, ...]:
    """Return those that have not expired."""
    raise NotImplementedError


def expired(expectations: Iterable[Expectation], today: dt.date) -> tuple[str, ...]:
    """Return a sentence about each that has expired, and so counts as absent."""
    raise NotImplementedError


def unmatched(expectations: Iterable[Expectation], cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return a sentence about each that is about none of ``cells``, which are those of the whole matrix."""
    raise NotImplementedError


def expectation_for(cell: Cell, expectations: Iterable[Expectation]) -> Expectation | None:
    """Return the most specific one about a cell (with the fewest wildcards), of several the last."""
    raise NotImplementedError


def compare(verdict: Verdict, expectation: Expectation | None, history: Sequence[Status] = ()) -> Comparison:
    """Return whether a verdict is what was expected.

    Args:
        verdict: of the cell.
        expectation: about it, None where nothing is said.
        history: what became of the cell in earlier runs, oldest first.
    """
    raise NotImplementedError
