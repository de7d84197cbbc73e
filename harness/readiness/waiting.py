"""The wait for one service: probes in order, until all hold, it is dead, the wait is stopped, or time is up."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import clock
from harness.clock import Deadline, poll

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.readiness.probes import Asker

BETWEEN_SUCCESSES = 0.1
KEPT = 5


class Stop:
    """News from outside for waits: look again at once, or give up."""

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._events: list[threading.Event] = []
        self._others: list[Stop] = []

    def subscribe(self) -> threading.Event:
        """Return an event that is set whenever there is news; its one reader clears it."""
        event = threading.Event()
        with self._lock:
            self._events.append(event)
        return event

    def tell(self, other: Stop) -> None:
        """Pass on to ``other`` what comes from now on; that the waits shall give up, also when it came before."""
        with self._lock:
            self._others.append(other)
        if self.stopped:
            other.stop()

    def forget(self, other: Stop) -> None:
        """Pass on nothing more."""
        with self._lock:
            self._others.remove(other)

    def notify(self) -> None:
        """Have every wait look again: a service ended or became ready."""
        with self._lock:
            others = list(self._others)
            for event in self._events:
                event.set()
        for other in others:
            other.notify()

    def stop(self) -> None:
        """Have every wait give up."""
        self.stopped = True
        with self._lock:
            others = list(self._others)
        for other in others:
            other.stop()
        self.notify()


@dataclass(frozen=True)
class Waited:
    """How a wait ended.

    Attributes:
        ready: whether every probe held.
        dead: whether the service ended first.
        probe: the probe that was asked last.
        port: the port of the service, as its stack file names it, that this probe asks; None for none.
        observation: what it answered last.
        history: the last distinct observations, oldest first, each with the seconds since the wait began.
        seconds: how long it took.
    """

    ready: bool
    dead: bool = False
    probe: str = ""
    observation: str = ""
    history: tuple[str, ...] = ()
    seconds: float = 0.0
    port: int | None = None


def wait_until_ready(askers: Sequence[Asker], deadline: Deadline, *, is_dead: Callable[[], bool], stop: Stop) -> Waited:
    """Ask ``askers`` in order until each held as often in a row as it needs.

    Args:
        askers: the probes.
        deadline: when to give up.
        is_dead: tells whether the service has ended; asked on every turn.
        stop: ends the wait from outside.
    """
    start = clock.now()
    history: deque[str] = deque(maxlen=KEPT)
    probe = observation = ""
    port: int | None = None
    last_seen = ("", "")
    todo = list(askers)
    streak, last_success = 0, -BETWEEN_SUCCESSES

    def ended(*, ready: bool, dead: bool = False) -> Waited:
        return Waited(ready, dead, probe, observation, tuple(history), clock.now() - start, port)

    for _ in poll(deadline, wake=stop.subscribe()):
        if is_dead():
            return ended(ready=False, dead=True)
        if stop.stopped:
            break
        while todo:
            asker = todo[0]
            probe, port = asker.name, asker.port
            if streak and clock.now() - last_success < BETWEEN_SUCCESSES:
                break
            seen = asker.ask()
            if seen:
                streak = 0
                if (probe, seen) != last_seen:
                    history.append(f"{clock.now() - start:.2f} s {probe}: {seen}")
                last_seen, observation = (probe, seen), seen
                break
            streak, last_success = streak + 1, clock.now()
            if streak >= asker.needed:
                todo.pop(0)
                streak, observation = 0, ""
        if not todo:
            return ended(ready=True)
    return ended(ready=False, dead=is_dead())
