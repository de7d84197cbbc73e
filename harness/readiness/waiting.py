"""The wait for one service: probes in order, until all hold, it is dead, the wait is stopped, or time is up."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness import clock
from harness.clock import Aside, Deadline, poll
from harness.errors import HarnessError
from harness.readiness.probes import Asker, Hopeless, Slow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BETWEEN_SUCCESSES = 0.1
KEPT = 5
LATE = 1.0  # seconds without an answer that are worth a word
LAST_PATIENCE = 0.25  # seconds for the answer to the question that is asked when time is up


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
        """Pass on to ``other`` what comes from now on, and the end of the waits also when it came before."""
        with self._lock:
            self._others.append(other)
        if self.stopped:
            other.stop()

    def forget(self, other: Stop) -> None:
        """Pass on nothing more."""
        with self._lock:
            self._others.remove(other)

    def notify(self) -> None:
        """Wake every wait: a service ended or became ready."""
        with self._lock:
            others = list(self._others)
            for event in self._events:
                event.set()
        for other in others:
            other.notify()

    def stop(self) -> None:
        """End every wait."""
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
        hopeless: whether more time would have changed nothing.
    """

    ready: bool
    dead: bool = False
    probe: str = ""
    observation: str = ""
    history: tuple[str, ...] = ()
    seconds: float = 0.0
    port: int | None = None
    hopeless: bool = False


def _give_up(asker: Asker) -> None:
    """End what a probe does for an answer that nobody wants any more."""
    if isinstance(asker, Slow):
        asker.cancel()


@dataclass
class _Asking:
    """Who is asked now, and what was seen."""

    todo: list[Asker]
    wake: threading.Event
    start: float = field(default_factory=clock.now)
    history: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))
    probe: str = ""
    port: int | None = None
    observation: str = ""
    question: Aside[str] | None = None
    _last_seen: tuple[str, str] = ("", "")
    _streak: int = 0
    _last_success: float = 0.0

    def go_on(self, patience: float) -> None:
        """Ask until all hold, or until one does not, or has not answered in ``patience`` seconds."""
        while self.todo:
            asker = self.todo[0]
            self.probe, self.port = asker.name, asker.port
            if self._streak and clock.now() - self._last_success < BETWEEN_SUCCESSES:
                return
            answer = self._ask(asker, patience)
            if answer is None:
                return
            if answer:
                self._note(answer)
                return
            self._streak, self._last_success = self._streak + 1, clock.now()
            if self._streak >= asker.needed:
                self.todo.pop(0)
                self._streak, self.observation = 0, ""

    def _ask(self, asker: Asker, patience: float) -> str | None:
        if not isinstance(asker, Slow):
            return asker.ask()
        self.question = self.question or Aside(asker.ask, self.wake)
        if not self.question.is_over(patience):
            return None
        question, self.question = self.question, None
        return question.result()

    def _note(self, answer: str) -> None:
        self._streak = 0
        if (self.probe, answer) != self._last_seen:
            self.history.append(f"{clock.now() - self.start:.2f} s {self.probe}: {answer}")
        self._last_seen, self.observation = (self.probe, answer), answer

    def ended(self, *, ready: bool, dead: bool = False) -> Waited:
        seen, seconds = self.observation, clock.now() - self.start
        if self.question and self.question.seconds >= LATE:
            silent = f"for {self.question.seconds:.1f} s"
            # What it said before may be the cause, and so may its silence since.
            seen = f"{seen}; then no answer {silent}" if seen else f"{self.probe} has not answered {silent}"
        return Waited(ready, dead, self.probe, seen, tuple(self.history), seconds, self.port)


def wait_until_ready(askers: Sequence[Asker], deadline: Deadline, *, is_dead: Callable[[], bool], stop: Stop) -> Waited:
    """Ask ``askers`` in order until each held as often in a row as it needs.

    Args:
        askers: the probes.
        deadline: when to give up.
        is_dead: tells whether the service has ended; asked on every turn.
        stop: ends the wait from outside.
    """
    wake = stop.subscribe()
    asking = _Asking(list(askers), wake)
    try:
        for _ in poll(deadline, wake=wake):
            if is_dead():
                return asking.ended(ready=False, dead=True)
            if stop.stopped:
                break
            asking.go_on(LAST_PATIENCE if deadline.expired() else 0.0)
            if not asking.todo:
                return asking.ended(ready=True)
        return asking.ended(ready=False, dead=is_dead())
    except Hopeless as error:
        return replace(asking.ended(ready=False), observation=error.summary, hopeless=True)
    finally:
        if asking.question:
            _give_up(asking.todo[0])


def ask_once(askers: Mapping[str, Sequence[Asker]], within: float) -> dict[str, str]:
    """Ask every probe of services once, all at the same time.

    Args:
        askers: service -> its probes.
        within: seconds after which a probe that has not answered counts as one that does not.

    Returns:
        Service -> "" when each of its probes holds, else which did not and what it answered.
    """
    deadline = Deadline.after(within)
    questions = [(service, asker, Aside(asker.ask)) for service, probes in askers.items() for asker in probes]
    answers = dict.fromkeys(askers, "")
    for service, asker, question in questions:
        answer = _answer(question, deadline)
        if answer is None:
            answer = f"no answer in {within:g} s"
            _give_up(asker)
        if answer and not answers[service]:
            answers[service] = f"{asker.name}: {answer}"
    return answers


def _answer(question: Aside[str], deadline: Deadline) -> str | None:
    if not question.is_over(deadline.remaining()):
        return None
    try:
        return question.result()
    except HarnessError as error:
        return error.summary
