"""A report for a terminal: each test as a table of symbols and words, what is unexpected and why, and the sums."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.reporting.interop.junit import message_of
from harness.reporting.interop.repro import ways_to_run
from harness.reporting.interop.words import SYMBOLS, one_line, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.reporting.interop.report import CellReport, Report

GAP = "  "
MOST_SHOWN = 30  # unexpected cells that are told with their reasons
Rows = list[list[str]]


def shown(report: Report, width: int = 80, symbols: Mapping[str, str] = SYMBOLS, *, folder: Path | None = None) -> str:
    """Return all of a report: its tables, then its summary."""
    return "\n".join([*tables(report, width, symbols), *summary(report, symbols, folder=folder)])


def tables(report: Report, width: int = 80, symbols: Mapping[str, str] = SYMBOLS) -> Iterator[str]:
    """Yield the lines of a table for each test and each value of its parameters.

    Rows are workers, columns are drivers. What is too wide is turned, where that helps, else its columns are wrapped.
    ``!`` marks what is not as expected.
    """
    groups: dict[tuple[str, str], list[CellReport]] = {}
    for cell in report.cells:
        groups.setdefault((cell.test, cell.variant), []).append(cell)
    for (test, variant), cells in groups.items():
        yield f"{test} {variant}".rstrip()
        yield from (f"  {line}" for line in _table(cells, width - 2, symbols))
        yield ""


def _table(cells: Sequence[CellReport], width: int, symbols: Mapping[str, str]) -> Iterator[str]:
    workers = list(dict.fromkeys(cell.worker for cell in cells))
    drivers = list(dict.fromkeys(cell.driver for cell in cells))
    words = {(cell.worker, cell.driver): _word(cell, symbols) for cell in cells}
    upright = [["worker \\ driver", *drivers]]
    upright += [[worker, *(words.get((worker, driver), "") for driver in drivers)] for worker in workers]
    turned = [["driver \\ worker", *workers]]
    turned += [[driver, *(words.get((worker, driver), "") for worker in workers)] for driver in drivers]
    is_turned = _width(upright) > width >= _width(turned)
    yield from _laid_out(turned if is_turned else upright, width)


def _word(cell: CellReport, symbols: Mapping[str, str]) -> str:
    return f"{symbols[cell.status]} {cell.word}{'' if cell.is_expected else ' !'}"


def _widths(rows: Rows) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _width(rows: Rows) -> int:
    widths = _widths(rows)
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _laid_out(rows: Rows, width: int) -> Iterator[str]:
    """Yield lines of at most ``width`` characters, unless one column is wider; the first column is in each block."""
    first, *widths = _widths(rows)
    at = 1
    while at <= len(widths):
        end, taken = at, first
        while end <= len(widths) and (end == at or taken + len(GAP) + widths[end - 1] <= width):
            taken += len(GAP) + widths[end - 1]
            end += 1
        if at > 1:
            yield ""
        for row in rows:
            parts = [row[0].ljust(first), *(row[place].ljust(widths[place - 1]) for place in range(at, end))]
            yield GAP.join(parts).rstrip()
        at = end


def summary(report: Report, symbols: Mapping[str, str] = SYMBOLS, *, folder: Path | None = None) -> Iterator[str]:
    """Yield the lines that tell what is unexpected and why, what cells have in common, and the sums.

    Args:
        report: what came out.
        symbols: of statuses.
        folder: of the run, None where it is not known: cells' folders are told as they are found from here.
    """
    bad = [cell for cell in report.cells if not cell.is_expected]
    for cell in bad[:MOST_SHOWN]:
        yield f"{symbols[cell.status]} {cell.id}: {one_line(message_of(cell))}"
        if cell.folder:
            yield f"    {os.path.relpath(folder / cell.folder) if folder else cell.folder}"
            yield from (f"    again: {command}" for command in ways_to_run(cell)[:1])
    if len(bad) > MOST_SHOWN:
        yield f"and {len(bad) - MOST_SHOWN} more unexpected cells"
    yield from (f"finding: {finding.text}" for finding in report.findings)
    yield from (f"note: {note}" for note in report.notes)
    yield sums(report)
    if report.bounds.ratio:
        least = report.bounds.bounds[report.bounds.binding]
        said = f"{span(report.bounds.seconds)}, {report.bounds.ratio:.2f} x the bound of {span(least)}"
        yield f"time: {said} ({report.bounds.binding})"


def sums(report: Report) -> str:
    """Return how many cells there are of each status, and how many are not as expected, as one line."""
    counts = ", ".join(f"{n} {status}" for status, n in report.totals.items()) or "none"
    return f"cells: {len(report.cells)} ({counts}); {report.unexpected or 'none'} unexpected"


def difference(report: Report, other: Report, symbols: Mapping[str, str] = SYMBOLS) -> Iterator[str]:
    """Yield what is different from another run, worst first; nothing for cells that ended alike."""
    was = {cell.id: cell for cell in other.cells}
    told: list[tuple[int, str]] = []
    for cell in report.cells:
        now, before = _word(cell, symbols), was.pop(cell.id, None)
        if before is None:
            told.append((3, f"new: {cell.id}: {now}"))
        elif before.is_expected != cell.is_expected:
            rank, kind = (1, "better") if cell.is_expected else (0, "worse")
            told.append((rank, f"{kind}: {cell.id}: {now}, was {_word(before, symbols)}"))
        elif before.word != cell.word:
            told.append((2, f"changed: {cell.id}: {now}, was {_word(before, symbols)}"))
    told += [(4, f"gone: {cell.id}: was {_word(cell, symbols)}") for cell in was.values()]
    yield from (line for _, line in sorted(told, key=lambda entry: entry[0]))
    yield f"compared with run {other.run}: {len(told) or 'no'} cells differ"
