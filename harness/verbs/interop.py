"""An interoperability matrix: what it would run, and run."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import unwritable
from harness.errors import ConfigError, EngineUnreachableError
from harness.matrix.cells import expand
from harness.matrix.dumps import dump_name
from harness.matrix.planning import write_plan
from harness.matrix.shards import Shard
from harness.reporting.interop.progress import progress_on
from harness.reporting.interop.ranking import ranked_lines
from harness.reporting.interop.table import shown, sums
from harness.runs.choice import choose
from harness.runs.interop import building, updating
from harness.runs.interop.earlier import find_run
from harness.runs.interop.locking import held_to_lock, write_lock
from harness.runs.interop.making import Made
from harness.runs.interop.reading import read
from harness.runs.interop.running import Wanted, declared, merged, planned, run_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.config import Settings
    from harness.matrix.planning import Plan
    from harness.reporting.interop.report import Report

__all__ = [
    "Wanted",
    "against_all",
    "as_json",
    "build",
    "lock",
    "merge",
    "plan",
    "run",
    "tournament",
    "update",
    "wanted",
]
REPORTS = Path("interop", "reports")  # where the older tool has them


def wanted(  # noqa: PLR0913 - what may be asked for
    cells: Sequence[str], shard: str, slots: int | None, resume: str, since: str, *, keep: bool = False, shell: str = ""
) -> Wanted:
    """Return what is to be run. Raises ConfigError: it cannot be."""
    if resume and since:
        raise ConfigError("--resume and --since exclude each other; give one of them")
    asked = Wanted(tuple(cells), Shard.parse(shard), slots, resume, since, keep=keep, shell=shell)
    if asked.stands:
        _refuse_to_stand(asked)
    return asked


def _refuse_to_stand(asked: Wanted) -> None:
    """Do nothing when one cell can be left standing. Raises ConfigError."""
    flag = "--keep" if asked.keep else "--shell"
    if (count := len(set(asked.cells))) != 1:
        raise ConfigError(f"{flag} leaves one cell standing; {count} were given by --cell, 1 was needed")
    if asked.resume or asked.since or asked.shard != Shard():
        raise ConfigError(f"{flag} runs its cell anew; --resume, --since and --shard are for others")
    if asked.shell and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("--shell needs a terminal, and there is none", hint="--keep, then `harness exec`")


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


def as_json(plan: Plan, *, cost: bool = False) -> str:
    """Return a plan as plan.json has it; with ``cost``, with all bounds and which one binds."""
    return write_plan(plan, plan.cost() if cost else None)


def run(
    settings: Settings, wanted: Wanted, say: Callable[[str], None], *, as_json: bool, is_quiet: bool = False
) -> int:
    """Run a matrix and show it; return 1 for an unexpected result, else 12 for a cell that broke, else 0.

    Args:
        settings: what was asked for.
        wanted: which cells.
        say: takes lines for the user.
        as_json: print the report.
        is_quiet: print one line, at the end.

    Raises:
        ConfigError: something written is wrong; nothing was created.
        BrokenStack: there was no environment for it, or the disk is full.
        LeftoverError: all cells were run, and something of ours could not be removed.
    """
    report, _ = _run(settings, wanted, say, as_json=as_json, is_quiet=is_quiet)
    return report.exit_code or 0


def against_all(settings: Settings, say: Callable[[str], None]) -> int:
    """Run the implementation that is developed here as worker against all drivers, as the older tool's ``test`` did.

    ``interop/reports/<worker>-YYYYMMDD-HHMM.dump`` is written beside the run's own report.

    Returns:
        what ``run`` does.

    Raises:
        ConfigError: none is developed here, or it is no worker of the matrix.
        BrokenStack, LeftoverError: as ``run`` does.
    """
    of = declared(choose(settings), _nothing)
    local = [each.name for each in of.matrix.implementations if each.is_local]
    if not local:
        needed = "local = true in one table, or without interop.toml a Dockerfile in this folder, was needed"
        raise ConfigError(f"{of.matrix.file}: no implementation is developed here; {needed}")
    cells = tuple(cell.id for cell in expand(of.matrix, of.cases) if cell.worker in local)
    if not cells:
        raise ConfigError(f"{of.matrix.file}: {', '.join(local)} is developed here, and no worker of a cell")
    report, folder = _run(settings, Wanted(cells), say)
    for name in report.dumps:
        say(f"report: {os.path.relpath(_kept(folder / name, settings.root / REPORTS))}")
    return report.exit_code or 0


def tournament(settings: Settings, say: Callable[[str], None]) -> int:
    """Run all implementations against all, whatever the matrix says, and print their ranking; return what ``run`` does.

    Raises:
        ConfigError, BrokenStack, LeftoverError: as ``run`` does.
    """
    report, _ = _run(settings, Wanted(all_against_all=True), say)
    print()
    print("\n".join(ranked_lines(report)))
    return report.exit_code or 0


def build(settings: Settings, name: str, say: Callable[[str], None]) -> Mapping[str, str]:
    """Make what one implementation, or all ("" for a name), run from; return name -> id of image or folder.

    Raises:
        ConfigError: something written is wrong, or there is no such implementation.
        BrokenStack: one could not be made.
    """
    return building.build(choose(settings), name, say)


def update(settings: Settings, say: Callable[[str], None]) -> None:
    """Take a matrix's tests from the repository that its file names, and print what changed.

    Raises:
        ConfigError: it names none, it cannot be had, or a change of one's own would be lost; nothing was written.
        BrokenStack: the disk is full.
    """
    folder, done = updating.update_tests(settings, say)
    for word in ("added", "changed", "removed"):
        for name in getattr(done, word):
            print(f"{word} {os.path.relpath(folder / name)}")


def _kept(dump: Path, folder: Path) -> Path:
    """Copy a dump to the folder of reports under the older tool's name, over no other one; return its path."""
    at = dt.datetime.now(dt.UTC).astimezone()
    taken: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / dump_name(dump.stem, at, taken)
            try:
                with dump.open("rb") as source, path.open("xb") as target:
                    shutil.copyfileobj(source, target)
            except FileExistsError:
                taken.add(path.name)
            else:
                return path
    except OSError as error:
        raise unwritable(f"Report {folder} cannot be written", error) from error


