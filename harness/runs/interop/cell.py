"""One cell, from its first process to its verdict; its evidence is written as it comes."""

from __future__ import annotations

import errno
import json
import os
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import clock
from harness.artifacts import has_room, is_full, unwritable, write_atomically
from harness.errors import HarnessError
from harness.matrix import machine
from harness.matrix.contracts.known import CONTRACTS
from harness.matrix.events import EXITED, SAMPLE, Event
from harness.matrix.verdicts import Result, Verdict
from harness.runs.interop.evidence import Evidence
from harness.runs.interop.parts import parts_of
from harness.runs.interop.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.site import Heard, Part, Site, Sites

__all__ = ["VERDICT", "Around", "Probes", "parts_of", "run_cell"]

VERDICT = "verdict.json"
LOOK = 0.1  # seconds until it is seen that the run is to end
_SPANS: Mapping[machine.Stage, str] = {
    "creating": "create",
    "starting": "ready",
    "running": "run",
    "ending": "end",
    "killing": "end",
    "collecting": "collect",
    "probing": "probe",
    "finished": "remove",
}


def _removed(site: Site) -> tuple[str, ...]:
    return site.remove()


@dataclass(frozen=True)
class Around:
    """What the cells of one run have around them.

    Attributes:
        sites: where they take place.
        probe: whether an implementation in a role says of a test that nobody knows that it does not support it: see
            ``Probes``.
        stop: set when the run is to end; a cell then ends at once and is not judged.
        keep: takes a cell's place as it is when its verdict is known, with all roles that live then, in place of its
            removal; by default they are ended and it is removed. Raises HarnessError: then it is removed all the same.
        remove: removes a cell's place, or sees to that, and returns what could not be.
    """

    sites: Sites
    probe: Callable[[str, str], bool]
    stop: threading.Event
    keep: Callable[[Site], None] | None = None
    remove: Callable[[Site], tuple[str, ...]] = _removed


def run_cell(
    cell: Cell, case: Case, parts: Sequence[Part], folder: Path, around: Around, *, attempt: int = 1
) -> Result | None:
    """Run a cell and return what became of it, or None when it was stopped before that was known.

    What goes wrong is a verdict, ``broken``; but for a disk that is full, which says nothing of the cell.

    Args:
        cell: the cell.
        case: its test.
        parts: see ``parts_of``.
        folder: of its evidence; it is made.
        around: what it has in common with the other cells of its run.
        attempt: 2 and more for another attempt at the same cell.

    Raises:
        BrokenStack: the disk of the evidence is full.
    """
    if cell.skipped:
        return Result(cell.id, cell.digest, Verdict("skipped", reason=cell.skipped), began=time.time())
    began = time.time()
    try:
        live = _Live(cell, case, parts, folder, around)
    except OSError as error:
        refuse_full(folder, error)
        return Result(cell.id, cell.digest, Verdict("broken", "runner", reason=_unwritable(error)), began=began)
    result = live.run(cell.id if attempt == 1 else f"{cell.id}#{attempt}", began)
    refuse_full(folder, live.full)
    if result and result.verdict.status != "succeeded" and not has_room(folder):
        refuse_full(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))  # which may be why, whoever met it
    if result:
        try:
            write_atomically(folder / VERDICT, f"{json.dumps(result.as_dict(), indent=1)}\n")
        except OSError as error:  # the verdict is in the journal too
            refuse_full(folder, error)
    return result


def refuse_full(folder: Path, error: BaseException | None) -> None:
    """Do nothing but where an error comes of a disk that is full. Raises BrokenStack, which then says so."""
    if is_full(error):
        cause = error if isinstance(error, OSError) else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise unwritable(f"Evidence {folder} of a cell cannot be written", cause) from error


