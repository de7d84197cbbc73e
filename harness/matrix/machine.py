"""The stages of a cell: what happens comes in, what is to be done and what is to be recorded goes out. No process here.

created -> extra roles ready, one after another -> worker ready -> driver ready -> the driver is done -> the driver has
exited -> TERM for the others, half a second later KILL -> collected -> probed, where a role says that it does not know
the test -> finished.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.matrix.cases import DRIVER
from harness.matrix.events import (
    ASSERT,
    ASSERT_FAILED,
    BROKEN,
    DONE,
    ENDED,
    EXEC,
    EXITED,
    MALFORMED,
    PROBED,
    READY,
    STATUS,
    TIMED_OUT,
    Event,
    same,
)
from harness.matrix.judging import Judge, signal_of

if TYPE_CHECKING:
    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.verdicts import Verdict

GRACE = 0.5
"""Seconds between TERM and KILL."""
KILL_LIMIT = 10.0
"""Seconds after KILL in which all roles must have ended."""
Stage = Literal["creating", "starting", "running", "ending", "killing", "collecting", "probing", "finished"]
_ASSERTS = 100_000  # ids that are compared


@dataclass(frozen=True)
class Created:
    """All roles were created."""


@dataclass(frozen=True)
class Said:
    """A role sent an event."""

    event: Event


@dataclass(frozen=True)
class Exited:
    """A role has ended; all that it wrote was told before.

    Attributes:
        role: whose process it was.
        code: exit code; negative for a signal.
        oom: whether it was ended for want of memory.
        written: bytes that it wrote in all.
    """

    role: str
    code: int
    oom: bool = False
    written: int = 0


@dataclass(frozen=True)
class Lost:
    """Something of ours or of the engine's went wrong.

    Attributes:
        why: in words.
        role: whose start or process it was about, "" for none.
        whose: fault it is.
    """

    why: str
    role: str = ""
    whose: Literal["runner", "engine", "implementation"] = "engine"


@dataclass(frozen=True)
class Refused:
    """A role could not be started: there is no process of it."""

    role: str
    why: str


@dataclass(frozen=True)
class Collected:
    """What roles left was copied."""


@dataclass(frozen=True)
class Probed:
    """A probe was answered.

    Attributes:
        unsupported: whether the role says of a random test that it does not know it; None where it could not be asked.
        why: in words, where it does not.
    """

    unsupported: bool | None
    why: str = ""


@dataclass(frozen=True)
class Stopped:
    """The run is to end: nothing that becomes of the cell counts."""


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Happening = Created | Said | Exited | Lost | Refused | Collected | Probed | Stopped | Tick


@dataclass(frozen=True)
class Start:
    """Start a role."""

    role: str


@dataclass(frozen=True)
class Tell:
    """Write a line to a role's standard input."""

    role: str
    line: bytes


@dataclass(frozen=True)
class Terminate:
    """Ask roles to end."""

    roles: tuple[str, ...]


@dataclass(frozen=True)
class Kill:
    """End roles."""

    roles: tuple[str, ...]


@dataclass(frozen=True)
class Collect:
    """Copy what roles left."""


@dataclass(frozen=True)
class Probe:
    """Ask whether an implementation in a role says of a random test that it does not know it."""

    implementation: str
    role: str


@dataclass(frozen=True)
class Finish:
    """Nothing more will be ordered."""


Order = Start | Tell | Terminate | Kill | Collect | Probe | Finish


@dataclass(frozen=True)
class Step:
    """What follows from what has happened.

    Attributes:
        events: to be recorded, in order, before the orders are carried out.
        orders: to be carried out in order.
    """

    events: tuple[Event, ...] = ()
    orders: tuple[Order, ...] = ()


