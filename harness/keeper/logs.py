"""The logs of an environment: where they are, how large each was when, and that none grows without a bound.

What a log has too much is taken out of its middle: a hole is punched (fallocate(2)), which gives the blocks back and
leaves the size, so that writers need not know and every offset that was noted stays right. The beginning stays, for it
says how a service was started, and the end, for it says what happened last. Where the hole begins a line says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import stat
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from harness import artifacts, clock
from harness.artifacts import LARGEST_BLOCK, next_data
from harness.keeper.own_log import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LOOK_EVERY = 1.0
AGAIN = 0.1  # seconds after which logs are looked at again while one grows beyond its bound
MOST = 4096  # changes that are remembered of each log; older ones are forgotten, so that more is shown, never less
LIMIT = 64 << 20  # bytes of a log on disk: as much as the engine's own file of a container's output
HEAD = 1 << 20  # of them from its beginning
STEP = 8 << 20  # taken out at a time: some 3 ms of work, in which a writer of this log waits
SUFFIX = ".log"
KEEP_SIZE, PUNCH_HOLE = 1, 2  # fallocate(2)

_libc = ctypes.CDLL(None, use_errno=True)
# Where there are two, this one takes 64-bit offsets everywhere.
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class LogBounds:
    """Bounds the logs in one folder. It has no state but what it has said, once for each reason.

    Only regular files of the folder itself are touched: a link there leads to another environment's log, which is that
    keeper's to bound.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._said: set[str] = set()

    def look(self) -> Iterator[None]:
        """Bound every log to ``LIMIT``, a short step at a time. What is written meanwhile is left to the next look."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # nothing was started yet, or somebody has moved it away
            return
        try:
            with os.scandir(folder) as entries:
                large = [entry.name for entry in entries if _is_large(entry)]
            for name in large:
                try:
                    yield from _bound(folder, name)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self._cannot(name, error)
        finally:
            os.close(folder)

    def _cannot(self, name: str, error: OSError) -> None:
        reason = error.strerror or str(error)
        if reason not in self._said:
            self._said.add(reason)
            self._say(f"log {name} grows without a bound: no hole can be made in it: {reason}")


def _is_large(entry: os.DirEntry[str]) -> bool:
    if not entry.name.endswith(SUFFIX):
        return False
    try:
        facts = entry.stat(follow_symlinks=False)
    except OSError:  # it is gone
        return False
    return stat.S_ISREG(facts.st_mode) and facts.st_blocks * 512 > LIMIT  # st_blocks: stat(2)


def _bound(folder: int, name: str) -> Iterator[None]:
    """Punch holes into one log until no more than ``LIMIT`` of what it has now is left."""
    # Not for appending: pwrite(2) would then write to the end whatever the offset.
    log = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        facts = os.fstat(log)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            return
        # Sizes decide, not blocks: some filesystems reserve blocks beyond the end.
        kept = next_data(log, HEAD + LARGEST_BLOCK, facts.st_size) // LARGEST_BLOCK * LARGEST_BLOCK
        first = HEAD
        while facts.st_size - kept > LIMIT - HEAD:
            kept += STEP
            _punch(log, first, kept)
            _mark(log, kept)
            first = kept
            yield
    finally:
        os.close(log)


def _punch(log: int, first: int, end: int) -> None:
    if _fallocate(log, PUNCH_HOLE | KEEP_SIZE, first, end - first):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mark(log: int, end: int) -> None:
    """Say at the begin of the hole what is missing; the rest of that block stays empty."""
    line = f"\n... harness: bytes {HEAD} to {end} of this log are left out here ...\n"
    with contextlib.suppress(OSError):  # a full disk: there is room now, and the next look says it
        os.pwrite(log, line.encode(), HEAD)


class LogMarks:
    """The sizes of log files over time, noted once in a while."""

    def __init__(self) -> None:
        self._known: dict[str, deque[tuple[float, int]]] = {}

    def note(self, log: str) -> None:
        """Note the size of a log if it has changed."""
        marks = self._known.setdefault(log, deque(maxlen=MOST))
        size = artifacts.file_size(Path(log))
        if not marks or marks[-1][1] != size:
            marks.append((clock.now(), size))

    def since(self, log: str, seconds: float) -> int:
        """Return the size that a log had ``seconds`` ago, or a little less: from there on all is newer."""
        earlier = 0
        for at, size in self._known.get(log, ()):
            if at > clock.now() - seconds:
                break
            earlier = size
        return earlier


class Logs:
    """The logs of the services in one folder, minded until ``ended``."""

    def __init__(self, folder: Path, ended: asyncio.Event) -> None:
        self.marks = LogMarks()
        self._folder = folder
        self._bounds = LogBounds(folder, say)
        self._ended = ended
        self._owners: dict[str, str] = {}

    def path_of(self, stack: str, service: str, *, copy: bool = False) -> str:
        """Return the log of a service: ``NAME.log``; of a copy, and a second stack with it, ``NAME@STACK.log``."""
        owner = "" if copy else self._owners.setdefault(service, stack)
        name = service if owner == stack else f"{service}@{stack}"
        return str(self._folder / f"{name}.log")

    async def mark(self, logs: Callable[[], Iterable[str]]) -> None:
        """Note the sizes of logs each second, so that a client can ask what was written since when."""
        while not self._ended.is_set():
            for log in logs():
                self.marks.note(log)
            await wait_for(self._ended, LOOK_EVERY)

    async def bound(self) -> None:
        """Keep logs bounded: what was too much is soon off the disk, most of it before it was ever written there."""
        while not self._ended.is_set():
            steps = await self.bound_once()
            await wait_for(self._ended, AGAIN if steps else LOOK_EVERY)

    async def bound_once(self) -> int:
        """Bound every log; return in how many steps."""
        steps = 0
        for _ in self._bounds.look():
            steps += 1
            await asyncio.sleep(0)  # whoever asks something is answered between the steps
        return steps


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Return when something has happened, or ``seconds`` are over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
