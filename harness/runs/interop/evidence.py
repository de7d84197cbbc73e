"""What a cell leaves to explain it, written as it comes: its events, and what each role wrote."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.matrix.events import Event

HEAD = 8 * 1024 * 1024
"""Bytes that are kept from the start of what a role wrote to a stream."""
TAIL = 1024 * 1024
"""Bytes that are kept from the end of that, at least."""
EVENTS = "events.jsonl"


class Bounded:
    """A file that has the start and the end of what is written to it, and in between says what is left out.

    Args:
        path: of the file.
        head: bytes of the start.
        tail: bytes of the end, at least.
    """

    def __init__(self, path: Path, head: int = HEAD, tail: int = TAIL) -> None:
        self._file: BinaryIO = path.open("wb", buffering=0)
        self._room, self._most = head, tail
        self._last: deque[bytes] = deque()
        self._held = 0
        self._left_out = 0

    def write(self, data: bytes) -> None:
        """Add what was written. Raises OSError."""
        if self._room > 0:
            _write(self._file, data[: self._room])
            data, self._room = data[self._room :], self._room - len(data)
        if not data:
            return
        self._last.append(data)
        self._held += len(data)
        while self._held - len(self._last[0]) >= self._most:
            gone = len(self._last.popleft())
            self._held -= gone
            self._left_out += gone

    def close(self) -> None:
        """Write the end. Raises OSError."""
        with self._file:
            if self._left_out:
                _write(self._file, f"\n... {self._left_out} bytes left out ...\n".encode())
            for data in self._last:
                _write(self._file, data)
            self._last.clear()


class Evidence:
    """The folder of a cell.

    Args:
        folder: of its evidence; it is made.
        roles: of the cell.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, roles: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._events: BinaryIO = (folder / EVENTS).open("wb", buffering=0)
        self._outputs = {
            (role, is_error): Bounded(folder / (f"{role}.err.log" if is_error else f"{role}.log"))
            for role in roles
            for is_error in (False, True)
        }

    def record(self, events: Iterable[Event]) -> None:
        """Add events. Raises OSError."""
        lines = "".join(f"{json.dumps(event.as_dict())}\n" for event in events)
        if lines:
            _write(self._events, lines.encode())

    def output(self, role: str, data: bytes, *, is_error: bool) -> None:
        """Add what a role wrote. Raises OSError."""
        if file := self._outputs.get((role, is_error)):
            file.write(data)

    def close(self) -> None:
        """Close all files. Raises OSError, of the last that could not be."""
        with self._events:
            error: OSError | None = None
            for file in self._outputs.values():
                try:
                    file.close()
                except OSError as raised:
                    error = raised
            if error:
                raise error


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all of it: a disk that gets full takes a part, and only who writes the rest is told. Raises OSError."""
    while data:
        data = data[file.write(data) :]
