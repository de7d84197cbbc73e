"""A reset of a small PostgreSQL database, beside the same by hand: drop it, and create it from a template."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from bench.project import scratch_project
from bench.rounds import alternate
from harness import clock
from harness.helpers import postgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.series import Series
    from harness import Stack

TITLE = "reset of a small PostgreSQL database"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 15
LIMITS = "The server: two databases are renamed, for which the one in use must have no session left."
STATEMENTS = ["CREATE TABLE item (id serial PRIMARY KEY, name text)", "INSERT INTO item (name) VALUES ('lamp')"]
BY_HAND, RESET = "drop, and create from a template", "reset"
GOAL = 1.0  # of what is done by hand


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure both on one server; before each, what the server still does for the last one has ended."""
    with scratch_project(scratch) as project:
        project.stack("shop", {"db": service()}, **{"x-harness": {"seed": [seed()]}})
        with project.stack_up("shop", "embedded") as stack:
            with closing(postgres.connect(stack, "db", database="postgres")) as admin:
                admin.execute("CREATE DATABASE kept TEMPLATE shop")
                admin.execute("CREATE DATABASE mine TEMPLATE kept")
            ways = {BY_HAND: partial(_by_hand, stack), RESET: partial(_reset, stack)}
            seen = alternate(ways, rounds, say)
    return [seen.series(BY_HAND, float), seen.series(RESET, float, against=BY_HAND, goal=GOAL)]


def service() -> dict[str, object]:
    """Return the server."""
    return {
        "image": "postgres",
        "ports": ["5432"],
        "environment": {"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "app", "POSTGRES_DB": "shop"},
        "x-harness": {"embedded": {"preset": "postgres"}, "reset": True},
    }


def seed() -> dict[str, object]:
    """Return what it begins with."""
    return {"key": "items", "sql": {"service": "db", "statements": STATEMENTS}}


def _by_hand(stack: Stack) -> float:
    _await_spare(stack)
    with closing(postgres.connect(stack, "db", database="postgres")) as admin:
        began = clock.now()
        admin.execute("DROP DATABASE mine WITH (FORCE)")
        admin.execute("CREATE DATABASE mine TEMPLATE kept")
        return clock.now() - began


def _reset(stack: Stack) -> float:
    _await_spare(stack)
    began = clock.now()
    stack.service("db").reset()
    return clock.now() - began


def _await_spare(stack: Stack) -> None:
    """Wait until the server has made the next spare copy and dropped the last database, as while a test runs."""
    with closing(postgres.connect(stack, "db", database="postgres")) as admin:
        for _ in clock.poll(clock.Deadline.after(60)):
            names = [name for (name,) in admin.execute("SELECT datname FROM pg_database")]
            if any(name.startswith("harness_spare_") for name in names) and not any(
                name.startswith("harness_old_") for name in names
            ):
                return
    raise AssertionError("the server has made no spare copy")


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "reset", "--no-history", *sys.argv[1:]]))
