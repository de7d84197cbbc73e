"""Cells of an interoperability matrix as local processes: each role is a service of a stack that is the cell's own.

The keeper starts, signals and ends them, and whatever they fork. What they write and what they are told goes by named
pipes between them and this process, so it is heard at once and costs the keeper nothing.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from harness.engine.cells import LOGS, SHARED, KeptSite, stack_of
from harness.engine.known import Known
from harness.engine.local import inherited
from harness.engine.streams import PipeEnd, Stream
from harness.errors import BrokenStack
from harness.keeper import mounts as namespaces
from harness.keeper.messages import AskMounts, Lease, Services, Start, TakeStreams
from harness.matrix.site import Collected, Heard
from harness.ownership.removal import WORK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from harness.engine.driver import Place
    from harness.keeper.messages import Event, Spec
    from harness.matrix.site import Part

CELLS, ADDRESSES = "cells", "addresses"
MOST_ADDRESSES = 250  # of an environment's network


class ProcessSites:
    """Places of cells in one environment."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.environ = inherited(place.settings.environ)
        self._numbers = itertools.count()
        self._free: deque[str] = deque()
        self._made = 0
        self._kept: frozenset[str] | None = None
        self._lock = threading.Lock()
        self._mounts: bool | None = None

    clears_slowly = False

    @property
    def mounts(self) -> bool:
        """Whether this user may give each role mounts of its own."""
        with self._lock:
            if self._mounts is None:
                self._mounts = self.place.link.ask(AskMounts())["allowed"]
            return self._mounts

    def site(self, cell: str, folder: Path, hear: Callable[[Heard], None]) -> ProcessSite:
        """Return a place for a cell; nothing is made yet."""
        return ProcessSite(self, stack_of(cell, next(self._numbers), self.place.report.path.name), folder, hear)

    def take_addresses(self, count: int) -> list[str]:
        """Lease addresses, the ones that were given back the longest ago first. Raises BrokenStack."""
        with self._lock:
            while (missing := count - len(self._free)) > 0:
                names = [f"cells/{self._made + number}" for number in range(missing)]
                if self._made + len(names) > MOST_ADDRESSES:
                    raise BrokenStack(f"All {MOST_ADDRESSES} addresses of this environment are in use by cells")
                leased = self.place.link.ask(Lease(names, []))["addresses"].values()
                self._free.extend(address for address in leased if address not in self._of_kept())
                self._made += len(names)
            return [self._free.popleft() for _ in range(count)]

    def _of_kept(self) -> frozenset[str]:
        """Return the addresses of cells that earlier runs have left."""
        if self._kept is None:
            stacks = self.place.link.ask(Services())["stacks"].values()
            self._kept = frozenset(
                address for facts in stacks for address in (facts["record"] or {}).get(ADDRESSES, ())
            )
        return self._kept

    def give_back(self, addresses: Collection[str]) -> None:
        """Give addresses back."""
        with self._lock:
            self._free.extend(addresses)


class ProcessSite(KeptSite):
    """The place of one cell; see ``harness.matrix.site``."""

    def __init__(self, sites: ProcessSites, stack: str, folder: Path, hear: Callable[[Heard], None]) -> None:
        super().__init__(sites.place, stack, folder, hear)
        self._sites = sites
        self._work = sites.place.folder / WORK / CELLS / stack
        self._parts: dict[str, Part] = {}
        self._addresses: dict[str, str] = {}
        self._cpu: dict[str, float] = {}

    def create(self, parts: Collection[Part]) -> None:
        """Take the cell's stack, addresses and folders; each role is then started by itself. Raises HarnessError."""
        self._parts = {part.role: part for part in parts}
        self._listen()
        try:
            for folder in (self._work / "shared", *(self._logs_of(role) for role in self._parts)):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokenStack(f"{error.filename or self._folder} cannot be written: {error.strerror}") from error
        self._addresses = dict(zip(self._parts, self._sites.take_addresses(len(self._parts)), strict=True))
        self._acquire()

    def start(self, role: str) -> None:
        """Start a role. Raises HarnessError."""
        ears, split = self._heard(), {"out": lambda data: ((False, data),), "err": lambda data: ((True, data),)}
        for name, told in split.items():  # before it starts: else one that ends at once has ended before it was heard
            end = PipeEnd(os.open(self._pipe(role, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            ears.add(Stream(role, end, told))
        writer = self._pipe(role, "in")
        held = os.open(writer, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # else it would read its end at once
        try:
            ears.add(Stream(role, PipeEnd(os.open(writer, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)), takes=True))
            self._place.link.ask(Start(self._stack, role, self._spec(role)))
        finally:
            os.close(held)

    def collect(self) -> Collected:
        """Return what is known of the cell; what roles left in /logs is in its folder already."""
        return Collected(cpu=sum(self._cpu.values()))

    def leave(self) -> str:
        """Let the roles that live stay, with their addresses and folders; return the stack. Raises HarnessError."""
        if self._is_held:
            self._place.link.ask(TakeStreams(self._stack))
        return super().leave()

    def remove(self) -> tuple[str, ...]:
        """Remove all that was made; return what could not be, in words."""
        left = super().remove()
        shutil.rmtree(self._work, ignore_errors=True)
        if self._work.exists():
            left += (f"folder {self._work}",)
        self._sites.give_back(self._addresses.values())
        self._addresses = {}
        return left

    # -- details ------------------------------------------------------------------------------------------------

    def _known(self) -> Iterator[Known]:
        """Yield the roles; a command in one sees the folders that it sees."""
        for role in self._parts:
            spec = self._spec(role)
            folders = {SHARED: str(self._work / "shared"), LOGS: str(self._logs_of(role))}
            launcher, paths = (namespaces.launcher(folders, spec["cwd"]), {}) if "mounts" in spec else ((), folders)
            yield Known(self._stack, role, (), spec["env"], spec["cwd"], paths, 0.0, launcher=launcher)

    def _more(self) -> dict[str, Any]:
        return {ADDRESSES: list(self._addresses.values())}

    def _logs_of(self, role: str) -> Path:
        return self._folder / "logs" / role

    def _pipe(self, role: str, name: str) -> Path:
        path = self._work / f"{role}.{name}"
        os.mkfifo(path, 0o600)
        return path

    def _spec(self, role: str) -> Spec:
        part, mounts = self._parts[role], self._sites.mounts
        shared, logs = self._work / "shared", self._logs_of(role)
        peers = " ".join(f"{name}={address}" for name, address in self._addresses.items())
        spec: Spec = {
            "argv": list(part.argv),
            "env": {
                **self._sites.environ,
                **part.env,
                "INTEROP_PEERS": peers,
                "INTEROP_SHARED": SHARED if mounts else str(shared),
                "INTEROP_LOGS": LOGS if mounts else str(logs),
            },
            "cwd": str(part.cwd or self._work),
            "grace": 0.0,
            "stop": [],
            "signal": 15,
            "hold": False,
            "streams": [str(self._work / f"{role}.{name}") for name in ("in", "out", "err")],
        }
        if mounts:
            spec["mounts"] = {SHARED: str(shared), LOGS: str(logs)}
        return spec

    def _told(self, event: Event | None) -> None:
        """Hear from the keeper that a role has ended, or that there is no keeper any more."""
        if event is None:
            self._heard().tell(Heard("", "lost", why="the keeper is gone"))
        elif event["event"] == "exit":
            self._cpu[event["service"]] = event.get("cpu", 0.0)
            heard = Heard(event["service"], "exited", code=event["exit_code"] or 0, at=time.time())
            self._heard().ended(heard)
