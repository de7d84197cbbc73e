"""The other ends of a process's streams, once whoever heard them has gone: what it writes then goes into its log."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

AT_ONCE = 1 << 16


class Pipes:
    """The streams of one process, by their paths, until nobody writes to them any more or they are closed.

    Its standard input is held, so that it does not end. What a full disk does not take is lost, and no reason to stop.

    Args:
        paths: of the named pipes of its standard input, output and errors.
        log: where what it writes is appended.

    Raises:
        OSError: one cannot be opened.
    """

    def __init__(self, paths: Sequence[str], log: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._outputs: set[int] = set()
        stdin, *outputs = paths
        with contextlib.ExitStack() as opened:
            self._log = _opened(opened, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self._stdin = _opened(opened, stdin, os.O_RDWR | os.O_NONBLOCK)  # also where it has closed its own end
            ends = [_opened(opened, path, os.O_RDONLY | os.O_NONBLOCK) for path in outputs]
            opened.pop_all()
        for end in ends:
            self._outputs.add(end)
            self._loop.add_reader(end, self._read, end)

    def _read(self, end: int) -> None:
        try:
            data = os.read(end, AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            with contextlib.suppress(OSError):
                os.write(self._log, data)
            return
        self._close_output(end)
        if not self._outputs:
            self.close()

    def _close_output(self, end: int) -> None:
        self._outputs.discard(end)
        self._loop.remove_reader(end)
        os.close(end)

    def close(self) -> None:
        """Close them. Safe to call twice."""
        for end in list(self._outputs):
            self._close_output(end)
        for held in (self._stdin, self._log):
            if held >= 0:
                os.close(held)
        self._stdin = self._log = -1


def _opened(opened: contextlib.ExitStack, path: str, way: int) -> int:
    end = os.open(path, way | os.O_CLOEXEC, 0o600)
    opened.callback(os.close, end)
    return end
