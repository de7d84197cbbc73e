"""Which environments of this user live: told by their ledgers, and by the keepers themselves where no ledger tells it.

A ledger may be gone, damaged, or in the state folder of another session. A keeper listens on an abstract socket
(unix(7)) as long as it lives, whose name nobody can take from it, and of which the kernel tells whose it is.
"""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.daemon import Daemon
from harness.errors import BrokenStack, HarnessError
from harness.keeper.client import ANSWER_BUDGET, HungKeeperError, KeeperLink, UnansweredError, connect
from harness.keeper.messages import Ledger
from harness.ownership import ledger, removal
from harness.ownership.identity import this_process

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.ownership.ledger import LedgerRecord

ACCEPTS = 0x10000  # a socket that listens (__SO_ACCEPTCON), in /proc/net/unix
COLUMNS = 8
TERM_BUDGET, KILL_BUDGET = 15.0, 5.0  # for a keeper to remove everything itself; for the kernel to end it
MOST_ASKED_AT_ONCE = 16


def listening() -> dict[str, str]:
    """Return environment -> abstract socket name of what listens under the name of a keeper of this user."""
    prefix = f"@harness-{os.getuid()}-"
    sockets = {}
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        words = line.split(maxsplit=COLUMNS - 1)
        if len(words) == COLUMNS and words[-1].startswith(prefix) and int(words[3], 16) & ACCEPTS:
            sockets[words[-1].removeprefix(prefix)] = words[-1][1:]
    return sockets


def is_alive(record: LedgerRecord) -> bool:
    """Return whether the keeper of an environment lives, with or without the ledger that it should have."""
    return ledger.keeper_is_alive(record.path) or record.env in listening()


def find_living(state: Path, checkout: str = "") -> list[LedgerRecord]:
    """Return the living environments of this user in the order of their names; of one ``checkout``, "" for all."""
    records, sockets = {}, listening()
    for path in ledger.all_ledgers(state):
        record = ledger.read(path)
        if record and ledger.keeper_is_alive(path):
            records[record.env] = record
            sockets.pop(record.env, None)
    records |= {record.env: record for record in _told_by_keepers(sockets.values(), checkout)}
    return [record for _, record in sorted(records.items()) if checkout in ("", record.checkout)]


def find_one(state: Path, env: str) -> LedgerRecord | None:
    """Return the record of an environment; one that is not alive must have a ledger. None: there is neither."""
    record = ledger.read(state / f"{env}{ledger.SUFFIX}")
    if record and ledger.keeper_is_alive(record.path):
        return record
    name = listening().get(env)
    return (_told_by_keeper(name, "") if name else None) or record


@dataclass(frozen=True)
class Hung:
    """An environment whose keeper does not answer. ``error`` says so, and what to do about it."""

    record: LedgerRecord
    error: HungKeeperError

    def __str__(self) -> str:
        return f"{self.error.summary}; it keeps what is of {self.record.checkout}; {self.error.hint}"


def find_hung(records: Sequence[LedgerRecord]) -> list[Hung]:
    """Ask keepers whether they are well; return those that do not answer."""

    def ask(record: LedgerRecord) -> Hung | None:
        try:
            KeeperLink(record.socket, lease=False).close()
        except HungKeeperError as error:
            return Hung(record, HungKeeperError(record.socket, error.pid or record.keeper.pid))
        except HarnessError:
            return None  # it has just ended
        return None

    with ThreadPoolExecutor(max_workers=MOST_ASKED_AT_ONCE) as pool:
        return [hung for hung in pool.map(ask, records) if hung]


def end(hung: Hung) -> list[str]:
    """End a keeper that does not answer, and remove what it kept; return what is left, in words.

    Whoever holds a lease on the environment has lost it with its keeper. One that only was stopped does it all itself.
    """
    record, keeper = hung.record, hung.record.keeper
    if keeper.pidns != this_process().pidns:
        return [f"the keeper of {record.env}, which is in another process namespace"]
    for number in (signal.SIGTERM, signal.SIGCONT):
        procs.kill(keeper.pid, number, start_time=keeper.start)
    if not procs.wait_gone(keeper.pid, keeper.start, TERM_BUDGET):
        procs.kill(keeper.pid, signal.SIGKILL, start_time=keeper.start)
        if not procs.wait_gone(keeper.pid, keeper.start, KILL_BUDGET):
            return [f"the keeper of {record.env} (pid {keeper.pid}, {procs.state_of(keeper.pid)})"]
    # Without a nonce nothing but their owner, dead now, proves whose containers are: the sweep looks for those.
    return removal.clear(ledger.read(record.path) or (record if record.nonce else replace(record, daemon=None)))


def _told_by_keepers(names: Iterable[str], checkout: str) -> list[LedgerRecord]:
    with ThreadPoolExecutor(max_workers=MOST_ASKED_AT_ONCE) as pool:
        return [record for record in pool.map(lambda name: _told_by_keeper(name, checkout), names) if record]


def _listener(name: str) -> int | None:
    """Return the process that listens under a name, None when none of this user does."""
    try:
        connection, pid = connect(name)
    except HungKeeperError as error:
        return error.pid
    except BrokenStack:
        return None
    connection.close()
    return pid


def _header_of(pid: int, name: str) -> dict[str, Any]:
    """Return what the keeper ``pid`` was started with: it stands in its command line; {} where that cannot be read."""
    for word in procs.words_of(pid):
        if word.startswith("{"):
            try:
                header = json.loads(word)
            except ValueError:
                continue
            if header.get("socket") == name:
                return dict(header)
    return {}


def _told_by_keeper(name: str, checkout: str) -> LedgerRecord | None:
    """Return what a keeper says of its environment; in its place, when it does not answer, what can be seen of it.

    None when nobody listens any more, the environment is ending, or it is of another ``checkout``.
    """
    pid = _listener(name)
    if pid is None:
        return None
    header = _header_of(pid, name)
    if checkout and header.get("checkout", checkout) != checkout:
        return None
    try:
        with closing(KeeperLink(name, lease=False)) as link:
            answer = link.ask(Ledger(), timeout=ANSWER_BUDGET)
    except UnansweredError:
        return _seen(pid, header)
    except BrokenStack:
        return None  # it has just ended
    except HarnessError:
        return _seen(pid, header)  # of an older version, which does not tell
    return ledger.record_of(Path(answer["path"]), answer["lines"]) if answer else None


def _seen(pid: int, header: dict[str, Any]) -> LedgerRecord | None:
    """Return what can be seen of an environment whose keeper does not tell; it counts as kept."""
    if not header:
        return None
    return ledger.LedgerRecord(
        path=Path(header["state"]) / f"{header['env']}{ledger.SUFFIX}",
        env=header["env"],
        checkout=header["checkout"],
        engine=header["engine"],
        folder=header["folder"],
        socket=header["socket"],
        keeper=replace(this_process(), pid=pid, start=procs.start_time_of(pid) or 0),
        kept=True,
        daemon=Daemon(**header["daemon"]) if header["daemon"] else None,
    )
