"""The contract of programs that know of no events: a line says that a role is ready, an exit code that it is done.

So servers and clients that somebody else has written take part as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.matrix.cases import DRIVER
from harness.matrix.events import DONE, LOG, READY, UNSUPPORTED, Event, Lines

if TYPE_CHECKING:
    from collections.abc import Mapping


class ExitCode:
    """``ENTRY TEST ROLE``; the driver is done when it exits with 0."""

    entry: tuple[str, ...] = ("th-test",)
    is_silent = True

    def argv(self, entry: tuple[str, ...], test: str, role: str) -> tuple[str, ...]:
        """Return the entry with the test and the role."""
        return (*entry, test, role)

    def env(self, test: str, role: str) -> Mapping[str, str]:  # noqa: ARG002 - see TestCase
        """Return none."""
        return {}

    def ears(self, role: str, ready: str) -> Watched:
        """Return what watches for the line that it is ready with, and for its end."""
        return Watched(role, ready)


class Watched:
    """Takes all that a role writes for a log, and tells of ``ready`` and ``done`` in its place.

    A driver without a pattern is ready by the time that it exits, unless that says that it does not know the test.
    """

    def __init__(self, role: str, ready: str) -> None:
        self._role = role
        self._ready = re.compile(ready) if ready else None
        self._is_ready = False
        self._streams = {is_error: Lines(role, is_error=is_error, is_plain=True) for is_error in (False, True)}

    @property
    def written(self) -> int:
        """Bytes that it wrote in all."""
        return sum(lines.bytes for lines in self._streams.values())

    def feed(self, data: bytes, ti: int, *, is_error: bool) -> list[Event]:
        """Return the lines that end in a piece of a stream; behind the one that it is ready with, that it is."""
        return self._watched(self._streams[is_error].feed(data, ti), ti)

    def end(self, code: int, ti: int) -> list[Event]:
        """Return last lines without an end, and what an exit code says."""
        events = [event for lines in self._streams.values() for event in self._watched(lines.end(ti), ti)]
        if self._role != DRIVER:
            return events
        if not self._is_ready and self._ready is None and code != UNSUPPORTED:
            events.append(self._become_ready(ti))
        if self._is_ready and code == 0:
            events.append(Event(DONE, self._role, ti, 0, {"by": "exit code 0"}))
        return events

    def _watched(self, events: list[Event], ti: int) -> list[Event]:
        for index, event in enumerate(events):
            if self._is_ready or self._ready is None:
                break
            if event.ty == LOG and self._ready.search(str(event.info["line"])):
                return [*events[: index + 1], self._become_ready(ti), *events[index + 1 :]]
        return events

    def _become_ready(self, ti: int) -> Event:
        self._is_ready = True
        return Event(READY, self._role, ti, 0, {"by": self._ready.pattern if self._ready else "its end"})
