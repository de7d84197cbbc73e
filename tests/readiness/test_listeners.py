"""Who listens at an address, told from /proc."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from servers import free_port

from harness import procs
from harness.ownership.identity import RUN_COOKIE
from harness.readiness.listeners import Family, answering, is_silent, stranger_at

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTEN = (
    "import os, socket, sys; one = socket.socket(); one.bind((sys.argv[1], int(sys.argv[2]))); one.listen();"
    "print('listening', flush=True); sys.stdin.read()"
)


@contextmanager
def listening(host: str, port: int, **env: str) -> Iterator[int]:
    """A process that listens at an address until the block ends; its pid."""
    read_end, write_end = os.pipe()
    out, said = os.pipe()
    argv = [sys.executable, "-c", LISTEN, host, str(port)]
    process = procs.spawn(argv, env={**os.environ, **env}, stdin=read_end, output=said)
    os.close(said)
    try:
        assert os.read(out, 100).startswith(b"listening")
        yield process.pid
    finally:
        for fd in (read_end, write_end, out):
            os.close(fd)
        process.wait(10)


def test_an_address_goes_before_the_wildcard() -> None:
    """Of a socket for all addresses and one for just this, the latter must be told: it gets the connections."""
    with socket.socket() as everywhere, socket.socket() as here:
        everywhere.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        everywhere.bind(("0.0.0.0", 0))  # noqa: S104 - this is what is tested
        everywhere.listen()
        port = everywhere.getsockname()[1]
        here.bind(("127.0.3.7", port))
        here.listen()
        assert [there.host for there in answering("127.0.3.7", port)] == ["127.0.3.7"]
        assert [there.host for there in answering("127.0.3.8", port)] == ["0.0.0.0"]  # noqa: S104 - compared


def test_a_stranger_is_named() -> None:
    """Somebody who is not of the environment must be named with pid and command."""
    port = free_port()
    with listening("127.0.0.1", port) as pid:
        told = stranger_at("127.0.0.1", port, Family("an-environment", os.getppid(), os.getppid()))
        # The test's own parent stands above both: what it started is of it.
        assert told == ""
        told = stranger_at("127.0.0.1", port, Family("an-environment", 1 << 30, 1 << 30))
    assert told.startswith(f"pid {pid} ({sys.executable} -c ")


def test_who_belongs_to_an_environment_is_no_stranger() -> None:
    """The service itself, what is below the keeper, and who has the environment's cookie must all be ours."""
    port, nobody = free_port(), 1 << 30
    with listening("127.0.0.1", port, **{RUN_COOKIE: "an-environment"}) as pid:
        assert stranger_at("127.0.0.1", port, Family("another", nobody, pid)) == ""
        assert stranger_at("127.0.0.1", port, Family("another", os.getpid(), nobody)) == ""
        assert stranger_at("127.0.0.1", port, Family("an-environment", nobody, nobody)) == ""
        assert stranger_at("127.0.0.1", port, Family("another", nobody, nobody)) != ""


def test_where_nobody_listens_is_no_stranger() -> None:
    """An address at which nobody listens must not be told as taken."""
    assert stranger_at("127.0.0.1", free_port(), Family("an-environment", 1 << 30, 1 << 30)) == ""


def test_only_what_can_be_seen_is_called_silent() -> None:
    """Silence must be told of a process that is of the container only, and of a port on which nothing listens."""
    groups = Path("/proc/self/cgroup").read_text()
    me, group = os.getpid(), groups.splitlines()[0]
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        assert is_silent(me, group, port)
        assert not is_silent(me, "another container", port)
        assert not is_silent(1 << 30, group, port)
        one.listen()
        assert not is_silent(me, group, port)