class Machine:
    """The stages of one cell.

    Args:
        case: its test.
        cell: the cell.
        keeps: whether roles that live when it is decided are left as they are; a run that is stopped ends them all the
            same.
    """

    def __init__(self, case: Case, cell: Cell, *, keeps: bool = False) -> None:
        self._cell, self._keeps = cell, keeps
        self._order = [role.name for role in case.roles]
        self._judge = Judge(case, cell)
        self._started: list[str] = []
        self._alive: set[str] = set()
        self._told: list[bytes] = []  # lines of ready and done, with their roles: for who starts later
        self._ready: set[str] = set()
        self._is_done = False
        self._values: dict[str, dict[str, Any]] = {}
        self._failed_asserts: set[str] = set()
        self._deadline: float | None = None
        self._numbers = 0
        self._events: list[Event] = []
        self._orders: list[Order] = []
        self._at, self._ti = 0.0, 0
        self.stage: Stage = "creating"
        self.is_stopped = False

    @property
    def wakes_at(self) -> float | None:
        """When a Tick is due at the latest, on the clock of ``handle``; None for never."""
        return self._deadline

    @property
    def waits_for(self) -> str:
        """The role that the next stage needs, "" where none is awaited."""
        if self.stage == "starting":
            return self._started[-1] if self._started else ""
        return DRIVER if self.stage == "running" else ""

    def verdict(self) -> Verdict:
        """Return what became of the cell, by what was recorded so far."""
        return self._judge.verdict()

    def handle(self, happening: Happening, at: float, ti: int) -> Step:
        """Return what follows from something that has happened.

        Args:
            happening: what.
            at: when, in seconds of a clock that never goes back.
            ti: when, in milliseconds since 1970; of events of the runner.
        """
        if self.stage == "finished":
            return Step()
        self._at, self._ti = at, ti
        if not self._numbers:
            self._emit(EXEC, "", self._exec())
        match happening:
            case Created():
                self._created()
            case Said(event):
                self._said(event)
            case Exited():
                self._exited(happening)
            case Lost(why, role, whose):
                self._lost(why, role, whose)
            case Refused(role, why):
                self._alive.discard(role)
                self._lost(why, role, "engine")
            case Collected():
                self._collected()
            case Probed(unsupported, why):
                self._probed(unsupported=unsupported, why=why)
            case Stopped():
                self._stop()
            case Tick():
                pass
        self._pass_time()
        step = Step(tuple(self._events), tuple(self._orders))
        self._events, self._orders = [], []
        return step

    def _exec(self) -> dict[str, Any]:
        told: dict[str, Any] = {"worker": self._cell.worker, "driver": self._cell.driver}
        return told | ({"params": dict(self._cell.params)} if self._cell.params else {})

    def _emit(self, ty: str, role: str, info: dict[str, Any]) -> None:
        self._record(Event(ty, role, self._ti, self._numbers, info))
        self._numbers += 1

    def _record(self, event: Event) -> None:
        self._events.append(event)
        self._judge.hear(event)

    def _created(self) -> None:
        if self.stage == "creating":
            self.stage = "starting"
            self._deadline = self._at + self._cell.timeout
            self._start_next()

    def _start_next(self) -> None:
        role = self._order[len(self._started)]
        self._started.append(role)
        self._alive.add(role)
        self._orders.append(Start(role))
        self._orders += [Tell(role, line) for line in self._told]

    def _said(self, event: Event) -> None:
        if event.ro not in self._started:
            return
        if event.ty == READY and event.ro in self._ready:
            info = {"line": json.dumps(event.as_dict())[:200], "why": "a second ready"}
            event = Event(MALFORMED, event.ro, event.ti, event.id, info)
        self._record(event)
        if event.ty == ASSERT:
            self._compare(event)
        elif event.ty in (READY, DONE):
            self._control(event)
        if self._judge.is_decided:
            self._end(f"{event.ro} has decided it by {event.ty}")

    def _control(self, event: Event) -> None:
        line = json.dumps(event.as_dict()).encode() + b"\n"
        if len(self._told) < 2 * len(self._order):  # a role that says it again and again is not told again and again
            self._told.append(line)
            others = [role for role in self._started if role in self._alive and role != event.ro]
            self._orders += [Tell(role, line) for role in others]
        if event.ty == DONE:
            self._is_done |= event.ro == DRIVER
            return
        self._ready.add(event.ro)
        if self.stage != "starting" or event.ro != self._started[-1] or self._judge.is_decided:
            return
        if len(self._started) < len(self._order):
            self._start_next()
        else:
            self.stage = "running"

    def _compare(self, event: Event) -> None:
        """Record that roles do not agree, once for each assertion."""
        number = event.info.get("assert_id")
        key = json.dumps(number)
        if key in self._failed_asserts or (key not in self._values and len(self._values) >= _ASSERTS):
            return
        values = self._values.setdefault(key, {})
        value = event.info.get("value")
        if all(same(value, other) for other in values.values()):
            values[event.ro] = value
            return
        self._failed_asserts.add(key)
        differing = {**values, event.ro: value}
        self._emit(ASSERT_FAILED, event.ro, {"assert_id": number, "values": differing})

    def _exited(self, exited: Exited) -> None:
        role = exited.role
        if role not in self._alive:
            return
        self._alive.remove(role)
        code = 128 - exited.code if exited.code < 0 else exited.code
        info: dict[str, Any] = {"exit_code": code}
        if name := signal_of(code):
            info["signal"] = name
        info |= {"oom": True} if exited.oom else {}
        info |= {"bytes": exited.written} if exited.written else {}
        self._emit(EXITED, role, info)
        if role == DRIVER or self._judge.is_decided:
            self._end(f"{role} has exited")

    def _lost(self, why: str, role: str, whose: str) -> None:
        if self.stage in ("collecting", "probing"):
            return
        info = {"whose": whose, "why": why}
        if whose == "implementation" and role:
            info["implementation"] = self._cell.implementation_of(role)
        self._emit(BROKEN, role, info)
        self._end("it is broken")

    def _end(self, why: str) -> None:
        """End the roles that live, once."""
        if self.stage not in ("creating", "starting", "running"):
            return
        if self._keeps:
            self._emit(ENDED, "", {"why": why, "kept": list(self._living())})
            self._collect()
            return
        self._emit(ENDED, "", {"why": why})
        self.stage = "ending"
        self._deadline = self._at + GRACE
        if alive := self._living():
            self._orders.append(Terminate(alive))

    def _stop(self) -> None:
        if self.is_stopped:
            return
        self.is_stopped = True
        if self.stage in ("creating", "starting", "running"):
            self._emit(ENDED, "", {"why": "the run was stopped"})
        if self.stage in ("creating", "starting", "running", "ending"):
            self._kill()
        elif self.stage == "probing":
            self._finish()

    def _kill(self) -> None:
        self.stage = "killing"
        self._deadline = self._at + KILL_LIMIT
        if alive := self._living():
            self._orders.append(Kill(alive))

    def _living(self) -> tuple[str, ...]:
        return tuple(role for role in self._started if role in self._alive)

    def _pass_time(self) -> None:
        """Go on to what the time, or the end of the last role, makes due."""
        is_due = self._deadline is not None and self._at >= self._deadline
        if self.stage in ("starting", "running") and is_due:
            stage = "ready" if self.stage == "starting" else "exit" if self._is_done else "done"
            info = {"waiting": self.waits_for, "stage": stage, "seconds": self._cell.timeout}
            self._emit(TIMED_OUT, "", info)
            self._end("its time is over")
        elif self.stage == "ending" and is_due and self._alive:
            self._kill()
        elif self.stage == "killing" and is_due and self._alive:
            names = ", ".join(self._living())
            self._emit(BROKEN, "", {"whose": "engine", "why": f"{names} did not end within {KILL_LIMIT:g} s of KILL"})
            self._alive.clear()
        if self.stage in ("ending", "killing") and not self._alive:
            self._collect()

    def _collect(self) -> None:
        self.stage = "collecting"
        self._deadline = None
        self._orders.append(Collect())

    def _collected(self) -> None:
        if self.stage != "collecting":
            return
        if self._judge.unknown and not self.is_stopped:
            self.stage = "probing"
            role = self._judge.unknown
            self._orders.append(Probe(self._cell.implementation_of(role), role))
        else:
            self._finish()

    def _probed(self, *, unsupported: bool | None, why: str) -> None:
        if self.stage != "probing":
            return
        role = self._judge.unknown
        told = {"implementation": self._cell.implementation_of(role), "role": role, "unsupported": unsupported}
        self._emit(PROBED, "", told | ({"why": why} if why else {}))
        self._finish()

    def _finish(self) -> None:
        status = self._judge.verdict().status
        self._emit(STATUS, "", {"success": status == "succeeded", "verdict": status})
        self.stage = "finished"
        self._deadline = None
        self._orders.append(Finish())
