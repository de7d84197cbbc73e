"""What the roles of one cell write, heard as it comes, and what they are told: one thread for each cell.

A role whose output nobody takes waits, so nothing is lost and no memory is filled, however much it writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import struct
import termios
import threading
import time
import traceback
from collections import deque
from typing import TYPE_CHECKING, Protocol

from harness.clock import Deadline
from harness.matrix.site import Heard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Split = Callable[[bytes], Iterable[tuple[bool, bytes]]]

AT_ONCE = 1 << 18
MOST_PENDING = 1 << 18  # bytes that a role has not read of what it was told; what is more is dropped
DAEMON_GRACE = 0.2  # seconds in which what a process has left behind may hold its streams open
JOIN_BUDGET = 5.0


class End(Protocol):
    """This process's end of a stream, which does not block."""

    def fileno(self) -> int:
        """Return its descriptor."""
        ...

    def recv(self, size: int) -> bytes:
        """Return what there is, b"" at its end. Raises BlockingIOError."""
        ...

    def send(self, data: bytes) -> int:
        """Write what there is room for; return how much. Raises BlockingIOError."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class PipeEnd:
    """One end of a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._fd

    def recv(self, size: int) -> bytes:
        """Return what there is, b"" when nobody has the other end any more."""
        return os.read(self._fd, size)

    def send(self, data: bytes) -> int:
        """Write what there is room for; return how much."""
        return os.write(self._fd, data)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


class Stream:
    """A stream of a role: what comes by it is told, what is to go is sent when there is room.

    Args:
        role: whose it is.
        end: this process's end of it.
        split: makes of what came ``(whether it is of standard error, bytes)``; None: nothing is to come.
        takes: whether it takes what the role is told.
    """

    def __init__(self, role: str, end: End, split: Split | None = None, *, takes: bool = False) -> None:
        self.role = role
        self.end = end
        self.split = split
        self.takes = takes
        self.pending = bytearray()
        self.is_over = split is None  # nothing is to come
        self.is_closed = False
        self.owed: int | None = None  # bytes that were there when its role had ended, and are told in any case

    @property
    def events(self) -> int:
        """What is waited for."""
        reads = 0 if self.is_over else selectors.EVENT_READ
        return reads | (selectors.EVENT_WRITE if self.pending else 0)

    def waiting(self) -> int:
        """Return how many bytes can be read at once."""
        answer = fcntl.ioctl(self.end.fileno(), termios.FIONREAD, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])


class _Ending:
    def __init__(self, heard: Heard, grace: float) -> None:
        self.heard = heard
        self.deadline = Deadline.after(grace)


class Ears:
    """The streams of one cell. ``hear`` is called in a thread of its own, one call after the other.

    Args:
        name: of the thread.
        hear: told of each piece of output, and of each end after all output of it.
        grace: seconds in which the streams of a role that has ended are waited for.
    """

    def __init__(self, name: str, hear: Callable[[Heard], None], grace: float = DAEMON_GRACE) -> None:
        self._hear, self._grace = hear, grace
        self._streams: list[Stream] = []
        self._endings: dict[str, _Ending] = {}
        self._selector = selectors.DefaultSelector()
        self._asked: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._closing = False
        self._closed = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    # -- from any thread ----------------------------------------------------------------------------------------

    def add(self, stream: Stream) -> None:
        """Hear a stream from now on; it is closed in the end."""
        self._ask(lambda: self._add(stream))

    def send(self, role: str, data: bytes) -> None:
        """Send something to a role by that stream of it by which something can be."""
        self._ask(lambda: self._send(role, data))

    def ended(self, heard: Heard) -> None:
        """A role has ended: that is told after all that it wrote."""
        self._ask(lambda: self._take_end(heard))

    def tell(self, heard: Heard) -> None:
        """Tell something of the site itself."""
        self._ask(lambda: self._say(heard))

    def close(self) -> None:
        """Hear no more, and close everything. Safe to call twice."""
        self._closing = True
        self._ask(lambda: None)
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN_BUDGET)

    def _ask(self, act: Callable[[], None]) -> None:
        with self._closed:
            if self._wake >= 0:
                self._asked.append(act)
                os.eventfd_write(self._wake, 1)

    # -- in its thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            for key, events in self._selector.select(self._patience()):
                if key.data is None:
                    os.eventfd_read(self._wake)
                else:
                    self._serve(key.data, events)
            while self._asked and not self._closing:
                self._asked.popleft()()
            for role in list(self._endings):
                self._tell_end(role)
        with self._closed:
            for stream in self._streams:
                self._close(stream)
            self._selector.close()
            os.close(self._wake)
            self._wake = -1

    def _patience(self) -> float | None:
        return min((ending.deadline.remaining() for ending in self._endings.values()), default=None)

    def _add(self, stream: Stream) -> None:
        self._streams.append(stream)
        self._follow(stream)

    def _follow(self, stream: Stream) -> None:
        """Wait for what a stream is of use for."""
        if stream.is_closed:
            return
        known = stream.end in self._selector.get_map()
        if not stream.events and known:
            self._selector.unregister(stream.end)
        elif stream.events and known:
            self._selector.modify(stream.end, stream.events, stream)
        elif stream.events:
            self._selector.register(stream.end, stream.events, stream)

    def _serve(self, stream: Stream, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(stream)
        if events & selectors.EVENT_READ and not stream.is_over:
            self._read(stream)

    def _read(self, stream: Stream) -> None:
        try:
            data = stream.end.recv(AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            stream.is_over = True
            self._follow(stream)
            return
        if stream.owed is not None:
            stream.owed -= len(data)
        at = time.time()
        for is_error, piece in stream.split(data) if stream.split else ():
            self._say(Heard(stream.role, "output", piece, is_error=is_error, at=at))

    def _say(self, heard: Heard) -> None:
        try:
            self._hear(heard)
        except Exception:  # noqa: BLE001 - the others' output must go on being read; the mistake is shown where people look
            traceback.print_exc()

    def _send(self, role: str, data: bytes) -> None:
        for stream in self._streams:
            can = stream.takes and stream.role == role and role not in self._endings
            if can and len(stream.pending) + len(data) <= MOST_PENDING:
                stream.pending += data
                self._flush(stream)

    def _flush(self, stream: Stream) -> None:
        try:
            while stream.pending:
                del stream.pending[: stream.end.send(bytes(stream.pending))]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads it any more
            stream.pending.clear()
        self._follow(stream)

    def _take_end(self, heard: Heard) -> None:
        self._endings[heard.role] = _Ending(heard, self._grace)
        for stream in self._streams:
            if stream.role == heard.role and not stream.is_over:
                with contextlib.suppress(OSError):
                    stream.owed = stream.waiting()

    def _tell_end(self, role: str) -> None:
        """Tell a role's end if all that it has written was told; what it left behind is not heard any more."""
        ending = self._endings[role]
        coming = [stream for stream in self._streams if stream.role == role and not stream.is_over]
        if coming and not (ending.deadline.expired() and all((stream.owed or 0) <= 0 for stream in coming)):
            return
        del self._endings[role]
        for stream in self._streams:
            if stream.role == role:
                self._close(stream)
        self._streams = [stream for stream in self._streams if stream.role != role]
        self._say(ending.heard)

    def _close(self, stream: Stream) -> None:
        if not stream.is_closed:
            stream.is_over = stream.is_closed = True
            if stream.end in self._selector.get_map():
                self._selector.unregister(stream.end)
            stream.end.close()
