"""One run of the shards of a matrix that were run on several machines."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import unwritable
from harness.errors import ConfigError
from harness.matrix.shards import Shard
from harness.results.journal import NAME, Journaled, read
from harness.runs.interop.resuming import begin, planned, results_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.matrix.planning import Plan
    from harness.matrix.verdicts import Result

SHOWN = 10  # problems of one kind
_MISSING = "run a missing shard with `harness interop.run --shard N/COUNT`, what is missing of one with --resume RUN"
_DIVIDED = (
    "their machines knew other durations: copy the plan.json of one run into logs/first/ on the other machines, and "
    "run their shards again (docs/interop.md)"
)


_ONCE = "name the run of each shard once"


@dataclass(frozen=True)
class Merged:
    """The results of all shards of a matrix.

    Attributes:
        plan: of the whole matrix.
        results: cell id -> result, of every cell, in the plan's order.
        folders: cell id -> folder of the run that has its evidence.
    """

    plan: Plan
    results: dict[str, Result]
    folders: dict[str, Path]


@dataclass(frozen=True)
class _Part:
    folder: Path
    plan: Plan
    journaled: Journaled


def merge(folders: Sequence[Path]) -> Merged:
    """Return what the runs of all shards of one plan have found.

    Raises:
        ConfigError: they are no shards of one plan; a shard or a cell is missing or there twice; a cell is none of the
            plan; or a journal cannot be read. It says all that is wrong.
    """
    if not folders:
        raise ConfigError("There is nothing to merge: the folders of all shards' runs were needed")
    parts = [_Part(folder, planned(folder), read(folder / NAME)) for folder in folders]
    _refuse_strangers(parts)
    plan = replace(parts[0].plan, shard=Shard())
    results: dict[str, Result] = {}
    owners: dict[str, list[Path]] = defaultdict(list)
    problems = _shard_problems(parts)
    foreign: list[str] = []
    for part in parts:
        try:
            found = results_of(part.folder, part.plan, part.journaled)
        except ConfigError as error:
            foreign += error.problems
            continue
        for cell, result in found.items():
            owners[cell].append(part.folder)
            results[cell] = result
    if foreign:  # what cells they have is not known
        raise ConfigError.of([*foreign, *problems], hint=_MISSING)
    twice = [f"cell {cell} is in {_names(runs)}, it was needed once" for cell, runs in owners.items() if len(runs) > 1]
    missing = [f"cell {cell.id} is in none of {len(parts)} runs" for cell in plan.cells if cell.id not in results]
    problems += [*_first(twice), *_first(missing)]
    if problems:
        raise ConfigError.of(problems, hint=_next_step(parts, is_all_there=not missing))
    ordered = {cell.id: results[cell.id] for cell in plan.cells}
    return Merged(plan, ordered, {cell: runs[0] for cell, runs in owners.items()})


def write_merged(merged: Merged, folder: Path, tell: Callable[[str], None]) -> dict[str, Result]:
    """Write plan, journal and evidence of merged shards into the folder of a run; return its results.

    Raises:
        ConfigError: it cannot be written.
        BrokenStack: the disk is full.
    """
    results = {}
    for cell, result in merged.results.items():
        source = merged.folders[cell] / result.folder
        is_inside = result.folder and not result.folder.startswith("..")
        if is_inside and source.is_dir():
            try:
                shutil.copytree(source, folder / result.folder, symlinks=True, dirs_exist_ok=True)
            except (OSError, shutil.Error) as error:
                cause = error if error.errno else OSError(None, str(error))
                raise unwritable(f"Evidence {source} cannot be copied to {folder}", cause) from error
        results[cell] = result
    begun = begin(folder, merged.plan, tell, results)
    try:
        begun.journal.check()
    finally:
        begun.journal.close()
    return results


def _refuse_strangers(parts: Sequence[_Part]) -> None:
    """Raise ConfigError where not all are of one plan."""
    first = parts[0]
    strangers = [
        f"run {part.folder} is of plan {part.plan.hash[:12]}, {first.folder} of {first.plan.hash[:12]}"
        for part in parts[1:]
        if part.plan.hash != first.plan.hash
    ]
    if strangers:
        raise ConfigError.of(strangers, hint="only shards of one plan can be merged")


def _shard_problems(parts: Sequence[_Part]) -> list[str]:
    counts = {part.plan.shard.count for part in parts}
    if len(counts) > 1:
        shards = ", ".join(str(part.plan.shard) for part in parts)
        return [f"the runs are shards {shards}: all of one division were needed"]
    owners: dict[int, list[Path]] = defaultdict(list)
    for part in parts:
        owners[part.plan.shard.number].append(part.folder)
    count = counts.pop()
    missing = [f"shard {number}/{count} is missing" for number in range(1, count + 1) if number not in owners]
    twice = [(number, runs) for number, runs in owners.items() if len(runs) > 1]
    return missing + [f"shard {number}/{count} is there twice: {_names(runs)}" for number, runs in twice]


def _next_step(parts: Sequence[_Part], *, is_all_there: bool) -> str:
    if not _is_one_division(parts):
        return _DIVIDED
    return _ONCE if is_all_there else _MISSING


def _is_one_division(parts: Sequence[_Part]) -> bool:
    """Return whether no cell belongs to two shards, so that what is missing was just not run."""
    owned = {part.plan.shard: {cell.id for cell in part.plan.here} for part in parts}
    first = parts[0].plan
    return all(own == {cell.id for cell in first.sharded(shard).here} for shard, own in owned.items())


def _names(folders: Sequence[Path]) -> str:
    return " and ".join(str(folder) for folder in folders)


def _first(problems: Sequence[str]) -> list[str]:
    more = len(problems) - SHOWN
    return [*problems[:SHOWN], *([f"... and {more} more like this"] if more > 0 else [])]
