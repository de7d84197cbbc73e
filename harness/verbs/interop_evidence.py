"""What runs of an interoperability matrix have left: shown, a cell of it looked at, judged again."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import ConfigError, nearest
from harness.reporting.interop.files import EVENTS
from harness.reporting.interop.report import parse_report, read_report
from harness.reporting.interop.table import difference, shown, summary
from harness.reporting.interop.told import around, rejudged, told
from harness.runs.interop import rejudging
from harness.runs.interop.earlier import LATEST, find_run
from harness.runs.interop.reading import read_declared
from harness.runs.interop.running import declared_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.config import Settings
    from harness.matrix.dumps import DumpedCell
    from harness.reporting.interop.report import CellReport, Report
    from harness.runs.interop.results import Declared

DUMP = ".dump"
SHOWN = 40  # changed cells that are told


class _Looked(NamedTuple):
    """A report, and where its cells' events are: in a folder, or in a dump."""

    report: Report
    folder: Path | None
    dumped: Mapping[str, DumpedCell]


def inspect(settings: Settings, run: str, against: str, cell: str, *, as_json: bool) -> Iterator[str]:
    """Yield the lines that show a run, what is different from another one, or one of its cells.

    Args:
        settings: tell where runs are.
        run: id of a run, its folder, a report.json, or a report of the older tool (``.dump``).
        against: another one, "" for none.
        cell: the id of a cell, "" for all of them.
        as_json: as JSON values.

    Raises:
        ConfigError: there is no such run, report or cell, or it cannot be read.
    """
    if against and (cell or as_json):
        raise ConfigError(f"--against and {'--cell' if cell else '--json'} exclude each other; give one of them")
    looked = _looked(settings, run)
    if against:
        yield from difference(looked.report, _looked(settings, against).report)
    elif cell:
        yield from _cell(looked, cell, as_json=as_json)
    else:
        yield looked.report.as_json() if as_json else shown(looked.report, _width(), folder=looked.folder)


def judge(settings: Settings, run: str, say: Callable[[str], None], *, as_json: bool) -> int:
    """Judge what a run has stored again, by the rules, tests and expectations of now, and print what changed.

    Nothing is run, and nothing is written.

    Returns:
        1 where a cell is now not as expected, else 12 where one is broken, else 0.

    Raises:
        ConfigError: there is no such run, it is none of this matrix, or what it has stored is damaged.
    """
    path = _dump(settings, run)
    if path:
        of = _expected(settings, say) if settings.matrix else None
        folder, again = None, rejudging.rejudge_dump(path, rejudging.dumped(path), of)
    else:
        matrix = read_declared(settings.matrix_file()).name if run == LATEST else ""
        folder = find_run(settings.logs, run, matrix)
        plan = rejudging.plan_of(folder)
        again = rejudging.rejudge(folder, plan, declared_on(plan.engine, settings, say))
    report = again.report
    if as_json:
        print(report.as_json(), end="")
        return report.exit_code or 0
    lines, count = rejudged(report, again.was)
    for line in lines[:SHOWN]:
        print(line)
    if count > SHOWN:
        print(f"and {count - SHOWN} more that changed")
    for note in again.notes:
        say(note)
    judged = sum(cell.verdict is not None for cell in report.cells)
    print(f"judged again: {judged} cells of {report.run}, {count or 'none'} changed")
    print("\n".join(summary(report, folder=folder)))
    return report.exit_code or 0


def _expected(settings: Settings, say: Callable[[str], None]) -> Declared:
    of = declared_on("", settings, say)
    return replace(of, expected=tuple(each for each in of.expected if each.pass_rate is None))  # it has no history


def _looked(settings: Settings, name: str) -> _Looked:
    path = _dump(settings, name)
    if path:
        cells = rejudging.dumped(path)
        again = rejudging.rejudge_dump(path, cells, None)
        return _Looked(again.report, None, {each.cell.id: each for each in cells})
    file = Path(name)
    if file.is_file():
        return _Looked(parse_report(_bytes(file), name), file.resolve().parent, {})
    matrix = read_declared(settings.matrix_file()).name if name == LATEST and settings.matrix else ""
    folder = find_run(settings.logs, name, matrix)
    return _Looked(read_report(folder), folder, {})


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}; a report of a matrix was needed") from error


def _dump(settings: Settings, name: str) -> Path | None:
    """Return the file of the older tool's report, None where a run is meant."""
    if not name.endswith(DUMP):
        return None
    for path in (Path(name), settings.root / name, settings.logs / name):
        if path.is_file():
            return path
    raise ConfigError(f"Report {name!r} is not known: there is no such file")


def _cell(looked: _Looked, name: str, *, as_json: bool) -> Iterator[str]:
    cells = {cell.id: cell for cell in looked.report.cells}
    if name not in cells:
        raise ConfigError(
            f"Cell {name!r} is not in {looked.report.run}, which has {len(cells)} cells{nearest(name, cells)}",
            hint=f"`harness interop.inspect --run {looked.report.run}` shows them",
        )
    cell = cells[name]
    folder = looked.folder / cell.folder if looked.folder and cell.folder else None
    events = around(_lines(looked, cell, folder), cell.verdict.event if cell.verdict else None)
    if as_json:
        near = [{"place": place, **event} for place, event in events]
        where = str(folder) if folder else ""
        yield json.dumps(
            {"schema": 1, "kind": "cell", "cell": cell.as_dict(), "events": near, "folder": where}, indent=2
        )
        return
    shown_at = Path(os.path.relpath(folder)) if folder else None
    yield from told(cell, events, shown_at, _width())


def _lines(looked: _Looked, cell: CellReport, folder: Path | None) -> Sequence[str]:
    if cell.id in looked.dumped:
        return [json.dumps(event.as_dict()) for event in looked.dumped[cell.id].events]
    if folder is None:
        return ()
    try:
        return (folder / EVENTS).read_bytes().decode("utf-8", "replace").split("\n")
    except OSError:
        return ()


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns
