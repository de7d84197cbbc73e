"""Who listens: the kernel's tables are read right, and a socket is told from somebody else's."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from harness import clock, procs
from harness.sockets import Listener, listeners, own_listeners, parse_listeners, sockets_of

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0 0 10 0
   2: 0100007F:1F41 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 103 1 0 100 0 0 10 0
  sl  local_address remote_address st tx_queue
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 104
   1: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 105
   2: 00000000000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 106
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table was written by a machine of the other byte order")
def test_the_kernels_table_is_read() -> None:
    """Sockets that listen, and no others, must be read with address, port and inode from both tables."""
    assert [str(listener) for listener in parse_listeners(TABLE)] == [
        "127.0.0.1:8000",
        "0.0.0.0:8080",
        "[::]:80",
        "127.0.0.1:81",
        "[::1]:82",
    ]
    assert [listener.inode for listener in parse_listeners(TABLE)] == [101, 102, 104, 105, 106]


@pytest.mark.parametrize(
    ("host", "port", "takes"),
    [("127.0.0.1", 80, True), ("127.0.0.2", 80, False), ("127.0.0.1", 81, False)],
)
def test_a_listener_takes_what_is_for_its_address(host: str, port: int, takes: bool) -> None:
    """A socket must take connections for its own address and port, one on every address those for all."""
    assert Listener("127.0.0.1", 80).takes(host, port) is takes
    assert Listener("0.0.0.0", 80).takes(host, port) is (port == 80)  # noqa: S104 - a value
    assert Listener("::", 80).takes(host, port) is (port == 80)


def test_sockets_belong_to_who_holds_them() -> None:
    """What a process and its child listen on must be found as theirs, and what others listen on must not."""
    program = "import socket,os,signal; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1], flush=True)"
    program += "; os.fork(); signal.pause()"
    with socket.create_server(("127.0.0.1", 0)) as mine:
        child = procs.spawn([sys.executable, "-c", program], output=procs.PIPE)
        try:
            assert child.stdout is not None
            with child.stdout:
                port = int(child.stdout.readline())
            for _ in clock.poll(clock.Deadline.after(30)):
                if procs.descendants(child.pid):
                    break
            inodes = sockets_of([child.pid, *procs.descendants(child.pid)])
            assert {listener.port for listener in listeners() if listener.inode in inodes} == {port}
            own = mine.getsockname()[1]
            assert {own, port} <= {listener.port for listener in listeners()}
            inode = next(listener.inode for listener in listeners() if listener.port == own)
            assert inode in sockets_of([os.getpid()])
            assert inode not in sockets_of([child.pid])
        finally:
            procs.kill_group(child.pid, 9)
            child.wait(5)
    assert sockets_of([child.pid]) == frozenset()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_who_listens_here_is_told_alike_by_both_ways_to_ask(family: int, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        told = [[one for one in ask() if one.port == port] for ask in (own_listeners, listeners)]
    assert told[0] == told[1]
    assert [(one.host, one.uid) for one in told[0]] == [(host, os.getuid())]
    assert all(one.inode for one in told[0])
