"""What a run does to running containers by itself: run a command in one, look for a file, copy one out."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import signal
import sys
import tarfile
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.clock import Deadline, poll
from harness.daemon import cause_of, is_no_answer
from harness.engine.compose.unpacking import DEFAULT, UNBOUNDED, Bounds, Chunks, unpack
from harness.errors import EngineUnreachableError, HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.docker_sdk import APIClient

COPY_BUDGET = 600.0
CODE_BUDGET = 5.0  # seconds between the end of a command's output and its exit code
UNREAD = 128 + signal.SIGPIPE
HEADER = 8  # "Attach to a container", stream format: stream, three zeros, length as 32 bits


@contextlib.contextmanager
def told(beginning: str) -> Iterator[None]:
    """Have it told in one line that begins with ``beginning`` that an engine refuses or does not answer.

    Raises:
        HarnessError: it refused: there is no such program or file, or the container does not run.
        EngineUnreachableError: it did not answer, or broke off.
    """
    try:
        yield
    except Exception as error:
        from harness.docker_sdk import APIError  # noqa: PLC0415 - loaded where an engine is in use

        if isinstance(error, APIError):
            raise HarnessError(f"{beginning}: {error.explanation or error}") from error
        if is_no_answer(error):
            raise EngineUnreachableError(f"{beginning}: the engine did not answer: {cause_of(error)}") from error
        raise


def execute(client: APIClient, container: str, argv: Sequence[str], timeout: float) -> procs.Finished:
    """Run a command in a container.

    Returns:
        What it did; ``code`` is None when it did not end in ``timeout`` seconds, and then it goes on in there: the
        Engine API can start a command and not end it.

    Raises:
        HarnessError: the engine refused, with its words.
        EngineUnreachableError: it did not answer.
    """
    with told(f"{argv[0]!r} cannot be run in the container"):
        created = client.exec_create(container, list(argv))
        stream = client.exec_start(created["Id"], socket=True)
        # The response, which the SDK hangs on its socket, closes that and itself in the right order.
        with contextlib.closing(getattr(stream, "_response", stream)):
            out, err, ended = _read(getattr(stream, "_sock", stream), Deadline.after(timeout))
        code = exit_code(client, created["Id"]) if ended else None
    return procs.Finished(tuple(argv), code, out.decode(errors="replace"), err.decode(errors="replace"))


def attach(client: APIClient, container: str, argv: Sequence[str]) -> int:
    """Run a command in a container, without standard input, and write what it says to this process's own streams.

    Returns:
        Its exit code; what a shell makes of a process that nobody reads when that is so, and then it goes on in there.

    Raises:
        HarnessError: the engine refused, with its words, or does not know how it ended; or a stream of this process
            cannot be written, such as on a disk that is full, and it goes on in there.
        EngineUnreachableError: it did not answer.
    """
    streams = {1: sys.stdout, 2: sys.stderr}
    lost = f"what {argv[0]!r} says cannot be written, and it goes on in the container"
    with told(f"{argv[0]!r} cannot be run in the container"):
        created = client.exec_create(container, list(argv))
        stream: Any = client.exec_start(created["Id"], socket=True)
        with contextlib.closing(stream), contextlib.closing(getattr(stream, "_sock", stream)) as raw:
            data = b""
            while chunk := raw.recv(1 << 16):
                data += chunk
                while len(data) >= HEADER and len(data) >= HEADER + int.from_bytes(data[4:HEADER]):
                    size = int.from_bytes(data[4:HEADER])
                    to = streams.get(data[0], sys.stdout)
                    try:
                        write_through(to.buffer, data[HEADER : HEADER + size])
                    except BrokenPipeError:
                        return UNREAD
                    except OSError as error:
                        raise HarnessError(f"{lost}: {error.strerror}") from error
                    data = data[HEADER + size :]
        code = exit_code(client, created["Id"])
    if code is None:
        raise HarnessError(f"The engine does not know how {argv[0]!r} ended in the container")
    return code


def write_through(stream: Any, data: bytes) -> None:  # noqa: ANN401 - with a buffer, or without one
    """Write all of ``data`` at once: what cannot be written is in no buffer, where it would be tried again at exit.

    Raises:
        OSError: such as of a disk that is full.
    """
    stream.flush()
    raw, left = getattr(stream, "raw", stream), memoryview(data)
    while left:
        written = raw.write(left)
        if not written:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        left = left[written:]


def exit_code(client: APIClient, command: str) -> int | None:
    """Return the exit code of a command in a container whose output has ended, 128 + n for signal n.

    Engines end the output first, and know the code a little later. None is returned where it is not known then, such as
    of a command that has closed its output and goes on. Raises what the SDK raises.
    """
    for _ in poll(Deadline.after(CODE_BUDGET)):
        facts = client.exec_inspect(command)
        if not facts.get("Running"):
            return None if facts["ExitCode"] is None else int(facts["ExitCode"])
    return None


def _read(stream: Any, deadline: Deadline) -> tuple[bytes, bytes, bool]:  # noqa: ANN401 - a socket, or one with TLS
    """Return standard output and error of a raw stream, and whether it ended in time."""
    data, ended = b"", False
    while select.select([stream], [], [], deadline.remaining())[0]:
        chunk = stream.recv(1 << 16)
        if not chunk:
            ended = True
            break
        data += chunk
    parts = {1: b"", 2: b""}
    while len(data) >= HEADER:
        kind, size = data[0], int.from_bytes(data[4:HEADER])
        parts[2 if kind == 2 else 1] += data[HEADER : HEADER + size]  # noqa: PLR2004 - standard error
        data = data[HEADER + size :]
    return parts[1], parts[2], ended


def exists(client: APIClient, container: str, path: str) -> bool:
    """Return whether a container has a file or folder."""
    from requests.exceptions import RequestException  # noqa: PLC0415

    from harness.docker_sdk import APIError  # noqa: PLC0415

    try:
        chunks, _ = client.get_archive(container, path)
        chunks.close()
    except (APIError, RequestException):
        return False
    return True


def copy_out(client: APIClient, container: str, path: str, to: Path) -> Path:
    """Copy a file or folder of a container to ``to`` and return that. Raises HarnessError when there is none."""
    copy_within(client, container, path, to, Deadline.after(COPY_BUDGET), UNBOUNDED)  # whoever asks knows what it is
    return to


def copy_within(
    client: APIClient, container: str, path: str, to: Path, deadline: Deadline, bounds: Bounds = DEFAULT
) -> list[str]:
    """Copy a file or folder of a container, which may have ended, to ``to``; return what of it was refused, in words.

    Raises:
        HarnessError: there is none, it cannot be written, or does not come before the deadline.
        EngineUnreachableError: the engine did not answer.
    """
    with told(f"{path} cannot be copied"):
        chunks, facts = client.get_archive(container, path)
        try:
            with (
                contextlib.closing(chunks),
                tarfile.open(fileobj=io.BufferedReader(Chunks(chunks, deadline)), mode="r|") as archive,
            ):
                return unpack(archive, facts["name"], to, bounds)
        except (OSError, tarfile.TarError) as error:
            if is_no_answer(error):
                raise
            raise HarnessError(f"{path} cannot be copied: {getattr(error, 'strerror', None) or error}") from error
