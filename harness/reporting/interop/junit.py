"""A matrix as JUnit XML: a suite for each test, a case for each cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.reporting import write_document, xml_text
from harness.reporting.interop.repro import ways_to_run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from junitparser import TestCase

    from harness.reporting.interop.report import CellReport, Report


def write_junit(path: Path, report: Report) -> None:
    """Write a report as JUnit XML.

    What is not as expected is a failure, or an error where the cell is broken; what fails and should is skipped,
    with the reason; so is what an implementation does not do.

    Raises:
        OSError: it cannot be written.
    """
    from junitparser import JUnitXml, TestSuite  # noqa: PLC0415 - at the end only

    document = JUnitXml(report.matrix)
    by_test: dict[str, list[CellReport]] = {}
    for cell in report.cells:
        by_test.setdefault(cell.test, []).append(cell)
    for test, cells in by_test.items():
        suite = TestSuite(xml_text(test))
        for case in _cases(report.matrix, cells):
            suite.append(case)  # type: ignore[no-untyped-call] # add_testcase() counts all of them each time
        suite.update_statistics()  # type: ignore[no-untyped-call] # as above
        document.add_testsuite(suite)
    write_document(document, path)


def _cases(matrix: str, cells: Iterable[CellReport]) -> Iterable[TestCase]:
    from junitparser import Error, Failure, Skipped, TestCase  # noqa: PLC0415 - as above

    for cell in cells:
        variant = f" [{cell.variant}]" if cell.params else ""
        name = f"{cell.worker} x {cell.driver}{variant}"
        case = TestCase(xml_text(name), classname=xml_text(f"{matrix}.{cell.test}"), time=cell.seconds)
        kinds = {"failure": Failure, "error": Error, "skipped": Skipped}
        if kind := kind_of(cell):
            result = kinds[kind](xml_text(message_of(cell)), xml_text(cell.word))
            result.text = xml_text(text_of(cell))
            case.result = [result]
        yield case


def kind_of(cell: CellReport) -> str:
    """Return what JUnit calls a cell's end: "failure", "error", "skipped", or "" for what passed."""
    if not cell.is_expected:
        return "error" if cell.status == "broken" else "failure"
    return "" if cell.status in ("succeeded", "flaky") else "skipped"


def message_of(cell: CellReport) -> str:
    """Return in one line why a cell is no plain success."""
    reason = cell.verdict.reason if cell.verdict else "it was not run"
    if cell.is_unexpected_pass:
        wanted = " or ".join(cell.expectation.statuses)
        reason = f"{wanted} was expected: {cell.expectation.reason}"
    elif cell.is_expected and cell.expectation.is_declared:
        reason = f"expected: {cell.expectation.reason}; seen: {reason}"
    return f"{cell.word}: {reason}" if reason else cell.word


def text_of(cell: CellReport) -> str:
    """Return what else is known of a cell that is no plain success."""
    lines = [f"cell: {cell.id}"]
    verdict = cell.verdict
    if verdict and verdict.blame:
        whose = " ".join(part for part in (verdict.role, verdict.implementation) if part)
        lines.append(f"blame: {verdict.blame} {whose}".rstrip())
    if cell.deciding:
        lines.append(f"deciding event: {json.dumps(cell.deciding, ensure_ascii=False)}")
    if cell.exits:
        lines.append("exit codes: " + ", ".join(f"{role} {code}" for role, code in cell.exits.items()))
    if cell.folder:
        lines.append(f"evidence: {cell.folder}")
    lines += (f"again: {command}" for command in ways_to_run(cell))
    return "\n".join(lines)
