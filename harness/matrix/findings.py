"""What rows and columns of a matrix say together: never a verdict, and no verdict is changed by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.matrix.cases import DRIVER, WORKER

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


_TRIED = ("succeeded", "failed", "timeout", "crashed", "flaky")  # the implementations were heard of
_FEWEST = 2  # cells that say something together


def findings(cells: Sequence[Cell], verdicts: Mapping[str, Verdict]) -> tuple[Finding, ...]:
    """Return what rows and columns say; a row needs two cells that were run.

    Args:
        cells: of the matrix.
        verdicts: cell id -> what became of it; cells without one were not run.
    """
    by_test: dict[str, dict[str, Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.id):  # not as planned: that is otherwise in each run
        if cell.id in verdicts and verdicts[cell.id].status in _TRIED:
            by_test.setdefault(cell.test, {})[cell.id] = cell
    found: list[Finding] = []
    for test, tried in by_test.items():
        failed = {place for place in tried if verdicts[place].status != "succeeded"}
        if len(tried) >= _FEWEST and len(failed) == len(tried):
            found.append(Finding(test, "", "", "fails", f"{test} fails in all of its {len(tried)} cells", tuple(tried)))
        elif failed:
            found += [*_lines(test, WORKER, tried, failed), *_lines(test, DRIVER, tried, failed)]
    return tuple(found)


_OTHER = {WORKER: DRIVER, DRIVER: WORKER}


def _lines(test: str, role: str, tried: Mapping[str, Cell], failed: set[str]) -> list[Finding]:
    """Return who fails in a role with everybody, each of whom succeeds with somebody else."""
    lines: dict[str, list[str]] = {}
    for place, cell in tried.items():
        lines.setdefault(cell.implementation_of(role), []).append(place)
    failing = {name: places for name, places in lines.items() if len(places) >= _FEWEST and failed.issuperset(places)}
    found = []
    for name, places in failing.items():
        is_alone = len(failing) == 1 and failed == set(places)
        others = f"all {len(places)} cells, with every {_OTHER[role]}"
        sentence = f"{role} {name} fails {test} in {others}"
        sentence += "; nothing else fails it" if is_alone else ""
        found.append(Finding(test, role, name, "alone" if is_alone else "fails", sentence, tuple(places)))
    return found
