"""A second ``up`` of an unchanged stack: how long the user waits to be told that everything is there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import yaml

from bench.project import COMMAND, IMAGE, PORT, addresses, find_engine, names, scratch_project, trivial
from bench.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    with scratch_project(scratch) as project:
        project.stack("trivial", {name: trivial() for name in names(3)})
        plain = [project.compose, "-p", f"bench-{project.root.parent.name.lower()}", "-f", "plain.yaml"]
        one = {"image": IMAGE, "command": list(COMMAND)}
        table = {
            name: {**one, "ports": [f"{address}:{PORT}:{PORT}"]}
            for name, address in zip(names(3), addresses(3), strict=True)
        }
        (project.root / "plain.yaml").write_text(yaml.safe_dump({"services": table}))

        def compose_alone() -> float:
            find_engine().close()
            return project.command(*plain, "up", "-d")

        ours = ["up", "--stack", "trivial", "--engine"]
        try:
            seen = alternate(
                {
                    "floor": partial(project.harness, "--version"),
                    "embedded": partial(project.harness, *ours, "embedded"),
                    "compose": partial(project.harness, *ours, "compose"),
                    "compose alone": compose_alone,
                },
                rounds,
                say,
            )
        finally:
            if "compose alone" not in seen.failed:
                project.command(*plain, "down", "-v", "-t", "0")
    return [
        seen.series("floor", float),
        seen.series("embedded", float, goal=GOAL),
        seen.series("compose", float, goal=GOAL),
        seen.series("compose alone", float),
    ]
