"""Python commands in children of a process that has loaded what they need, since loading is most of what they cost."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import fresh_server
from fresh_server import Request

from harness import procs
from harness.clock import Aside, Deadline, poll

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BUDGET = 60.0


class Starter:
    """Runs Python commands in children of one process, which is there until ``close``."""

    def __init__(self, folder: Path) -> None:
        self._address = str(folder / "socket")
        argv = [sys.executable, fresh_server.__file__, self._address]
        self._server = procs.spawn(argv, cwd=folder, output=procs.DEVNULL)

    def run(
        self, words: Sequence[str], *, timeout: float, env: Mapping[str, str], cwd: str | os.PathLike[str]
    ) -> procs.Finished:
        """Do what ``procs.run([sys.executable, *words], ...)`` does."""
        request = Request(tuple(words), os.fspath(cwd), dict(env), timeout)
        (out, its_out), (err, its_err) = os.pipe(), os.pipe()
        texts = [Aside(partial(_all_of, end)) for end in (out, err)]
        with self._connected() as connection, Path(os.devnull).open("rb") as nothing:
            socket.send_fds(
                connection, [json.dumps(asdict(request)).encode() + b"\n"], [nothing.fileno(), its_out, its_err]
            )
            os.close(its_out)
            os.close(its_err)
            connection.settimeout(timeout + 10)
            with connection.makefile() as answer:
                code: int | None = json.loads(answer.readline())
        assert all(text.is_over(10) for text in texts), f"{words} has ended, and something holds its output"
        output, errors = (text.result().decode(errors="replace") for text in texts)
        return procs.Finished((sys.executable, *words), code, output, errors)

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        for _ in poll(Deadline.after(BUDGET)):
            if Path(self._address).exists() and not connection.connect_ex(self._address):
                return connection
            assert self._server.poll() is None
        raise AssertionError(self._address)

    def close(self) -> None:
        """End the process that commands are children of; one that still loads would answer TERM too late."""
        self._server.kill()
        self._server.wait(10)


def _all_of(descriptor: int) -> bytes:
    with open(descriptor, "rb") as stream:
        return stream.read()
