"""What need not be run again: of a run that was killed (``--resume``), or of one before a change (``--since``)."""

from __future__ import annotations

import os.path
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import read_regular, unwritable, write_atomically
from harness.errors import ConfigError
from harness.matrix.planning import differences, read_plan, write_plan
from harness.matrix.shards import Shard
from harness.matrix.verdicts import Result
from harness.results.journal import ANEW, LARGEST, NAME, Header, Journal, Journaled, read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.matrix.cells import Cell
    from harness.matrix.planning import Plan
    from harness.matrix.verdicts import Verdict

PLAN = "plan.json"
CELLS = "cells"
TOLD = 20  # what changed since a plan, at most


@dataclass(frozen=True)
class Begun:
    """A journal that is open, and what is known already.

    Attributes:
        plan: what is run: of a run that goes on, its own order and shard.
        journal: where results go.
        done: cell id -> result of cells that are not run again.
        torn: whether a result was lost because its line was not written to its end.
    """

    plan: Plan
    journal: Journal
    done: Mapping[str, Result]
    torn: bool = False


def begin(folder: Path, plan: Plan, tell: Callable[[str], None], done: Mapping[str, Result] | None = None) -> Begun:
    """Write a run's plan, begin its journal, and write into it what is taken over from an earlier run.

    Args:
        folder: the run's.
        plan: what it runs.
        tell: told once when the journal cannot be written.
        done: see ``since``.

    Raises:
        ConfigError: the folder cannot be written, or has a journal already.
        BrokenStack: the disk is full.
    """
    try:
        write_atomically(folder / PLAN, write_plan(plan))
    except OSError as error:
        raise unwritable(f"Plan {folder / PLAN} cannot be written", error) from error
    journal = Journal.begin(folder, Header(plan.hash, folder.name, str(plan.shard)), tell)
    taken = {cell.id: done[cell.id] for cell in plan.here if cell.id in done} if done else {}
    journal.add(*(result.as_dict() for result in taken.values()))
    return Begun(plan, journal, taken)


def resume(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Begun:
    """Go on with a run that did not come to its end: cells with a result are not run again.

    What cells without one have left behind is removed. Which cells its shard has is for its own plan to say, not for a
    history that has grown meanwhile; only the budgets are those of now.

    Raises:
        ConfigError: it is another plan's run, which says what changed; or its journal is damaged, or is being written.
    """
    before = planned(folder)
    refuse_other_plan(folder, before, plan)
    if not (folder / NAME).exists():  # killed before its journal was there
        journal, journaled = Journal.begin(folder, Header(plan.hash, folder.name, str(before.shard)), tell), None
    else:
        journal, journaled = Journal.go_on(folder, tell)
    try:
        done = results_of(folder, before, journaled) if journaled else {}
        for cell in before.here:
            if cell.id not in done:
                _remove(folder / CELLS / cell.id)
    except BaseException:
        journal.close()
        raise
    return Begun(replace(before, budgets=plan.budgets), journal, done, torn=bool(journaled and journaled.torn))


def planned(folder: Path) -> Plan:
    """Return the plan of a run, as it was written before anything was run.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = folder / PLAN
    try:
        text = read_regular(path, LARGEST).decode("utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"Run {folder} is none of a matrix: {path.name}: {why}") from error
    return read_plan(text, str(path))


def refuse_damaged(folder: Path) -> Plan:
    """Return the plan of an earlier run whose evidence can be read, before anything is made for what builds on it.

    Raises:
        ConfigError: its plan or its journal is damaged, is of another version, or they are not of one run.
    """
    plan = planned(folder)
    if os.path.lexists(folder / NAME):  # else it was killed before
        results_of(folder, plan)
    return plan


def refuse_other_shard(folder: Path, was: Shard, wanted: Shard) -> None:
    """Do nothing when a run is of the shard that is asked for, or none is. Raises ConfigError: it is of another one."""
    if wanted not in (Shard(), was):
        raise ConfigError(
            f"Run {folder.name} is of shard {was}, and --shard is {wanted}",
            hint=f"without --shard it goes on; without --resume shard {wanted} is run anew",
        )


def refuse_other_plan(folder: Path, before: Plan, now: Plan) -> None:
    """Do nothing when a run is one of this plan.

    Raises:
        ConfigError: it is not; it says what changed.
    """
    if before.hash == now.hash:
        return
    told = differences(before, now)
    more = [f"... and {len(told) - TOLD} more"] if len(told) > TOLD else []
    raise ConfigError(
        f"Run {folder.name} has plan {before.hash[:12]}, this is plan {now.hash[:12]}: {told[0] if told else ''}",
        details=[f"  {line}" for line in [*told[1:TOLD], *more]],
        hint=f"run it anew; --since {folder.name} takes over what did not change",
    )


def results_of(folder: Path, plan: Plan, journaled: Journaled | None = None) -> dict[str, Result]:
    """Return the results in a run's journal.

    Args:
        folder: the run's.
        plan: the run's.
        journaled: its journal, None to read it.

    Raises:
        ConfigError: the journal is of another plan or shard, is damaged, or has a result of something else.
    """
    journaled = journaled or read(folder / NAME)
    header, path = journaled.header, folder / NAME
    if header.plan != plan.hash:
        raise ConfigError(f"Journal {path} is of plan {header.plan[:12]}, {plan.hash[:12]} was needed", hint=ANEW)
    if header.shard != str(plan.shard):
        raise ConfigError(f"Journal {path} is of shard {header.shard}, {plan.shard} was needed", hint=ANEW)
    cells = {cell.id: cell for cell in plan.cells}
    results = {}
    for name, record in journaled.records.items():
        cell = cells.get(name)
        try:
            result = Result.from_dict(record)
        except ValueError as error:
            raise ConfigError(f"Journal {path}: {name}: {error}") from error
        if cell is None or cell.digest != result.digest:
            why = "is no cell of its plan" if cell is None else "was made of something else than in its plan"
            raise ConfigError(f"Journal {path}: {name} {why}", hint=ANEW)
        results[name] = result
    return results


def since(folder: Path, plan: Plan, is_expected: Callable[[Cell, Verdict], bool]) -> dict[str, Result]:
    """Return what can be taken over from an earlier run: cells of the same content that did as was expected.

    They say which run they come from: the first one, where that had taken them over itself.

    Args:
        folder: of the earlier run, which may have been killed; its cells without a result are run.
        plan: what is to be run now.
        is_expected: by the expectations of now.

    Raises:
        ConfigError: it is no run of this matrix on this engine, or it is damaged.
    """
    before = planned(folder)
    if (before.matrix, before.engine) != (plan.matrix, plan.engine):
        was, needed = f"{before.matrix} on {before.engine}", f"{plan.matrix} on {plan.engine}"
        raise ConfigError(f"Run {folder.name} is of {was}, one of {needed} was needed")
    results = results_of(folder, before) if (folder / NAME).exists() else {}
    taken = {}
    for cell in plan.cells:
        result = results.get(cell.id)
        if result is None or cell.skipped or not cell.digest or result.digest != cell.digest:
            continue
        if result.verdict.status != "skipped" and is_expected(cell, result.verdict):
            evidence = result.folder if result.taken or not result.folder else f"../{folder.name}/{result.folder}"
            taken[cell.id] = replace(result, taken=result.taken or folder.name, folder=evidence)
    return taken


def _remove(folder: Path) -> None:
    """Remove what a cell that was killed has left in the run's folder: it would be taken for what comes now."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(f"Evidence {folder} of a cell that was killed cannot be removed", error) from error
