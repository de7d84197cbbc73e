"""What a terminal shows of a matrix: tables and sums of a report, and how far a run is."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import matrix_sample
import pytest

from harness import procs
from harness.matrix.standing import Standing
from harness.matrix.verdicts import Result, Verdict
from harness.reporting.interop.progress import Lines, Live, Progress, progress_on, summary_line
from harness.reporting.interop.report import CellReport, Report, summed
from harness.reporting.interop.table import difference, shown, summary, tables
from harness.reporting.interop.words import PLAIN, SYMBOLS, span, symbols_for

if TYPE_CHECKING:
    from pathlib import Path


def report_of(*cells: CellReport, run: str = "run-1") -> Report:
    """Return the report of a run of some cells."""
    return summed(Report("m", run, "embedded", cells))


def square(names: list[str]) -> Report:
    """Return a report with each name as worker and as driver, of which the last fails as driver."""
    return report_of(
        *(
            matrix_sample.cell("echo", worker, driver, "failed" if driver == names[-1] else "succeeded")
            for worker in names
            for driver in names
        )
    )


def test_a_table_has_workers_as_rows_and_drivers_as_columns() -> None:
    """Each cell must have its symbol and its word, and a mark when it is unexpected."""
    assert list(tables(square(["node", "go"]))) == [
        "echo",
        "  worker \\ driver  node         go",
        "  node             \u2713 succeeded  \u2717 failed !",
        "  go               \u2713 succeeded  \u2717 failed !",
        "",
    ]


def test_a_table_that_is_too_wide_is_turned() -> None:
    """Where there are more drivers than fit, and few workers, drivers must be the rows."""
    report = report_of(*(matrix_sample.cell("t", "node", f"driver-{i}", "succeeded") for i in range(9)))
    lines = list(tables(report, 60))
    assert lines[1] == "  driver \\ worker  node"
    assert max(map(len, lines)) <= 60
    assert len(lines) == 12


def test_a_table_that_is_too_wide_either_way_is_wrapped() -> None:
    """Columns that do not fit must follow below, each with its rows' names; no cell may be lost."""
    names = [f"implementation-{i}" for i in range(6)]
    lines = list(tables(square(names), 70))
    assert max(map(len, lines)) <= 70
    assert sum(line.count("succeeded") for line in lines) == 30
    assert sum(line.count("failed !") for line in lines) == 6
    assert sum(line.startswith("  worker \\ driver") for line in lines) == 3


def test_parameters_have_tables_of_their_own() -> None:
    """Each value of a test's parameters must have its table, with the value in its heading."""
    cells = [
        replace(matrix_sample.cell("t", "a", "b", "succeeded"), id=f"t/a/b/size={n}", params={"size": n}) for n in "12"
    ]
    assert [line for line in tables(report_of(*cells)) if line.startswith("t")] == ["t size=1", "t size=2"]


def test_a_stream_without_symbols_has_others() -> None:
    """A stream of ASCII must get ASCII, and each status a symbol of its own."""
    assert (symbols_for("ascii"), symbols_for(None), symbols_for("no such"), symbols_for("utf-8")) == (
        PLAIN,
        PLAIN,
        PLAIN,
        SYMBOLS,
    )
    assert shown(square(["a", "b"]), 80, PLAIN).isascii()
    assert len(set(PLAIN.values())) == len(PLAIN) == len(set(SYMBOLS.values()))


def test_the_summary_tells_what_is_unexpected_and_why() -> None:
    """Each unexpected cell must be told with its reason and folder, then the sums, and escapes not be obeyed."""
    cell = replace(matrix_sample.cell("t", "a", "b", "failed"), verdict=Verdict("failed", reason="bad \x1b[31m end"))
    lines = list(summary(report_of(cell, matrix_sample.cell("t", "a", "c", "succeeded"))))
    assert lines[0].startswith("\u2717 t/a/b: failed: bad ")
    assert "\x1b" not in lines[0]
    assert lines[1:] == [
        "    cells/t/a/b",
        "    again: harness interop.run --cell t/a/b",
        "cells: 2 (1 succeeded, 1 failed); 1 unexpected",
    ]
    assert list(summary(report_of())) == ["cells: 0 (none); none unexpected"]


