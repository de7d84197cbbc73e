"""The contract of the test control protocol: ``ENTRY TEST ROLE``, and events as lines of JSON on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.matrix.events import Lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.events import Event


class ThTest:
    """A role says by events that it is ready and done."""

    entry = ("th-test",)
    is_silent = False

    def argv(self, entry: tuple[str, ...], test: str, role: str) -> tuple[str, ...]:
        """Return the entry with the test and the role."""
        return (*entry, test, role)

    def env(self, test: str, role: str) -> Mapping[str, str]:  # noqa: ARG002 - all that it needs all roles have
        """Return none."""
        return {}

    def ears(self, role: str, ready: str) -> Heard:  # noqa: ARG002 - its own word is taken
        """Return what reads its events."""
        return Heard(role)


class Heard:
    """Reads events from standard output; standard error is a log."""

    def __init__(self, role: str) -> None:
        self._streams = {is_error: Lines(role, is_error=is_error) for is_error in (False, True)}

    @property
    def written(self) -> int:
        """Bytes that it wrote in all."""
        return sum(lines.bytes for lines in self._streams.values())

    def feed(self, data: bytes, ti: int, *, is_error: bool) -> list[Event]:
        """Return the events of the lines that end in a piece of a stream."""
        return self._streams[is_error].feed(data, ti)

    def end(self, code: int, ti: int) -> list[Event]:  # noqa: ARG002 - it has said itself whether it was done
        """Return the events of last lines without an end."""
        return [event for lines in self._streams.values() for event in lines.end(ti)]
