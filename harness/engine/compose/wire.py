"""A stream to a program in a container, by way of the engine: what a relay needs of an engine that is elsewhere."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from harness.daemon import connect
from harness.engine.compose.hands import HEADER, told
from harness.relay import command

if TYPE_CHECKING:
    from harness.daemon import Daemon

_SAID = 4096  # bytes
_STANDARD_ERROR = 2
IDLE, BETWEEN, SILENCE = 10, 5, 30  # seconds: until it is asked whether a silent engine is there, and until it is not


class ExecWire:
    """The streams of a relay's program, started in a container; see ``relay.Wire``.

    Args:
        daemon: the engine.
        container: an id.

    Raises:
        HarnessError: the engine refused, with its words: the container has no python3, say.
        EngineUnreachableError: it did not answer.
    """

    def __init__(self, daemon: Daemon, container: str) -> None:
        self._client: Any = connect(daemon, timeout=None)  # it may be silent for long
        self._data = b""
        self._said = b""
        try:
            with told("A relay cannot be started in the container"):
                created = self._client.exec_create(container, command(), stdin=True)
                self._stream: Any = self._client.exec_start(created["Id"], socket=True)
        except BaseException:
            self._client.close()
            raise
        self._socket: Any = getattr(self._stream, "_sock", self._stream)
        notice_silence(self._socket)

    def receive(self) -> bytes:
        """Return what the program wrote on standard output, b"" at its end."""
        while True:
            end = HEADER + int.from_bytes(self._data[4:HEADER]) if len(self._data) >= HEADER else 0
            if end and len(self._data) >= end:
                kind, content, self._data = self._data[0], self._data[HEADER:end], self._data[end:]
                if kind != _STANDARD_ERROR and content:
                    return content
                self._said = (self._said + content)[-_SAID:]
                continue
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                return b""
            self._data += chunk

    def send(self, data: bytes) -> None:
        """Send all of it to the program. Raises OSError."""
        self._socket.sendall(data)

    def said(self) -> str:
        """Return the last line that the program, or the engine in its place, wrote as an error."""
        lines = self._said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def close(self) -> None:
        """End the stream: the program reads its end, and ends."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for one in (self._stream, self._socket, self._client):
            with contextlib.suppress(OSError):
                one.close()


def notice_silence(connection: socket.socket) -> None:
    """Have a connection end when the machine at its other side vanishes, silently (no socket file needs it)."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, IDLE),
        (socket.TCP_KEEPINTVL, BETWEEN),
        (socket.TCP_KEEPCNT, (SILENCE - IDLE) // BETWEEN),
        (socket.TCP_USER_TIMEOUT, SILENCE * 1000),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
