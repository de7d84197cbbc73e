from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from servers import Web, free_port, raw_server

from harness import WaitTimeout
from harness.clock import now
from harness.helpers import http

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


def head(connection: socket.socket) -> None:
    """Read a request up to its body."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(4096)


def reset(connection: socket.socket, _: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closes(connection: socket.socket, _: threading.Event) -> None:
    head(connection)


def says(answer: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Return a server that answers with these bytes and closes."""

    def serve(connection: socket.socket, _: threading.Event) -> None:
        head(connection)
        connection.sendall(answer)

    return serve


def drips(first: bytes, drop: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Return a server that sends ``first`` and then ``drop`` every 50 ms for ever."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        head(connection)
        connection.sendall(first)
        while not over.wait(0.05):
            connection.sendall(drop)

    return serve


@pytest.mark.parametrize(
    ("serve", "problem"),
    [
        (closes, "RemoteDisconnected: Remote end closed connection without response"),
        (says(b"SSH-2.0-nothing\x1b[31m\r\n"), "BadStatusLine: SSH-2.0-nothing\\x1b[31m"),
        (says(b"\x00\xff\xfe" * 50_000), "LineTooLong: got more than 65536 bytes when reading status line"),
        (
            says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
            "IncompleteRead: IncompleteRead(4 bytes read, 96 more expected)",
        ),
        (
            says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
            "IncompleteRead: IncompleteRead(0 bytes read)",
        ),
        (
            says(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n"),
            "HTTPException: got more than 100 headers",
        ),
    ],
    ids=["closes", "no-http", "long-line", "half-a-body", "bad-chunk", "too-many-headers"],
)
def test_a_bad_answer_is_told_and_not_raised(
    serve: Callable[[socket.socket, threading.Event], None], problem: str
) -> None:
    """Whatever a server does wrong must come back as an answer with status 0 that says what it was."""
    with raw_server(serve) as port:
        answer = http.ask("127.0.0.1", port)
    assert (answer.status, str(answer)) == (0, problem)


def test_a_refused_connection_is_told() -> None:
    """Where nothing listens, the answer must say that the connection was refused."""
    answer = http.ask("127.0.0.1", free_port())
    assert (answer.status, answer.problem) == (0, "ConnectionRefusedError: [Errno 111] Connection refused")


def test_a_reset_connection_is_told() -> None:
    """A connection that is reset must be told, not raised."""
    with raw_server(reset) as port:
        answer = http.ask("127.0.0.1", port)
    assert answer.status == 0
    assert answer.problem.startswith(("ConnectionResetError: ", "BrokenPipeError: "))


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b""),
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silent", "status", "headers", "body", "continue"],
)
def test_the_time_out_holds_for_the_whole_answer(first: bytes, drop: bytes) -> None:
    """A server that drips bytes must not keep a request longer than its time-out."""
    with raw_server(drips(first, drop)) as port:
        start = now()
        answer = http.ask("127.0.0.1", port, timeout=0.4)
        spent = now() - start
    assert (answer.status, answer.problem) == (0, "no answer in 0.4 s")
    assert 0.35 < spent < 0.8


def test_the_time_out_is_not_begun_anew() -> None:
    """A server that says something late and then nothing must get what is left of the time-out, not all of it again."""

    def late(connection: socket.socket, over: threading.Event) -> None:
        head(connection)
        over.wait(0.35)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        over.wait(10)

    with raw_server(late) as port:
        start = now()
        answer = http.ask("127.0.0.1", port, timeout=0.5)
        spent = now() - start
    assert answer.problem == "no answer in 0.5 s"
    assert spent < 0.75


