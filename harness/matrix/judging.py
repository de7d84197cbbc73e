"""What the events of a cell amount to, in the order in which they were recorded; nothing else is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.events import Event
    from harness.matrix.verdicts import Result, Verdict


def judge(case: Case, cell: Cell, events: Iterable[Event]) -> Verdict:
    """Return what became of a cell, by its events alone; a later ``status`` among them is not looked at."""
    raise NotImplementedError


def combined(results: Sequence[Result]) -> Result:
    """Return one result for all attempts at a cell: the last one's, ``flaky`` where an attempt ended otherwise."""
    raise NotImplementedError
