"""Tests of `harness.helpers.http_plain.Line`: one connection for many requests."""

from __future__ import annotations

import contextlib
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
    """

    def __init__(self, answer: bytes = ANSWER, *, closes: bool = False) -> None:
        self.answer = answer
        self.closes = closes
        self.closed = threading.Event()
        self.connections = 0

    def serve(self, connection: socket.socket, _: threading.Event) -> None:
        """Answer the requests of a connection until the client hangs up."""
        self.connections += 1
        while connection.recv(4096):  # each request is one small packet
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
