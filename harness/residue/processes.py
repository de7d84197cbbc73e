"""What tests may leave running: processes that they started, and the ports that these, or they, listen at."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import procs
from harness.sockets import own_listeners, sockets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Mapping

COOKIE = "HARNESS_TESTS_"
"""How variables begin that all have which tests start: by them that is found too which has left its parent."""

_LISTINGS = 4
_YOUNG = 1.0  # seconds
_SHOWN = 100  # characters of a command line
# Started by Python itself where they are first needed, for as long as the process lives.
_PYTHONS_OWN = ("from multiprocessing.resource_tracker import", "from multiprocessing.forkserver import")


def cookie() -> dict[str, str]:
    """Return the variable that what this process starts is to have."""
    return {
        f"{COOKIE}{os.getpid()}": str(procs.start_time_of(os.getpid()))
    }  # tests may run another pytest, with its own


@dataclass(frozen=True)
class _Process:
    """A process, as it was first seen: later on it may have another command or another parent.

    Attributes:
        start: when it started.
        name: its command and number.
    """

    start: int
    name: str


class Children:
    """The processes that this one has started, also by way of others, and that still run; not those of the environment.

    Args:
        is_services: tells of a number whether it is the keeper of the environment or what that has started.
    """

    def __init__(self, is_services: Callable[[int], bool] = lambda _: False) -> None:
        self._is_services = is_services
        self._cookie = "=".join(*cookie().items())
        self._ours: dict[int, _Process] = {}
        self._strangers: set[int] = set()
        self._services: set[int] = set()
        self._counter: Hashable = None

    def counter(self) -> Hashable:
        """Return what is another one when a process was started, or ended."""
        return _last_pid(), _children_of(os.getpid())

    def living(self) -> dict[int, _Process]:
        """Return those that live now, by their number."""
        living: dict[int, _Process] = {}
        for _ in range(_LISTINGS):  # one that forks and ends meanwhile is seen by neither of its numbers
            counter = self.counter()
            if counter != self._counter:
                self._look_at_all()
                self._counter = counter
            living = {pid: process for pid, process in self._ours.items() if procs.is_alive(pid, process.start)}
            if self.counter() == counter:
                break
        return living

    def _look_at_all(self) -> None:
        family, pids = set(_descendants(os.getpid(), self._services)), set(procs.all_pids())
        self._ours = {pid: process for pid, process in self._ours.items() if pid in pids}
        self._strangers &= pids
        self._services &= pids
        for pid in pids - self._services:
            if pid in family or (pid not in self._strangers and pid not in self._ours):
                self._learn(pid, is_child=pid in family)

    def _learn(self, pid: int, *, is_child: bool) -> None:
        start = procs.start_time_of(pid)
        known = self._ours.get(pid)
        if start is None or (known and known.start == start) or pid == os.getpid():
            return
        self._ours.pop(pid, None)
        if not (is_child or procs.has_cookie(pid, self._cookie)):
            if procs.age_of(pid) > _YOUNG:  # before its exec it may have another environment, and in it none
                self._strangers.add(pid)
        elif self._is_services(pid):
            self._services.add(pid)
        elif not _is_pythons_own(pid):
            self._ours[pid] = _Process(start, f"{procs.command_of(pid)[:_SHOWN]} (pid {pid})")


def _is_pythons_own(pid: int) -> bool:
    return any(word.startswith(_PYTHONS_OWN) for word in procs.words_of(pid))


def _last_pid() -> str:
    with open("/proc/loadavg", encoding="ascii") as file:  # noqa: PTH123 - for every test
        return file.read().split()[-1]


def _children_of(pid: int) -> tuple[int, ...]:
    """Return the children of a process, as far as the kernel has lists of them (CONFIG_PROC_CHILDREN)."""
    return tuple(_read_children(pid))


def _read_children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - half the time of iterdir
            with (
                suppress(OSError),
                open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file,  # noqa: PTH123 - as above
            ):
                yield from map(int, file.read().split())


def _descendants(pid: int, without: Collection[int]) -> Iterator[int]:
    """Yield the processes below one, but for those in ``without`` and below them."""
    if not os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children"):  # noqa: PTH110 - as above
        yield from procs.descendants(pid)
        return
    for child in _children_of(pid):
        if child not in without:
            yield child
            yield from _descendants(child, without)


class Processes:
    """Processes that tests started. Of one that started others only itself is told of, as long as it lives."""

    kind = "processes"
    counts_removed = False
    is_shared = False

    def __init__(self, children: Children) -> None:
        self._children = children

    def glance(self) -> Hashable:
        """Return what is another one when a process was started, or ended."""
        return self._children.counter()

    def look(self) -> Mapping[str, str]:
        """Return those whose parent is no other of them."""
        living = self._children.living()
        return {process.name: "" for pid, process in living.items() if procs.parent_of(pid) not in living}


class Ports:
    """TCP ports that this process, and those that tests started, listen at."""

    kind = "listening ports"
    counts_removed = False
    is_shared = False

    def __init__(self, children: Children) -> None:
        self._children = children
        self._holders: dict[int, str] = {}  # inode of a socket -> who held it when it was first seen

    def glance(self) -> Hashable:
        """Return the sockets of this process, and what is another one when a process was started, or ended."""
        return sockets_of([os.getpid()]), self._others()

    def _others(self) -> Hashable:
        return sockets_of(self._children.living())

    def look(self) -> Mapping[str, str]:
        """Return their addresses, with who listens."""
        held = {inode: process.name for pid, process in self._children.living().items() for inode in sockets_of([pid])}
        held |= dict.fromkeys(sockets_of([os.getpid()]), "this process")
        listening = [listener for listener in own_listeners() if listener.inode in held]
        self._holders = {one.inode: self._holders.get(one.inode, held[one.inode]) for one in listening}
        return {str(one): self._holders[one.inode] for one in listening}
