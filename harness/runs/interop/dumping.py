"""A run of a matrix as the older tool wrote it: a ``.dump`` for each worker, in the run's folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness import artifacts
from harness.artifacts import unwritable
from harness.matrix.dumps import lines_of
from harness.runs.interop.evidence import EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.verdicts import Result


def write_dumps(
    folder: Path, cases: Sequence[Case], cells: Sequence[Cell], results: Mapping[str, Result]
) -> tuple[str, ...]:
    """Write ``<worker>.dump`` of each worker of which a cell was run; return their names.

    Args:
        folder: the run's.
        cases: tests of the matrix.
        cells: those of the run.
        results: cell id -> result, of those that were run.

    Raises:
        ConfigError: one cannot be written.
        BrokenStack: the disk is full.
    """
    ran = [cell for cell in cells if cell.id in results and results[cell.id].folder]
    ran.sort(key=lambda cell: cell.id)  # the plan's order is another in each run, by what it knows of durations
    names = []
    for worker in dict.fromkeys(cell.worker for cell in ran):
        own = [cell for cell in ran if cell.worker == worker]
        tests = ((case, _runs(folder, case, own, results)) for case in cases if any(c.test == case.name for c in own))
        path = folder / f"{worker}.dump"
        try:
            artifacts.write_pieces(path, lines_of(worker, tests))
        except OSError as error:
            raise unwritable(f"{path} cannot be written", error) from error
        names.append(path.name)
    return tuple(names)


def _runs(
    folder: Path, case: Case, cells: Iterable[Cell], results: Mapping[str, Result]
) -> Iterator[tuple[str, Iterator[str]]]:
    for cell in cells:
        if cell.test == case.name:
            key = cell.id.split("/", 2)[2]  # the driver, and the parameters where it has some
            yield key, _events(folder / results[cell.id].folder / EVENTS)


def _events(path: Path) -> Iterator[str]:
    """Yield the lines of a log that are JSON; one that is not there has none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if _is_object(line):
                    yield line.rstrip("\n")
    except OSError:
        return


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):  # torn, or damaged since
        return False