class _Live:
    """A cell while it runs: what is heard of its site in any thread is handled in one."""

    def __init__(self, cell: Cell, case: Case, parts: Sequence[Part], folder: Path, around: Around) -> None:
        self._start = clock.now()
        self._cell, self._parts, self._around = cell, parts, around
        self._folder = folder
        self._machine = machine.Machine(case, cell, keeps=bool(around.keep))
        self._evidence = Evidence(folder, [part.role for part in parts])
        self._ears = {part.role: CONTRACTS[part.contract].ears(part.role, part.ready) for part in parts}
        self._hearing = threading.Lock()
        self._is_closed = False
        self._heard: queue.SimpleQueue[tuple[machine.Happening, int]] = queue.SimpleQueue()
        self._own: deque[machine.Happening] = deque()
        self._spans: dict[str, float] = {}
        self._span_began = self._start
        self._exits: dict[str, int] = {}
        self._samples: dict[str, list[float]] = {}
        self._cpu: float | None = None
        self._left: list[str] = []
        self.full: Exception | None = None
        """What came of a disk that is full."""

    def run(self, name: str, began: float) -> Result | None:
        """Run it to its end; return what became of it, None when it was stopped."""
        site: Site | None = None
        fault: Verdict | None = None
        try:
            site = self._around.sites.site(name, self._folder, self.hear)
            self._drive(site)
        except Exception as error:  # noqa: BLE001 - a fault of ours is a verdict, and the other cells go on
            fault = Verdict("broken", "runner", reason=f"{type(error).__name__}: {error}")
        finally:
            if not self._has_left(site, fault):
                self._remove(site)
            self._close()
            self._end_span("remove")
        if self._machine.is_stopped:
            return None
        return Result(
            self._cell.id,
            self._cell.digest,
            fault or self._machine.verdict(),
            (),
            began,
            clock.now() - self._start,
            self._cpu,
            self._spans,
            self._exits,
            self._samples,
            str(self._folder),
            left=tuple(self._left),
        )

    def hear(self, heard: Heard) -> None:
        """Take what a site tells, in any thread: output becomes events here, so that a flood of it is not kept."""
        ti = int((heard.at or time.time()) * 1000)
        with self._hearing:
            if self._is_closed:
                return
            if heard.what == "output":
                self._hear_output(heard, ti)
            elif heard.what == "exited":
                written = self._hear_end(heard, ti)
                self._heard.put((machine.Exited(heard.role, heard.code, heard.oom, written), ti))
            else:
                self._heard.put((machine.Lost(heard.why, heard.role), ti))

    def _hear_output(self, heard: Heard, ti: int) -> None:
        ears = self._ears.get(heard.role)
        if ears is None:
            return
        try:
            self._evidence.output(heard.role, heard.data, is_error=heard.is_error)
        except OSError as error:
            self._note(error)
            self._heard.put((machine.Lost(_unwritable(error), whose="runner"), ti))
        for event in ears.feed(heard.data, ti, is_error=heard.is_error):
            self._heard.put((machine.Said(event), ti))

    def _hear_end(self, heard: Heard, ti: int) -> int:
        """Take lines without an end, and what an exit says, into account; return how much a role wrote in all."""
        ears = self._ears.get(heard.role)
        if ears is None:
            return 0
        for event in ears.end(heard.code, ti):
            self._heard.put((machine.Said(event), ti))
        return ears.written

    def _drive(self, site: Site) -> None:
        self._try(lambda: site.create(self._parts), machine.Created(), "")
        while (stage := self._machine.stage) != "finished":
            happening, ti = self._next()
            step = self._machine.handle(happening, clock.now(), ti)
            if self._machine.stage != stage:
                self._end_span(_SPANS[stage])
            self._record(step.events)
            for order in step.orders:
                self._carry_out(order, site)

    def _end_span(self, span: str) -> None:
        now = clock.now()
        self._spans[span] = self._spans.get(span, 0.0) + now - self._span_began
        self._span_began = now

    def _next(self) -> tuple[machine.Happening, int]:
        """Return what has happened next, after a moment at most."""
        if (self._around.stop.is_set() or self.full) and not self._machine.is_stopped:
            return machine.Stopped(), _now()
        if self._own:
            return self._own.popleft(), _now()
        wakes = self._machine.wakes_at
        longest = LOOK if wakes is None else min(LOOK, max(0.0, wakes - clock.now()))
        try:
            return self._heard.get(timeout=longest)
        except queue.Empty:
            return machine.Tick(), _now()

    def _record(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.ty == EXITED:
                self._exits[event.ro] = int(event.info["exit_code"])
            elif event.ty == SAMPLE:
                self._samples.setdefault(str(event.info["name"]), []).append(float(event.info["value"]))
        try:
            self._evidence.record(events)
        except OSError as error:
            self._note(error)
            self._own.append(machine.Lost(_unwritable(error), whose="runner"))

    def _note(self, error: Exception) -> None:
        """See whether an error comes of a disk that is full: then the cell ends, and is not judged."""
        if is_full(error):
            self.full = error

    def _carry_out(self, order: machine.Order, site: Site) -> None:
        match order:
            case machine.Start(role):
                self._start_role(site, role)
            case machine.Tell(role, line):
                self._try(lambda: site.tell(role, line), None, role)
            case machine.Terminate(roles):
                self._try(lambda: site.terminate(roles), None, "")
            case machine.Kill(roles):
                self._try(lambda: site.kill(roles), None, "")
            case machine.Collect():
                self._collect(site)
            case machine.Probe(implementation, role):
                self._own.append(self._probed(implementation, role))
            case machine.Finish():
                pass

    def _start_role(self, site: Site, role: str) -> None:
        try:
            site.start(role)
        except (HarnessError, OSError) as error:
            self._note(error)
            of = self._cell.implementation_of(role)
            self._own.append(machine.Refused(role, f"{role} ({of}) cannot be started: {_sentence(error)}"))

    def _try(self, act: Callable[[], object], then: machine.Happening | None, role: str) -> None:
        """Do something on the site; that it could not be done is something that happened, too."""
        try:
            act()
        except (HarnessError, OSError) as error:
            self._note(error)
            self._own.append(machine.Lost(_sentence(error), role))
            return
        if then:
            self._own.append(then)

    def _collect(self, site: Site) -> None:
        try:
            collected = site.collect()
            self._cpu = collected.cpu
            self._left += collected.left
        except (HarnessError, OSError) as error:
            self._note(error)
            self._left.append(f"what it left in /logs: {_sentence(error)}")
        self._own.append(machine.Collected())

    def _probed(self, implementation: str, role: str) -> machine.Probed:
        try:
            return machine.Probed(self._around.probe(implementation, role))
        except (HarnessError, OSError) as error:
            self._note(error)
            return machine.Probed(None, _sentence(error))

    def _has_left(self, site: Site | None, fault: Verdict | None) -> bool:
        """Have the cell's place taken as it is, if that is wanted and its verdict known; return whether it was."""
        if not (site and self._around.keep) or fault or self._machine.is_stopped or self._machine.stage != "finished":
            return False
        try:
            self._around.keep(site)
        except (HarnessError, OSError) as error:
            self._left.append(f"nothing of it stands: {_sentence(error)}")
            return False
        return True

    def _remove(self, site: Site | None) -> None:
        if site:
            try:
                self._left += self._around.remove(site)
            except (HarnessError, OSError) as error:
                self._left.append(_sentence(error))

    def _close(self) -> None:
        with self._hearing:
            self._is_closed = True
            try:
                self._evidence.close()
            except OSError as error:  # all else was said when it was written
                self._note(error)


def _now() -> int:
    return int(time.time() * 1000)


def _sentence(error: Exception) -> str:
    return error.summary if isinstance(error, HarnessError) else str(error)


def _unwritable(error: OSError) -> str:
    return f"evidence cannot be written: {error.strerror or error}"
