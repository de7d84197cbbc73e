"""Tests of `harness.helpers.http_plain.Line`: one connection for many requests."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from servers import raw_server

from harness.clock import Deadline, now, poll
from harness.helpers.http_plain import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A server that gives one answer to each request.

    Attributes:
        answer: what it says; "" for nothing.
        closes: whether it closes the connection after an answer, without a word.
        closed: is set when it did.
        connections: how many there were.
        answers: how many a connection has, at most: what comes after them closes it.
    """

    def __init__(self, answer: bytes = ANSWER, *, closes: bool = False, answers: int = 1000) -> None:
        self.answers = answers
        self.answer = answer
        self.closes = closes
        self.closed = threading.Event()
        self.connections = 0

    def serve(self, connection: socket.socket, _: threading.Event) -> None:
        """Answer the requests of a connection until the client hangs up."""
        self.connections += 1
        for turn in itertools.count():
            if not connection.recv(4096) or turn >= self.answers:  # each request is one small packet
                return
            connection.sendall(self.answer)
            if self.closes:
                connection.shutdown(socket.SHUT_RDWR)
                self.closed.set()
                return


@contextlib.contextmanager
def asked(server: Server, timeout: float = 10.0) -> Iterator[Line]:
    """Give a line to a server."""
    with raw_server(server.serve) as port:
        line = Line("127.0.0.1", port, timeout)
        try:
            yield line
        finally:
            line.close()


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED], ids=["length", "chunked"])
def test_requests_share_a_connection(answer: bytes) -> None:
    server = Server(answer)
    with asked(server) as line:
        assert [line.ask(f"/{turn}").body for turn in range(3)] == [b"ok"] * 3
    assert server.connections == 1


@pytest.mark.parametrize("server", [Server(closes=True), Server(LAST)], ids=["silently", "as it says"])
def test_a_connection_that_the_server_has_closed_is_made_again(server: Server) -> None:
    """That a server closes what is idle must be no problem of the next request."""
    with asked(server) as line:
        assert line.ask().body == b"ok"
        if server.closes:
            assert server.closed.wait(10)
        assert line.ask().body == b"ok"
    assert server.connections == 2


def test_a_connection_that_is_closed_as_a_request_comes_is_made_again_once() -> None:
    """That the server closes what is idle just now must be none either; that a new one has no answer is one."""
    server = Server(answers=1)
    with asked(server) as line:
        assert [line.ask().body for _ in range(2)] == [b"ok"] * 2
        server.answers = 0
        assert "RemoteDisconnected" in line.ask().problem
    assert server.connections == 3


def test_each_request_has_all_of_its_time_and_no_more() -> None:
    """Time between two requests must not count, one without an answer must end in time, and the next one be new."""
    server = Server()
    with asked(server, timeout=0.3) as line:
        assert line.ask().body == b"ok"
        begun = now()
        server.answer = b""
        assert line.ask().problem == "no answer in 0.3 s"
        assert 0.2 < now() - begun < 5
        server.answer = ANSWER
        assert line.ask().body == b"ok"
        for _ in poll(Deadline.after(0.4)):  # longer than a request may take
            pass
        assert line.ask().body == b"ok"
    assert server.connections == 2