def test_a_huge_body_is_cut() -> None:
    """Of a body without an end, only 4 MiB must be read."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.is_set():
            connection.sendall(b"x" * (1 << 16))

    with raw_server(serve) as port:
        answer = http.ask("127.0.0.1", port, timeout=5)
    assert (answer.status, len(answer.body)) == (200, 4 * 1024 * 1024)


def test_a_request_is_sent_as_given_and_its_answer_returned() -> None:
    """Method, path, headers and body must reach the server, and status, headers and body come back."""
    with Web((201, b'{"id": 7}')).running() as web:
        answer = http.ask("127.0.0.1", web.port, "/a?b=c", method="PUT", body=b"data", headers={"X-Test": "yes"})
    assert web.asked == [("PUT", "/a?b=c", b"data")]
    assert web.headers[0]["x-test"] == "yes"
    assert (answer.status, answer.json(), answer.headers["x-served-by"]) == (201, {"id": 7}, "Web")
    assert str(answer) == "status 201, '{\"id\": 7}'"


def test_a_redirect_is_not_followed() -> None:
    """A redirect must come back as what it is."""
    with raw_server(says(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")) as port:
        answer = http.ask("127.0.0.1", port)
    assert (answer.status, answer.headers["location"]) == (302, "/elsewhere")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000], ids=["empty", "half", "bytes", "deep"])
def test_what_is_no_json_raises_value_error(body: bytes) -> None:
    """A body that is no JSON must raise ValueError and nothing else."""
    with pytest.raises(ValueError, match=r"."):
        http.Answer(200, body).json()


@pytest.mark.parametrize(
    ("document", "wanted", "words"),
    [
        ({"status": "green"}, {"status": "green"}, ""),
        ({"a": {"b": [1, {"c": None}]}}, {"a.b.1.c": None, "a.b.0": 1}, ""),
        ({}, {}, ""),
        ({"status": "red"}, {"status": "green"}, "status is 'red', 'green' was needed"),
        ({"a": {}}, {"a.b": 1}, "no a.b in the answer"),
        ({"a": [1]}, {"a.1": 1}, "no a.1 in the answer"),
        ({"a": "text"}, {"a.0": "t"}, "no a.0 in the answer"),
        ([1], {"x": 1}, "no x in the answer"),
        (None, {"x": 1}, "no x in the answer"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "b is 2, 3 was needed"),
    ],
)
def test_a_document_is_compared_by_dotted_paths(document: Any, wanted: dict[str, Any], words: str) -> None:
    """The first path that differs must be named with what is there, and "" returned when none does."""
    assert http.json_mismatch(document, wanted) == words


def test_a_wait_ends_with_the_first_wanted_answer() -> None:
    """Answers with another status or content must be passed over until the wanted one comes."""
    with Web((503, b""), (503, b""), (200, b"no"), (200, b"yes"), (200, b"later")).running() as web:
        answer = http.wait_for(web.endpoint, "/x", wanted=lambda one: one.body != b"no", timeout=5)
    assert answer.body == b"yes"
    assert web.asked == [("GET", "/x", b"")] * 4


def test_a_wait_accepts_the_given_statuses() -> None:
    """A status that is asked for must end the wait although it is no success."""
    with Web((404, b"gone")).running() as web:
        assert http.wait_for(web.endpoint, status=(404, 410), timeout=5).body == b"gone"


def test_a_wait_that_fails_tells_the_last_answer() -> None:
    """At the deadline the error must hold the URL, the time and the last answer."""
    with Web((200, b"other"), (503, b"busy")).running() as web, pytest.raises(WaitTimeout) as caught:
        http.wait_for(web.endpoint, "/x", status=(200, 204), wanted=lambda one: one.body == b"ready", timeout=0.2)
    assert str(caught.value) == (
        f"http://{web.endpoint}/x did not answer as wanted in 0.2 s; last: status 503, 'busy'\n"
        "  wanted: status 200, 204"
    )


def test_a_wait_where_nothing_listens_tells_why() -> None:
    """At the deadline the error must tell why nothing answered."""
    port = free_port()
    with pytest.raises(WaitTimeout) as caught:
        http.wait_for(f"127.0.0.1:{port}", timeout=0.1)
    assert caught.value.summary == (
        f"http://127.0.0.1:{port}/ did not answer as wanted in 0.1 s; "
        "last: ConnectionRefusedError: [Errno 111] Connection refused"
    )
