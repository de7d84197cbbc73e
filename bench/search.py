"""The stack of a web application on a search engine, settled, beside the time that its search engine alone takes."""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
import urllib.request
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from bench.project import COMPOSE, EMBEDDED, ROOT, addresses, engines, scratch_project
from bench.rounds import alternate
from harness import clock, procs
from harness.config import load_settings, read_sources
from harness.daemon import connect, find_daemon
from harness.errors import BrokenStack
from harness.runs.building import build_images
from harness.runs.choice import choose

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.project import Project
    from bench.series import Series
    from harness.docker_sdk import APIClient

TITLE = "search stack (search engine with its documents, application) from nothing to settled"
NEEDS: tuple[str, ...] = ()
ROUNDS = 5
LIMITS = (
    "The search engine: nothing of the stack is usable before it has its documents, and the application is started "
    "then. Ours is what is left: the keeper's start, the network, and how often is asked."
)
STACK, SERVICE, PORT = "search", "search", 9200
COUNTS = {"owners": 4, "pets": 13}
BUDGET, ANSWER = 120.0, 1.0
GOAL = 1.5
WAYS = {EMBEDDED: "as a process", COMPOSE: "as containers"}


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure on each engine that is here: the search engine alone, and the whole stack."""
    with scratch_project(scratch, ROOT) as project:
        ways: dict[str, Callable[[], float]] = {}
        chosen = engines(say)
        for engine in chosen:
            alone = partial(_process, project, scratch) if engine == EMBEDDED else _container_of(project, say)
            ways[f"server alone, {WAYS[engine]}"] = alone
            ways[f"stack, {WAYS[engine]}"] = partial(_stack, project, engine)
        seen = alternate(ways, rounds, say)
    made = []
    for engine in chosen:
        floor, ours = f"server alone, {WAYS[engine]}", f"stack, {WAYS[engine]}"
        goal = GOAL if engine == COMPOSE else None  # as a process it is there sooner than the application's imports
        made += [seen.series(floor, float), seen.series(ours, float, against=floor, goal=goal)]
    return made


def _stack(project: Project, engine: str) -> float:
    began = clock.now()
    with project.stack_up(STACK, engine):
        return clock.now() - began


def _process(project: Project, scratch: Path) -> float:
    """Start the search engine of the embedded engine by hand, until it has its documents."""
    (host,) = addresses(1)
    folder = ROOT / "integration_tests" / "search" / "engine"
    with tempfile.TemporaryDirectory(dir=scratch) as data:
        began = clock.now()
        argv = [sys.executable, "local.py", f"{host}:{PORT}", "data", data]
        stdin, held = os.pipe()  # it ends with its input
        with open(stdin, "rb"), open(held, "wb"):  # noqa: PTH123 - numbers
            process = procs.spawn(argv, env=project.environ, cwd=folder, stdin=stdin)
            try:
                _wait(f"{host}:{PORT}")
                return clock.now() - began
            finally:
                process.kill()
                process.wait(BUDGET)


def _container_of(project: Project, say: Callable[[str], None]) -> Callable[[], float]:
    """Return what starts the search engine's image by hand, until it has its documents. The images are built before."""
    settings = load_settings(read_sources(project.root, project.environ), {"engine": COMPOSE, "stack": STACK})
    image = build_images(choose(settings), say)[SERVICE]

    def start() -> float:
        with closing(connect(find_daemon(os.environ))) as client:
            return _container(client, image)

    return start


def _container(client: APIClient, image: str) -> float:
    (host,) = addresses(1)
    began = clock.now()
    bound = client.create_host_config(port_bindings={PORT: (host, PORT)})
    made = client.create_container(image, ports=[PORT], host_config=bound)
    try:
        client.start(made["Id"])
        _wait(f"{host}:{PORT}")
        return clock.now() - began
    finally:
        client.remove_container(made["Id"], v=True, force=True)


def _wait(place: str) -> None:
    """Return when the search engine at ``place`` is green and has its documents. Raises BrokenStack: it never is."""
    seen = ""
    for _ in clock.poll(clock.Deadline.after(BUDGET)):
        try:
            seen = str(_asked(place, "_cluster/health")["status"])
            if seen == "green" and all(_asked(place, f"{name}/_count")["count"] == n for name, n in COUNTS.items()):
                return
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            seen = str(error)
    raise BrokenStack(f"The search engine at {place} had not its documents after {BUDGET:.0f} s: {seen}")


def _asked(place: str, path: str) -> dict[str, object]:
    with urllib.request.urlopen(f"http://{place}/{path}", timeout=ANSWER) as answer:
        document: dict[str, object] = json.load(answer)
    return document


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "search", "--no-history", *sys.argv[1:]]))
