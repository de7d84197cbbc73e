"""A scheduler with cells that only pretend, as a process of its own: it can be killed and run again.

``python matrix_program.py FOLDER ENDED [i/n]``: runs the matrix in a folder, or goes on with it. Cells are written to
ENDED when they begin, a line each.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from matrix_cells import many

from harness import artifacts
from harness.interrupts import interruptible
from harness.matrix.budgets import Budgets
from harness.matrix.past import History
from harness.matrix.planning import Plan, plan
from harness.matrix.shards import Shard
from harness.matrix.verdicts import STATUSES, Result, Verdict
from harness.runs.interop.pressure import Observed
from harness.runs.interop.resuming import PLAN, begin, resume
from harness.runs.interop.scheduling import Scheduler, Ways

if TYPE_CHECKING:
    from harness.matrix.cells import Cell

COUNT = 200


def the_plan(shard: str = "1/1") -> Plan:
    """Return the plan of the matrix; some of its cells are skipped."""
    cells = many(COUNT)
    return plan(cells, History(), Budgets(4, 2.0), "embedded", "pretended").sharded(Shard.parse(shard))


def verdict_of(cell: Cell) -> Verdict:
    """Return what becomes of a cell, always the same."""
    status = STATUSES[sum(cell.id.encode()) % len(STATUSES)]
    return Verdict(status, reason=f"{cell.id} always does that")


def pretend(cell: Cell, stop: threading.Event, seconds: float) -> Result | None:
    """Take some time, and return what became of a cell."""
    if stop.wait(seconds):
        return None
    verdict = verdict_of(cell)
    return Result(cell.id, cell.digest, verdict, (verdict,), seconds=seconds, folder=f"cells/{cell.id}")


def run(folder: Path, ended: Path, planned: Plan, seconds: float = 0.03) -> dict[str, Result]:
    """Run what is to be run in a folder."""
    stop = threading.Event()

    def run_one(cell: Cell, _: int) -> Result | None:
        artifacts.append(ended, f"{cell.id}\n")
        evidence = folder / "cells" / cell.id
        evidence.mkdir(parents=True)  # refused where a cell that was killed has left it
        (evidence / "events.jsonl").write_text("{}\n")
        return pretend(cell, stop, seconds)

    ways = Ways(run_one, observe=Observed)
    begun = resume(folder, planned, print) if (folder / PLAN).exists() else begin(folder, planned, print)
    scheduler = Scheduler(begun.plan, begun.journal, ways, done=begun.done, stop=stop)
    try:
        return scheduler.run()
    finally:
        begun.journal.close()


def summary(results: dict[str, Result]) -> str:
    """Return all that a report tells, but for times."""
    rows = {name: (result.verdict.status, result.verdict.reason, result.folder) for name, result in results.items()}
    counts = Counter(result.verdict.status for result in results.values())
    return json.dumps({"cells": rows, "counts": counts}, indent=1, sort_keys=True)


def main() -> None:
    """Run it, and print what came out."""
    folder, ended, *shard = sys.argv[1:]
    with interruptible(lambda line: print(line, file=sys.stderr)):
        print(summary(run(Path(folder), Path(ended), the_plan(*shard))))


if __name__ == "__main__":
    main()
