"""What came out of a run of a matrix, as the value that all views of it are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import BROKEN_STACK, OK, TESTS_FAILED
from harness.matrix.expectations import DEFAULT, compare, expectation_for
from harness.matrix.findings import findings
from harness.reporting.interop.report import (
    Bounds,
    CellReport,
    Expectation,
    Finding,
    ImplementationReport,
    Report,
    TestReport,
    summed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.expectations import Comparison
    from harness.matrix.expectations import Expectation as Expected
    from harness.matrix.implementations import Matrix
    from harness.matrix.past import History
    from harness.matrix.planning import Plan
    from harness.matrix.verdicts import Result, Verdict
    from harness.runs.interop.history import Shelf
    from harness.runs.interop.scheduling import Achieved


@dataclass(frozen=True)
class Outcome:
    """What a run has found.

    Attributes:
        began: seconds since 1970.
        seconds: wall time of all of it.
        achieved: how long its cells have taken, beside how soon they could have been done; None where none was run.
        results: cell id -> result.
        images: implementation -> id of what was run.
        problems: implementation -> why it could not be made.
    """

    began: float
    seconds: float
    achieved: Achieved | None
    results: Mapping[str, Result]
    images: Mapping[str, str]
    problems: Mapping[str, str]


@dataclass(frozen=True)
class Declared:
    """A matrix as its files say, with what is known of it.

    Attributes:
        matrix: its implementations.
        cases: its tests.
        expected: what is expected of its cells.
        history: what earlier runs on this engine found.
        shelf: where that is kept.
    """

    matrix: Matrix
    cases: tuple[Case, ...]
    expected: tuple[Expected, ...]
    history: History
    shelf: Shelf

    def compared(self, cell: Cell, verdict: Verdict) -> Comparison:
        """Return whether a verdict is what is expected of a cell."""
        about = expectation_for(cell, self.expected)
        statuses = self.history.statuses(cell.id, about.window) if about and about.pass_rate is not None else ()
        return compare(verdict, about, statuses)  # type: ignore[arg-type] # what was read are some

    def is_expected(self, cell: Cell, verdict: Verdict) -> bool:
        """Return whether a verdict is what is expected of a cell."""
        return self.compared(cell, verdict).kind == "expected"


def exit_code(report: Report) -> int:
    """Return the exit code of a report: 1 for an unexpected result, else 12 for a cell that broke, else 0."""
    unexpected = [cell for cell in report.cells if not cell.is_expected]
    if any(cell.status != "broken" for cell in unexpected):
        return TESTS_FAILED
    return BROKEN_STACK if unexpected else OK


def report_of(of: Declared, plan: Plan, outcome: Outcome, run: str) -> Report:
    """Return the report of a run, which has the exit code that the command has."""
    matrix = of.matrix
    cells = tuple(cell_report(cell, outcome.results.get(cell.id), of) for cell in plan.here)
    verdicts = {name: result.verdict for name, result in outcome.results.items()}
    achieved = outcome.achieved
    report = Report(
        matrix=matrix.name,
        run=run,
        engine=plan.engine,
        cells=cells,
        plan=plan.hash,
        seed=matrix.seed,
        slots=plan.budgets.at_once,
        began=outcome.began,
        seconds=outcome.seconds,
        bounds=Bounds.of(achieved.bounds.seconds, achieved.seconds) if achieved else Bounds(),
        implementations=tuple(
            ImplementationReport(
                each.name,
                each.source.kind,
                each.version,
                "" if (image := outcome.images.get(each.name, "")).startswith("tree:") else image,
                each.source.commit,
                outcome.problems.get(each.name, ""),
            )
            for each in matrix.implementations
        ),
        tests=tuple(
            TestReport(case.name, case.description, case.timeout, tuple(role.name for role in case.roles))
            for case in of.cases
        ),
        findings=tuple(
            Finding(found.role, found.implementation, found.sentence, found.cells)
            for found in findings(plan.here, verdicts)
        ),
    )
    return replace(summed(report), exit_code=exit_code(report))


def cell_report(cell: Cell, result: Result | None, of: Declared | None) -> CellReport:
    """Return what a report says of a cell; without a matrix, by what is expected of every cell."""
    about = expectation_for(cell, of.expected) if of else None
    told = CellReport(
        id=cell.id,
        test=cell.test,
        worker=cell.worker,
        driver=cell.driver,
        params=cell.params,
        seed=cell.seed,
        digest=cell.digest,
        expectation=Expectation(
            about.status if about else DEFAULT,
            about.reason if about else "",
            about.expires.isoformat() if about and about.expires else "",
            about.pass_rate if about else None,
            is_declared=about is not None,
        ),
    )
    if result is None:
        return told
    kind = (of.compared(cell, result.verdict) if of else compare(result.verdict, None)).kind
    return replace(
        told,
        verdict=result.verdict,
        is_expected=kind == "expected",
        is_unexpected_pass=kind == "unexpected pass",
        attempts=result.attempts,
        began=result.began,
        seconds=result.seconds,
        cpu=result.cpu,
        spans=result.spans,
        exits=result.exits,
        samples=result.samples,
        folder=result.folder,
        pressed=result.pressed,
    )
