"""Deadlines and the one poll loop. Nothing else in the toolkit waits by itself.

All times are seconds on the monotonic clock.
"""

from __future__ import annotations

import contextvars
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Dense at first, because most services settle within two seconds; sparse later, to leave the cores to them.
DENSE, MIDDLE, SPARSE = 0.005, 0.02, 0.1
DENSE_FOR, MIDDLE_FOR = 2.0, 10.0

LIFTED = 7 * 86400.0
"""Seconds that a wait gets when deadlines are lifted: somebody looks at the subject with a debugger."""

_lifted: contextvars.ContextVar[bool] = contextvars.ContextVar("harness-lifted", default=False)
_guards: contextvars.ContextVar[tuple[Callable[[], None], ...]] = contextvars.ContextVar("harness-guards", default=())


def now() -> float:
    """Return the monotonic time in seconds."""
    return time.monotonic()


@dataclass(frozen=True)
class Deadline:
    """A moment that nested waits share.

    Attributes:
        at: monotonic time at which it passes.
        budget: seconds that it had when it was made.
    """

    at: float
    budget: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that passes ``seconds`` from now."""
        return cls(now() + seconds, seconds)

    @classmethod
    def patient(cls, seconds: float) -> Deadline:
        """Return the same, unless deadlines are lifted in this context: then one that is far away."""
        return cls.after(LIFTED if _lifted.get() else seconds)

    def remaining(self) -> float:
        """Return the seconds left, never less than 0."""
        return max(0.0, self.at - now())

    def expired(self) -> bool:
        """Return whether it has passed."""
        return now() >= self.at

    def sooner(self, seconds: float) -> Deadline:
        """Return the nearer of this deadline and ``seconds`` from now."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at)

    def elapsed(self) -> float:
        """Return the seconds spent of the budget."""
        return self.budget - (self.at - now())


def lift_deadlines(*, lifted: bool) -> None:
    """Have waits for something that must come, in this context, go on until it comes; or no longer."""
    _lifted.set(lifted)


def add_guard(guard: Callable[[], None]) -> None:
    """Have ``guard`` called on every turn of every poll loop in this context; it raises to end the wait."""
    if guard not in _guards.get():
        _guards.set((*_guards.get(), guard))


def remove_guard(guard: Callable[[], None]) -> None:
    """Stop calling ``guard``; unknown ones are ignored."""
    _guards.set(tuple(known for known in _guards.get() if known != guard))


def check_guards() -> None:
    """Call every guard of this context once. Raises whatever a guard raises."""
    for guard in _guards.get():
        guard()


def poll(deadline: Deadline, *, wake: threading.Event | None = None, pause: bool = True) -> Iterator[int]:
    """Yield turn numbers until ``deadline`` passes; the last turn begins when it has passed, so one always happens.

    Args:
        deadline: when to give up; the caller then reports its last observation.
        wake: an event that ends the pause between two turns at once; it is cleared for the next.
        pause: False when the body itself blocks for a bounded time.
    """
    start, turn = now(), 0
    event = wake or threading.Event()
    while True:
        check_guards()
        last = deadline.expired()
        yield turn
        if last:
            return
        turn += 1
        if pause:
            spent = now() - start
            step = DENSE if spent < DENSE_FOR else MIDDLE if spent < MIDDLE_FOR else SPARSE
            event.wait(min(step, deadline.remaining()))
            event.clear()
