"""What earlier runs tell of cells: how long they take, what they cost, how they ended."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.matrix.cells import Cell

UNKNOWN = 1.0  # seconds that a cell is thought to take of which nothing is known, nor of its test
NEWEST = 5  # results that durations are told by
NOT_RUN = frozenset({"skipped", "broken"})  # their durations tell nothing of the cell


@dataclass(frozen=True)
class Past:
    """How a cell ended once.

    Attributes:
        cell: its id.
        status: of its verdict.
        seconds: wall time.
        cpu: seconds of processor time, None where it is not known.
        digest: of what it was made of then.
        run: the run's id.
        at: when it began, in seconds since 1970.
    """

    cell: str
    status: str
    seconds: float = 0.0
    cpu: float | None = None
    digest: str = ""
    run: str = ""
    at: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Past:
        """Return the result with these values. Raises ValueError for what is none."""
        try:
            past = cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})
        except TypeError as error:
            raise ValueError(f"it is no earlier result: {error}") from error
        kinds = {"cell": str, "status": str, "seconds": int | float, "cpu": int | float | None, "at": int | float}
        if wrong := [name for name, kind in kinds.items() if not isinstance(getattr(past, name), kind)]:
            raise ValueError(f"it is no earlier result: {', '.join(wrong)} of the wrong type")
        return past


class History:
    """Earlier results of a matrix on one engine, oldest first. Nothing known is a history, too."""

    def __init__(self, results: Iterable[Past] = ()) -> None:
        self._of_cell: dict[str, list[Past]] = defaultdict(list)
        newest: dict[str, deque[Past]] = defaultdict(lambda: deque(maxlen=NEWEST * NEWEST))
        for past in results:
            self._of_cell[past.cell].append(past)
            newest[past.cell.partition("/")[0]].append(past)
        self._of_test = {test: _seconds(results) for test, results in newest.items()}

    def seconds(self, cell: Cell) -> float:
        """Return how long a cell is expected to take: as its last results did, else as its test's did, else 1 s."""
        own = _seconds(self._of_cell[cell.id][-NEWEST:]) if cell.id in self._of_cell else None
        return next((known for known in (own, self._of_test.get(cell.test)) if known is not None), UNKNOWN)

    def cpu(self, cell: Cell) -> float | None:
        """Return the seconds of processor time that a cell is expected to take, None where that is not known."""
        known = [past.cpu for past in self._of_cell.get(cell.id, ())[-NEWEST:] if past.cpu is not None]
        return median(known) if known else None

    def statuses(self, cell: str, window: int) -> tuple[str, ...]:
        """Return how the last ``window`` runs of a cell ended, the newest last."""
        return tuple(past.status for past in self._of_cell.get(cell, ())[-window:])


def _seconds(results: Iterable[Past]) -> float | None:
    known = [past.seconds for past in results if past.status not in NOT_RUN]
    return median(known) if known else None
