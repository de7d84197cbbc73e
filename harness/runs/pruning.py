"""Old run folders go, so that ``logs/`` does not grow for ever: the newest stay, and whatever is still of use."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import read_regular
from harness.ownership import ledger
from harness.ownership.removal import has_work_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from harness.config import Settings

_RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")  # ``artifacts.new_run_id``
_GOING = ".pruned-"
LARGEST = 64 << 20  # of a run.json


@dataclass(frozen=True)
class RunEntry:
    """A run's folder.

    Attributes:
        path: where it is.
        failed: whether it ended, and not well.
        uses: folders of environments that were there before it, in which its logs are.
    """

    path: Path
    failed: bool
    uses: frozenset[Path] = frozenset()


def superfluous(entries: Sequence[RunEntry], keep: int, needed: Collection[Path]) -> list[Path]:
    """Return the folders that go.

    Args:
        entries: all runs, oldest first.
        keep: how many of the newest stay.
        needed: real paths of those that stay, however old: of environments, and the one that ``latest`` names.
    """
    failed = [entry.path for entry in entries if entry.failed]
    stay = {*needed, *(entry.path for entry in entries[-keep:]), *failed[-1:]}
    stay |= {folder for entry in entries if entry.path in stay for folder in entry.uses}
    return [entry.path for entry in entries if entry.path not in stay]


def prune_soon(settings: Settings) -> None:
    """Have old runs of a project go meanwhile; what is not done when this process ends is done at the next start."""
    threading.Thread(target=prune, args=(settings,), name="harness-prune", daemon=True).start()


def prune(settings: Settings) -> list[Path]:
    """Remove run folders beyond ``keep-runs``, but for those that somebody needs; return them.

    Only folders that are named as runs and have a run's files are touched, and none in which a process still writes.
    """
    logs = settings.logs.resolve()
    with contextlib.suppress(OSError):
        for path in logs.glob(f"{_GOING}*"):
            if _RUN.fullmatch(path.name.removeprefix(_GOING)):
                shutil.rmtree(path, ignore_errors=True)
    gone = []
    entries = _entries(logs)
    for path in superfluous(entries, settings.keep_runs, _needed(settings, logs, entries)):
        if _set_aside(path):
            shutil.rmtree(path.with_name(f"{_GOING}{path.name}"), ignore_errors=True)
            gone.append(path)
    return gone


def _entries(logs: Path) -> list[RunEntry]:
    try:
        with os.scandir(logs) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    paths = [logs / name for name in names if _RUN.fullmatch(name) and (logs / name / "services").is_dir()]
    return [RunEntry(path, _has_failed(path), _uses(path)) for path in paths]


def _uses(path: Path) -> frozenset[Path]:
    try:
        logs = [Path(os.path.realpath(log)) for log in (path / "services").iterdir() if log.is_symlink()]
    except OSError:
        return frozenset()
    return frozenset(log.parent.parent for log in logs)


def _has_failed(path: Path) -> bool:
    try:
        return json.loads(read_regular(path / "run.json", LARGEST)).get("exit_code") not in (None, 0)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _needed(settings: Settings, logs: Path, entries: Sequence[RunEntry]) -> set[Path]:
    """Return what stays whatever its age: folders of environments that are not cleared, and what ``latest`` names.

    Those are in a ledger, or, where that is lost or in another state folder, still have their scratch space.
    """
    records = [ledger.read(path) for path in ledger.all_ledgers(settings.state)]
    needed = {Path(record.folder).resolve() for record in records if record}
    return needed | {entry.path for entry in entries if has_work_folder(entry.path)} | {(logs / "latest").resolve()}


def _set_aside(path: Path) -> bool:
    """Rename a run's folder so that nobody takes it for one any more; return whether it is nobody's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever writes there shares it (``reporting.RunFolder``)
        path.rename(path.with_name(f"{_GOING}{path.name}"))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
