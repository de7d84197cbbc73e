"""The files of a report, in the folder of its run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from harness import artifacts
from harness.reporting.interop.excerpts import LONGEST, MOST, Excerpt, excerpt_of
from harness.reporting.interop.junit import write_junit
from harness.reporting.interop.page import page
from harness.reporting.interop.report import FILE, CellReport, Report, summed

PAGE, JUNIT, EVENTS = "index.html", "junit.xml", "events.jsonl"
BUDGET = 24_000_000  # characters of events that a page holds; cells that nobody asks about go first
PLAIN_MOST, PLAIN_LONGEST = 60, 120  # what is shown of a cell that went as it should
_FIRST = ("verdict.json", EVENTS, "repro.sh")
_MOST_FILES = 60


def write_report(folder: Path, report: Report, against: Report | None = None) -> Report:
    """Write report.json, junit.xml and index.html of a run.

    Args:
        folder: the run's; cells' evidence is in it, where the report says.
        report: what came out; deciding events and files of evidence are looked up for it.
        against: the report of another run that the page compares it with.

    Returns:
        The report as it was written.

    Raises:
        OSError: it cannot be written.
    """
    excerpts: dict[str, Excerpt] = {}
    cells = tuple(_with_evidence(folder, cell, excerpts) for cell in report.cells)
    whole = summed(replace(report, cells=cells))
    artifacts.write_atomically(folder / FILE, whole.as_json())
    write_junit(folder / JUNIT, whole)
    write_page(folder / PAGE, whole, excerpts, against)
    return whole


def with_evidence(folder: Path, report: Report) -> Report:
    """Return a report with what the folder of its run has of each cell: the deciding event, and names of files."""
    return replace(report, cells=tuple(_with_evidence(folder, cell, {}) for cell in report.cells))


def write_page(path: Path, report: Report, excerpts: dict[str, Excerpt], against: Report | None = None) -> None:
    """Write the page of a report, with as many of the events as it may hold. Raises OSError."""
    kept = within(BUDGET, report, excerpts)
    if missing := sum(bool(excerpt.rows) for excerpt in excerpts.values()) - len(kept):
        note = f"the events of {missing} cells that went as expected are not in this page: it would be too large"
        report = replace(report, notes=(*report.notes, note))
    artifacts.write_atomically(path, page(report, kept, against))


def excerpts_of(folder: Path, report: Report) -> dict[str, Excerpt]:
    """Return what a page shows of the events of each cell, as the folder of the run has them."""
    return {cell.id: _excerpt(folder, cell) for cell in report.cells if cell.folder}


def within(budget: int, report: Report, excerpts: dict[str, Excerpt]) -> dict[str, Excerpt]:
    """Return those excerpts that fit into so many characters, unexpected cells' first."""
    kept: dict[str, Excerpt] = {}
    for cell in sorted(report.cells, key=lambda cell: cell.is_expected):
        excerpt = excerpts.get(cell.id)
        if excerpt and excerpt.rows:
            budget -= sum(40 + len(row[3]) + len(row[4]) for row in excerpt.rows)
            if budget < 0 and cell.is_expected:
                break
            kept[cell.id] = excerpt
    return kept


def _excerpt(folder: Path, cell: CellReport) -> Excerpt:
    is_plain = cell.is_expected and cell.status in ("succeeded", "skipped", "unsupported")
    most, longest = (PLAIN_MOST, PLAIN_LONGEST) if is_plain else (MOST, LONGEST)
    deciding = cell.verdict.event if cell.verdict else None
    return excerpt_of(folder / cell.folder / EVENTS, deciding, most=most, longest=longest)


def _with_evidence(folder: Path, cell: CellReport, excerpts: dict[str, Excerpt]) -> CellReport:
    if not cell.folder:
        return cell
    excerpts[cell.id] = excerpt = _excerpt(folder, cell)
    return replace(cell, deciding=cell.deciding or excerpt.deciding, evidence=_files(folder / cell.folder))


def _files(folder: Path) -> tuple[str, ...]:
    """Return the files in a cell's folder, those first that most ask for; the first few, where somebody left many."""
    skip = len(str(folder)) + 1
    names = [f"{at}/{name}"[skip:] for at, _, files in os.walk(folder) for name in files]
    return tuple(sorted(names, key=lambda name: (name not in _FIRST, "/" in name, name))[:_MOST_FILES])