def test_the_summary_tells_folders_as_they_are_found_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told of a run's folder must be a path from where one is, also below it, not from the run's folder."""
    report = report_of(matrix_sample.cell("t", "a", "b", "failed"))
    for here, told in (("p", "logs/run/cells/t/a/b"), ("p/sub", "../logs/run/cells/t/a/b")):
        (tmp_path / here).mkdir()
        monkeypatch.chdir(tmp_path / here)
        assert f"    {told}" in list(summary(report, folder=tmp_path / "p" / "logs" / "run"))


def test_the_summary_tells_time_by_the_bound() -> None:
    """What was achieved must be told by the bound that counts."""
    assert "time: 12 s, 1.06 x the bound of 11 s (slots)" in list(summary(matrix_sample.report()))


def test_two_runs_are_compared_worst_first() -> None:
    """What became worse must come first, then better, changed, new and gone; what is alike must not be told."""
    make = matrix_sample.cell
    before = report_of(
        make("t", "a", "1", "failed"),
        make("t", "a", "2", "succeeded"),
        make("t", "a", "3", "failed"),
        make("t", "a", "4", "succeeded"),
        make("t", "a", "5", "succeeded"),
        run="before",
    )
    after = report_of(
        make("t", "a", "1", "succeeded"),
        make("t", "a", "2", "crashed"),
        make("t", "a", "3", "timeout"),
        make("t", "a", "4", "succeeded"),
        make("t", "a", "6", "succeeded"),
    )
    assert list(difference(after, before, PLAIN)) == [
        "worse: t/a/2: # crashed !, was + succeeded",
        "better: t/a/1: + succeeded, was x failed !",
        "changed: t/a/3: t timeout !, was x failed !",
        "new: t/a/6: + succeeded",
        "gone: t/a/5: was + succeeded",
        "compared with run before: 5 cells differ",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.254, "0.25 s"), (12.4, "12 s"), (59.9, "1 min 00 s"), (185, "3 min 05 s"), (7801, "2 h 10 min")],
)
def test_times_are_written_for_people(seconds: float, text: str) -> None:
    """A time must have the unit that fits it."""
    assert span(seconds) == text


# -- progress --------------------------------------------------------------------------------------------------------


def ended(cell: str, verdict: Verdict) -> Standing:
    """Return how far all is when a cell has just ended."""
    result = Result(cell, "d", verdict, seconds=1.25)
    return Standing(10, 4, ("t/a/x",), {verdict.status: 4}, 20.0, 30.0, "", result)


def test_lines_tell_each_cell_and_every_ten_seconds_how_far_all_is() -> None:
    """A cell that ended must be one line at once, and the sums come no more often than was asked for."""
    stream, time = io.TextIOWrapper(io.BytesIO(), "utf-8"), [0.0]
    lines = Lines(stream, 10, lambda: time[0])
    failed = Verdict("failed", "role", "driver", "go", "exit 3\nand \x1b[2J")
    for at in (1.0, 9.0, 11.0, 15.0):
        time[0] = at
        lines(ended("t/a/b", failed))
    lines(Standing(10))
    lines.end()
    stream.seek(0)
    told = stream.read().splitlines()
    assert told[0] == "\u2717 failed t/a/b (1.25 s): driver go; exit 3 and \\x1b[2J"
    assert [line for line in told if line.startswith("...")] == [
        "... 4 of 10 cells, 4 failed, 1 running, 20 s, about 30 s left"
    ]
    assert len(told) == 5


def test_a_machine_under_pressure_is_told() -> None:
    """Why no cell starts must be said."""
    assert summary_line(Standing(3, pressed="memory")).endswith("no cell starts: the machine is short of memory")


def test_a_terminal_shows_what_runs_and_keeps_what_failed() -> None:
    """On a terminal, counts, running cells and time left must be shown, and only what did not end well stay."""
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with Live(stream, 100) as live:
        live(ended("t/a/good", Verdict("succeeded")))
        live(ended("t/a/[bold]bad", Verdict("failed", "role", "driver", "go", "exit 3")))
        live(replace(ended("t/a/c", Verdict("succeeded")), pressed="memory"))
        assert isinstance(live, Live)
        console = live._console
        with console.capture() as capture:
            console.print(live._drawn())
    drawn = capture.get()
    for part in ("4 of 10 cells", "30 s left", "\u2713 4 succeeded", "t/a/x", "short of memory"):
        assert part in drawn, drawn
    stream.seek(0)
    text = stream.read()
    assert ("\u2717 failed t/a/[bold]bad (1.25 s): driver go; exit 3" in text, "t/a/good" in text) == (True, False)


def test_who_shows_a_run() -> None:
    """Quiet must show nothing, no terminal lines, and a terminal the live view."""
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    ways = [(False, False), (True, False), (False, True), (True, True)]
    kinds = [type(progress_on(stream, is_live=live, is_quiet=quiet)) for live, quiet in ways]
    assert kinds == [Lines, Live, Progress, Progress]
    assert type(progress_on(stream, is_live=False)) is Lines


def test_nothing_heavy_is_loaded_for_lines() -> None:
    """A run that shows lines, and whoever writes a report, must load neither rich nor pydantic."""
    script = (
        "import sys; from harness.reporting.interop import files, progress, table\n"
        "progress.progress_on(sys.stdout, is_live=False)\n"
        "print([name for name in ('rich', 'pydantic', 'junitparser', 'docker') if name in sys.modules])"
    )
    assert procs.run([sys.executable, "-c", script], timeout=30).stdout.strip() == "[]"
