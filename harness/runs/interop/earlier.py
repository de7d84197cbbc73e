"""Earlier runs of a matrix: which one is meant, and that its folder stays while another run goes on in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import point_latest, read_regular
from harness.errors import ConfigError, nearest
from harness.runs.interop.resuming import PLAN, planned

if TYPE_CHECKING:
    from collections.abc import Iterator

LATEST = "latest"
MATRIX = "matrix"
"""In run.json: the matrix of a run that was begun, and may have been ended before its plan was written."""
LARGEST = 64 << 20  # of a run.json


def find_run(logs: Path, name: str, matrix: str = "") -> Path:
    """Return the folder of a run of a matrix.

    ``latest`` is the one that ``logs/latest`` names, where that is one; else the newest. What only went on with an
    earlier one has no plan, and is passed over.

    Args:
        logs: where runs are.
        name: its id, a path from here, or ``latest``.
        matrix: the one of which ``latest`` is wanted, "" for any.

    Raises:
        ConfigError: there is none, or the latest was ended before anything of it was known.
    """
    if name == LATEST:
        return _latest(logs, matrix)
    for path in (logs / name, Path(name)):
        if path.is_dir():
            return path.resolve()
    near = nearest(name, [folder.parent.name for folder in logs.glob(f"*/{PLAN}")])
    raise ConfigError(
        f"Run {name!r} is not known: neither a folder nor in {logs}{near}",
        hint="`latest` is the last one of this matrix; `harness interop.inspect --json` names it",
    )


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the folder of a run that goes on from being pruned in the block.

    Raises:
        ConfigError: it has gone meanwhile.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"Run {folder} cannot be gone on with: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        if not folder.is_dir():
            raise ConfigError(f"Run {folder.name} has just been removed, as there are so many newer ones")
        yield
    finally:
        os.close(fd)


def name_latest(folder: Path, logs: Path) -> None:
    """Have ``logs/latest`` name a run that goes on, not the one that goes on with it."""
    if folder.parent == logs.resolve():
        with contextlib.suppress(OSError):  # such as a full disk, which the journal will tell of
            point_latest(logs, folder.name)


def _latest(logs: Path, matrix: str) -> Path:
    link = (logs / LATEST).resolve()
    try:
        names = sorted((path for path in logs.iterdir() if path.is_dir() and not path.is_symlink()), reverse=True)
    except OSError:
        names = []
    for folder in ([link] if link.is_dir() else []) + [path.resolve() for path in names]:
        if (folder / PLAN).is_file():
            if not matrix or planned(folder).matrix == matrix:
                return folder
        elif (begun := _begun(folder)) and matrix in ("", begun):
            raise ConfigError(
                f"Run {folder.name} was ended before its plan was written, so nothing of it can be gone on with",
                hint="run the matrix anew, or name an earlier run",
            )
    raise ConfigError(f"There is no run of {f'matrix {matrix}' if matrix else 'a matrix'} in {logs}")


def _begun(folder: Path) -> str:
    """Return the matrix that a run was begun for, "" where it was for something else."""
    try:
        facts = json.loads(read_regular(folder / "run.json", LARGEST))
        return str(facts.get(MATRIX, ""))
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
