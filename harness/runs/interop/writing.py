"""The files of a report (stands in until the page is there)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.artifacts import write_atomically
from harness.reporting.interop.junit import write_junit

if TYPE_CHECKING:
    from pathlib import Path

    from harness.reporting.interop.report import Report


def write_report(folder: Path, report: Report) -> Report:
    """Write report.json and junit.xml."""
    write_atomically(folder / "report.json", report.as_json())
    write_junit(folder / "junit.xml", report)
    return report
