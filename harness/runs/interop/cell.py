"""One cell, from its first process to its verdict; its evidence is written as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.implementations import Matrix
    from harness.matrix.verdicts import Result
    from harness.runs.interop.site import Part, Sites


def parts_of(matrix: Matrix, case: Case, cell: Cell, images: Mapping[str, str]) -> tuple[Part, ...]:
    """Return how each role of a cell is started, in the order in which they are.

    Args:
        matrix: whose implementations take the roles.
        case: the cell's test.
        cell: the cell.
        images: name of an implementation, or of an image that a test names -> id of its image; without an id it is a
            local process.
    """
    raise NotImplementedError


def run_cell(  # noqa: PLR0913
    cell: Cell,
    case: Case,
    parts: Sequence[Part],
    sites: Sites,
    folder: Path,
    *,
    probe: Callable[[str, str], bool],
    stop: threading.Event,
    attempt: int = 1,
) -> Result | None:
    """Run a cell and return what became of it, or None when it was stopped before that was known.

    It does not raise: what goes wrong is a verdict, ``broken``.

    Args:
        cell: the cell.
        case: its test.
        parts: see ``parts_of``.
        sites: where it takes place.
        folder: of its evidence; it is made.
        probe: whether an implementation in a role says of a test that nobody knows that it does not support it: see
            ``Probes``.
        stop: set when the run is to end; the cell then ends at once and is not judged.
        attempt: 2 and more for another attempt at the same cell.
    """
    raise NotImplementedError


class Probes:
    """Whether implementations say of a test with a random name that they do not support it; asked once for each role.

    Args:
        sites: where they are asked.
        folder: where the evidence of it goes.
        part: how an implementation (first) is started in a role (second) for a test (third).
    """

    def __init__(self, sites: Sites, folder: Path, part: Callable[[str, str, str], Part]) -> None:
        self._sites, self._folder, self._part = sites, folder, part

    def __call__(self, implementation: str, role: str) -> bool:
        """Return whether it exits with 127 before it is ready, within 10 s."""
        raise NotImplementedError
