"""Stored evidence of a matrix, judged again by the rules and expectations of now; nothing is run or written."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import read_regular
from harness.errors import ConfigError
from harness.matrix.dumps import DumpedCell, cells_of, read_dump
from harness.matrix.events import Event
from harness.matrix.judging import combined, judge
from harness.matrix.verdicts import Result, Verdict
from harness.reporting.interop.files import with_evidence
from harness.reporting.interop.report import CellReport, Report, TestReport, read_report, summed
from harness.runs.interop.evidence import EVENTS
from harness.runs.interop.results import Outcome, cell_report, exit_code, report_of
from harness.runs.interop.resuming import planned, results_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.planning import Plan
    from harness.runs.interop.results import Declared

LARGEST = 1 << 30  # bytes of a dump that is read


@dataclass(frozen=True)
class Rejudged:
    """What stored evidence amounts to now.

    Attributes:
        report: of now, which is on no disk.
        was: the report of then; of a run that has none, what its journal says, by the expectations of now.
        notes: what could not be judged again, and why.
    """

    report: Report
    was: Report
    notes: tuple[str, ...] = ()


def rejudge(folder: Path, plan: Plan, of: Declared) -> Rejudged:
    """Judge every cell of a run again by its events.

    Args:
        folder: the run's.
        plan: the run's.
        of: the matrix as its files say now.

    Raises:
        ConfigError: it is a run of another matrix, or its journal is damaged.
    """
    if of.matrix.name != plan.matrix:
        raise ConfigError(f"Run {folder.name} is of matrix {plan.matrix!r}, and this is {of.matrix.name!r}")
    results = results_of(folder, plan)
    cases = {case.name: case for case in of.cases}
    notes: list[str] = []
    now = {
        cell.id: _again(results[cell.id], cell, cases.get(cell.test), folder, notes)
        for cell in plan.here
        if cell.id in results
    }
    before = _stored(folder)
    report = _report(of, plan, now, folder, before)
    return Rejudged(report, before or _report(of, plan, results, folder, None), tuple(notes))


def plan_of(folder: Path) -> Plan:
    """Return the plan of a run. Raises ConfigError: it is none of a matrix."""
    return planned(folder)


def _stored(folder: Path) -> Report | None:
    """Return the report of a run, None of one that was killed before it, or whose report is of another version."""
    try:
        return read_report(folder)
    except ConfigError:
        return None


def _report(of: Declared, plan: Plan, results: Mapping[str, Result], folder: Path, before: Report | None) -> Report:
    outcome = Outcome(
        began=before.began if before else min((each.began for each in results.values() if each.began), default=0.0),
        seconds=before.seconds if before else sum(each.seconds for each in results.values()),
        achieved=None,
        results=results,
        images={each.name: each.image for each in before.implementations} if before else {},
        problems={each.name: each.problem for each in before.implementations if each.problem} if before else {},
    )
    report = report_of(of, plan, outcome, folder.name)
    if before:
        report = replace(report, bounds=before.bounds, dumps=before.dumps)
    return with_evidence(folder, report)


def _again(result: Result, cell: Cell, case: Case | None, folder: Path, notes: list[str]) -> Result:
    """Return a result by its stored events; where they do not say it all, as it was."""
    if not result.folder:  # it was skipped, or never began
        return result
    if case is None:
        notes.append(f"{cell.id} is as it was: its test is gone")
        return result
    path = folder / result.folder / EVENTS
    try:
        events = read_events(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        notes.append(f"{cell.id} is as it was: {path}: {why}")
        return result
    if result.verdict.event is None and result.verdict.status == "broken":
        return result  # by what happened outside of it, which its events do not tell
    verdict = judge(case, cell, events)
    last = replace(result, verdict=verdict)
    attempts = [replace(result, verdict=each) for each in result.attempts[:-1]]
    return combined([*attempts, last])


def read_events(path: Path) -> tuple[Event, ...]:
    """Return the events of a cell's log. Raises OSError, and ValueError that names the line that is no event."""
    events = []
    for number, line in enumerate(read_regular(path, LARGEST).splitlines(), start=1):
        try:
            data = json.loads(line)
            events.append(Event.from_dict(data if isinstance(data, dict) else {}))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is no event: {error}") from error
    return tuple(events)


# -- reports of the older tool ---------------------------------------------------------------------------------------


def dumped(path: Path) -> tuple[DumpedCell, ...]:
    """Return the cells of a ``.dump``. Raises ConfigError: it cannot be read, or is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"{path} is larger than {LARGEST} bytes; a report (.dump) was needed")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no report: no UTF-8: byte {error.start}") from error
    return cells_of(read_dump(path, text))


def rejudge_dump(path: Path, cells: Sequence[DumpedCell], of: Declared | None) -> Rejudged:
    """Judge what a ``.dump`` holds; by the expectations of a matrix where one is given, else success is expected."""
    now = [_dumped_report(each, judge(each.case, each.cell, each.events), of) for each in cells]
    was = [_dumped_report(each, _then(each), of) for each in cells]
    return Rejudged(_of_dump(path, cells, now), _of_dump(path, cells, was))


def _then(each: DumpedCell) -> Verdict | None:
    if not each.was:
        return None
    return Verdict("succeeded" if each.was == "succeeded" else "failed", reason="the report says so")


def _dumped_report(each: DumpedCell, verdict: Verdict | None, of: Declared | None) -> CellReport:
    result = None
    if verdict:
        began, seconds = _began(each.events), _seconds(each.events)
        result = Result(each.cell.id, "", verdict, (verdict,), began=began, seconds=seconds)
    report = cell_report(each.cell, result, of)
    place = verdict.event if verdict else None
    return replace(report, deciding=each.events[place].as_dict()) if place is not None else report


def _began(events: Sequence[Event]) -> float:
    return events[0].ti / 1000 if events else 0.0


def _seconds(events: Sequence[Event]) -> float:
    return (events[-1].ti - events[0].ti) / 1000 if events else 0.0


def _of_dump(path: Path, cells: Sequence[DumpedCell], reports: Iterable[CellReport]) -> Report:
    cases = {each.case.name: each.case for each in cells}.values()
    tests = tuple(
        TestReport(case.name, case.description, case.timeout, tuple(role.name for role in case.roles)) for case in cases
    )
    report = summed(Report(matrix=path.stem, run=path.name, engine="", cells=tuple(reports), tests=tests))
    return replace(report, exit_code=exit_code(report))
