"""The ledger of an environment: what will be created, what was, and who may still need it.

One file of JSON lines in the state folder. Its keeper holds an exclusive flock on it for life, so a ledger that can be
locked belongs to a dead keeper. A line that is written survives every end of the keeper, and one that is on disk
survives the machine's too: only what survives that itself (not processes) must be on disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.artifacts import open_regular, private_folder, read_regular
from harness.daemon import Daemon
from harness.ownership.identity import Owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

SCHEMA = 1
LARGEST = 64 << 20
SUFFIX = ".ledger"


class LedgerWriter:
    """The keeper's side: append lines, hold the lock, delete the file when nothing is left.

    It knows what the file says and how it lay on the disk after the last line, so that it can be written again when
    somebody has removed, replaced or changed it.

    Raises:
        OSError: the file cannot be made; then there is none.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self._contents = Contents({"kind": "header", "schema": SCHEMA, **header})
        self.is_deleted = False  # because nothing is left that it would tell of
        self._torn = False
        self._fd = -1
        self._stamp = (0, 0, 0, 0)  # device, inode, size and time of the file after our last line
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._place()

    def write(self, kind: str, **facts: object) -> None:
        """Append one line and have it on disk before returning."""
        self.append(kind, **facts)
        os.fdatasync(self._fd)

    def append(self, kind: str, **facts: object) -> None:
        """Append one line, which is there for whoever reads the file from now on."""
        line = {"kind": kind, **facts}
        self._contents.take(line)
        try:
            _append(self._fd, [line], torn=self._torn)
            self._torn = False
        except OSError as error:
            self._torn = True  # a part of it may be there
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        finally:
            self._stamp = _stamp(os.fstat(self._fd))

    def note(self, kind: str, **facts: object) -> None:
        """Append a line if the file takes it: without a fact the sweep finds things by their cookie or label."""
        with contextlib.suppress(OSError):
            self.append(kind, **facts)

    def delete(self) -> None:
        """Remove the file; the lock goes with the process."""
        self.is_deleted = True
        with contextlib.suppress(OSError):  # of what somebody else has put there instead
            self.path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Write the file again if it is not there as it was written; return whether it was not.

        Raises:
            OSError: it cannot be written.
            HarnessError: its folder cannot be used.
        """
        if self._is_in_place():
            return False
        if self.path.parent.parent.is_dir():  # without that, its user is not logged in
            private_folder(self.path.parent)
        self._place()
        return True

    def _is_in_place(self) -> bool:
        try:
            return _stamp(self.path.lstat()) == self._stamp
        except OSError:
            return False

    def _place(self) -> None:
        """Put a file in place that is whole and locked from when it is there. Raises OSError."""
        scratch = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        scratch.unlink(missing_ok=True)
        fd = open_regular(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _append(fd, self._contents.lines())
            os.fdatasync(fd)
            scratch.replace(self.path)
        except OSError:
            os.close(fd)
            scratch.unlink(missing_ok=True)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._stamp, self._torn, self.is_deleted = fd, _stamp(os.fstat(fd)), False, False

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines that the file adds up to."""
        return self._contents.lines()


def _append(fd: int, lines: list[dict[str, Any]], *, torn: bool = False) -> None:
    """Append lines, whole or with an error; after a ``torn`` line on a new one. Raises OSError."""
    data = b"\n" * torn + b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _stamp(facts: os.stat_result) -> tuple[int, int, int, int]:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


@dataclass(frozen=True)
class LedgerRecord:
    """A ledger as read.

    Attributes:
        checkout: real path of the project that it belongs to.
        folder: the environment's folder under logs.
        socket: abstract socket name of its keeper, without the leading NUL.
        holders: the processes that held a lease, the latest record of each.
        kept: whether it was asked to stay (``up``, ``--keep``).
        processes: (pid, start time, cookie value) of all services that were started and not seen to end.
        nonce: the random number in the labels of its containers, networks and volumes.
        key: what these are sealed with, "" from a version that knew no seals.
        daemon: the Docker engine that these are on, None without containers.
        left: what a sweep could not remove, and has told.
    """

    path: Path
    env: str
    checkout: str
    engine: str
    folder: str
    socket: str
    keeper: Owner
    holders: tuple[Owner, ...] = ()
    kept: bool = False
    processes: tuple[tuple[int, int, str], ...] = ()
    nonce: str = ""
    key: str = field(default="", repr=False)
    daemon: Daemon | None = None
    left: tuple[str, ...] = ()


