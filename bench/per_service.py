"""What each further service of a stack costs: stacks of 1 to 60 processes, and of 1 to 30 containers."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.cycle import COMMAND, IMAGE, LABEL, PORT, remove_network, wait_for
from bench.project import (
    COMPOSE,
    EMBEDDED,
    SERVICES,
    addresses,
    engines,
    find_engine,
    left_on,
    names,
    scratch_project,
    trivial,
)
from bench.rounds import alternate, slope
from harness import clock, procs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from bench.project import Project
    from bench.series import Series

TITLE = "each further service of a stack, as a process (1-60) and as a container (1-30)"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 3
LIMITS = (
    "Processes: the start of an interpreter each, on as many cores as there are; ours on top: a request to the keeper, "
    "a fork and a thread that probes for each start, and one look through /proc at the end of all. Containers: the "
    "engine, of which up to eight starts are asked at once; Compose, which creates them, would start one after the "
    "other, 0.25 s each. Services that depend on each other are still started by it."
)
COUNTS = {"processes": (1, 5, 20, 60), "containers": (1, 5, 15, 30)}
KINDS = {EMBEDDED: "processes", COMPOSE: "containers"}
AT_ONCE = 8  # requests to an engine; more do not make it faster
END = 10.0


@dataclass(frozen=True)
class Times:
    """Seconds to settled, and from then on to gone, for each number of services."""

    up: tuple[float, ...]
    gone: tuple[float, ...]

    def __str__(self) -> str:
        return "  ".join(f"{up:.2f}+{gone:.2f}" for up, gone in zip(self.up, self.gone, strict=True))


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure every size in each round, and take the slope of the round."""
    with scratch_project(scratch) as project:
        for count in {count for counts in COUNTS.values() for count in counts}:
            project.stack(f"n{count}", {name: trivial() for name in names(count)})
        ways: dict[str, Sizes] = {}
        for engine in engines(say):
            kind = KINDS[engine]
            ways[kind] = Sizes(COUNTS[kind], partial(ours, project, engine))
            ways[f"{kind}, floor"] = Sizes(COUNTS[kind], FLOORS[kind])
        seen = alternate(ways, rounds, say)
    made: list[Series] = []
    for kind, counts in ((kind, counts) for kind, counts in COUNTS.items() if kind in ways):

        def settled(times: Times, counts: Sequence[int] = counts) -> float:
            return slope(counts, times.up) * 1000

        def gone(times: Times, counts: Sequence[int] = counts) -> float:
            return slope(counts, times.gone) * 1000

        for what, of in (("settled", settled), ("gone", gone)):
            floor = f"{kind} {what}, floor"
            made.append(seen.series(f"{kind}, floor", of, floor, unit="ms"))
            made.append(seen.series(kind, of, f"{kind} {what}", unit="ms", against=floor))
    return made


class Sizes:
    """A way with every number of services; what comes first, and does not count, goes without the greatest."""

    def __init__(self, counts: tuple[int, ...], one: Callable[[int], tuple[float, float]]) -> None:
        self._counts = counts
        self._one = one
        self._warm = False

    def __call__(self) -> Times:
        """Measure them one after the other."""
        counts = self._counts if self._warm else self._counts[:-2]
        self._warm = True
        pairs = [self._one(count) for count in counts]
        return Times(tuple(up for up, _ in pairs), tuple(gone for _, gone in pairs))


def ours(project: Project, engine: str, count: int) -> tuple[float, float]:
    """Return the seconds of a whole cold cycle of ours."""
    began = clock.now()
    with project.stack_up(f"n{count}", engine):
        up = clock.now() - began
    return up, clock.now() - began - up


def processes(count: int) -> tuple[float, float]:
    """Start the same processes one right after the other, ask each in a thread, and kill them."""
    hosts, began = addresses(count), clock.now()
    started: list[procs.Popen[bytes]] = []
    try:
        with ThreadPoolExecutor(count) as pool:
            asked = []
            for host in hosts:
                argv = [sys.executable, "-IS", str(SERVICES / "web.py"), host, str(PORT)]
                started.append(procs.spawn(argv))
                asked.append(pool.submit(wait_for, host))
            for one in asked:
                one.result()
        up = clock.now() - began
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait(END)
    return up, clock.now() - began - up


def containers(count: int) -> tuple[float, float]:
    """Create and start the same containers by the Engine API, side by side, and remove them by force."""
    client, name = find_engine(), f"bench-{os.urandom(4).hex()}"
    hosts, labels = dict(zip(names(count), addresses(count), strict=True)), {LABEL: name}
    asked: list[Future[None]] = []
    began = clock.now()
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool, ThreadPoolExecutor(count) as askers:
            network = pool.submit(client.create_network, name, driver="bridge", labels=labels)

            def start(service: str) -> str:
                host = client.create_host_config(port_bindings={PORT: (hosts[service], PORT)}, network_mode=name)
                made = client.create_container(
                    IMAGE, COMMAND, ports=[PORT], labels=labels, host_config=host, name=f"{name}-{service}"
                )
                network.result()
                client.start(made["Id"])
                asked.append(askers.submit(wait_for, hosts[service]))
                return str(made["Id"])

            ids = list(pool.map(start, hosts))
            for one in asked:
                one.result()
            up = clock.now() - began
            list(pool.map(lambda one: client.remove_container(one, v=True, force=True), ids))
            remove_network(client, network.result()["Id"])
        return up, clock.now() - began - up
    finally:
        left_on(client, f"{LABEL}={name}")
        client.close()


FLOORS = {"processes": processes, "containers": containers}


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "per_service", "--no-history", *sys.argv[1:]]))
