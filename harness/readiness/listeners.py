"""Who listens at an address of this machine, as /proc tells it. Nothing is connected to."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import procs
from harness.ownership.identity import RUN_COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTENS = "0A"  # state of a listening socket (include/net/tcp_states.h of the kernel)
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
STEPS_UP = 64  # from a process to its parents, at most: they may change while they are looked at


@dataclass(frozen=True)
class Listener:
    """A socket that listens for TCP connections.

    Attributes:
        host: its address.
        port: its port.
        uid: the user that opened it.
        inode: its number, by which it is found among the files of a process.
    """

    host: str
    port: int
    uid: int
    inode: int


@dataclass(frozen=True)
class Family:
    """The processes of one environment.

    Attributes:
        env: the environment's id, which stands in what they were started with.
        keeper: pid of its keeper: the parent of services, and of what they left.
        pid: the service that is asked about.
    """

    env: str
    keeper: int
    pid: int


def listeners(pid: int | str = "self") -> list[Listener]:
    """Return what listens in the network of a process, nothing where that cannot be read."""
    found = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{name}", encoding="ascii") as table:  # noqa: PTH123 - read line by line, and often
            next(table, "")
            for line in table:
                words = line.split()
                if words[3] != LISTENS:
                    break  # those that listen come first (tcp_seq_start of the kernel)
                host, _, port = words[1].partition(":")
                found.append(Listener(_address(host), int(port, 16), int(words[7]), int(words[9])))
    return found


def _address(text: str) -> str:
    """Return an address of /proc/net/tcp or tcp6: words of 32 bits in the byte order of the machine."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    packed = b"".join(words)
    if len(packed) == 4:  # noqa: PLR2004 - IPv4
        return socket.inet_ntoa(packed)
    mapped = packed.startswith(bytes(10) + b"\xff\xff")
    return socket.inet_ntoa(packed[12:]) if mapped else socket.inet_ntop(socket.AF_INET6, packed)


def answering(host: str, port: int) -> list[Listener]:
    """Return the sockets that get a connection to an address: one that is bound to just it goes before the others."""
    there = [one for one in listeners() if one.port == port]
    return [one for one in there if one.host == host] or [one for one in there if one.host in EVERYWHERE]


def stranger_at(host: str, port: int, family: Family) -> str:
    """Return who listens at an address when it is nobody of an environment: pid and command.

    Returns:
        "" when it is one of the environment, when nobody listens, and when it cannot be told since the files of the
        environment's own processes cannot be seen.
    """
    for listener in answering(host, port):
        if _holds(family.pid, listener.inode):
            continue
        holders = [pid for pid in procs.all_pids() if _holds(pid, listener.inode)]
        if any(_is_of(family, pid) for pid in holders):
            continue
        if holders:
            return f"pid {holders[0]} ({procs.command_of(holders[0])[:100]})"
        hidden = any(_holds(pid, listener.inode) is None for pid in (family.pid, *procs.descendants(family.keeper)))
        if listener.uid != os.getuid() and not hidden:
            return f"a process of user {listener.uid} that cannot be seen"
    return ""


def _holds(pid: int, inode: int) -> bool | None:
    """Return whether a process has a socket open, None when its files cannot be seen."""
    try:
        return any(target == f"socket:[{inode}]" for target in _files(pid))
    except PermissionError:
        return None
    except OSError:
        return False


def _files(pid: int) -> Iterator[str]:
    folder = f"/proc/{pid}/fd"
    for number in os.listdir(folder):  # noqa: PTH208 - hundreds of processes, in half the time
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(f"{folder}/{number}")  # noqa: PTH115


def _is_of(family: Family, pid: int) -> bool:
    """Return whether a process is below the keeper or the service, or was started with the environment's cookie."""
    above = pid
    for _ in range(STEPS_UP):
        if above in (family.keeper, family.pid):
            return True
        above = procs.parent_of(above)
        if above <= 1:
            break
    return procs.has_cookie(pid, f"{RUN_COOKIE}={family.env}")
