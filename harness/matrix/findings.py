"""What rows and columns of a matrix say together: never a verdict, and no verdict is changed by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.matrix.cells import Cell
    from harness.matrix.verdicts import Verdict


@dataclass(frozen=True)
class Finding:
    """Something that holds for all cells of a test with one implementation in one role.

    Attributes:
        test: name of the test.
        role: ``worker`` or ``driver``; "" where all cells of the test are meant.
        implementation: name, "" where all are meant.
        kind: ``fails`` (none succeeded) or ``alone`` (fails, and nobody else in that role does).
        sentence: for people.
        cells: ids of the cells that it is about.
    """

    test: str
    role: str
    implementation: str
    kind: Literal["fails", "alone"]
    sentence: str
    cells: tuple[str, ...]


def findings(cells: Sequence[Cell], verdicts: Mapping[str, Verdict]) -> tuple[Finding, ...]:
    """Return what rows and columns say; a row needs two cells that were run.

    Args:
        cells: of the matrix.
        verdicts: cell id -> what became of it; cells without one were not run.
    """
    raise NotImplementedError
