"""Runs Python commands in children of its own, having loaded what they need once: ``fresh_server.py SOCKET``.

With ``--load FOLDER`` it only loads that, and what services need, for the sake of the compiled code that is left.

A request is one line of JSON, a ``Request``, with the three standard streams of the command. The answer is its exit
code, negative for a signal, null when its time was up.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TextIO

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

# None of it is imported above: pytest has to come before it, as in a process of its own.
LOADED = (
    "docker",
    "harness.engine.compose.hands",
    "harness.helpers.kafka",
    "harness.invoke_tasks",
    "harness.engine.compose.launch",
    "harness.runs.run",
    "harness.verbs.run",
    "nox.__main__",
)
BESIDE = ("actor", "multiprocessing.popen_fork", "xdist.remote")
"""What services and other processes load besides, which are no children of this one."""


@dataclass(frozen=True)
class Request:
    """A command: the words after ``python``, which begin with -c or -m; where it runs, with what, how long it may."""

    words: tuple[str, ...]
    folder: str
    environ: dict[str, str]
    timeout: float


def load(folder: Path) -> None:
    """Load what commands need, pytest's plugins as pytest does; ``folder`` is an empty one.

    A protocol's library may not be there: what needs it fails by itself, in the test that uses it.
    """
    pytest.main(["--collect-only", "-p", "no:cacheprovider", str(folder)])
    for name in LOADED:
        with suppress(ModuleNotFoundError):
            import_module(name)


def _stream(number: int, mode: str, errors: str = "strict", buffering: int = -1) -> TextIO:
    """Return a standard stream as a new process has it: an old one goes on taking its file for one with places."""
    return open(number, mode, buffering, "utf-8", errors, closefd=False)  # type: ignore[return-value]


def _become(request: Request, streams: Sequence[int]) -> None:
    """Be a process that was just started for a command."""
    os.setsid()
    os.chdir(request.folder)
    paths = request.environ.get("PYTHONPATH", "") if "PYTHONPATH" not in os.environ else ""
    os.environ.clear()
    os.environ.update(request.environ)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = _stream(0, "r"), _stream(1, "w")
    sys.stderr = _stream(2, "w", "backslashreplace", buffering=1)
    tempfile.tempdir = None
    sys.path[:1] = ["" if request.words[0] == "-c" else str(Path.cwd()), *filter(None, paths.split(os.pathsep))]
    sys.argv = [request.words[0], *request.words[2:]]


def _do(request: Request) -> None:
    """Do what ``python`` does with the words of a request."""
    kind, what = request.words[:2]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), main.__dict__)  # noqa: S102 - that is what -c is for


def _serve(listener: socket.socket) -> Request:
    """Answer requests while this process's parent is there. Return, in a child for each, what that is to do."""
    parent = os.getppid()
    children = 0
    while os.getppid() == parent:
        while children and os.waitpid(-1, os.WNOHANG)[0]:
            children -= 1
        if not select.select([listener], [], [], 1)[0]:
            continue
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            return _wait_for_command(connection)
        children += 1
        connection.close()
    raise SystemExit


def _wait_for_command(connection: socket.socket) -> Request:
    """Answer one request when a child has done it, and end. Return, in that child, the request."""
    data, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while not data.endswith(b"\n"):
        chunk = connection.recv(1 << 20)
        if not chunk:  # who asks is gone
            os._exit(1)
        data += chunk
    table = json.loads(data)
    request = Request(**{**table, "words": tuple(table["words"])})
    pid = os.fork()
    if not pid:
        connection.close()
        _become(request, streams)
        return request
    for stream in streams:
        os.close(stream)
    in_time, _, _ = select.select([os.pidfd_open(pid)], [], [], request.timeout)
    if not in_time:
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.sendall(json.dumps(code if in_time else None).encode() + b"\n")
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "--load":
        load(Path(sys.argv[2]))
        for name in BESIDE:
            import_module(name)
        raise SystemExit
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(sys.argv[1])
        load(Path(sys.argv[1]).parent)
        gc.collect()
        gc.freeze()  # what is loaded stays in memory that children share
        own.listen(64)
        asked = _serve(own)
    _do(asked)
