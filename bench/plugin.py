"""What the pytest plugin adds to each of 5,000 trivial tests, without a stack and with one in use."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.project import names, scratch_project, trivial
from bench.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.project import Project
    from bench.series import Series

TITLE = "cost of the pytest plugin over 5,000 trivial tests"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 3
LIMITS = (
    "Ours: hooks around each test and its reports; with a stack in use also a look at the sizes of all logs and a "
    "line in events.jsonl for each test, and JUnit at the end. Pytest itself is the floor."
)
FILES, TESTS = 50, 100
FIRST = """import os, time
def test_first({fixture}):
    with open(os.environ["BENCH_FILE"], "w") as file:
        file.write(repr(time.monotonic()))
"""
LAST = """import os, time
def test_last():
    with open(os.environ["BENCH_FILE"], "a") as file:
        file.write(" " + repr(time.monotonic()))
"""


@dataclass(frozen=True)
class Times:
    """Microseconds for each test between the first and the last, and seconds of the whole process."""

    each: float
    whole: float

    def __str__(self) -> str:
        return f"{self.each:.1f} us a test, {self.whole:.2f} s in all"


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Run the same tests in three ways; the stack is up after the first test, where counting begins."""
    with scratch_project(scratch) as project:
        project.stack("trivial", {name: trivial() for name in names(3)})
        body = "".join(f"def test_{number}():\n    pass\n" for number in range(TESTS))
        for folder, fixture in (("plain", ""), ("used", "stack")):
            (project.root / folder).mkdir()
            for number in range(FILES):
                (project.root / folder / f"test_{folder}_{number:02}.py").write_text(body)
            (project.root / folder / f"test_{folder}_0.py").write_text(FIRST.format(fixture=fixture))
            (project.root / folder / f"test_{folder}_99.py").write_text(LAST)
        chosen = ["--engine", "embedded", "--stack", "trivial"]
        seen = alternate(
            {
                "without the plugin": partial(suite, project, "-p", "no:harness", "plain"),
                "with it": partial(suite, project, "plain"),
                "with a stack": partial(suite, project, *chosen, "used"),
            },
            rounds,
            say,
        )
    floor = "without the plugin"
    return [
        seen.series(floor, lambda times: times.each, unit="us"),
        seen.series("with it", lambda times: times.each, unit="us", against=floor),
        seen.series("with a stack", lambda times: times.each, unit="us", against=floor),
        seen.series(floor, lambda times: times.whole, f"{floor}, whole run"),
        seen.series("with it", lambda times: times.whole, "with it, whole run", against=f"{floor}, whole run"),
        seen.series(
            "with a stack", lambda times: times.whole, "with a stack, whole run", against=f"{floor}, whole run"
        ),
    ]


def suite(project: Project, *words: str) -> Times:
    """Run a folder of tests."""
    file = project.root / "times"
    whole = project.module("pytest", "-q", "-p", "no:cacheprovider", *words, BENCH_FILE=str(file))
    first, last = map(float, file.read_text().split())
    return Times((last - first) / (FILES * TESTS) * 1e6, whole)


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "plugin", "--no-history", *sys.argv[1:]]))
