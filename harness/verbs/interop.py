"""An interoperability matrix: what it would run, and run."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.matrix.planning import write_plan
from harness.matrix.shards import Shard
from harness.reporting.interop.progress import progress_on
from harness.reporting.interop.table import shown, sums
from harness.runs.choice import choose
from harness.runs.interop.making import Made
from harness.runs.interop.running import Wanted, declared, merged, planned, run_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.config import Settings
    from harness.matrix.planning import Plan

__all__ = ["Wanted", "as_json", "merge", "plan", "run", "wanted"]


def wanted(cells: Sequence[str], shard: str, slots: int | None, resume: str, since: str) -> Wanted:
    """Return what is to be run. Raises ConfigError: it cannot be."""
    if resume and since:
        raise ConfigError("--resume and --since exclude each other; give one of them")
    return Wanted(tuple(cells), Shard.parse(shard), slots, resume, since)


def plan(settings: Settings, wanted: Wanted, say: Callable[[str], None]) -> Plan:
    """Return what would be run; nothing is made, so its hash knows no images. Raises ConfigError."""
    choice = choose(settings)
    return planned(declared(choice, say), choice, Made({}), wanted)


def as_json(plan: Plan) -> str:
    """Return a plan as plan.json has it."""
    return write_plan(plan)


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
    is_plain = not sys.stderr.isatty() or bool(settings.environ.get("CI"))
    with progress_on(sys.stderr, is_live=not is_plain, is_quiet=is_quiet) as progress:
        report, folder = run_matrix(choose(settings), wanted, _nothing if is_quiet else say, progress)
    page = os.path.relpath(folder / "index.html")
    if as_json:
        print(report.as_json())
    elif is_quiet:
        print(f"{sums(report)}; {page}")
    else:
        print(shown(report, _width()))
    if not is_quiet:
        say(f"report: {page}")
    return report.exit_code or 0


def _nothing(_: str) -> None:
    """Tell nobody."""


def merge(settings: Settings, parts: Sequence[str], into: str, say: Callable[[str], None]) -> int:
    """Make one run of those of all shards, and show it; return what ``run`` would have.

    Raises:
        ConfigError: they are not all the shards of one plan of this matrix, or the folder is there.
    """
    report = merged(choose(settings), [_folder(settings, part) for part in parts], settings.root / into, say)
    print(shown(report, _width()))
    return report.exit_code or 0


def _folder(settings: Settings, name: str) -> Path:
    for path in (settings.logs / name, Path(name)):
        if path.is_dir():
            return path.resolve()
    raise ConfigError(f"Run {name!r} is not known: neither a folder nor in {settings.logs}")


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns
