"""The deployer on HTTP: who comes without the token, too much, too little or at once with many others."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from harness.deployer.asking import ListAll, Refusal
from harness.deployer.server import CONNECTIONS, Server
from harness.helpers import http

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.deployer.asking import Asked

TOKEN = "quite-right"


class Doer:
    """Counts what is asked for; ``fails`` is raised instead of an answer."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.fails: Exception | None = None

    def do(self, asked: Asked) -> tuple[int, dict[str, object] | str]:
        """Note it."""
        self.asked.append(asked)
        if self.fails:
            raise self.fails
        return 200, {"instances": []}


class Served:
    """A server that runs, and what it said."""

    def __init__(self) -> None:
        self.doer, self.said = Doer(), list[str]()
        self.server = Server(("127.0.0.1", 0), TOKEN, self.doer, self.said.append)
        self.place = ("127.0.0.1", int(self.server.server_address[1]))

    def send(self, *parts: bytes) -> bytes:
        """Send raw bytes; return all that comes back."""
        with socket.create_connection(self.place, timeout=30) as connection:
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.fixture
def served() -> Iterator[Served]:
    """A server on loopback."""
    made = Served()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_without_the_token_nothing_is_done(served: Served) -> None:
    """Who has no token, as the probe, must be told so, also with a body, and be no line of the log."""
    head = b"POST /instances HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n"
    answer = served.send(head, b"x" * 50_000)
    assert answer.startswith(b"HTTP/1.0 401 ")
    assert served.doer.asked == []
    assert served.said == []


def test_who_has_another_token_is_in_the_log(served: Served) -> None:
    """A wrong token must be told and be one line of the log, without it or the right one."""
    answer = http.ask(*served.place, "/instances", headers={"Authorization": "Bearer secret"})
    assert answer.status == 401
    assert served.doer.asked == []
    (line,) = served.said
    assert line.startswith("GET /instances -> 401: the header Authorization has no or another token")
    assert "secret" not in line
    assert TOKEN not in line


def test_who_has_it_is_served_and_it_is_not_said(served: Served) -> None:
    """The answer must come, and the token be in no line of the log."""
    answer = http.ask(*served.place, "/instances", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.json() == {"instances": []}
    assert served.doer.asked == [ListAll()]
    assert served.said == ["GET /instances -> 200"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 70000", 413),
        (b"Content-Length: 99999999999999999999", 413),
        (b"Content-Length: -1", 400),
        (b"Content-Length: x", 400),
        (b"Transfer-Encoding: chunked", 400),
        (b"Content-Length: 7", 400),
    ],
)
def test_a_body_that_cannot_be_is_refused(served: Served, head: bytes, status: int) -> None:
    """Too much, too little and what has no length must be told by their status, however much of it comes."""
    body = b"x" * {b"Content-Length: 70000": 70_000, b"Transfer-Encoding: chunked": 700_000}.get(head, 1)
    request = b"POST /instances HTTP/1.1\r\nAuthorization: Bearer quite-right\r\n" + head + b"\r\n\r\n"
    assert served.send(request, body).startswith(b"HTTP/1.0 %d " % status)
    assert served.doer.asked == []


def test_what_goes_wrong_is_an_answer(served: Served) -> None:
    """A refusal must come with its log, any other error be 500, and the next request be served."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    served.doer.fails = Refusal(422, "it ended", "last words")
    answer = http.ask(*served.place, "/instances", headers=headers)
    assert (answer.status, answer.json()) == (422, {"error": "it ended", "log": "last words"})
    served.doer.fails = KeyError("x")
    assert http.ask(*served.place, "/instances", headers=headers).status == 500
    served.doer.fails = None
    assert http.ask(*served.place, "/instances", headers=headers).status == 200


def test_those_that_say_nothing_keep_nobody_out_for_long(served: Served) -> None:
    """Many connections at once must all be answered, while some say nothing."""
    silent = [socket.create_connection(served.place, timeout=30) for _ in range(CONNECTIONS // 2)]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with ThreadPoolExecutor(max_workers=50) as pool:
        answers = list(pool.map(lambda _: http.ask(*served.place, "/instances", headers=headers).status, range(100)))
    assert answers == [200] * 100
    for connection in silent:
        connection.close()
