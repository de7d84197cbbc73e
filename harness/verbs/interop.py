"""An interoperability matrix: what it would run, run, and what came out."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigError, EngineUnreachableError
from harness.matrix.planning import write_plan
from harness.matrix.shards import Shard
from harness.reporting.interop.progress import progress_on
from harness.reporting.interop.report import parse_report, read_report
from harness.reporting.interop.table import difference, shown
from harness.runs.choice import choose
from harness.runs.interop.earlier import LATEST, find_run
from harness.runs.interop.locking import held_to_lock, write_lock
from harness.runs.interop.making import Made
from harness.runs.interop.reading import read
from harness.runs.interop.running import Wanted, declared, merged, planned, run_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.config import Settings
    from harness.matrix.planning import Plan
    from harness.reporting.interop.report import Report

__all__ = ["Wanted", "as_json", "inspect", "lock", "merge", "plan", "run", "wanted"]


def wanted(cells: Sequence[str], shard: str, slots: int | None, resume: str, since: str) -> Wanted:
    """Return what is to be run. Raises ConfigError: it cannot be."""
    if resume and since:
        raise ConfigError("--resume and --since exclude each other; give one of them")
    return Wanted(tuple(cells), Shard.parse(shard), slots, resume, since)


def plan(settings: Settings, wanted: Wanted, say: Callable[[str], None]) -> Plan:
    """Return what would be run; nothing is made.

    Its hash is that of the run, where it is known of all implementations what they are made of.

    Raises:
        ConfigError: something written is wrong, or differs from ``interop.lock`` with ``--locked``.
        BrokenStack: with ``--locked`` there is no engine.
    """
    choice = choose(settings)
    of = declared(choice, say)
    planned(of, choice, Made({}), wanted)  # what is wrong with it is told first
    try:
        found = held_to_lock(of.matrix, of.cases, choice, say)
    except EngineUnreachableError as error:
        if settings.locked:
            raise
        say(f"{error.summary}; so the plan's hash knows no images")
        found = None
    return planned(of, choice, Made({}), wanted, found)


def lock(settings: Settings, say: Callable[[str], None]) -> Path:
    """Write ``interop.lock`` of a matrix; return its path.

    Raises:
        ConfigError: an implementation cannot be had, or it cannot be told what it is made of.
        BrokenStack: there is no engine.
    """
    choice = choose(replace(settings, locked=False))
    matrix, cases = read(settings.matrix_file())
    path, held = write_lock(matrix, cases, choice, say)
    for each in held:
        made_of = each.commit[:12] or each.id.removeprefix("sha256:")[:12] or each.fingerprint or each.tree
        say(f"{each.name}: {each.source} {made_of}")
    return path


def as_json(plan: Plan) -> str:
    """Return a plan as plan.json has it."""
    return write_plan(plan)


def run(settings: Settings, wanted: Wanted, say: Callable[[str], None], *, as_json: bool) -> int:
    """Run a matrix and show it; return 1 for an unexpected result, else 12 for a cell that broke, else 0.

    Raises:
        ConfigError: something written is wrong; nothing was created.
        BrokenStack: there was no environment for it, or the disk is full.
        LeftoverError: all cells were run, and something of ours could not be removed.
    """
    is_plain = not sys.stderr.isatty() or bool(settings.environ.get("CI"))
    with progress_on(sys.stderr, is_live=not is_plain) as progress:
        report, folder = run_matrix(choose(settings), wanted, say, progress)
    print(report.as_json() if as_json else shown(report, _width()))
    say(f"report: {os.path.relpath(folder / 'index.html')}")
    return report.exit_code or 0


def inspect(settings: Settings, run: str, against: str, *, as_json: bool) -> Iterator[str]:
    """Yield the lines that show a run, or what is different from another one.

    Raises:
        ConfigError: there is no such run, or its report cannot be read.
    """
    report = _report(settings, run)
    if against:
        yield from difference(report, _report(settings, against))
    else:
        yield report.as_json() if as_json else shown(report, _width())


def merge(settings: Settings, parts: Sequence[str], into: str, say: Callable[[str], None]) -> int:
    """Make one run of those of all shards, and show it; return what ``run`` would have.

    Raises:
        ConfigError: they are not all the shards of one plan of this matrix, or the folder is there.
    """
    report = merged(choose(settings), [_folder(settings, part) for part in parts], settings.root / into, say)
    print(shown(report, _width()))
    return report.exit_code or 0


def _report(settings: Settings, name: str) -> Report:
    path = Path(name)
    if path.is_file():
        return parse_report(path.read_bytes(), name)
    return read_report(_folder(settings, name))


def _folder(settings: Settings, name: str) -> Path:
    if name == LATEST:
        return find_run(settings.logs, name)
    for path in (settings.logs / name, Path(name)):
        if path.is_dir():
            return path.resolve()
    raise ConfigError(f"Run {name!r} is not known: neither a folder nor in {settings.logs}")


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns
