"""What the events of a cell amount to, in the order in which they were recorded; nothing else is asked.

The first event that decides is what counts. A cell that has succeeded still fails by an assertion or a check that is
heard of while its other roles are ended.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from harness.matrix.cases import DRIVER, WORKER
from harness.matrix.events import (
    ASSERT_FAILED,
    BROKEN,
    CHECK,
    DONE,
    ENDED,
    EXITED,
    MALFORMED,
    PROBED,
    READY,
    TIMED_OUT,
    UNSUPPORTED,
)
from harness.matrix.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.events import Event
    from harness.matrix.verdicts import Result, Status

_SIGNALS = 128  # a process that a signal ended has this exit code and the signal's number
_Whose = Literal["runner", "engine", "implementation"]
_WHOSE: tuple[_Whose, ...] = ("runner", "engine", "implementation")


def judge(case: Case, cell: Cell, events: Iterable[Event]) -> Verdict:
    """Return what became of a cell, by its events alone; a later ``status`` among them is not looked at."""
    judge = Judge(case, cell)
    for event in events:
        judge.hear(event)
    return judge.verdict()


def combined(results: Sequence[Result]) -> Result:
    """Return one result for all attempts at a cell: the last one's, ``flaky`` where an attempt ended otherwise."""
    last = results[-1]
    attempts = tuple(result.verdict for result in results)
    if len({verdict.status for verdict in attempts}) > 1:
        words = ", ".join(verdict.status for verdict in attempts)
        first = next(verdict for verdict in attempts if verdict.status != last.verdict.status)
        bad = last.verdict if last.verdict.status != "succeeded" else first
        verdict = replace(bad, status="flaky", reason=f"{words}: {bad.reason}", event=last.verdict.event)
        return replace(last, verdict=verdict, attempts=attempts)
    return replace(last, attempts=attempts)


def signal_of(code: int) -> str:
    """Return the name of the signal that ended a process with an exit code, "" where none did."""
    try:
        return signal.Signals(code - _SIGNALS).name if code > _SIGNALS else ""
    except ValueError:
        return ""


