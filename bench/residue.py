"""What it costs a test to be watched for what it leaves, by kind: a glance before, a glance and a look after it."""

from __future__ import annotations

import contextlib
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING

from bench.project import scratch_project
from bench.rounds import alternate
from harness import clock, procs
from harness.config import load_settings, read_sources
from harness.runs import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.series import Series
    from harness.residue.watching import Watcher

TITLE = "watching a test for what it leaves"
NEEDS: tuple[str, ...] = ()
ROUNDS = 30
LIMITS = "As of a test in which something of the kind came or went; else there is no look, and it costs two glances."
GOAL = 20.0  # ms
FILES, CHILDREN, SOCKETS = 500, 3, 50


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Look at this process, which has some children and sockets, and at a folder of some files."""
    with scratch_project(scratch) as project, _company():
        folder = project.root / "watched"
        folder.mkdir()
        for number in range(FILES):
            (folder / f"{number}.txt").write_text("x")
        pyproject = project.root / "pyproject.toml"
        pyproject.write_text(f'{pyproject.read_text()}\n[tool.harness.residue]\nwatch = ["watched"]\n')
        settings = load_settings(read_sources(project.root, project.environ))
        watchers = watched.of_process(settings, lambda: None, tuple)
        ways = {watcher.kind: partial(_cost, watcher) for watcher in watchers}
        seen = alternate(ways, rounds, say)
    return [seen.series(kind, float, unit="ms", goal=GOAL) for kind in ways]


def _cost(watcher: Watcher) -> float:
    """Return the milliseconds that a test costs in which something has changed."""
    child = procs.spawn(["sleep", "60"])  # so that no number of processes is what it was
    began = clock.now()
    watcher.glance()
    watcher.glance()
    watcher.look()
    took = 1000 * (clock.now() - began)
    child.kill()
    child.wait()
    return took


@contextlib.contextmanager
def _company() -> Iterator[None]:
    """Have some children and sockets."""
    with contextlib.ExitStack() as stack:
        for _ in range(SOCKETS):
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for _ in range(CHILDREN):
            child = procs.spawn(["sleep", "600"])
            stack.callback(child.wait)
            stack.callback(child.kill)
        yield


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "residue", "--no-history", *sys.argv[1:]]))
