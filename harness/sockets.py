"""Who listens, as the kernel tells it (/proc/PID/net/tcp and /proc/PID/fd: proc(5)). Nothing is connected to."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LISTEN = "0A"  # TCP_LISTEN of the kernel's include/net/tcp_states.h
_SOCKET = "socket:["
# Of the kernel's include/uapi/linux/netlink.h and sock_diag.h.
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, _DONE = 4, 20, 0x301, 3
_DIAG_BUDGET = 1.0


@dataclass(frozen=True)
class Listener:
    """A TCP socket that listens.

    Attributes:
        host: its address, "0.0.0.0" or "::" for every one.
        inode: its number in the file system of sockets, which also stands in /proc/PID/fd of its owners.
        uid: the user who opened it, -1 when that is not known.
    """

    host: str
    port: int
    inode: int = 0
    uid: int = field(default=-1, compare=False)

    @property
    def everywhere(self) -> bool:
        """Whether it listens on every address."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    def takes(self, host: str, port: int) -> bool:
        """Return whether a connection to ``host``, an IPv4 address, and ``port`` comes to it."""
        return self.port == port and (self.everywhere or self.host == host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listeners(table: str) -> list[Listener]:
    """Return the sockets that listen of the text of /proc/net/tcp or tcp6, or of both, one after the other."""
    rows = (line.split() for line in table.splitlines())
    return [
        Listener(*_address(row[1]), int(row[9]), int(row[7]))
        for row in rows
        if len(row) > 9 and row[3] == _LISTEN  # noqa: PLR2004
    ]


def _address(text: str) -> tuple[str, int]:
    """Return the address and port that the kernel prints as words of 32 bits in the machine's own order."""
    host, _, port = text.partition(":")
    words = [int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), int(port, 16)


def listeners(pid: int | None = None) -> list[Listener]:
    """Return every TCP socket that listens in the network namespace of a process (default: this one)."""
    sockets: list[Listener] = []
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            sockets += parse_listeners(Path(f"/proc/{pid or 'self'}/net/{name}").read_text(encoding="ascii"))
    return sockets


def own_listeners() -> list[Listener]:
    """Return the same for the namespace of this process by sock_diag(7), where the number of connections costs nothing.

    Where the kernel does not answer that, what /proc tells.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as diag:
            diag.settimeout(_DIAG_BUDGET)
            return [one for family in (socket.AF_INET, socket.AF_INET6) for one in _ask(diag, family)]
    except OSError:
        return listeners()


def _ask(diag: socket.socket, family: int) -> Iterator[Listener]:
    """Yield the listening TCP sockets of a family of addresses. Raises OSError."""
    body = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, 1 << int(_LISTEN, 16))
    diag.send(struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 0, 0) + body)
    while True:
        data, at = diag.recv(65536), 0
        while at < len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind == _DONE:
                return
            if kind != _SOCK_DIAG_BY_FAMILY:
                raise OSError("the kernel does not tell its sockets")
            yield _listener(data[at + 16 : at + length], family)
            at += (length + 3) & ~3


def _listener(facts: bytes, family: int) -> Listener:
    """Return a socket as the kernel's struct inet_diag_msg has it."""
    (port,) = struct.unpack_from("!H", facts, 4)
    address = ipaddress.ip_address(facts[8 : 12 if family == socket.AF_INET else 24])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    uid, inode = struct.unpack_from("=II", facts, 64)
    return Listener(str(mapped or address), port, inode, uid)


def sockets_of(pids: Iterable[int]) -> frozenset[int]:
    """Return the inodes of all sockets that processes hold; of those that this user may not see, none."""
    return frozenset(inode for pid in pids for inode in _sockets(pid))


def _sockets(pid: int) -> Iterator[int]:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for entry in os.listdir(folder):  # noqa: PTH208 - half the time of iterdir
            with suppress(OSError):  # closed meanwhile
                target = os.readlink(f"{folder}/{entry}")  # noqa: PTH115 - as above
                if target.startswith(_SOCKET):
                    yield int(target[len(_SOCKET) : -1])
