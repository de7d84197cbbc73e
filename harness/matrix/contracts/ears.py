"""What every contract is: how a role is started, and how what it writes and how it ends become events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.events import Event


class Ears(Protocol):
    """Hears one role of a cell, and tells of it in events."""

    @property
    def written(self) -> int:
        """Bytes that it wrote in all."""
        ...

    def feed(self, data: bytes, ti: int, *, is_error: bool) -> list[Event]:
        """Return the events of a piece of a stream, at ``ti`` in milliseconds since 1970."""
        ...

    def end(self, code: int, ti: int) -> list[Event]:
        """Return the events of its end, before that of its exit itself; ``code`` is negative for a signal."""
        ...


class Contract(Protocol):
    """A way in which implementations are spoken to."""

    @property
    def entry(self) -> tuple[str, ...]:
        """The program in an image that names none."""
        ...

    @property
    def is_silent(self) -> bool:
        """Whether roles send no events, so that one who must be ready is known by a line that it writes."""
        ...

    def argv(self, entry: tuple[str, ...], test: str, role: str) -> tuple[str, ...]:
        """Return all words of a role's command."""
        ...

    def env(self, test: str, role: str) -> Mapping[str, str]:
        """Return variables that a role has besides those that all have."""
        ...

    def ears(self, role: str, ready: str) -> Ears:
        """Return what hears a role; ``ready`` is the pattern of the line that a silent one is ready with."""
        ...
