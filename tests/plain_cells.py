"""Cells of a matrix as plain processes, without keeper and engine: to see what programs do, not what engines do."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from subprocess import PIPE, Popen  # noqa: TID251 - procs has nothing that gives three pipes
from tempfile import mkdtemp
from typing import IO, TYPE_CHECKING, Any

from harness import procs
from harness.errors import BrokenStack
from harness.matrix.cells import Cell
from harness.matrix.site import Collected, Heard, Part
from harness.runs.interop.cell import Around, Probes, parts_of, run_cell
from harness.runs.interop.parts import probing_part

if TYPE_CHECKING:
    from harness.matrix.cases import Case
    from harness.matrix.implementations import Implementation, Matrix
    from harness.matrix.verdicts import Result

CHUNK = 1 << 16
_networks = itertools.count(secrets.randbelow(1 << 14))


def cells_of(matrix: Matrix, case: Case) -> Iterable[Cell]:
    """Return the cells of a test, all implementations as worker and driver."""
    workers: tuple[str, ...] = matrix.workers or tuple(each.name for each in matrix.implementations)
    drivers = matrix.drivers or tuple(each.name for each in matrix.implementations)
    values = [[(name, value) for value in several] for name, several in case.params.items()]
    for worker, driver, params in itertools.product(workers, drivers, itertools.product(*values)):
        if not all(_takes_part(matrix.implementation(name), case) for name in (worker, driver)):
            continue
        shown = ",".join(f"{name}={value}" for name, value in params)
        cell = "/".join(part for part in (case.name, worker, driver, shown) if part)
        yield Cell(cell, case.name, worker, driver, dict(params), seed=7, timeout=case.timeout)


def _takes_part(implementation: Implementation, case: Case) -> bool:
    return any(fnmatch(case.name, pattern) for pattern in implementation.provides)


def run(matrix: Matrix, case: Case, cell: Cell, folder: Path) -> Result:
    """Run a cell as plain processes; nothing of it is left."""
    sites, stop = PlainSites(), threading.Event()

    def part(implementation: str, role: str, test: str) -> Part:
        named = next(each for each in case.roles if each.name == role)
        return probing_part(matrix.implementation(implementation), named, test, {})

    probes = Probes(sites, folder / "probes", part, stop)
    result = run_cell(cell, case, parts_of(matrix, case, cell, {}), folder / "cell", Around(sites, probes, stop))
    assert result
    assert not result.left, result.left
    return result


def events_of(folder: Path) -> list[dict[str, Any]]:
    """Return what happened in a cell that ``run`` ran."""
    return [json.loads(line) for line in (folder / "cell/events.jsonl").read_text().splitlines()]


class PlainSites:
    """Makes places that are no more than processes with addresses of their own."""

    clears_slowly = False

    @property
    def mounts(self) -> bool:
        return False

    def site(self, cell: str, folder: Path, hear: Callable[[Heard], None]) -> PlainSite:
        return PlainSite(cell, folder, hear)


@dataclass
class Running:
    """A role's process and who reads it."""

    process: Popen[bytes]
    readers: tuple[threading.Thread, ...]
    waiter: threading.Thread


class PlainSite:
    """The place of one cell."""

    def __init__(self, cell: str, folder: Path, hear: Callable[[Heard], None]) -> None:
        self._hear = hear
        self._cookie = f"PLAIN_CELL={cell}-{secrets.token_hex(4)}"
        self._shared = Path(mkdtemp(prefix="shared-"))
        self._logs = folder / "logs"
        self._parts: Mapping[str, Part] = {}
        self._running: dict[str, Running] = {}

    def create(self, parts: Collection[Part]) -> None:
        network = next(_networks)
        self._parts = {part.role: part for part in parts}
        self._logs.mkdir(parents=True)
        self._peers = " ".join(
            f"{role}=127.{100 + network // 256 % 64}.{network % 256}.{number}"
            for number, role in enumerate(self._parts, start=2)
        )

    def start(self, role: str) -> None:
        part = self._parts[role]
        name, _, value = self._cookie.partition("=")
        told = {"INTEROP_SHARED": str(self._shared), "INTEROP_LOGS": str(self._logs), "INTEROP_PEERS": self._peers}
        env = {**os.environ, **part.env, **told, name: value}
        process = Popen(part.argv, cwd=part.cwd, env=env, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True)
        assert process.stdout
        assert process.stderr
        readers = tuple(
            threading.Thread(target=self._read, args=(role, stream, is_error), daemon=True)
            for stream, is_error in ((process.stdout, False), (process.stderr, True))
        )
        waiter = threading.Thread(target=self._wait, args=(role, process, readers), daemon=True)
        self._running[role] = Running(process, readers, waiter)
        for thread in (*readers, waiter):
            thread.start()

    def _read(self, role: str, stream: IO[bytes], is_error: bool) -> None:
        while data := os.read(stream.fileno(), CHUNK):
            self._hear(Heard(role, "output", data, is_error=is_error, at=time.time()))

    def _wait(self, role: str, process: Popen[bytes], readers: Collection[threading.Thread]) -> None:
        code = process.wait()
        for reader in readers:
            reader.join(0.3)  # what it left behind may hold its pipes
        self._hear(Heard(role, "exited", code=code, at=time.time()))

    def tell(self, role: str, line: bytes) -> None:
        """Nobody here reads it."""

    def terminate(self, roles: Collection[str]) -> None:
        for role in roles:
            procs.kill_group(self._running[role].process.pid, signal.SIGTERM)

    def kill(self, roles: Collection[str]) -> None:
        for role in roles:
            procs.kill_group(self._running[role].process.pid, signal.SIGKILL)

    def collect(self) -> Collected:
        return Collected()

    def leave(self) -> str:
        raise BrokenStack("nothing stays here")

    def remove(self) -> tuple[str, ...]:
        self.kill(self._running)
        for pid, start in procs.with_cookie(self._cookie).items():
            procs.kill(pid, signal.SIGKILL, start_time=start)
        for running in self._running.values():
            for thread in (running.waiter, *running.readers):
                thread.join(10)
            for stream in (running.process.stdin, running.process.stdout, running.process.stderr):
                if stream:
                    stream.close()
        shutil.rmtree(self._shared)
        return tuple(f"process {pid}" for pid in procs.with_cookie(self._cookie))
