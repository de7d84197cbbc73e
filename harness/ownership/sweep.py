"""The sweep at every start: environments whose keeper and lease holders are all dead are removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.clock import Deadline, poll
from harness.daemon import connect, in_words
from harness.errors import ConfigError, HarnessError
from harness.ownership import ledger, objects, removal
from harness.ownership.identity import is_proven_dead, this_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.daemon import Daemon


LOCK_BUDGET = 60.0
ENGINE_BUDGET = 20.0


@contextlib.contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold the flock of ``path``, a file that is never deleted.

    Raises:
        ConfigError: somebody else held it for ``timeout`` seconds; the error names who.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        deadline = Deadline.after(timeout)
        for _ in poll(deadline):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline.expired():
                    holder = _holder_of(fd)
                    raise ConfigError(f"Lock {path} was not free in {timeout:g} s; held by {holder}") from None
        yield
    finally:
        os.close(fd)


def _holder_of(fd: int) -> str:
    inode = os.fstat(fd).st_ino
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if len(words) > 5 and words[5].endswith(f":{inode}"):  # noqa: PLR2004 - proc_locks(5)
                return f"pid {words[4]} ({procs.command_of(int(words[4]))})"
    return "an unknown process"


def sweep(state: Path, *, own: str = "", daemon: Daemon | None = None) -> list[str]:
    """Remove what dead runs of this user left; return one line for each environment that was cleared or could not be.

    Only ledgers of our schema, whose keeper holds no lock and whose owners are proven dead, are touched.

    Args:
        state: the state folder.
        own: an environment whose keeper died under its living holder, who calls this and so gives its consent.
        daemon: the Docker engine in use; what dead owners of ours left there without a ledger is removed too.
    """
    here, told = this_process(), []
    with locked(state / "sweep.lock", timeout=LOCK_BUDGET):
        for path in ledger.all_ledgers(state):
            record = ledger.read(path)
            if record is None or ledger.keeper_is_alive(path) or not is_proven_dead(record.keeper, here):
                continue
            if record.env != own and not all(is_proven_dead(holder, here) for holder in record.holders):
                continue
            left = removal.clear(record)
            told.append(
                f"environment {record.env} of a dead run "
                + (f"could not be cleared: {', '.join(left)} left" if left else "was cleared")
            )
        if daemon:
            known = {path.name.removesuffix(ledger.SUFFIX) for path in ledger.all_ledgers(state)}
            try:
                client = connect(daemon, timeout=ENGINE_BUDGET)
                with contextlib.closing(client), in_words("looking for what dead runs left"):
                    told += objects.remove_orphans(client, here, known, local=daemon.host.startswith("unix://"))
            except HarnessError as error:
                told.append(error.summary)  # no reason to keep a new run from starting
    return told
