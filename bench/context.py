"""Whether an image is to be built: what it costs to see that 10,000 files of its folder are what they were."""

from __future__ import annotations

import itertools
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from bench.rounds import alternate
from harness import clock
from harness.images.contexts import look
from harness.images.fingerprint import Ingredients, differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.series import Series

TITLE = "what a second build does with a folder of 10,000 files: none changed; one byte changed, and named"
NEEDS: tuple[str, ...] = ()
ROUNDS = 15
LIMITS = (
    "Ours: one question to the system for each file, what was noted before is read as JSON, and one hash is made of "
    "all that. Of a change also what was noted is written again, and the files of two looks are compared. The builder "
    "is not asked; what remains of a second build are the ids of its base images, some milliseconds each."
)
FILES, FOLDERS = 10_000, 100
FLOOR, SAME, NAMED = "stat of each", "unchanged", "one byte, named"
IGNORED = "**/*.pyc\n**/__pycache__\n.git\n"
GOAL = 3.0  # of the floor; 0.1 s on a machine that does nothing else


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure looks at one folder; each change is of another file."""
    root, environ = scratch / "context", {"XDG_CACHE_HOME": str(scratch / "cache")}
    paths = [root / f"d{number % FOLDERS}" / f"m{number}.py" for number in range(FILES)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"x = {path.stem}\n")
        os.utime(path, (1e9, 1e9))
    for folder in {root, *(path.parent for path in paths)}:
        os.utime(folder, (1e9, 1e9))
    texts, turns = [str(path) for path in paths], itertools.count()

    def ask() -> None:
        for path in texts:
            os.stat(path)  # noqa: PTH116 - the floor is the question, without an object for it

    def change() -> float:
        before = _ingredients(root, environ).as_dict()
        path = paths[next(turns)]
        text = path.read_text()
        path.write_text(f"y{text[1:]}")
        began = clock.now()
        told = differences(before, _ingredients(root, environ), "Dockerfile")
        seconds = clock.now() - began
        assert told == [f"file {path.relative_to(root)} changed"], told
        return seconds

    ways: dict[str, Callable[[], float]] = {
        FLOOR: partial(_timed, ask),
        SAME: partial(_timed, lambda: _ingredients(root, environ)),
        NAMED: change,
    }
    look(root, IGNORED, environ)
    seen = alternate(ways, rounds, say)
    return [seen.series(FLOOR, float), seen.series(SAME, float, against=FLOOR, goal=GOAL), seen.series(NAMED, float)]


def _ingredients(root: Path, environ: dict[str, str]) -> Ingredients:
    made_of = Ingredients(contexts={"": look(root, IGNORED, environ)})
    assert made_of.fingerprint
    return made_of


def _timed(act: Callable[[], object]) -> float:
    began = clock.now()
    act()
    return clock.now() - began


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "context", "--no-history", *sys.argv[1:]]))
