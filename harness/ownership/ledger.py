"""The ledger of an environment: what will be created, what was, and who may still need it.

One file of JSON lines in the state folder. Its keeper holds an exclusive flock on it for life, so a ledger that can be
locked belongs to a dead keeper. An intent is written before its act, which closes the window between creating a thing
and dying.

A line that is written survives every end of the keeper, and one that is on disk survives the machine's too. Only what
survives that itself must be on disk: containers, networks and volumes. Processes do not, so their lines need not wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.daemon import Daemon
from harness.ownership.identity import Owner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCHEMA = 1
SUFFIX = ".ledger"


class LedgerWriter:
    """The keeper's side: append lines, hold the lock, delete the file when nothing is left."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._path = path
        self._fd = os.open(path, flags, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.write("header", schema=SCHEMA, **header)

    def write(self, kind: str, **facts: object) -> None:
        """Append one line and have it on disk before returning."""
        self.append(kind, **facts)
        os.fdatasync(self._fd)

    def append(self, kind: str, **facts: object) -> None:
        """Append one line, which is there for whoever reads the file from now on."""
        os.write(self._fd, (json.dumps({"kind": kind, **facts}) + "\n").encode())

    def note(self, kind: str, **facts: object) -> None:
        """Append a line if the file takes it: without a fact the sweep finds things by their cookie or label."""
        with contextlib.suppress(OSError):
            self.append(kind, **facts)

    def delete(self) -> None:
        """Remove the file; the lock goes with the process."""
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True)
class LedgerRecord:
    """A ledger as read.

    Attributes:
        path: the file.
        env: environment id.
        checkout: real path of the project that it belongs to.
        engine: name of the engine.
        folder: the environment's folder under logs.
        socket: abstract socket name of its keeper, without the leading NUL.
        keeper: the keeper as an owner.
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
class _Reading:
    header: dict[str, Any] = field(default_factory=dict)
    holders: dict[int, Owner] = field(default_factory=dict)
    kept: bool = False
    processes: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    def take(self, line: dict[str, Any]) -> None:
        kind = line.get("kind")
        if kind == "header":
            self.header = line
        elif kind == "holder":
            owner = Owner(**line["owner"])
            self.holders[owner.pid] = owner
        elif kind == "released":
            self.holders.pop(line["pid"], None)
        elif kind == "kept":
            self.kept = bool(line["value"])
        elif kind == "started":
            self.processes[line["pid"]] = (line["pid"], line["start"], line["service"])
        elif kind == "ended":
            self.processes.pop(line["pid"], None)
        elif kind == "left":
            self.left = tuple(map(str, line["things"]))


def read(path: Path) -> LedgerRecord | None:
    """Return what ``path`` says, or None when it is no ledger of this schema (a torn last line is passed over)."""
    try:
        if path.is_symlink():
            return None
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    reading = _Reading()
    for text in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            reading.take(json.loads(text))
    header = reading.header
    if header.get("schema") != SCHEMA:
        return None
    try:
        return LedgerRecord(
            path=path,
            env=header["env"],
            checkout=header["checkout"],
            engine=header["engine"],
            folder=header["folder"],
            socket=header["socket"],
            keeper=Owner(**header["owner"]),
            holders=tuple(reading.holders.values()),
            kept=reading.kept,
            processes=tuple(reading.processes.values()),
            nonce=header.get("nonce", ""),
            key=header.get("key", ""),
            daemon=Daemon(**header["daemon"]) if header.get("daemon") else None,
            left=reading.left,
        )
    except (KeyError, TypeError):
        return None


def note_left(path: Path, things: Sequence[str]) -> None:
    """Append to a dead keeper's ledger what of its environment could not be removed; a full disk is no error."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            # Its last line may be torn; an empty one is passed over.
            os.write(fd, ("\n" + json.dumps({"kind": "left", "things": list(things)}) + "\n").encode())
        finally:
            os.close(fd)


def is_unreadable(path: Path) -> bool:
    """Return whether ``path`` is no ledger at all; one of another schema is one."""
    if read(path) is not None:
        return False
    try:
        text = path.read_bytes().decode()
    except OSError:
        return False  # one that may not be read is not ours to judge
    except UnicodeDecodeError:
        return True
    for line in text.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            header = json.loads(line)
            if header.get("kind") == "header":
                return bool(header.get("schema") == SCHEMA)
    return True


def keeper_is_alive(path: Path) -> bool:
    """Return whether a keeper holds the lock of the ledger ``path``."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
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
