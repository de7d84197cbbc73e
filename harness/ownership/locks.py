"""Locks between processes of this user: named ones that the kernel frees with their holder.

A lock is an abstract unix socket (unix(7)) and an flock on a file. The socket cannot be deleted by anybody, and can be
the same one whatever folder the file is in; the file is seen from other network namespaces, where the socket is not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.artifacts import open_regular, read_regular, unwritable
from harness.clock import Deadline, poll
from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST = 4096  # of what a lock file says
MOST_WAITING = 4096  # who asks a holder for its number and is never answered


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        pid: its process, 0 when it cannot be told.
        purpose: what it holds it for, "" when it cannot be told.
        age: seconds since the process began.
    """

    pid: int = 0
    purpose: str = ""
    command: str = ""
    age: float = 0.0

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command}), {self.age:.0f} s old" if self.pid else "an unknown process"


@contextlib.contextmanager
def locked(
    path: Path,
    timeout: float,
    *,
    everywhere: bool = False,
    purpose: str = "",
    waiting: Callable[[Holder], None] = lambda _: None,
) -> Iterator[None]:
    """Hold the lock whose file is ``path``.

    Args:
        path: its file, made if need be.
        timeout: seconds to wait for it.
        everywhere: whether files of this name in other folders are the same lock.
        purpose: what it is held for, for those who ask.
        waiting: told once who holds it, when it is not free.

    Raises:
        ConfigError: somebody else held it for ``timeout`` seconds, which the error names; or the file cannot be used.
        BrokenStack: there is no room for the file.
    """
    with contextlib.ExitStack() as held:
        told = False
        deadline = Deadline.after(timeout)
        for _ in poll(deadline):
            if _take(path, _name(path, everywhere=everywhere), held):
                break
            if not told and timeout > 0:
                told = True
                waiting(holder_of(path, everywhere=everywhere) or Holder())
            if deadline.expired():
                holder = holder_of(path, everywhere=everywhere) or Holder()
                raise ConfigError(f"Lock {path} was not free in {timeout:g} s; held by {holder}")
        _note(path, purpose)
        yield


def _name(path: Path, *, everywhere: bool) -> str:
    """Return the name of the socket of a lock."""
    where = "" if everywhere else f"-{hashlib.sha256(os.fsencode(path.parent.resolve())).hexdigest()[:16]}"
    return f"\0harness-lock-{os.getuid()}-{path.stem}{where}"


def _take(path: Path, name: str, held: contextlib.ExitStack) -> bool:
    """Take a lock if it is free; return whether it was. Raises HarnessError."""
    with contextlib.ExitStack() as parts:
        claim = parts.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            claim.bind(name)
            fd = open_regular(path, os.O_RDWR | os.O_CREAT)
            parts.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(fd), path.lstat()):
                return False  # deleted before it was locked: another one may be there, and locked
        except FileNotFoundError as error:
            if path.parent.is_dir():
                return False  # the same
            raise unwritable(f"Lock {path} cannot be made", error) from error
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise unwritable(f"Lock {path} cannot be used", error) from error
        claim.listen(MOST_WAITING)  # whoever connects learns our number
        held.push(parts.pop_all())
    return True


def _note(path: Path, purpose: str) -> None:
    """Write into a lock's file who holds it; a full disk is no reason not to."""
    with contextlib.suppress(OSError), os.fdopen(open_regular(path, os.O_WRONLY | os.O_TRUNC), "wb", 0) as file:
        file.write(json.dumps({"pid": os.getpid(), "purpose": purpose}).encode())


def holder_of(path: Path, *, everywhere: bool = False) -> Holder | None:
    """Return who holds a lock, None when nobody does."""
    pid = listener_at(_name(path, everywhere=everywhere))
    if pid is None:
        pid = _locker(path)
    if not pid:
        return None if pid is None else Holder()
    purpose = ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(read_regular(path, LARGEST))
        purpose = str(said["purpose"]) if said["pid"] == pid else ""
    return Holder(pid, purpose, procs.command_of(pid), procs.age_of(pid))


def listener_at(name: str) -> int | None:
    """Return the process that listens on an abstract socket, 0 when it cannot be told, None when none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(0)
        try:
            asking.connect(name)
            return peer_of(asking)[0]
        except ConnectionRefusedError:
            return None
        except OSError:
            return 0


def peer_of(connected: socket.socket) -> tuple[int, int]:
    """Return (pid, uid) of the process at the other end of a unix socket; pid 0 where it has none here."""
    pid, uid, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _locker(path: Path) -> int | None:
    """Return the process that has an flock on a file, 0 when it cannot be told, None when none has."""
    try:
        fd = open_regular(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        inode = os.fstat(fd).st_ino
    else:
        return None
    finally:
        os.close(fd)
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        words = line.split()
        if len(words) > 5 and words[5].endswith(f":{inode}"):  # noqa: PLR2004 - proc_locks(5)
            return max(0, int(words[4]))
    return 0