def _run(
    settings: Settings, wanted: Wanted, say: Callable[[str], None], *, as_json: bool = False, is_quiet: bool = False
) -> tuple[Report, Path]:
    is_plain = not sys.stderr.isatty() or bool(settings.environ.get("CI"))
    with contextlib.ExitStack() as showing:
        progress = showing.enter_context(progress_on(sys.stderr, is_live=not is_plain, is_quiet=is_quiet))

        def show(report: Report, folder: Path) -> None:
            """Show what came out, where nothing shows any more how far it has come."""
            showing.close()
            page = os.path.relpath(folder / "index.html")
            if as_json:
                print(report.as_json(), flush=True)
            elif is_quiet:
                print(f"{sums(report)}; {page}", flush=True)
            else:
                print(shown(report, _width(), folder=folder), flush=True)
            if not is_quiet:
                say(f"report: {page}")

        return run_matrix(choose(settings), wanted, _nothing if is_quiet else say, progress, show)


def _nothing(_: str) -> None:
    """Tell nobody."""


def merge(settings: Settings, parts: Sequence[str], into: str, say: Callable[[str], None]) -> int:
    """Make one run of those of all shards, and show it; return what ``run`` would have.

    Raises:
        ConfigError: they are not all the shards of one plan of this matrix, or the folder is there.
    """
    folder = settings.root / into
    report = merged(choose(settings), [find_run(settings.logs, part) for part in parts], folder, say)
    print(shown(report, _width(), folder=folder))
    return report.exit_code or 0


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns
