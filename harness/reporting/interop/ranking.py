"""Implementations of a matrix in an order: whose cells have succeeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.reporting.interop.report import CellReport, Report


@dataclass(frozen=True)
class Ranked:
    """An implementation, as all against all have found it.

    Attributes:
        rank: 1 for the best; those that are equal share it, and the next one's is by how many are before it.
        name: of the implementation.
        as_worker: cells that succeeded with it as worker.
        of_worker: cells that were run with it as worker.
        as_driver: likewise, as driver.
        of_driver: likewise.
    """

    rank: int
    name: str
    as_worker: int
    of_worker: int
    as_driver: int
    of_driver: int

    @property
    def share(self) -> float:
        """The share of its cells that succeeded; 0 where none was run."""
        return (self.as_worker + self.as_driver) / max(1, self.of_worker + self.of_driver)


def ranking(report: Report) -> tuple[Ranked, ...]:
    """Return the implementations, best first, by the share of their cells that succeeded, then by name.

    A cell that was skipped or not run counts for nobody, and one of an implementation with itself in both roles.
    """
    names = sorted({name for cell in report.cells for name in (cell.worker, cell.driver)})
    ran = [cell for cell in report.cells if cell.verdict and cell.status != "skipped"]
    counted = [
        Ranked(
            0,
            name,
            *_counted([cell for cell in ran if cell.worker == name]),
            *_counted([cell for cell in ran if cell.driver == name]),
        )
        for name in names
    ]
    ordered = sorted(counted, key=lambda one: (-one.share, one.name))
    return tuple(
        Ranked(1 + sum(other.share > one.share for other in ordered), *list(vars(one).values())[1:]) for one in ordered
    )


def _counted(cells: Sequence[CellReport]) -> tuple[int, int]:
    return sum(cell.status == "succeeded" for cell in cells), len(cells)


def ranked_lines(report: Report) -> Iterator[str]:
    """Yield the table of a ranking."""
    rows = [("rank", "implementation", "as worker", "as driver", "succeeded")]
    for one in ranking(report):
        worker, driver = f"{one.as_worker} of {one.of_worker}", f"{one.as_driver} of {one.of_driver}"
        rows.append((str(one.rank), one.name, worker, driver, f"{100 * one.share:.0f} %"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
