"""A program that runs ``harness`` in children of its own, having loaded it once: ``fresh.py SOCKET``.

Loading is most of what a command costs that is refused. A request is one line of JSON, a ``Request``; the answer is the
exit code, as ``procs.Finished`` has it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import socketserver
import sys
import traceback
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import NoReturn

from harness import invoke_tasks, procs

LOADED = (
    "docker",
    "harness.engine.compose.hands",
    "harness.helpers.kafka",
    "harness.verbs.run",
    "harness.runs.launching",
    "harness.runs.run",
)


@dataclass(frozen=True)
class Request:
    """A command: its words after ``harness``, where it runs, with what, where its output goes, and how long it may."""

    words: tuple[str, ...]
    folder: str
    environ: dict[str, str]
    stdout: str
    stderr: str
    timeout: float


def ask(path: str, request: Request) -> int | None:
    """Have a command run by the program that listens at ``path``; return its exit code, None after its time-out."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(request.timeout + 10)
        connection.connect(path)
        connection.sendall(json.dumps(asdict(request)).encode() + b"\n")
        with connection.makefile() as answer:
            code: int | None = json.loads(answer.readline())
            return code


def _become(request: Request) -> None:
    """Be a process that was just started for a command."""
    os.setsid()
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environ)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate((request.stdout, request.stderr), 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.path[0] = ""  # as with ``python -c``
    sys.argv = ["harness", *request.words]


def _run(request: Request) -> NoReturn:
    """Run a command in this process, to its end."""
    code: object = 1
    try:
        _become(request)
        invoke_tasks.main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - told as the interpreter would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        table = json.loads(self.rfile.readline())
        request = Request(**{**table, "words": tuple(table["words"])})
        pid = os.fork()
        if not pid:
            self.connection.close()
            _run(request)
        in_time = procs.wait_gone(pid, procs.start_time_of(pid) or 0, request.timeout)
        if not in_time:
            procs.kill_group(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.wfile.write(json.dumps(code if in_time else None).encode() + b"\n")


class _Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 64
    max_children = 64
    parent = os.getppid()

    def service_actions(self) -> None:
        super().service_actions()
        if os.getppid() != self.parent:
            raise SystemExit


if __name__ == "__main__":
    for name in LOADED:
        import_module(name)
    gc.freeze()  # what is loaded stays in memory that children share
    with _Server(sys.argv[1], _Handler) as server:
        server.serve_forever()
