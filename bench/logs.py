"""A service that writes as much as it can: 1 GB by a process, 256 MB by a container."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cycle import IMAGE, LABEL
from bench.project import COMPOSE, EMBEDDED, SERVICES, engines, find_engine, left_on, scratch_project
from bench.rounds import alternate
from harness import clock, procs
from harness.artifacts import file_size
from harness.docker_sdk import LogConfig
from harness.engine.compose.log_drivers import MAX_LOG
from harness.errors import BrokenStack
from harness.keeper.logs import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.project import Project
    from bench.series import Series

TITLE = "logs: 1 GB by a process, 256 MB by a container, as fast as they can"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 3
LIMITS = (
    "A process has the file itself as its output, so nothing of ours is in between: the kernel limits it, and the "
    "keeper, which takes out of the file's middle what is more than its bound while the writer waits (0.4 ms a MiB). A "
    "container's output comes by attach: the engine reads it and writes a log of its own before it gives it to our "
    "thread, so it limits. Who follows that log by the API loses what comes faster than it reads when a file is full."
)
SIZES = {EMBEDDED: 1 << 30, COMPOSE: 256 << 20}
CAT, API = "process | cat", "container, API alone"
LOG = {"max-size": MAX_LOG, "max-file": "2"}
LINE = "x" * 99
MIB = 1 << 20
BUDGET = 120.0
ROOM = 4 << 30  # one log at a time, and what the page cache has not written yet of those before
QUIET = 3.0  # seconds without a new byte after which no more is awaited


@dataclass(frozen=True)
class Taken:
    """What the output of a service cost.

    Attributes:
        seconds: from its first byte to the last in a file here.
        memory: the most that the keeper had, in MiB.
        disk: what the file takes on disk afterwards, in MiB.
        lost: what it has not, of what the service wrote, in MiB.
    """

    seconds: float
    memory: float
    disk: float
    lost: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, keeper {self.memory:.0f}, on disk {self.disk:.0f}, lost {self.lost:.0f} MiB"


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Let a service that ends by itself write, through ours and through ``cat`` or the engine's API alone.

    Raises:
        BrokenStack: there is not enough room for it.
    """
    if shutil.disk_usage(scratch).free < ROOM:
        raise BrokenStack(f"{scratch} has not {ROOM / (1 << 30):.0f} GiB free, which this needs")
    with scratch_project(scratch) as project:
        note = project.root / "times"
        loud = ["-IS", str(SERVICES / "loud.py"), str(SIZES[EMBEDDED]), str(note)]
        shell = f"/busybox yes {LINE} | /busybox head -c {SIZES[COMPOSE]}"
        service = {
            "image": IMAGE,
            "command": ["/busybox", "sh", "-c", shell],
            "x-harness": {"role": "oneshot", "embedded": {"command": ["python", *loud]}},
        }
        project.stack("loud", {"loud": service})
        ways = {"process": partial(process, project, note), CAT: partial(through_cat, [sys.executable, *loud], note)}
        if COMPOSE in engines(say):
            ways["container"] = partial(container, project)
            ways[API] = partial(through_api, project.root / "out", ["/busybox", "sh", "-c", shell])
        seen = alternate(ways, rounds, say)
    made: list[Series] = []
    for ours, floor in ((ours, floor) for ours, floor in (("process", CAT), ("container", API)) if ours in ways):
        made += [
            seen.series(floor, lambda taken: taken.seconds),
            seen.series(ours, lambda taken: taken.seconds, against=floor),
            seen.series(floor, lambda taken: taken.lost, f"{floor}: lost", unit="MiB"),
            seen.series(ours, lambda taken: taken.lost, f"{ours}: lost", unit="MiB"),
            seen.series(ours, lambda taken: taken.memory, f"{ours}: keeper's memory", unit="MiB"),
            seen.series(ours, lambda taken: taken.disk, f"{ours}: log on disk", unit="MiB", goal=LIMIT / MIB),
        ]
    return made


def process(project: Project, note: Path) -> Taken:
    """Take the output of a process, by ours."""
    with project.stack_up("loud", EMBEDDED) as stack:
        log = stack.service("loud").log
        began, ended = map(float, note.read_text().split())
        taken = _taken(EMBEDDED, ended - began, log, project)
    taken = replace(taken, disk=_on_disk(log))
    log.unlink()
    return taken


def through_cat(argv: list[str], note: Path) -> Taken:
    """Take the same output by a pipe and ``cat``."""
    out = note.with_name("out")
    try:
        with out.open("wb") as file:
            read_end, write_end = os.pipe()
            cat = procs.spawn(["cat"], stdin=read_end, output=file)
            os.close(read_end)
            try:
                loud = procs.spawn(argv, output=write_end)
            finally:
                os.close(write_end)
            loud.wait(BUDGET)
            cat.wait(BUDGET)
            ended = clock.now()
        return _taken(EMBEDDED, ended - float(note.read_text().split()[0]), out)
    finally:
        out.unlink(missing_ok=True)


def container(project: Project) -> Taken:
    """Take the output of a container, by ours; what does not come while it is quiet has been lost."""
    find_engine().close()
    size = SIZES[COMPOSE]
    with project.stack_up("loud", COMPOSE) as stack:
        service = stack.service("loud")
        log = service.log
        last, when = -1, clock.now()
        for _ in clock.poll(clock.Deadline.after(BUDGET)):
            if file_size(log) != last:
                last, when = file_size(log), clock.now()
            if last >= size or clock.now() - when > QUIET:
                break
        client = find_engine()
        facts = client.inspect_container(str(stack.dump()["loud"]["container"]))
        client.close()
        taken = _taken(COMPOSE, when - _monotonic(facts["State"]["StartedAt"]), log, project)
    taken = replace(taken, disk=_on_disk(log))
    log.unlink()
    return taken


def through_api(out: Path, command: list[str]) -> Taken:
    """Take the same output by following the log through the engine's API, with the same log driver."""
    client, name = find_engine(), f"bench-{os.urandom(4).hex()}"
    try:
        host = client.create_host_config(network_mode="none", log_config=LogConfig(type="local", config=LOG))
        made = client.create_container(IMAGE, command, labels={LABEL: name}, host_config=host)
        client.start(made["Id"])
        with out.open("wb", buffering=0) as file:
            for chunk in client.logs(made["Id"], stream=True, follow=True):
                file.write(chunk)
        ended = clock.now()
        facts = client.inspect_container(made["Id"])
        return _taken(COMPOSE, ended - _monotonic(facts["State"]["StartedAt"]), out)
    finally:
        out.unlink(missing_ok=True)
        left_on(client, f"{LABEL}={name}")
        client.close()


def _taken(engine: str, seconds: float, file: Path, project: Project | None = None) -> Taken:
    size = file_size(file)
    memory = _peak(project.kept()[engine]) if project else 0.0
    return Taken(seconds, memory, _on_disk(file), (SIZES[engine] - size) / MIB)


def _on_disk(file: Path) -> float:
    """Return what a file takes, in MiB (st_blocks: stat(2))."""
    return file.stat().st_blocks * 512 / MIB


def _peak(pid: int) -> float:
    """Return the most memory that a process had, in MiB (VmHWM: proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _monotonic(text: str) -> float:
    """Return a moment of the engine on this machine's monotonic clock."""
    return datetime.fromisoformat(text).timestamp() - time.time() + clock.now()


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "logs", "--no-history", *sys.argv[1:]]))
