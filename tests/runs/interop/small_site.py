"""A site for tests: real processes of this machine, each with a pipe and a thread; nothing of an engine."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from harness import procs
from harness.matrix.site import Collected, Heard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from harness.errors import HarnessError
    from harness.matrix.site import Part


class SmallSite:
    """Runs the roles of one cell as they are."""

    def __init__(
        self, cell: str, folder: Path, hear: Callable[[Heard], None], refusal: dict[str, HarnessError]
    ) -> None:
        self.cell = cell
        self._folder, self._hear, self._refusal = folder, hear, refusal
        self._parts: dict[str, Part] = {}
        self._processes: dict[str, procs.Popen[bytes]] = {}
        self._threads: list[threading.Thread] = []
        self.did: list[str] = []
        self.told: dict[str, bytes] = {}

    def _does(self, what: str, on: str = "") -> None:
        self.did.append(f"{what} {on}".strip())
        if error := self._refusal.get(what):
            raise error

    def create(self, parts: Collection[Part]) -> None:
        self._does("create")
        self._parts = {part.role: part for part in parts}

    def start(self, role: str) -> None:
        self._does("start", role)
        part = self._parts[role]
        shared = self._folder / "shared"
        shared.mkdir(exist_ok=True)
        env = {"PATH": os.environ["PATH"], "INTEROP_SHARED": str(shared), **part.env}
        process = procs.Popen(
            part.argv,
            cwd=part.cwd,
            env=env,
            stdin=procs.PIPE,
            stdout=procs.PIPE,
            stderr=procs.PIPE,
            start_new_session=True,
        )
        self._processes[role] = process
        assert process.stdout
        assert process.stderr
        readers = [
            threading.Thread(target=self._read, args=(role, stream, is_error), daemon=True)
            for stream, is_error in ((process.stdout, False), (process.stderr, True))
        ]
        for reader in readers:
            reader.start()
        waiter = threading.Thread(target=self._wait, args=(role, process, readers), daemon=True)
        waiter.start()
        self._threads.append(waiter)

    def _read(self, role: str, stream: IO[bytes], is_error: bool) -> None:
        with stream:
            while data := os.read(stream.fileno(), 65536):
                self._hear(Heard(role, "output", data, is_error))

    def _wait(self, role: str, process: procs.Popen[bytes], readers: list[threading.Thread]) -> None:
        code = process.wait(timeout=60)
        for reader in readers:
            reader.join(timeout=10)
        self._hear(Heard(role, "exited", code=code))

    def tell(self, role: str, line: bytes) -> None:
        self.told[role] = self.told.get(role, b"") + line
        stdin = self._processes[role].stdin
        assert stdin
        with contextlib.suppress(BrokenPipeError):
            os.write(stdin.fileno(), line)

    def terminate(self, roles: Collection[str]) -> None:
        self._does("terminate", " ".join(roles))
        for role in roles:
            self._processes[role].terminate()

    def kill(self, roles: Collection[str]) -> None:
        self._does("kill", " ".join(roles))
        for role in roles:
            self._processes[role].kill()

    def collect(self) -> Collected:
        self._does("collect")
        return Collected(cpu=0.25)

    def leave(self) -> str:
        self._does("leave")
        return self.cell

    def remove(self) -> tuple[str, ...]:
        for process in self._processes.values():
            process.kill()
            if process.stdin:
                process.stdin.close()
        for thread in self._threads:
            thread.join(timeout=10)
        self._does("remove")
        return ()


class SmallSites:
    """Gives small sites; what they are to refuse is said by a word such as ``create``."""

    mounts = clears_slowly = False

    def __init__(self, **refusal: HarnessError) -> None:
        self._refusal = refusal
        self.made: list[SmallSite] = []

    def site(self, cell: str, folder: Path, hear: Callable[[Heard], None]) -> SmallSite:
        site = SmallSite(cell, folder, hear, self._refusal)
        self.made.append(site)
        return site
