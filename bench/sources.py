"""Whether sources changed: what `ps` and `test` spend on 5,000 files of which none did."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from bench.rounds import alternate
from harness import clock
from harness.engine.snapshots import Snapshot
from harness.engine.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.series import Series

TITLE = "a look at 5,000 source files of which none changed"
NEEDS: tuple[str, ...] = ()
ROUNDS = 15
LIMITS = "Ours: one question to the system for each file and folder, and what was written down is read as JSON."
FILES, FOLDERS = 5000, 50
FLOOR, LOOK = "stat of each", "look"
GOAL = 2.0  # of the floor


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure the look from what was written to its answer, beside the bare questions that it has to ask."""
    paths = [scratch / f"d{number % FOLDERS}" / f"m{number}.py" for number in range(FILES)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"x = {path.stem}\n")
        os.utime(path, (1e9, 1e9))
    for folder in {path.parent for path in paths}:
        os.utime(folder, (1e9, 1e9))
    written = json.dumps(Snapshot.take({"api": [Source(scratch)]}).as_dict())

    def ask() -> None:
        for path in texts:
            os.stat(path)  # noqa: PTH116 - the floor is the question, without an object for it

    def look() -> None:
        assert not any(Snapshot.from_dict(json.loads(written)).changes().values())

    texts = [str(path) for path in paths]
    seen = alternate({FLOOR: partial(_timed, ask), LOOK: partial(_timed, look)}, rounds, say)
    return [seen.series(FLOOR, float), seen.series(LOOK, float, against=FLOOR, goal=GOAL)]


def _timed(act: Callable[[], None]) -> float:
    began = clock.now()
    act()
    return clock.now() - began


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "sources", "--no-history", *sys.argv[1:]]))
