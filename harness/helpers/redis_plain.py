"""As much of the Redis protocol (RESP2) as probes and seeds need, without a library."""

from __future__ import annotations

import shlex
import socket
from typing import TYPE_CHECKING, Self

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Reply = str | int | list["Reply"] | None
AT_ONCE = 500  # commands that are sent before their answers are read


class Refusal(HarnessError):
    """A server answered with an error. ``code`` is its first word, such as ``NOAUTH`` or ``LOADING``."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]


class PlainRedis:
    """A connection to a server.

    Args:
        host: its address.
        port: its port.
        password: "" for none.
        timeout: seconds for each answer.

    Raises:
        OSError: nobody listens there.
        Refusal: the password is not its.
    """

    def __init__(self, host: str, port: int, password: str = "", *, timeout: float = 5.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._file = self._socket.makefile("rb")
        try:
            if password:
                self.ask("AUTH", password)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()

    def ask(self, *words: str | bytes) -> Reply:
        """Send a command and return its answer. Raises Refusal, or OSError when the connection is lost."""
        self._socket.sendall(_command(words))
        return self._reply()

    def run(self, commands: Sequence[Sequence[str]]) -> Iterable[tuple[int, Refusal]]:
        """Send many commands; give the index and the error of each that was refused. Raises OSError."""
        for first in range(0, len(commands), AT_ONCE):
            part = commands[first : first + AT_ONCE]
            self._socket.sendall(b"".join(_command(words) for words in part))
            refused = []
            for index in range(first, first + len(part)):
                try:
                    self._reply()
                except Refusal as refusal:
                    refused.append((index, refusal))
            yield from refused

    def _reply(self) -> Reply:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"+":
            return rest
        if kind == b"-":
            raise Refusal(rest)
        if not rest.lstrip("-").isdigit() or kind not in b":$*":
            raise ConnectionError(f"it does not speak the Redis protocol: {line[:40]!r}")
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if kind == b"*":
            return [self._reply() for _ in range(number)]
        return self._file.read(number + 2)[:-2].decode(errors="replace")


def _command(words: Iterable[str | bytes]) -> bytes:
    encoded = [word if isinstance(word, bytes) else word.encode() for word in words]
    return b"".join([b"*%d\r\n" % len(encoded), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)])


def commands(text: str) -> list[tuple[int, list[str]]]:
    """Return (line, words) of the commands in a file, one in each line, quoted as for ``redis-cli``; # is a comment.

    Raises:
        HarnessError: a quotation does not end.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line) if not line.lstrip().startswith("#") else []
        except ValueError as error:
            raise HarnessError(f"line {number}: {error}: {line.strip()[:80]!r}") from error
        if words:
            found.append((number, words))
    return found
