"""A second ``up`` of an unchanged stack: how long the user waits to be told that everything is there."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import yaml

from bench.cycle import COMMAND, IMAGE, PORT
from bench.project import COMPOSE, addresses, engines, find_engine, names, scratch_project, surely, trivial
from bench.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.project import Project
    from bench.series import Series

TITLE = "second `harness up` of an unchanged stack of three services"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 9
LIMITS = (
    "Ours: the start of Python with the imports of the task, and a look for what has changed; the "
    "Compose files themselves are only read again when they have. The floor is the same entry point with nothing to "
    "do; beside it a second plain `docker compose up -d`, which is no Python."
)
GOAL = 0.7
FLOOR, ALONE = "harness --version", "docker compose up -d"


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure whole processes; the round that does not count is the first ``up``."""
    with scratch_project(scratch) as project, plain_compose(project) as compose:
        project.stack("trivial", {name: trivial() for name in names(3)})
        ours = ["up", "--stack", "trivial", "--engine"]
        ways: dict[str, Callable[[], float]] = {FLOOR: partial(project.harness, "--version")}
        for engine in engines(say):
            ways[engine] = partial(project.harness, *ours, engine)
        if COMPOSE in ways:
            ways[ALONE] = compose
        seen = alternate(ways, rounds, say)
    return [seen.series(way, float, goal=None if way in (FLOOR, ALONE) else GOAL) for way in ways]


@contextlib.contextmanager
def plain_compose(project: Project) -> Iterator[Callable[[], float]]:
    """The same services by Compose alone: gives what starts them and returns its seconds."""
    name = f"bench-{os.urandom(4).hex()}"
    words = [project.compose, "-p", name, "-f", "plain.yaml"]
    table = {
        service: {"image": IMAGE, "command": COMMAND, "ports": [f"{address}:{PORT}:{PORT}"]}
        for service, address in zip(names(3), addresses(3), strict=True)
    }
    (project.root / "plain.yaml").write_text(yaml.safe_dump({"services": table}))
    used = False

    def up() -> float:
        nonlocal used
        if not used:
            find_engine().close()
            used = True
        return project.command(*words, "up", "-d")

    try:
        yield up
    finally:
        if used:
            surely(partial(project.command, *words, "down", "-v", "-t", "0"))


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "second_up", "--no-history", *sys.argv[1:]]))