class Judge:
    """Hears the events of a cell one after another.

    Args:
        case: its test.
        cell: the cell.
    """

    def __init__(self, case: Case, cell: Cell) -> None:
        self._cell = cell
        self._roles = [role.name for role in case.roles]
        self._count = 0
        self._verdict: Verdict | None = None
        self._ready: set[str] = set()
        self._is_done = False
        self._is_ended = False
        self._unknown: tuple[str, int] | None = None  # who said by its exit code that it does not know the test
        self._rules: dict[str, Callable[[Event], None]] = {
            READY: self._hear_ready,
            DONE: self._hear_done,
            MALFORMED: self._hear_malformed,
            ASSERT_FAILED: self._hear_assert_failed,
            CHECK: self._hear_check,
            EXITED: self._hear_exited,
            PROBED: self._hear_probed,
            TIMED_OUT: self._hear_timed_out,
            BROKEN: self._hear_broken,
            ENDED: self._hear_ended,
        }

    @property
    def is_decided(self) -> bool:
        """Whether what was heard is enough for the cell to be ended."""
        return self._verdict is not None or self._unknown is not None

    @property
    def unknown(self) -> str:
        """The role whose word that it does not know the test is to be confirmed, "" where there is none."""
        return self._unknown[0] if self._unknown and not self._verdict else ""

    def hear(self, event: Event) -> None:
        """Take an event into account."""
        if rule := self._rules.get(event.ty):
            rule(event)
        self._count += 1

    def verdict(self) -> Verdict:
        """Return what became of the cell, by all that was heard."""
        if self._verdict:
            return self._verdict
        if self._unknown:
            role, place = self._unknown
            return self._of("failed", role, "exited with 127 before it was ready, and no probe has confirmed it", place)
        return Verdict("broken", "runner", reason="its log ends before anything was decided")

    def _of(self, status: Status, role: str, did: str, place: int | None = None) -> Verdict:
        name = self._cell.implementation_of(role)
        return Verdict(status, "role", role, name, f"{role} ({name}) {did}", self._count if place is None else place)

    def _decide(self, status: Status, role: str, did: str) -> None:
        if not self.is_decided:
            self._verdict = self._of(status, role, did)

    def _hear_ready(self, event: Event) -> None:
        self._ready.add(event.ro)

    def _hear_done(self, event: Event) -> None:
        if event.ro not in self._ready:
            self._decide("failed", event.ro, "was done before it was ready")
        self._is_done |= event.ro == DRIVER

    def _hear_malformed(self, event: Event) -> None:
        if not self._is_ended:
            self._decide("failed", event.ro, f"wrote a malformed line: {event.info.get('why', '')}")

    def _hear_assert_failed(self, event: Event) -> None:
        number = event.info.get("assert_id")
        self._fail_late(event.ro, f"does not agree on assertion {number!r}: {_values(event.info.get('values'))}")

    def _hear_check(self, event: Event) -> None:
        if not event.info.get("ok"):
            why = event.info.get("why") or "it does not hold"
            self._fail_late(event.ro, f"checked {event.info.get('check_id', 'something')!r}: {why}")

    def _fail_late(self, role: str, did: str) -> None:
        """Decide, also where the cell had succeeded."""
        if self._verdict and self._verdict.status == "succeeded":
            self._verdict = None
        self._decide("failed", role, did)

    def _hear_ended(self, _: Event) -> None:
        self._is_ended = True

    def _hear_exited(self, event: Event) -> None:
        if self._is_ended or event.ro not in self._roles:
            return
        code, role = int(event.info.get("exit_code") or 0), event.ro
        is_ready = role in self._ready
        if code == UNSUPPORTED and not is_ready and not self.is_decided:
            self._unknown = (role, self._count)
        elif event.info.get("oom"):
            self._decide("crashed", role, f"was ended for want of memory (exit code {code})")
        elif code < 0 or code >= _SIGNALS:
            by = signal_of(code)
            self._decide("crashed", role, f"was ended by {by} (exit code {code})" if by else f"exited with {code}")
        elif code:
            self._decide("failed", role, f"exited with {code}{'' if is_ready else ' before it was ready'}")
        elif not is_ready:
            self._decide("failed", role, "exited with 0 before it was ready")
        else:
            self._ended_well(role)

    def _ended_well(self, role: str) -> None:
        if role == WORKER and not self._is_done:
            self._decide("failed", role, "exited with 0 before the driver was done")
        elif role == DRIVER and not self._is_done:
            self._decide("failed", role, "exited with 0 without being done")
        elif role == DRIVER and not self.is_decided:
            self._verdict = Verdict("succeeded", reason="the driver was done and exited with 0", event=self._count)

    def _hear_probed(self, event: Event) -> None:
        if self._unknown is None or self._verdict:
            return
        role, place = self._unknown
        if event.info.get("unsupported"):
            self._verdict = self._of("unsupported", role, "does not know the test, and says so of any other", place)
            return
        if event.info.get("unsupported") is None:
            why = f"whether {role} does not know the test could not be asked: {event.info.get('why', '')}"
            self._verdict = Verdict("broken", "engine", reason=why, event=self._count)
            return
        why = event.info.get("why") or "of a test with a random name it does not say so"
        did = f"exited with 127 before it was ready, which is not confirmed: {why}"
        self._verdict = self._of("failed", role, did, place)

    def _hear_timed_out(self, event: Event) -> None:
        role, seconds = str(event.info.get("waiting") or DRIVER), event.info.get("seconds", self._cell.timeout)
        awaited = {"ready": "was not ready", "done": "was not done", "exit": "was done and did not exit"}
        did = awaited.get(str(event.info.get("stage")), "was not done")
        self._decide("timeout", role, f"{did} after {float(seconds):g} s")

    def _hear_broken(self, event: Event) -> None:
        whose: _Whose = next((each for each in _WHOSE if each == event.info.get("whose")), "engine")
        if not self.is_decided:
            name = str(event.info.get("implementation") or "")
            reason = str(event.info.get("why") or "it cannot be said why")
            self._verdict = Verdict("broken", whose, event.ro, name, reason, self._count)


def _values(values: Any) -> str:  # noqa: ANN401 - whatever a log holds
    """Return who said what."""
    if not isinstance(values, dict):
        return repr(values)
    return ", ".join(f"{role} has {_brief(value)}" for role, value in values.items())


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004
