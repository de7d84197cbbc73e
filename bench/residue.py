"""What it costs a test to be watched for what it leaves, by kind: a glance before, a glance and a look after it."""

from __future__ import annotations

import contextlib
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.project import EMBEDDED, scratch_project
from bench.rounds import alternate
from harness import clock, procs
from harness.config import load_settings, read_sources
from harness.helpers import postgres
from harness.helpers.kafka import Kafka
from harness.helpers.redis_plain import PlainRedis
from harness.helpers.search_plain import PlainSearch
from harness.residue.stores import Stores
from harness.runs import watched
from harness.runs.places import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.project import Project
    from bench.series import Series
    from harness.residue.watching import Watcher
    from harness.runs import Stack

TITLE = "watching a test for what it leaves"
NEEDS: tuple[str, ...] = ()
ROUNDS = 30
LIMITS = "As of a test in which something of the kind came or went; else there is no look, and it costs two glances."
GOAL = 20.0  # ms
FILES, CHILDREN, SOCKETS = 500, 3, 50
TABLES, ROWS, KEYS, TOPICS, INDICES = 20, 1000, 500, 20, 10  # of a small project


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Look at this process, which has some children and sockets, at a folder of some files, and at stores."""
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
        _write_stores(project)
        with project.stack_up("stores", EMBEDDED) as stack, contextlib.closing(Stores()) as stores:
            _fill(stack)
            places = [place for name in stack.services if (place := place_of(stack.service(name)))]
            of_stores = [watcher for place in places for watcher in stores.watchers(place, is_shared=False)]
            ways |= {watcher.kind: partial(_cost, watcher) for watcher in of_stores}
            seen = alternate(ways, rounds, say)
    return [seen.series(kind, float, unit="ms", goal=GOAL) for kind in ways]


def _write_stores(project: Project) -> None:
    """Write a stack with a store of each kind."""
    project.include_kafka()
    images = {"postgres": "5432", "redis": "6379", "search": "9200"}
    stores: dict[str, dict[str, Any]] = {
        name: {"image": name, "ports": [port], "x-harness": {"embedded": {"preset": name}}}
        for name, port in images.items()
    }
    stores["postgres"]["environment"] = {"POSTGRES_PASSWORD": "bench", "POSTGRES_DB": "bench"}
    project.stack("stores", stores, include=["kafka.yaml"])


def _fill(stack: Stack) -> None:
    """Put into each store what a small project has there."""
    with postgres.connect(stack, "postgres") as database:
        for number in range(TABLES):
            database.execute(f"CREATE TABLE t{number} (id serial PRIMARY KEY, words text)".encode())
            rows = f"INSERT INTO t{number} (words) SELECT 'x' FROM generate_series(1, {ROWS})"  # noqa: S608 - of ours
            database.execute(rows.encode())
    cache, search = stack.service("redis").store, stack.service("search").store
    assert cache  # they are in the stack
    assert search
    with PlainRedis(cache.host, cache.port) as redis:
        redis.ask("MSET", *(word for number in range(KEYS) for word in (f"key{number}", "x")))
    engine = PlainSearch(search.host, search.port)
    for number in range(INDICES):
        engine.make(f"index{number}", {})
    with Kafka(stack.endpoint("kafka", 9092), evidence=False) as kafka:
        kafka.create_topics({f"topic{number}": 2 for number in range(TOPICS)})


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
