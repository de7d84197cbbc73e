"""Cells run side by side, each once, and what they come to is in the journal at once, whatever ends the run."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import matrix_program
import pytest
from matrix_cells import cell

from harness import clock, procs
from harness.errors import BrokenStack, ConfigError
from harness.interrupts import Interrupted
from harness.matrix.budgets import Budgets
from harness.matrix.past import History, Past
from harness.matrix.planning import plan
from harness.matrix.verdicts import Result, Status, Verdict
from harness.results.journal import NAME, Header, Journal, read
from harness.runs.interop.pressure import Observed
from harness.runs.interop.scheduling import Scheduler, Ways

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.matrix.cells import Cell
    from harness.matrix.standing import Standing

WAIT = 60.0
PRESSED = Observed(stalled=50.0)


def result(each: Cell, status: Status = "succeeded", **more: object) -> Result:
    verdict = Verdict(status, reason=status)
    return replace(Result(each.id, each.digest, verdict, (verdict,), seconds=0.01), **more)  # type: ignore[arg-type]


class Trial:
    """A scheduler over cells that pretend, and what it did."""

    def __init__(  # noqa: PLR0913 - all are named where it is called
        self,
        folder: Path,
        cells: Sequence[Cell],
        run_one: Callable[[Cell, int], Result | None],
        *,
        slots: int = 2,
        observe: Callable[[], Observed] = Observed,
        done: Mapping[str, Result] | None = None,
        history: History | None = None,
    ) -> None:
        self.folder = folder
        self.told: list[Standing] = []
        self.said: list[str] = []
        self.stop = threading.Event()
        self.journal = Journal.begin(folder, Header("p", "r"), self.said.append)
        planned = plan(cells, history or History(), Budgets(slots, float(slots)), "embedded")
        ways = Ways(run_one, tell=self.told.append, observe=observe)
        self.scheduler = Scheduler(planned, self.journal, ways, done=done, stop=self.stop)

    def journaled(self) -> dict[str, str]:
        return {name: record["verdict"]["status"] for name, record in read(self.folder / NAME).records.items()}


def test_all_cells_run_and_are_journaled(tmp_path: Path) -> None:
    """Also those that fail; those that are skipped have a result, and are not run."""
    ran = Counter[str]()

    def run_one(each: Cell, _: int) -> Result:
        ran[each.test] += 1
        return result(each, "failed" if each.test == "b" else "succeeded")

    trial = Trial(tmp_path, [cell("a"), cell("b"), cell("c", skipped="why")], run_one)
    results = trial.scheduler.run()
    assert ran == {"a": 1, "b": 1}
    assert trial.journaled() == {"c/a/b": "skipped", "a/a/b": "succeeded", "b/a/b": "failed"}
    assert results["c/a/b"].verdict.reason == "why"
    assert {name: each.verdict.status for name, each in results.items()} == trial.journaled()
    assert trial.scheduler.unfinished == ()
    assert (trial.told[-1].done, trial.told[-1].total) == (3, 3)
    assert trial.told[-1].counts == {"succeeded": 1, "failed": 1, "skipped": 1}


def test_cells_run_side_by_side_as_many_as_there_are_slots(tmp_path: Path) -> None:
    """Each waits for another one that runs: with one slot this would never end."""
    together = threading.Barrier(3)

    def run_one(each: Cell, _: int) -> Result:
        together.wait(WAIT)
        return result(each)

    trial = Trial(tmp_path, [cell(f"t{number}") for number in range(9)], run_one, slots=3)
    assert len(trial.scheduler.run()) == 9
    assert max(len(standing.running) for standing in trial.told) == 3


def test_a_result_is_in_the_journal_before_it_is_told(tmp_path: Path) -> None:
    """Who saw it told must find it there after a kill."""
    trial = Trial(tmp_path, [cell("a"), cell("b"), cell("c")], lambda each, _: result(each))
    missing = []

    def tell(standing: Standing) -> None:
        if standing.last and standing.last.cell not in trial.journaled():
            missing.append(standing.last.cell)

    trial.scheduler._ways = replace(trial.scheduler._ways, tell=tell)
    trial.scheduler.run()
    assert missing == []


def test_what_is_done_is_not_run_again(tmp_path: Path) -> None:
    """Its result is among the others."""
    ran, cells = [], [cell("a"), cell("b"), cell("c", skipped="x")]
    before = {each.id: result(each, "skipped" if each.skipped else "failed") for each in (cells[0], cells[2])}

    def run_one(each: Cell, _: int) -> Result:
        ran.append(each.test)
        return result(each)

    trial = Trial(tmp_path, cells, run_one, done=before)
    results = trial.scheduler.run()
    assert ran == ["b"]
    assert results["a/a/b"] == before["a/a/b"]
    assert trial.journaled() == {"b/a/b": "succeeded"}
    assert trial.told[0].done == 2
    assert trial.scheduler.achieved.cells == 1


@pytest.mark.parametrize("error", [BrokenStack("no room"), ConfigError("no room"), ValueError("no room")])
def test_what_goes_wrong_in_the_runner_breaks_one_cell(tmp_path: Path, error: Exception) -> None:
    """The others are run, and it is told what it was."""

    def run_one(each: Cell, _: int) -> Result:
        if each.test == "a":
            raise error
        return result(each)

    trial = Trial(tmp_path, [cell("a"), cell("b")], run_one)
    broken = trial.scheduler.run()["a/a/b"].verdict
    assert (broken.status, broken.blame) == ("broken", "runner")
    assert "no room" in broken.reason
    assert trial.journaled()["b/a/b"] == "succeeded"


@pytest.mark.parametrize(
    ("statuses", "retries", "expected", "runs"),
    [
        (["failed", "succeeded"], 2, "flaky", 2),
        (["failed", "failed", "failed"], 2, "failed", 3),
        (["succeeded"], 2, "succeeded", 1),
        (["failed"], 0, "failed", 1),
        (["failed", "timeout"], 1, "flaky", 2),
    ],
)
def test_what_was_not_expected_is_run_again_as_often_as_its_test_says(
    tmp_path: Path, statuses: list[Status], retries: int, expected: str, runs: int
) -> None:
    """What another attempt changes is flaky, and all attempts are kept."""
    numbers = []

    def run_one(each: Cell, attempt: int) -> Result:
        numbers.append(attempt)
        return result(each, statuses[attempt - 1])

    trial = Trial(tmp_path, [cell("a", retries=retries)], run_one)
    found = trial.scheduler.run()["a/a/b"]
    assert found.verdict.status == expected
    assert [attempt.status for attempt in found.attempts] == statuses
    assert numbers == list(range(1, runs + 1))
    assert len(trial.journaled()) == 1


def test_under_pressure_no_cell_starts_beside_another_one(tmp_path: Path) -> None:
    """But where none runs one does, else a machine that is always short would never end."""
    most = list[int]()
    running = set[str]()

    def run_one(each: Cell, _: int) -> Result:
        running.add(each.id)
        most.append(len(running))
        threading.Event().wait(0.02)
        running.discard(each.id)
        return result(each)

    cells = [cell(f"t{number}") for number in range(6)]
    trial = Trial(tmp_path, cells, run_one, slots=4, observe=lambda: PRESSED)
    found = trial.scheduler.run()
    assert len(found) == 6
    assert max(most) == 1
    assert all(each.pressed for each in found.values())
    assert any(standing.pressed for standing in trial.told)


@pytest.mark.parametrize(("second", "expected"), [("succeeded", "succeeded"), ("timeout", "timeout")])
def test_a_cell_that_timed_out_under_pressure_is_run_again_alone(tmp_path: Path, second: Status, expected: str) -> None:
    """What the machine did makes nothing flaky; it is told all the same, and only the second result is journaled."""
    runs, alone = Counter[str](), list[bool]()
    running = set[str]()

    def run_one(each: Cell, attempt: int) -> Result:
        runs[each.test] += 1
        running.add(each.id)
        if each.test == "a" and runs["a"] > 1:
            alone.append(running == {each.id})
        threading.Event().wait(0.05)
        running.discard(each.id)
        assert attempt == 1
        return result(each, ("timeout" if runs["a"] == 1 else second) if each.test == "a" else "succeeded")

    cells = [cell("a"), cell("b"), cell("c"), cell("d")]
    trial = Trial(tmp_path, cells, run_one, slots=4, observe=lambda: PRESSED)
    found = trial.scheduler.run()["a/a/b"]
    assert runs == {"a": 2, "b": 1, "c": 1, "d": 1}
    assert alone == [True]
    assert found.verdict.status == expected
    assert [attempt.status for attempt in found.attempts] == ["timeout", second]
    assert found.pressed
    assert list(trial.journaled()).count("a/a/b") == 1


def test_a_cell_that_timed_out_without_pressure_is_not_run_again(tmp_path: Path) -> None:
    """That is its own doing."""
    runs = []

    def run_one(each: Cell, _: int) -> Result:
        runs.append(each.test)
        return result(each, "timeout")

    assert Trial(tmp_path, [cell("a")], run_one).scheduler.run()["a/a/b"].verdict.status == "timeout"
    assert runs == ["a"]


def test_a_run_that_is_stopped_ends_what_runs_and_starts_no_more(tmp_path: Path) -> None:
    """What was stopped has no result: half a cell is no cell."""
    started, cells = threading.Event(), [cell("a"), cell("b"), cell("c"), cell("d")]

    def run_one(each: Cell, _: int) -> Result | None:
        if each.test == "a":
            return result(each)
        started.set()
        return None if trial.stop.wait(WAIT) else result(each)

    trial = Trial(tmp_path, cells, run_one)

    def stop() -> None:
        started.wait(WAIT)
        trial.stop.set()

    threading.Thread(target=stop).start()
    results = trial.scheduler.run()
    assert list(results) == ["a/a/b"]
    assert trial.scheduler.unfinished == ("b/a/b", "c/a/b", "d/a/b")
    assert trial.journaled() == {"a/a/b": "succeeded"}


def test_what_ends_while_a_run_is_interrupted_keeps_its_result(tmp_path: Path) -> None:
    """And the signal goes on to who called."""

    def run_one(each: Cell, _: int) -> Result:
        trial.stop.wait(WAIT)
        return result(each)

    trial = Trial(tmp_path, [cell("a"), cell("b"), cell("c")], run_one)

    def tell(standing: Standing) -> None:
        if len(standing.running) == 2 and not trial.stop.is_set():
            raise Interrupted(signal.SIGTERM)

    trial.scheduler._ways = replace(trial.scheduler._ways, tell=tell)
    with pytest.raises(Interrupted):
        trial.scheduler.run()
    assert trial.journaled() == {"a/a/b": "succeeded", "b/a/b": "succeeded"}
    assert trial.scheduler.unfinished == ("c/a/b",)


@pytest.mark.parametrize("last", [1, 2])
def test_a_retry_that_was_stopped_leaves_no_result(tmp_path: Path, last: int) -> None:
    """Nor does one that could not begin: an attempt alone may be another verdict than that of an undisturbed run."""

    def run_one(each: Cell, attempt: int) -> Result | None:
        if attempt == last:
            trial.stop.set()
        return result(each, "failed") if attempt == 1 else None

    trial = Trial(tmp_path, [cell("a", retries=1)], run_one)
    assert trial.scheduler.run() == {}
    assert trial.journaled() == {}


def test_a_journal_that_cannot_be_written_ends_the_run_as_broken_when_all_was_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All results are there for a report; it is told once."""
    trial = Trial(tmp_path, [cell("a"), cell("b"), cell("c")], lambda each, _: result(each))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(BrokenStack, match="lacks 3 results"):
        trial.scheduler.run()
    assert len(trial.scheduler.results) == 3
    assert len(trial.said) == 1


