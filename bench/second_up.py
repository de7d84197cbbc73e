"""A second ``up`` of an unchanged stack: how long the user waits to be told that everything is there."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING

import yaml

from bench.project import COMMAND, IMAGE, PORT, addresses, find_engine, names, scratch_project, trivial
from bench.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.project import Project
    from bench.series import Series

TITLE = "Second `harness up` of an unchanged stack of three services"
NEEDS = ("embedded",)
ROUNDS = 9
LIMITS = (
    "Ours: the start of Python with the imports of the task, and Compose as the parser (a child). The floor is the same "
    "entry point with nothing to do (`harness --version`); beside it a second plain `docker compose up -d`."
)
GOAL = 0.7


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure whole processes; the round that does not count is the first ``up``."""
    with scratch_project(scratch) as project, plain_compose(project) as compose:
        project.stack("trivial", {name: trivial() for name in names(3)})
        ours = ["up", "--stack", "trivial", "--engine"]
        ways = {
            "floor": partial(project.harness, "--version"),
            "embedded": partial(project.harness, *ours, "embedded"),
            "compose": partial(project.harness, *ours, "compose"),
            "compose alone": compose,
        }
        seen = alternate(ways, rounds, say)
    return [
        seen.series("floor", float, "harness --version"),
        seen.series("embedded", float, goal=GOAL),
        seen.series("compose", float, goal=GOAL),
        seen.series("compose alone", float, "docker compose up -d"),
    ]


@contextlib.contextmanager
def plain_compose(project: Project) -> Iterator[Callable[[], float]]:
    """The same services by Compose alone: gives what starts them and returns its seconds."""
    name = f"bench-{os.urandom(4).hex()}"
    words = [project.compose, "-p", name, "-f", "plain.yaml"]
    table = {
        service: {"image": IMAGE, "command": list(COMMAND), "ports": [f"{address}:{PORT}:{PORT}"]}
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
            project.command(*words, "down", "-v", "-t", "0")
