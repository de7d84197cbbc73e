"""What came out of a run of a matrix, as the value that all views of it are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

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
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.expectations import Expectation as Expected
    from harness.matrix.implementations import Matrix
    from harness.matrix.past import History
    from harness.matrix.planning import Plan
    from harness.matrix.verdicts import Result
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


def report_of(
    matrix: Matrix,
    cases: Sequence[Case],
    expected: Sequence[Expected],
    history: History,
    plan: Plan,
    outcome: Outcome,
    folder: Path,
) -> Report:
    """Return the report of a run."""
    cells = tuple(_cell(cell, outcome.results.get(cell.id), expected, history) for cell in plan.here)
    verdicts = {name: result.verdict for name, result in outcome.results.items()}
    achieved = outcome.achieved
    report = Report(
        matrix=matrix.name,
        run=folder.name,
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
            for case in cases
        ),
        findings=tuple(
            Finding(found.role, found.implementation, found.sentence, found.cells)
            for found in findings(plan.here, verdicts)
        ),
    )
    return summed(report)


def _cell(cell: Cell, result: Result | None, expected: Sequence[Expected], history: History) -> CellReport:
    about = expectation_for(cell, expected)
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
    statuses = history.statuses(cell.id, about.window) if about and about.pass_rate is not None else ()
    kind = compare(result.verdict, about, statuses).kind
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
