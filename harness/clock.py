"""Deadlines and the one poll loop. Nothing else in the toolkit waits by itself.

All times are seconds on the monotonic clock.
"""

from __future__ import annotations

import contextvars
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")

# Dense while a wait is young, because most services settle within two seconds; later in proportion to what was waited:
# what is asked has its cores and its log for itself then, and what comes is seen 2 % late at most.
DENSE, MIDDLE, SPARSE = 0.005, 0.02, 0.5
YOUNG = 2.0
SHARE = 0.02

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
    """Let waits of this context for something that must come last until it comes; or no longer."""
    _lifted.set(lifted)


def add_guard(guard: Callable[[], None]) -> None:
    """Call ``guard`` on every turn of every poll loop in this context; it raises to end the wait."""
    if guard not in _guards.get():
        _guards.set((*_guards.get(), guard))


def remove_guard(guard: Callable[[], None]) -> None:
    """Stop calling ``guard``; unknown ones are ignored."""
    _guards.set(tuple(other for other in _guards.get() if other != guard))


def check_guards() -> None:
    """Call every guard of this context once. Raises whatever a guard raises."""
    for guard in _guards.get():
        guard()


def step_after(spent: float) -> float:
    """Return the pause before the next turn of a wait that has lasted for ``spent`` seconds."""
    return max(DENSE, min(SHARE * spent, MIDDLE if spent < YOUNG else SPARSE))


def poll(
    deadline: Deadline, *, wake: threading.Event | None = None, pause: bool = True, longest: float = SPARSE
) -> Iterator[int]:
    """Yield turn numbers until ``deadline`` passes; the last turn begins when it has passed, so one always happens.

    Args:
        deadline: when to give up; the caller then reports its last observation.
        wake: an event that ends the pause between two turns at once; it is cleared for the next.
        pause: False when the body itself blocks for a bounded time.
        longest: seconds that a pause lasts at most, where what is waited for comes again and again.
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
            event.wait(min(step_after(now() - start), longest, deadline.remaining()))
            event.clear()


class Aside(Generic[_T]):
    """A call in a thread of its own, in this context: whoever waits for it can leave, however long it takes.

    The thread goes on until the call returns, or this process ends. ``wake`` is set when it has returned or raised.
    """

    def __init__(self, call: Callable[[], _T], wake: threading.Event | None = None) -> None:
        self._call = call
        self._wake = wake
        self._start = now()
        self._over = threading.Event()
        self._results: list[_T] = []
        self._error: BaseException | None = None
        context = contextvars.copy_context()  # its guards and lifted deadlines
        threading.Thread(target=context.run, args=(self._run,), name="harness-aside", daemon=True).start()

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is wanted
            self._error = error
        self._over.set()
        if self._wake:
            self._wake.set()

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return now() - self._start

    def is_over(self, within: float = 0.0) -> bool:
        """Return whether the call has returned or raised, after ``within`` seconds at most."""
        return self._over.wait(within) if within else self._over.is_set()

    def result(self) -> _T:
        """Return what the call returned, once it is over. Raises what it raised."""
        if self._error:
            raise self._error
        return self._results[0]
