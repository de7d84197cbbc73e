"""How things of ours end when no keeper is left to end them: each proven to be ours, then verified to be gone."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness import procs
from harness.artifacts import read_regular
from harness.clock import Deadline, poll
from harness.daemon import reach
from harness.errors import EngineUnreachableError, HarnessError
from harness.ownership import objects
from harness.ownership.identity import RUN_COOKIE

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.daemon import Api, Daemon
    from harness.ownership.ledger import LedgerRecord

_T = TypeVar("_T")

WORK, LOG = "work", "keeper.log"
ENGINE_BUDGET = 20.0
CUT_SHORT = 1.5  # seconds in which the engine may still create what a killed Compose, or run, had asked for
MARK = ".harness-environment"
PLACE = ".harness-place"
LARGEST_MARK = 4096


def mark_work_folder(folder: Path, env: str) -> Path:
    """Make ``folder/work``, marked as scratch space of environment ``env``, and return it."""
    work = folder / WORK
    work.mkdir(mode=0o700, exist_ok=True)
    (work / MARK).write_text(env)
    return work


def mark_place(folder: Path, place: Path, env: str) -> None:
    """Make ``place``, a second scratch folder of environment ``env`` that others may pass; ``folder/work`` tells of it.

    Raises:
        OSError: it cannot be made, or somebody else has made it.
    """
    (folder / WORK / PLACE).write_text(str(place))  # before it is there: then it is found whenever this is killed
    try:
        place.mkdir(mode=0o711)
    except FileExistsError:
        if place.is_symlink() or place.stat().st_uid != os.geteuid() or not (place / MARK).exists():
            raise
        return
    place.chmod(0o711)
    (place / MARK).write_text(env)


def _remove_place(work: Path, env: str) -> bool:
    """Remove the scratch folder that ``work`` tells of, if it is marked as ``env``'s; return whether it is gone."""
    try:
        place = Path(read_regular(work / PLACE, LARGEST_MARK).decode())
    except OSError:
        return True  # there is none
    if not place.is_absolute() or not place.exists():
        return True
    empty = not any(place.iterdir()) if place.is_dir() and not place.is_symlink() else False
    try:
        marked = place.lstat().st_uid == os.geteuid() and read_regular(place / MARK, LARGEST_MARK) == env.encode()
    except OSError:
        marked = empty and place.lstat().st_uid == os.geteuid()  # it was killed between two steps
    if marked:
        shutil.rmtree(place, ignore_errors=True)
    return not place.exists()


def has_work_folder(folder: Path) -> bool:
    """Return whether there is a ``folder/work``; what cannot be looked at is there."""
    try:
        return (folder / WORK).exists()
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG  # there can be none


def remove_work_folder(folder: Path, env: str) -> bool:
    """Remove ``folder/work`` if its mark says that it is ``env``'s; return whether it is gone."""
    if not has_work_folder(folder):
        return True
    work = folder / WORK
    try:
        if work.is_symlink() or read_regular(work / MARK, LARGEST_MARK) != env.encode():
            return False
    except OSError:
        return False
    if not _remove_place(work, env):
        return False
    shutil.rmtree(work, ignore_errors=True)
    return not has_work_folder(folder)


def living(record: LedgerRecord) -> dict[int, int]:
    """Return ``{pid: start time}`` of what still lives of an environment whose keeper is dead."""
    processes = procs.with_cookie(f"{RUN_COOKIE}={record.env}")
    for pid, start, _ in record.processes:
        if procs.is_alive(pid, start):
            processes[pid] = start
    return processes


def end_processes(record: LedgerRecord, timeout: float = 10.0) -> dict[int, int]:
    """Kill what ``living`` finds until it finds nothing; return what would not die."""
    left: dict[int, int] = {}
    for _ in poll(Deadline.after(timeout)):
        left = living(record)
        if not left:
            break
        for pid, start in left.items():
            procs.kill(pid, signal.SIGKILL, start_time=start)
    return left


def claim_of(record: LedgerRecord) -> objects.Claim:
    """Return what tells the objects of an environment from all others."""
    return objects.Claim(record.env, record.nonce, record.key)


def remove_containers(record: LedgerRecord, elsewhere: Daemon | None = None, *, settle: float = 0.0) -> list[str]:
    """Remove the containers, networks and volumes of an environment; return what is left, in words.

    ``elsewhere`` is the engine in use now. Where that of the ledger does not answer, this may be it by another address:
    it is when it has something of the environment. ``settle`` is as in ``objects.remove_all``.
    """
    if record.daemon is None:
        return []
    if not record.nonce:
        return [f"containers of {record.env}: its ledger has no nonce, so nothing proves which are its"]
    claim, label = claim_of(record), f"{objects.RUN}={record.env}"
    try:
        return _on_engine(
            record.daemon,
            record,
            elsewhere,
            lambda api: objects.remove_all(api, label, lambda thing: claim.proves(api, thing), settle=settle),
        )
    except EngineUnreachableError as error:
        way_out = f"if it is gone for good: `harness gc --forget {record.env}`"
        return [f"containers of {record.env}: {error.summary}; {way_out}"]
    except HarnessError as error:
        return [f"containers of {record.env}: {error.summary}"]


def _on_engine(daemon: Daemon, record: LedgerRecord, elsewhere: Daemon | None, act: Callable[[Api], _T]) -> _T:
    """Act on the engine of an environment, or on the one in use if it is that by another address.

    Raises HarnessError.
    """
    try:
        return act(reach(daemon, within=ENGINE_BUDGET))
    except EngineUnreachableError:
        there = _moved_to(elsewhere, record)
        if there is None:
            raise
        return act(there)


def _moved_to(daemon: Daemon | None, record: LedgerRecord) -> Api | None:
    """Return an engine if it has something of an environment whose own does not answer. Raises HarnessError."""
    if daemon is None or record.daemon is None or daemon.host == record.daemon.host:
        return None
    api = reach(daemon, within=ENGINE_BUDGET)
    return api if _of(api, record) else None


def _of(api: Api, record: LedgerRecord) -> list[objects.Object]:
    """Return what an engine has of an environment. Raises HarnessError."""
    claim = claim_of(record)
    return [thing for thing in objects.find(api, f"{objects.RUN}={record.env}") if claim.proves(api, thing)]


def containers_of(record: LedgerRecord, elsewhere: Daemon | None = None) -> list[str]:
    """Return the containers, networks and volumes of an environment that are there, in words.

    ``elsewhere`` is the engine in use now, as in ``remove_containers``.
    """
    if record.daemon is None or not record.nonce:
        return []
    try:
        return [str(thing) for thing in _on_engine(record.daemon, record, elsewhere, lambda api: _of(api, record))]
    except HarnessError as error:
        return [f"containers that cannot be asked for: {error.summary}"]


def clear(record: LedgerRecord, elsewhere: Daemon | None = None) -> list[str]:
    """Remove everything of a dead environment and its ledger; return what is left, in words.

    ``elsewhere`` is the engine in use now, as in ``remove_containers``.
    """
    cut_short = bool(living(record))  # Compose among them, perhaps
    left = clear_machine(record)
    left += remove_containers(record, elsewhere, settle=CUT_SHORT if cut_short else 0.0)
    if not left:
        record.path.unlink(missing_ok=True)
    return left


def clear_machine(record: LedgerRecord) -> list[str]:
    """Remove what a dead environment has on this machine; return what is left, in words."""
    left = procs.described(end_processes(record))
    if not remove_work_folder(Path(record.folder), record.env):
        left.append(f"folder {record.folder}/{WORK}")
    return left