@dataclass
class Contents:
    """What the lines of a ledger add up to."""

    header: dict[str, Any] = field(default_factory=dict)
    holders: dict[int, Owner] = field(default_factory=dict)
    kept: bool = False
    processes: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    def take(self, line: dict[str, Any]) -> None:
        """Add a line. Raises KeyError, TypeError and AttributeError where it is not as it should be."""
        kind = line.get("kind")
        if kind == "header":
            self.header = line
        elif kind == "holder":
            owner = Owner.of(line["owner"])
            self.holders[owner.pid] = owner
        elif kind == "released":
            self.holders.pop(line["pid"], None)
        elif kind == "kept":
            self.kept = bool(line["value"])
        elif kind == "started":
            self.processes[line["pid"]] = (_number(line["pid"]), _number(line["start"]), _text(line["service"]))
        elif kind == "ended":
            self.processes.pop(line["pid"], None)
        elif kind == "left":
            self.left = tuple(map(str, line["things"]))

    def lines(self) -> list[dict[str, Any]]:
        """Return the fewest lines that add up to the same."""
        return [
            self.header,
            *({"kind": "holder", "owner": owner.as_dict()} for owner in self.holders.values()),
            *([{"kind": "kept", "value": True}] if self.kept else ()),
            *(
                {"kind": "started", "pid": pid, "start": start, "service": service}
                for pid, start, service in self.processes.values()
            ),
        ]

    def record(self, path: Path) -> LedgerRecord | None:
        """Return it as a record, None when that cannot be: it is of another schema or environment than ``path``."""
        header = self.header
        if header.get("schema") != SCHEMA or f"{header.get('env')}{SUFFIX}" != path.name:
            return None
        try:
            return LedgerRecord(
                path=path,
                env=_text(header["env"]),
                checkout=_text(header["checkout"]),
                engine=_text(header["engine"]),
                folder=_text(header["folder"]),
                socket=_text(header["socket"]),
                keeper=Owner.of(header["owner"]),
                holders=tuple(self.holders.values()),
                kept=self.kept,
                processes=tuple(self.processes.values()),
                nonce=_text(header.get("nonce", "")),
                key=_text(header.get("key", "")),
                daemon=_daemon(header.get("daemon")),
                left=self.left,
            )
        except (KeyError, TypeError):
            return None


def _number(value: object) -> int:
    """Return ``value`` if it is a whole number. Raises TypeError: what a file says decides what is killed."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def _text(value: object) -> str:
    """Return ``value`` if it is a text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _daemon(facts: dict[str, Any] | None) -> Daemon | None:
    """Return the engine that a header names, if it does. Raises TypeError."""
    if facts is None:
        return None
    daemon = Daemon(**facts)
    for value in (daemon.host, daemon.origin, daemon.certificates):
        _text(value)
    return daemon


def record_of(path: Path, lines: Iterable[dict[str, Any]]) -> LedgerRecord | None:
    """Return what the lines of the ledger ``path`` say, None when they are none of this schema and environment."""
    contents = Contents()
    for line in lines:
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            contents.take(line)
    return contents.record(path)


def read(path: Path) -> LedgerRecord | None:
    """Return what ``path`` says, or None when it is no ledger of this schema (a torn last line is passed over)."""
    try:
        text = read_regular(path, LARGEST).decode()
    except (OSError, UnicodeDecodeError):
        return None
    return record_of(path, _lines(text))


def _lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            yield json.loads(line)


def note_left(path: Path, things: Sequence[str]) -> None:
    """Append to a dead keeper's ledger what of its environment could not be removed; a full disk is no error."""
    line = "\n" + json.dumps({"kind": "left", "things": list(things)}) + "\n"  # the last may be torn; "" is passed over
    with contextlib.suppress(OSError), os.fdopen(open_regular(path, os.O_WRONLY | os.O_APPEND), "ab", 0) as file:
        file.write(line.encode())


def is_unreadable(path: Path) -> bool:
    """Return whether ``path`` is no ledger at all; one of another schema is one."""
    if read(path) is not None:
        return False
    try:
        text = read_regular(path, LARGEST).decode()
    except OSError:
        return False  # one that may not be read is not ours to judge
    except UnicodeDecodeError:
        return True
    for line in _lines(text):
        with contextlib.suppress(AttributeError):
            if line.get("kind") == "header":
                return bool(line.get("schema") == SCHEMA)
    return True


def keeper_is_alive(path: Path) -> bool:
    """Return whether a keeper holds the lock of the ledger ``path``."""
    try:
        fd = open_regular(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def all_ledgers(state: Path) -> list[Path]:
    """Return the ledgers in the state folder, oldest name first."""
    return sorted(state.glob(f"*{SUFFIX}"))


def environments(state: Path) -> dict[str, Path]:
    """Return environment -> its ledger in the state folder."""
    return {path.name.removesuffix(SUFFIX): path for path in all_ledgers(state)}
