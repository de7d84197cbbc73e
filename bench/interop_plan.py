"""The plan of an interoperability matrix of ten thousand cells."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.rounds import alternate
from harness import clock
from harness.matrix.budgets import Budgets
from harness.matrix.cases import Case
from harness.matrix.cells import expand, with_digests
from harness.matrix.implementations import Implementation, Matrix, Source
from harness.matrix.past import History, Past
from harness.matrix.planning import Plan, plan, read_plan, write_plan
from harness.matrix.shards import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.series import Series
    from harness.matrix.cells import Cell

TITLE = "a plan of 10,000 cells: 100 implementations as drivers of 10 as workers in 10 tests, all of which ran before"
NEEDS: tuple[str, ...] = ()
ROUNDS = 9
LIMITS = (
    "Two texts for each cell: the one that the plan's hash is made of, and its line in plan.json. The floor makes one "
    "such text and its digest. What an earlier run found of each cell is at hand; reading that takes a line of JSON "
    "for each, too."
)
TESTS, WORKERS, DRIVERS = 10, 10, 100
FLOOR, CELLS, PLAN, ALL, READ = (
    "a text and a digest of each",
    "cells",
    "plan",
    "cells, plan, plan.json",
    "plan.json read",
)
GOAL = 1.0  # seconds


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure the steps of a plan, and all of them together."""
    matrix, cases = _matrix(scratch), [Case(f"t{number}", digest=str(number)) for number in range(TESTS)]
    cells = _cells(matrix, cases)
    assert len(cells) == TESTS * WORKERS * DRIVERS
    history = History([Past(cell.id, "succeeded", float(number % 97)) for number, cell in enumerate(cells)])
    planned = _plan(cells, history)
    text = write_plan(planned)
    assert read_plan(text, "plan.json") == planned

    def everything() -> None:
        made = _plan(_cells(matrix, cases), history)
        (scratch / "plan.json").write_text(write_plan(made))

    ways: dict[str, Callable[[], float]] = {
        FLOOR: partial(_timed, lambda: _describe(cells)),
        CELLS: partial(_timed, lambda: _cells(matrix, cases)),
        PLAN: partial(_timed, lambda: _plan(cells, history)),
        ALL: partial(_timed, everything),
        READ: partial(_timed, lambda: read_plan(text, "plan.json").sharded(Shard(1, 3)).here),
    }
    seen = alternate(ways, rounds, say)
    goals = {ALL: GOAL}
    return [seen.series(name, float, goal=goals.get(name)) for name in ways]


def _matrix(folder: Path) -> Matrix:
    names = [f"i{number:03}" for number in range(DRIVERS)]
    made = [Implementation(name, Source("command"), command=("true",), folder=folder) for name in names]
    return Matrix("bench", folder / "interop.toml", folder / "tests", tuple(made), workers=tuple(names[:WORKERS]))


def _cells(matrix: Matrix, cases: Sequence[Case]) -> tuple[Cell, ...]:
    images = {implementation.name: f"id of {implementation.name}" for implementation in matrix.implementations}
    return with_digests(expand(matrix, cases), cases, matrix, images)


def _plan(cells: Sequence[Cell], history: History) -> Plan:
    return plan(cells, history, Budgets(4, 2.0, cores=2.0), "embedded", "bench")


def _describe(cells: Sequence[Cell]) -> None:
    for cell in cells:
        hashlib.sha256(json.dumps([cell.id, cell.digest, cell.seed, cell.timeout]).encode()).hexdigest()


def _timed(act: Callable[[], object]) -> float:
    began = clock.now()
    act()
    return clock.now() - began


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "interop_plan", "--no-history", *sys.argv[1:]]))
