"""One cell for a terminal: its verdict, whose fault it was, the event that decided it and those around it."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from harness.reporting.interop.junit import message_of
from harness.reporting.interop.words import SYMBOLS, one_line, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.reporting.interop.report import CellReport, Report

BEFORE, AFTER = 8, 4  # events that are told around the one that decided
FILES = 12  # names of evidence that are told
Placed = tuple[int, "Mapping[str, Any]"]


def around(lines: Iterable[str], deciding: int | None) -> list[Placed]:
    """Return the events around the one that decided, with their places; the last ones where none did."""
    if deciding is None:
        last = deque(enumerate(lines), BEFORE + AFTER + 1)
        near = list(last)
    else:
        near = [(at, line) for at, line in enumerate(lines) if deciding - BEFORE <= at <= deciding + AFTER]
    return [(at, event) for at, line in near if (event := _event(line)) is not None]


def _event(line: str) -> Mapping[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("ty"), str) else None


def told(cell: CellReport, events: Sequence[Placed], folder: Path | None, width: int = 100) -> Iterator[str]:
    """Yield the lines that tell of a cell.

    Args:
        cell: the cell.
        events: see ``around``.
        folder: of its evidence, None where there is none.
        width: characters of a line of an event.
    """
    mark = "as expected" if cell.is_expected else "unexpected"
    yield f"{SYMBOLS[cell.status]} {cell.id}: {cell.word} ({mark})"
    verdict = cell.verdict
    if verdict is None:
        yield "  it was not run"
        return
    yield f"  why: {one_line(message_of(cell))}"
    if verdict.blame:
        yield f"  blame: {_blame(verdict.blame, verdict.role, verdict.implementation)}"
    reason = f": {one_line(cell.expectation.reason)}" if cell.expectation.reason else ""
    yield f"  expected: {' or '.join(cell.expectation.statuses)}{reason}"
    if len(cell.attempts) > 1:
        yield f"  attempts: {', then '.join(each.status for each in cell.attempts)}"
    if verdict.status != "skipped":
        spans = ", ".join(f"{name} {span(seconds)}" for name, seconds in cell.spans.items())
        yield f"  took: {span(cell.seconds)}{f' ({spans})' if spans else ''}"
    if cell.exits:
        yield f"  exit codes: {', '.join(f'{role} {code}' for role, code in cell.exits.items())}"
    yield from _events(events, verdict.event, width)
    if folder:
        yield f"  logs: {folder}"
        yield from (f"    {name}" for name in cell.evidence[:FILES])
        if len(cell.evidence) > FILES:
            yield f"    and {len(cell.evidence) - FILES} more"


def _blame(blame: str, role: str, implementation: str) -> str:
    who = f"{role} ({implementation})" if role and implementation else role or implementation
    return f"{blame} {who}".rstrip() if blame != "role" else f"role {who}"


def _events(events: Sequence[Placed], deciding: int | None, width: int) -> Iterator[str]:
    if not events:
        yield "  events: none are stored"
        return
    yield f"  events around the one that decided (number {deciding}):" if deciding is not None else "  last events:"
    base = next((ti for _, event in events if isinstance(ti := event.get("ti"), int)), 0)
    roles = max(len(str(event.get("ro") or "runner")) for _, event in events)
    for at, event in events:
        ti = event.get("ti")
        offset = (ti - base) / 1000 if isinstance(ti, int) else 0.0
        info = event.get("in")
        said = f" {json.dumps(info, ensure_ascii=False)}" if info else ""
        arrow = "->" if at == deciding else "  "
        line = f"{arrow} {at:>5} {offset:+9.3f} s  {event.get('ro') or 'runner'!s:<{roles}}  {event['ty']}{said}"
        line = one_line_kept(line)
        yield f"  {line if len(line) <= width - 2 or at == deciding else f'{line[: width - 5]}...'}"


def one_line_kept(text: str) -> str:
    """Return a text whose spaces are kept as one line that a terminal shows as it is."""
    head, _, rest = text.partition(" {")
    return f"{head} {one_line('{' + rest)}" if rest else head


def rejudged(now: Report, was: Report) -> tuple[list[str], int]:
    """Return what a judge says otherwise than before, worst first, and of how many cells it does."""
    before = {cell.id: cell for cell in was.cells}
    lines: list[tuple[int, str]] = []
    for cell in now.cells:
        old = before.get(cell.id)
        if old is None or _judged(old) == _judged(cell):
            continue
        rank = int(cell.is_expected) + int(old.is_expected == cell.is_expected)
        line = f"{cell.id}: was {_said(old)}, is {_said(cell)}: {one_line(message_of(cell))}"
        lines.append((rank, line))
    return [line for _, line in sorted(lines, key=lambda entry: entry[0])], len(lines)


def _judged(cell: CellReport) -> tuple[object, ...]:
    verdict = cell.verdict
    whose = (verdict.blame, verdict.role, verdict.implementation) if verdict and cell.status != "succeeded" else ()
    return (cell.word, cell.is_expected, whose)


def _said(cell: CellReport) -> str:
    return f"{SYMBOLS[cell.status]} {cell.word} ({'as expected' if cell.is_expected else 'unexpected'})"
