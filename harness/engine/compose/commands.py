"""A command in a container that waits for it: its output as it comes, its exit code, its end when it is wanted."""

from __future__ import annotations

import contextlib
import io
import tarfile
from typing import TYPE_CHECKING, Any

from harness.engine.compose.hands import HEADER, exit_code, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness import clock
    from harness.docker_sdk import APIClient

LOOK_AGAIN = 0.5  # seconds after which a command that says nothing is seen to be waited for
# The Engine API can start a command and not signal it. Its first process has no parent in the container; what else was
# started there, such as this, does not have its variable.
_ASK = """\
for process in /proc/[0-9]*; do
  pid=${process#/proc/} parent=
  while read -r key value; do if [ "$key" = PPid: ]; then parent=$value; fi; done < "$process/status"
  if [ "$pid" != 1 ] && [ "$parent" = 0 ] && grep -qs "$1" "$process/environ"; then kill -s "$2" "$pid"; fi
done 2> /dev/null
exit 0
"""


class Command:
    """A command that runs in a container, without standard input.

    Args:
        client: of the engine.
        container: its id.
        argv: the command; its first word is looked up there.
        environment: variables that it has beside the container's.

    Raises:
        HarnessError: the engine refused, with its words.
        EngineUnreachableError: it did not answer.
    """

    def __init__(self, client: APIClient, container: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._client, self._container = client, container
        self._data = b""
        self._said = f"{argv[0]!r} cannot be run in the container"
        with told(self._said):
            created = client.exec_create(container, list(argv), environment=dict(environment))
            self.id = str(created["Id"])
            self._stream: Any = client.exec_start(self.id, socket=True)
        self._socket: Any = getattr(self._stream, "_sock", self._stream)

    def follow(self, write: Callable[[int, bytes], None], until: clock.Deadline, check: Callable[[], None]) -> bool:
        """Hand on what the command says until it has ended; return whether it did in time.

        Args:
            write: takes the number of a stream, 1 or 2, and what came from it.
            until: when to return in any case.
            check: called again and again; it raises to leave.

        Raises:
            EngineUnreachableError: the engine broke off.
        """
        while not until.expired():
            check()
            chunk = self._receive(until)
            if chunk == b"":
                return True
            self._data += chunk or b""
            self._hand_on(write)
        return False

    def _receive(self, until: clock.Deadline) -> bytes | None:
        """Return what came, b"" at the end, None for nothing within a while."""
        with told(self._said):
            self._socket.settimeout(max(0.001, min(LOOK_AGAIN, until.remaining())))
            try:
                return bytes(self._socket.recv(1 << 16))
            except TimeoutError:
                return None

    def _hand_on(self, write: Callable[[int, bytes], None]) -> None:
        while len(self._data) >= HEADER:
            end = HEADER + int.from_bytes(self._data[4:HEADER])
            if len(self._data) < end:
                return
            write(self._data[0], self._data[HEADER:end])
            self._data = self._data[end:]

    @property
    def code(self) -> int | None:
        """Its exit code once its output has ended, 128 + n for signal n; None where the engine does not know."""
        with told("The end of the command is not known"):
            return exit_code(self._client, self.id)

    def close(self) -> None:
        """Listen no longer; a command that has not ended goes on."""
        for one in (self._stream, self._socket):
            with contextlib.suppress(OSError):
                one.close()


def ask_to_end(client: APIClient, container: str, cookie: str, signal: str, until: clock.Deadline) -> None:
    """Signal a command in a container, by what ``sh`` and ``grep`` of its own image can do; else nothing happens.

    Args:
        client: of the engine.
        container: its id.
        cookie: ``NAME=VALUE`` of a variable by which the command is known.
        signal: such as INT.
        until: how long it may take.

    Raises:
        HarnessError: the engine refused, or did not answer.
    """
    asking = Command(client, container, ["sh", "-c", _ASK, "sh", cookie, signal], {})
    try:
        asking.follow(lambda _, __: None, until, lambda: None)
    finally:
        asking.close()


def make_folder(client: APIClient, container: str, path: str) -> None:
    """Make a folder in a container in which everybody there may write.

    It is no mount, so that it can be copied out however the container ended, and on an engine that is elsewhere.

    Raises:
        HarnessError: the engine refused, such as for a container whose files are read-only.
        EngineUnreachableError: it did not answer.
    """
    parent, _, name = path.rpartition("/")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as files:
        folder = tarfile.TarInfo(name)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o777
        files.addfile(folder)
    with told(f"{path} cannot be made in the container"):
        client.put_archive(container, parent or "/", archive.getvalue())
