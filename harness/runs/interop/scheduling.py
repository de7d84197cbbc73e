"""The cells of a plan, run side by side under its budgets: each result is in the journal before the next thing is told.

Which cell may start is decided by ``matrix.budgets``, what a result means by ``judging`` and ``expectations``.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import clock
from harness.errors import HarnessError
from harness.interrupts import Interrupted
from harness.matrix.budgets import Packing
from harness.matrix.judging import combined
from harness.matrix.planning import spent
from harness.matrix.standing import Standing
from harness.matrix.verdicts import Result, Verdict
from harness.runs.interop.pressure import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.matrix.bounds import Bounds
    from harness.matrix.cells import Cell
    from harness.matrix.planning import Plan
    from harness.matrix.verdicts import Status
    from harness.results.journal import Journal
    from harness.runs.interop.pressure import Observed

    RunOne = Callable[[Cell, int], Result | None]

FOREVER = 366 * 86400.0
GRACE = 7.0  # seconds that cells have to end after a signal, as all else has
LOOK = 0.25  # seconds between two looks at the machine
GOOD = frozenset({"succeeded", "unsupported", "skipped"})


def is_good(_: Cell, verdict: Verdict) -> bool:
    """Return whether a verdict is what is expected where nothing is said."""
    return verdict.status in GOOD


@dataclass(frozen=True)
class Ways:
    """How a scheduler does what it decides.

    Attributes:
        run_one: runs a cell for the n-th time (from 1 on) and returns what became of it; None when it was stopped.
            Called in threads.
        is_expected: whether a cell's verdict is what was expected; what is not is run again as often as its test says.
        tell: told how far all has come, at each change; called in the scheduler's own thread.
        observe: looks at the machine.
    """

    run_one: RunOne
    is_expected: Callable[[Cell, Verdict], bool] = is_good
    tell: Callable[[Standing], None] = lambda _: None
    observe: Callable[[], Observed] = observe


@dataclass(frozen=True)
class Achieved:
    """How long cells have taken, beside how soon they could have been done.

    Attributes:
        seconds: from the first start to the last end.
        cells: how many were run.
        bounds: what nobody gets below, by what they have really taken.
    """

    seconds: float
    cells: int
    bounds: Bounds

    @property
    def ratio(self) -> float | None:
        """How many times the binding bound it was, None where nothing ran."""
        return self.bounds.ratio(self.seconds)


@dataclass
class _Running:
    """A cell that runs."""

    cell: Cell
    call: clock.Aside[list[Result]]
    pressed: bool = False


class _Batch:
    """Results that are written to the journal together."""

    def __init__(self, results: list[Result]) -> None:
        self._results = results
        self._call: clock.Aside[None] | None = None

    def write(self, journal: Journal, wake: threading.Event) -> None:
        """Begin to write them."""
        records = [result.as_dict() for result in self._results]
        self._call = clock.Aside(lambda: journal.add(*records), wake)

    def is_over(self) -> bool:
        """Return whether they are written, or kept by the journal; also where a signal came before that began."""
        return self._call is None or self._call.is_over()

    def taken(self) -> Iterator[Result]:
        """Give each of them once, as far as they were to be written."""
        if self._call:
            self._call.result()
        while self._call and self._results:
            yield self._results.pop(0)


class Scheduler:
    """Runs what a plan has for this shard, but for what is done.

    Args:
        plan: what there is to run.
        journal: where each result goes at once.
        ways: how cells are run.
        done: results that are there before: of the run that is resumed, or taken over from an earlier one.
        stop: set when the run is to end; ``run_one`` heeds it, too.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        ways: Ways,
        *,
        done: Mapping[str, Result] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._plan, self._journal, self._ways = plan, journal, ways
        self._results: dict[str, Result] = dict(done or {})
        self._cells = {cell.id: cell for cell in plan.here}
        self._stop = stop or threading.Event()
        self._wake = threading.Event()
        self._running: dict[str, _Running] = {}
        self._postponed: dict[str, Result] = {}
        self._fresh: list[Result] = []
        self._batch: _Batch | None = None
        self._packing = Packing(plan.budgets, (), plan.busy)
        self._pressed, self._looked, self._began = "", 0.0, clock.now()
        self._seconds = 0.0
        self._ran: list[Result] = []
        self._counts: Counter[Status] = Counter()
        self._ahead = 0.0

    @property
    def achieved(self) -> Achieved:
        """How long the cells that were run have taken, and how soon they could have been done."""
        return Achieved(self._seconds, len(self._ran), spent(self._ran, self._plan))

    @property
    def results(self) -> dict[str, Result]:
        """Cell id -> what became of it, as far as it is known."""
        return self._results

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The ids of this shard's cells that have no result."""
        return tuple(cell for cell in self._cells if cell not in self._results)

    def run(self) -> dict[str, Result]:
        """Run all cells and return their results.

        It returns early, with what there is, when ``stop`` is set; check ``unfinished``. Whatever ends it, no cell that
        it started runs any more, unless it did not end within the grace.

        Raises:
            Interrupted: by a signal; what had a result is in the journal.
            BrokenStack: the journal could not be written; ``results`` has all.
        """
        self._began = clock.now()
        self._skip()
        todo = [cell for cell in self._plan.here if cell.id not in self._results]
        self._counts = Counter(result.verdict.status for cell, result in self._results.items() if cell in self._cells)
        self._ahead = sum(self._plan.seconds[cell.id] for cell in todo)
        self._packing = Packing(self._plan.budgets, todo, self._plan.busy)
        try:
            self._loop()
        except BaseException:
            self._stop.set()
            raise
        finally:
            self._end_running()
            self._seconds = clock.now() - self._began
        self._journal.check()
        return self._results

    def _skip(self) -> None:
        """Give those that are not run their results, all at once."""
        skipped = [
            Result(cell.id, cell.digest, Verdict("skipped", reason=cell.skipped))
            for cell in self._plan.here
            if cell.skipped and cell.id not in self._results
        ]
        if skipped:
            self._journal.add(*(result.as_dict() for result in skipped))
            self._results |= {result.cell: result for result in skipped}

    def _loop(self) -> None:
        self._tell()
        for _ in clock.poll(clock.Deadline.after(FOREVER), wake=self._wake):
            for ended in [running for running in self._running.values() if running.call.is_over()]:
                self._end(ended)
            if self._stop.is_set() or not (self._running or self._packing.waiting or self._fresh or self._batch):
                return
            self._look()
            self._start()
            self._note()

    def _look(self) -> None:
        """See whether the machine is short of something, and note it of all cells that run."""
        if clock.now() - self._looked >= LOOK:
            before, self._pressed = self._pressed, self._ways.observe().short_of
            self._looked = clock.now()
            if before != self._pressed and bool(before) != bool(self._pressed):
                self._tell()
        for running in self._running.values():
            running.pressed |= bool(self._pressed)

    def _start(self) -> None:
        while cell := self._packing.take(pressed=bool(self._pressed)):
            call = clock.Aside(_Attempts(cell, self._ways, self._stop), self._wake)
            self._running[cell.id] = _Running(cell, call, pressed=bool(self._pressed))
            self._tell()

    def _end(self, running: _Running) -> None:
        """Take in what became of a cell, or have it run once more."""
        cell = running.cell
        del self._running[cell.id]
        self._packing.end(cell)
        attempts = running.call.result()
        if not attempts:
            return  # stopped
        result = combined(attempts) if len(attempts) > 1 else attempts[0]
        if running.pressed and result.verdict.status == "timeout" and cell.id not in self._postponed:
            self._postponed[cell.id] = replace(result, pressed=True)
            self._packing.again_alone(cell)
            return
        if before := self._postponed.get(cell.id):
            # What the machine's shortage did is told, but makes nothing flaky.
            result = replace(result, attempts=(before.verdict, *(result.attempts or (result.verdict,))), pressed=True)
        self._fresh.append(replace(result, pressed=result.pressed or running.pressed))

    def _note(self) -> None:
        """Have the results that are new written to the journal, all at once, and tell those that are there by now.

        A thread writes: a disk takes its time, in which cells end and start; and no signal can tear it from that.
        """
        if self._batch and self._batch.is_over():
            for result in self._batch.taken():
                self._results[result.cell] = result
                self._ran.append(result)
                self._counts[result.verdict.status] += 1
                self._ahead -= self._plan.seconds[result.cell]
                self._tell(result)
            self._batch = None
        if self._fresh and not self._batch:
            fresh, self._fresh = self._fresh, []
            self._batch = _Batch(fresh)
            self._batch.write(self._journal, self._wake)

    def _end_running(self) -> None:
        """Wait until what runs has ended; what has a result keeps it."""
        for _ in clock.poll(clock.Deadline.after(GRACE), wake=self._wake):
            for running in [running for running in self._running.values() if running.call.is_over()]:
                self._end(running)
            self._note()
            if not (self._running or self._fresh or self._batch):
                return

    def _tell(self, last: Result | None = None) -> None:
        self._ways.tell(
            Standing(
                total=len(self._cells),
                done=self._counts.total(),
                running=tuple(self._running),
                counts=dict(self._counts),
                elapsed=clock.now() - self._began,
                left=self._left(),
                pressed=self._pressed,
                last=last,
            )
        )

    def _left(self) -> float:
        """Return how long what has no result takes, all slots taken, and no less than what runs now does."""
        expected = self._plan.seconds
        gone = {cell: min(running.call.seconds, expected[cell]) for cell, running in self._running.items()}
        still = max((expected[cell] - seconds for cell, seconds in gone.items()), default=0.0)
        return max(0.0, still, (self._ahead - sum(gone.values())) / self._plan.budgets.at_once)


class _Attempts:
    """Runs a cell until it does as is expected, as often as its test allows."""

    def __init__(self, cell: Cell, ways: Ways, stop: threading.Event) -> None:
        self._cell, self._ways, self._stop = cell, ways, stop

    def __call__(self) -> list[Result]:
        """Return all results, in order; none when the first attempt was stopped."""
        results: list[Result] = []
        for number in range(1, self._cell.retries + 2):
            result = self._attempt(number)
            if result is None:
                return []  # half of what is known of a cell would be another verdict than all of it
            results.append(result)
            if self._ways.is_expected(self._cell, result.verdict):
                break
            if self._stop.is_set() and number <= self._cell.retries:
                return []
        return results

    def _attempt(self, number: int) -> Result | None:
        began = clock.now()
        try:
            return self._ways.run_one(self._cell, number)
        except Interrupted:
            raise
        except HarnessError as error:
            reason = error.summary
        except Exception as error:  # noqa: BLE001 - a fault of ours is told of its cell, and the others are run
            reason = f"{type(error).__name__}: {error}"
        verdict = Verdict("broken", blame="runner", reason=reason)
        return Result(self._cell.id, self._cell.digest, verdict, (verdict,), seconds=clock.now() - began)
