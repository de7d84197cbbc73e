"""``harness test`` on a stack that is up: how long until the first line of the first test."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from bench.project import engines, names, scratch_project, trivial
from bench.rounds import alternate
from harness import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.project import Project
    from bench.series import Series

TITLE = "`harness test` on a warm stack, from the start of the process to the first test body"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 9
LIMITS = (
    "Ours: two starts of Python one after the other, of the task and of its pytest, and the imports of both. The "
    "floor is pytest itself, with the same other plugins."
)
GOAL = 1.0
FLOOR = "pytest alone"
TEST = """import os, time
def test_first({fixture}):
    began = time.monotonic()
    with open(os.environ["BENCH_FILE"], "w") as file:
        file.write(repr(began))
"""


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure from the start of the parent process to what the test wrote; the stack is up before."""
    with scratch_project(scratch) as project:
        project.stack("trivial", {name: trivial() for name in names(3)})
        for folder, fixture in (("warm", "stack"), ("plain", "")):
            (project.root / folder).mkdir()
            (project.root / folder / "test_first.py").write_text(TEST.format(fixture=fixture))
        ways: dict[str, Callable[[], float]] = {FLOOR: partial(alone, project)}
        for engine in engines(say):
            ways[engine] = partial(warm, project, engine)
        seen = alternate(ways, rounds, say)
    return [seen.series(way, float, goal=None if way == FLOOR else GOAL) for way in ways]


def alone(project: Project) -> float:
    """Return the seconds of pytest without our plugin."""
    return _first(project, lambda **more: project.module("pytest", "-q", "-p", "no:harness", "plain", **more))


def warm(project: Project, engine: str) -> float:
    """Return the seconds of ours; the first time the stack is brought up before."""
    if engine not in project.kept():
        project.harness("up", "--stack", "trivial", "--engine", engine)
    words = ["test", "--stack", "trivial", "--engine", engine, "--", "-q", "warm"]
    return _first(project, partial(project.harness, *words))


def _first(project: Project, command: Callable[..., float]) -> float:
    file = project.root / "first"
    began = clock.now()
    command(BENCH_FILE=str(file))
    return float(file.read_text()) - began


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "warm_test", "--no-history", *sys.argv[1:]]))
