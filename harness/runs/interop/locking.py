"""The implementations of a matrix held to its ``interop.lock``, before anything is made; and the lock, written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.artifacts import unwritable, write_atomically
from harness.engine.compose.plan import NAME as COMPOSE
from harness.errors import ConfigError
from harness.matrix import lock
from harness.runs.interop.sources import find, held_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.matrix.cases import Case
    from harness.matrix.implementations import Matrix
    from harness.runs.choice import Choice
    from harness.runs.interop.sources import Found


def held_to_lock(matrix: Matrix, cases: Sequence[Case], choice: Choice, say: Callable[[str], None]) -> Found:
    """Find what implementations are made from; with ``--locked`` that is what the lock holds.

    Commits that no file names are those of the lock, else the newest ones.

    Raises:
        ConfigError: one is another, there is no lock, or it is damaged.
        BrokenStack: there is no engine.
    """
    is_locked, path = choice.settings.locked, matrix.folder / lock.FILE
    needs = is_locked or any(each.source.kind == "git" and not each.source.commit for each in matrix.implementations)
    held = held_by(matrix) if needs else {}
    if not is_locked:
        return find(matrix, cases, choice, held, say)
    if not held:
        raise ConfigError(
            f"--locked: {path} does not exist or holds no implementation", hint="`harness interop.lock` writes it"
        )
    found = find(matrix, cases, choice, held, say)
    told = [f"{name} cannot be had: {why}" for name, why in found.problems.items()]
    there = [each for each in found.locked if each.name not in found.problems]
    others = {name: each for name, each in held.items() if name not in found.problems}
    told += lock.drifts(others, there, containers=choice.engine.name == COMPOSE)
    if told:
        raise ConfigError.of(
            [f"--locked: {line} ({path})" for line in told],
            hint="take what is held, or `harness interop.lock` writes what there is now",
        )
    return found


def write_lock(
    matrix: Matrix, cases: Sequence[Case], choice: Choice, say: Callable[[str], None]
) -> tuple[Path, tuple[lock.Locked, ...]]:
    """Write the lock of a matrix: commits that no file names are the newest ones; return its path and what it holds.

    Raises:
        ConfigError: an implementation cannot be had or held, or the lock cannot be written.
        BrokenStack: there is no engine.
    """
    path = matrix.folder / lock.FILE
    try:
        before = held_by(matrix)
    except ConfigError as error:
        say(f"{error.summary}; it is written anew")
        before = {}
    found = find(matrix, cases, choice, {}, say)
    problems = [f"{name} cannot be locked: {why}" for name, why in found.problems.items()]
    problems += [f"{each.name} cannot be locked: {each.doubts[0]}" for each in found.locked if each.doubts]
    problems += [
        f"{each.name} cannot be locked: image {each.image!r} is not on the engine"
        for each in found.locked
        if each.image and not each.id and choice.engine.name == COMPOSE
    ]
    if problems:
        raise ConfigError.of(problems)
    try:
        write_atomically(path, lock.written(before, found.locked))
    except OSError as error:
        raise unwritable(f"{path} cannot be written", error) from error
    return path, tuple(replace(each, doubts=()) for each in found.locked)