def test_what_is_left_is_told_by_what_is_expected(tmp_path: Path) -> None:
    """It shrinks to nothing."""
    history = History([Past(f"{name}/a/b", "succeeded", 10.0) for name in "abcd"])
    trial = Trial(tmp_path, [cell(name) for name in "abcd"], lambda each, _: result(each), history=history)
    trial.scheduler.run()
    left = [standing.left for standing in trial.told]
    assert left[0] == 20.0
    assert left[-1] == 0.0


def test_what_was_achieved_is_told_beside_what_was_possible(tmp_path: Path) -> None:
    """Four cells of a tenth of a second in two slots take two tenths at least."""

    def run_one(each: Cell, _: int) -> Result:
        began = clock.now()
        threading.Event().wait(0.1)
        return result(each, seconds=clock.now() - began)

    trial = Trial(tmp_path, [cell(name) for name in "abcd"], run_one)
    trial.scheduler.run()
    achieved = trial.scheduler.achieved
    assert achieved.bounds.binding.name == "slots"
    assert achieved.bounds.binding.seconds >= 0.2
    assert achieved.ratio is not None
    assert achieved.ratio >= 1.0


INTERRUPTED = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import matrix_program
from harness.interrupts import interruptible
folder = Path(sys.argv[2])
with interruptible(lambda line: (folder / "said").write_text(line)):
    matrix_program.run(folder, folder / "ended", matrix_program.the_plan(), 0.2)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_that_can_be_gone_on_with(tmp_path: Path, number: signal.Signals) -> None:
    """By 128 + n, within the grace, with what had ended in the journal."""
    folder = tmp_path / "run"
    folder.mkdir()
    tests = str(Path(matrix_program.__file__).parent)
    process = procs.spawn([sys.executable, "-c", INTERRUPTED, tests, str(folder)])
    for _ in clock.poll(clock.Deadline.after(WAIT)):
        if (folder / NAME).exists() and len(read(folder / NAME).records) > 10:
            break
    process.send_signal(number)
    assert process.wait(WAIT) == -number
    done = len(read(folder / NAME).records)
    assert 10 < done < matrix_program.COUNT
    results = matrix_program.run(folder, folder / "ended", matrix_program.the_plan(), 0.001)
    assert len(results) == matrix_program.COUNT
