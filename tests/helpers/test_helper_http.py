from __future__ import annotations

import contextlib
import re
import socket
import struct
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import requests
from servers import Web, free_port, raw_server

from harness import ConfigError, HarnessError, WaitTimeout, procs
from harness.clock import add_guard, now, remove_guard
from harness.helpers import http

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def head(connection: socket.socket) -> None:
    """Read a request up to its body. Raises OSError when the client hangs up before."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(4096)
        if not chunk:
            raise ConnectionAbortedError
        received += chunk


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
    assert 0.35 < spent < 30


def test_the_time_out_is_not_begun_anew() -> None:
    """A server that says something late and then nothing must get what is left of the time-out, not all of it again."""

    def late(connection: socket.socket, over: threading.Event) -> None:
        head(connection)
        over.wait(2.7)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        over.wait(60)

    with raw_server(late) as port:
        start = now()
        answer = http.ask("127.0.0.1", port, timeout=3)
        spent = now() - start
    assert answer.problem == "no answer in 3 s"
    assert spent < 5


def test_a_huge_body_is_cut() -> None:
    """Of a body without an end, only 4 MiB must be read."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.is_set():
            connection.sendall(b"x" * (1 << 16))

    with raw_server(serve) as port:
        answer = http.ask("127.0.0.1", port, timeout=30)
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
        ({"of": {"token": "s3cr3t"}}, {"of.token": "none"}, "of.token is another"),
        ({"of": {"token": "s3cr3t"}}, {"of": {}}, 'of is {"token": "..."}, {} was needed'),
        ({"a": {"\u00e4": "\ud800"}}, {"a": 1}, 'a is {"\u00e4": "\\ud800"}, 1 was needed'),
        ({"a": "b" * 999}, {"a": 1}, f"a is '{'b' * 199}..., 1 was needed"),
    ],
)
def test_a_document_is_compared_by_dotted_paths(document: Any, wanted: dict[str, Any], words: str) -> None:
    """The first path that differs must be named with what is there, and "" returned when none does."""
    assert http.json_mismatch(document, wanted) == words


def test_a_wait_ends_with_the_first_wanted_answer() -> None:
    """Answers with another status or content must be passed over until the wanted one comes."""
    with Web((503, b""), (503, b""), (200, b"no"), (200, b"yes"), (200, b"later")).running() as web:
        answer = http.wait_for(web.endpoint, "/x", wanted=lambda answer: answer.body != b"no", timeout=30)
    assert answer.body == b"yes"
    assert web.asked == [("GET", "/x", b"")] * 4


def test_a_wait_accepts_the_given_statuses() -> None:
    """A status that is asked for must end the wait although it is no success."""
    with Web((404, b"gone")).running() as web:
        assert http.wait_for(web.endpoint, status=(404, 410), timeout=30).body == b"gone"


def test_a_wait_that_fails_tells_the_last_answer() -> None:
    """At the deadline the error must hold the URL, the time, what was not as wanted, and the last answer."""
    with Web((200, b"other"), (503, b"busy")).running() as web, pytest.raises(WaitTimeout) as caught:
        http.wait_for(web.endpoint, "/x", status=(200, 204), wanted=lambda answer: answer.body == b"ready", timeout=0.2)
    first, *lines, asked = str(caught.value).splitlines()
    assert first == f"http://{web.endpoint}/x in 0.2 s: status 503; status 200 or 204 was needed"
    assert lines[0] == "  last: status 503, 4 bytes"
    assert lines[1] == "    content-length: 4"
    assert lines[-1] == "    'busy'"
    assert re.fullmatch(r"  asked \d+ times", asked)


def test_a_wait_where_nothing_listens_tells_why() -> None:
    """At the deadline the error must tell why nothing answered."""
    port = free_port()
    with pytest.raises(WaitTimeout) as caught:
        http.wait_for(f"127.0.0.1:{port}", timeout=0.1)
    assert caught.value.summary == (
        f"http://127.0.0.1:{port}/ in 0.1 s: ConnectionRefusedError: [Errno 111] Connection refused; "
        "status 200 was needed"
    )


def holds(_: object) -> bool:
    return False


@pytest.mark.parametrize(
    ("conditions", "missing"),
    [
        ({}, ""),
        ({"status": (404,)}, "status 200; status 404 was needed"),
        ({"headers": {"X-State": "ready"}}, ""),
        ({"headers": {"x-state": re.compile("^is re")}}, ""),
        ({"headers": {"X-State": "done"}}, "header X-State is not 'done'"),
        ({"headers": {"X-State": re.compile("^re")}}, "header X-State is not /^re/"),
        ({"headers": {"X-Other": ""}}, "no header X-Other"),
        ({"body": '"a": 1'}, ""),
        ({"body": re.compile(r"\d, 5")}, ""),
        ({"body": "b"}, "no 'b' in the body"),
        ({"body": re.compile("^x")}, "no /^x/ in the body"),
        ({"json": {"a": 1, "c.1": 5}}, ""),
        ({"json": {"a": 2}}, "a is 1, 2 was needed"),
        ({"json": lambda document: document["c"][1] == 5}, ""),
        ({"json": lambda document: document["none"]}, "the condition does not hold for the document: KeyError: 'none'"),
        (
            {"json": lambda document: document["c"][9]},
            "the condition does not hold for the document: IndexError: list index out of range",
        ),
        ({"json": lambda document: document["a"]["b"]}, "the condition does not hold for the document: TypeError: "),
        ({"json": holds}, "holds does not hold for the document"),
        ({"wanted": lambda answer: answer.status == 200}, ""),
        ({"wanted": holds}, "holds does not hold for the answer"),
        ({"status": (200,), "body": "c", "json": {"a": 1}, "wanted": holds}, "holds does not hold for the answer"),
    ],
)
def test_an_answer_is_compared_with_what_is_wanted(conditions: http.Conditions, missing: str) -> None:
    """The first condition that does not hold must be told in words, and "" when all hold."""
    answer = http.Answer(200, b'{"a": 1, "c": [4, 5]}', {"x-state": "is ready"})
    words = http.Wanted(**conditions).missing(answer)
    assert words == missing or (missing.endswith(": ") and words.startswith(missing))


def test_a_document_is_awaited_while_the_answer_is_none() -> None:
    """An answer that is no JSON, or not yet the document, must be passed over."""
    with Web((200, b"starting"), (200, b"{}"), (200, b'{"n": 1}'), (200, b'{"n": 2}')).running() as web:
        answer = http.wait_for(f"http://{web.endpoint}/v1/", "/x", json=lambda document: document["n"] == 2, timeout=30)
    assert answer.json() == {"n": 2}
    assert web.asked == [("GET", "/v1/x", b"")] * 4


LOGIN = (
    b"HTTP/1.1 302 Found\r\nSet-Cookie: id=s3cr3t\r\nAuthorization: Basic s3cr3t\r\nX-Api-Key: s3cr3t\r\n"
    b"Location: /next?user=me&access_token=s3cr3t\r\nContent-Type: application/json\r\n"
    b'Content-Length: 53\r\n\r\n{"user": "me", "refresh_token": "s3cr3t\\"s3cr3t", "n": 1}'[:999]
)


def test_no_secret_is_told() -> None:
    """Neither credentials in headers nor secrets in URLs and documents may be in an error or a representation."""
    with raw_server(says(LOGIN)) as port, pytest.raises(WaitTimeout) as caught:
        http.wait_for(f"127.0.0.1:{port}", "/x?api_key=s3cr3t&page=2", timeout=0.2)
    told = str(caught.value)
    assert "s3cr3t" not in told
    assert "/x?api_key=...&page=2" in told
    assert "    location: /next?user=me&access_token=..." in told.splitlines()
    assert '"user": "me", "refresh_token": "..."' in told
    with raw_server(says(LOGIN)) as port:
        answer = http.ask("127.0.0.1", port)
    assert answer.headers["set-cookie"] == "id=s3cr3t"
    assert "s3cr3t" not in f"{answer!r} {answer}"


def test_localhost_is_never_asked_over_ipv6() -> None:
    """Where a stranger listens on ::1 with the same port, ``localhost`` must be the server on 127.0.0.1."""
    with Web((200, b"ours")).running() as web, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where there is no IPv6 there is no stranger either
            stack.enter_context(socket.create_server(("::1", web.port), family=socket.AF_INET6))
        assert http.ask("localhost", web.port, timeout=20).body == b"ours"
        with http.Session(f"localhost:{web.port}", timeout=20) as session:
            assert session.get("/").content == b"ours"
    assert web.headers[0]["host"] == f"localhost:{web.port}"


@pytest.mark.parametrize(
    "endpoint", ["", "127.0.0.1", "127.0.0.1:x", "https://127.0.0.1:1", "http://u:s3cr3t@h:1", "/x"]
)
def test_what_is_no_endpoint_is_told(endpoint: str) -> None:
    """An endpoint that is none must be told at once, without what may be a password in it."""
    for use in (http.Session, http.wait_for):
        with pytest.raises(ConfigError, match=r"^Endpoint .* is not host:port") as caught:
            use(endpoint)
        assert "s3cr3t" not in str(caught.value)


# -- session ---------------------------------------------------------------------------------------------------------


def test_a_session_sends_what_requests_would() -> None:
    """Headers, credentials, parameters and JSON must be sent, and the base path go before each path."""
    with (
        Web((201, b'{"id": 7}')).running() as web,
        http.Session(f"http://{web.endpoint}/api/", headers={"X-Test": "yes"}) as session,
    ):
        session.auth = ("me", "s3cr3t")
        answer = session.post("/things", json={"a": 1}, params={"p": "q"})
    assert (answer.status_code, answer.json()) == (201, {"id": 7})
    assert web.asked == [("POST", "/api/things?p=q", b'{"a": 1}')]
    assert (web.headers[0]["x-test"], web.headers[0]["authorization"]) == ("yes", "Basic bWU6czNjcjN0")
    assert "s3cr3t" not in repr(session)


def test_a_session_keeps_cookies() -> None:
    """A cookie that the service sets must come back to it."""
    came: list[bytes] = []

    def serve(connection: socket.socket, _: threading.Event) -> None:
        came.append(connection.recv(4096))
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: id=42; Path=/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )

    with raw_server(serve) as port, http.Session(f"127.0.0.1:{port}") as session:
        session.get("/login")
        session.get("/")
        assert session.cookies["id"] == "42"
    assert [b"Cookie: id=42" in request for request in came] == [False, True]


def test_a_session_begins_each_request_on_a_connection_of_its_own() -> None:
    """A server that closes its connections, or that was restarted, must not fail the next request."""
    closing = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with raw_server(closing) as port, http.Session(f"127.0.0.1:{port}") as session:
        assert {session.get("/").status_code for _ in range(200)} == {200}


def test_a_session_ignores_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a proxy nor credentials of the user's files may be used, not even for a session's own ``proxies``."""
    with Web((200, b"")).running() as web, Web((502, b"")).running() as proxy:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cr3t\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.endpoint}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with http.Session(web.endpoint) as session:
            session.proxies["http"] = f"http://{proxy.endpoint}"
            assert session.get("/").status_code == 200
    assert proxy.asked == []
    assert "authorization" not in web.headers[0]


@pytest.mark.parametrize("url", ["x", "", "http://127.0.0.1:1/", "HTTPS://elsewhere/", "//elsewhere/x", "/@elsewhere/"])
def test_a_session_leaves_its_endpoint_for_no_url(url: str) -> None:
    """Whatever the URL, a session must ask its endpoint or refuse."""
    with Web((200, b"")).running() as web, http.Session(web.endpoint) as session:
        if url.startswith("/"):
            session.get(url)
        else:
            with pytest.raises(ConfigError, match=r"takes paths that begin with /"):
                session.get(url)
    assert [path for _, path, _ in web.asked] == (["/" + url.lstrip("/")] if url.startswith("/") else [])


def redirects(location: str) -> Callable[[socket.socket, threading.Event], None]:
    return says(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())


def test_a_redirect_to_another_host_is_refused() -> None:
    """A redirect that leaves the endpoint must be an error that names the place, and nothing may be sent there."""
    with (
        Web((200, b"")).running() as other,
        raw_server(redirects(f"http://{other.endpoint}/x?token=s3cr3t")) as port,
        http.Session(f"127.0.0.1:{port}", headers={"Authorization": "s3cr3t"}) as session,
    ):
        with pytest.raises(HarnessError) as caught:
            session.get("/")
        assert session.get("/", allow_redirects=False).status_code == 302
    assert str(caught.value) == (
        f"http://127.0.0.1:{port} redirects to http://{other.endpoint}/x?token=..., which is not this endpoint"
    )
    assert other.asked == []


def test_a_redirect_within_the_endpoint_is_followed() -> None:
    """A redirect to another path, be it as a full URL, must be followed."""
    came: list[bytes] = []

    def serve(connection: socket.socket, _: threading.Event) -> None:
        came.append(connection.recv(4096).split()[1])
        port = connection.getsockname()[1]
        steps = {b"/a": "/b", b"/b": f"http://localhost:{port}/c"}
        answer = f"302 Found\r\nLocation: {steps[came[-1]]}" if came[-1] in steps else "200 OK"
        connection.sendall(f"HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())

    with raw_server(serve) as port, http.Session(f"127.0.0.1:{port}") as session:
        assert session.get("/a").status_code == 200
    assert came == [b"/a", b"/b", b"/c"]


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["silent", "headers", "body", "chunks"],
)
@pytest.mark.parametrize("retries", [None, http.Retries()])
def test_the_time_out_of_a_session_holds_for_the_whole_request(
    first: bytes, drop: bytes, retries: http.Retries | None
) -> None:
    """A server that drips bytes must not keep a request longer than the session's time-out, repetitions included."""
    tries: list[socket.socket] = []

    def serve(connection: socket.socket, over: threading.Event) -> None:
        tries.append(connection)
        drips(first, drop)(connection, over)

    with (
        raw_server(serve) as port,
        http.Session(f"127.0.0.1:{port}", timeout=0.4, retries=retries) as session,
    ):
        start = now()
        with pytest.raises(http.TooLate) as caught:
            session.get("/")
        spent = now() - start
    assert str(caught.value).splitlines()[0] == f"GET http://127.0.0.1:{port}/: no answer in 0.4 s"
    assert isinstance(caught.value, WaitTimeout)
    assert isinstance(caught.value, requests.Timeout)
    assert 0.35 < spent < 30
    assert len(tries) == 1


def test_the_time_out_holds_for_all_redirects_together() -> None:
    """Redirects that come slowly must not begin the time-out anew."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        head(connection)
        over.wait(0.3)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    with raw_server(serve) as port, http.Session(f"127.0.0.1:{port}") as session:
        start = now()
        with pytest.raises(http.TooLate):
            session.get("/", timeout=1)
    assert 0.95 < now() - start < 6  # long before the thirtieth redirect


@pytest.mark.parametrize("timeout", [0, -1, (1, 2), "5"])
def test_a_time_out_that_is_none_is_refused(timeout: Any) -> None:
    """What is no number of seconds must be refused before anything is sent."""
    with (
        Web((200, b"")).running() as web,
        http.Session(web.endpoint) as session,
        pytest.raises(ConfigError, match=r"^timeout=.*: seconds for the whole request are needed$"),
    ):
        session.get("/", timeout=timeout)
    assert web.asked == []


def test_a_streamed_answer_keeps_the_time_out() -> None:
    """The body of an answer that is streamed must not take longer than the request's time-out either."""
    with raw_server(drips(b"HTTP/1.1 200 OK\r\n\r\n", b"x")) as port, http.Session(f"127.0.0.1:{port}") as session:
        start = now()
        answer = session.get("/", stream=True, timeout=0.4)
        with pytest.raises(requests.RequestException):
            list(answer.iter_content(1))
    assert now() - start < 30


def test_an_endless_answer_is_not_held() -> None:
    """An answer that goes on without an end must be an error before it fills the memory."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.is_set():
            connection.sendall(b"x" * (1 << 16))

    with (
        raw_server(serve) as port,
        http.Session(f"127.0.0.1:{port}", timeout=30) as session,
        pytest.raises(http.NoAnswer, match="the answer is too large to be held in memory"),
    ):
        session.get("/")


def test_a_failure_of_a_session_is_told() -> None:
    """An error must be one of ours and one of requests, and show no secret of the URL."""
    port, secret = free_port(), {"token": "s3cr3t"}
    with http.Session(f"127.0.0.1:{port}") as session, pytest.raises(http.NoAnswer) as caught:
        session.get("/x", params=secret)
    assert str(caught.value) == (
        f"GET http://127.0.0.1:{port}/x?token=...: ConnectionRefusedError: [Errno 111] Connection refused\n"
        "  ConnectionRefusedError: [Errno 111] Connection refused"
    )
    assert isinstance(caught.value, HarnessError)
    assert isinstance(caught.value, requests.ConnectionError)
    told = traceback.TracebackException.from_exception(caught.value)
    assert "s3cr3t" not in "".join(told.format_exception_only())
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


# -- repetitions -----------------------------------------------------------------------------------------------------


def test_nothing_is_repeated_unless_asked() -> None:
    """Without retries, a test must see the first answer."""
    with Web((503, b""), (200, b"")).running() as web, http.Session(web.endpoint) as session:
        assert session.get("/").status_code == 503
    assert len(web.asked) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_answer_is_tried_again(status: int) -> None:
    """An answer that passes by itself must be tried again until another comes."""
    with (
        Web((status, b""), (status, b""), (404, b"")).running() as web,
        http.Session(web.endpoint, retries=http.Retries()) as session,
    ):
        assert session.put("/x", data=b"same").status_code == 404
    assert web.asked == [("PUT", "/x", b"same")] * 3


@pytest.mark.parametrize("retries", [http.Retries(), http.Retries(methods=http.IDEMPOTENT | {"POST"})])
def test_a_post_is_repeated_only_when_asked(retries: http.Retries) -> None:
    """A method that may not be repeated must be sent once, unless the policy names it."""
    with (
        Web((503, b""), (201, b"")).running() as web,
        http.Session(web.endpoint, retries=retries) as session,
    ):
        answer = session.post("/", data=b"x")
    assert [answer.status_code, len(web.asked)] == ([201, 2] if "POST" in retries.methods else [503, 1])


def flaky(failures: int, fail: Callable[[socket.socket, threading.Event], None]) -> Any:
    """Return a server of which the first connections fail."""
    left = [failures]

    def serve(connection: socket.socket, over: threading.Event) -> None:
        if left[0]:
            left[0] -= 1
            fail(connection, over)
        else:
            says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(connection, over)

    return serve


@pytest.mark.parametrize("fail", [reset, closes])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_broken_connection_is_tried_again(fail: Any, method: str) -> None:
    """A connection that breaks before the answer must be tried again, but not for what may not be repeated."""
    with (
        raw_server(flaky(3, fail)) as port,
        http.Session(f"127.0.0.1:{port}", retries=http.Retries(pause=0.01)) as session,
    ):
        if method == "GET":
            assert session.get("/").status_code == 200
        else:
            with pytest.raises(http.NoAnswer) as caught:
                session.post("/")
            assert len(caught.value.details) == 1


def test_a_refused_post_is_not_repeated() -> None:
    """What may not be repeated must not be, even where nobody listened."""
    nobody = f"127.0.0.1:{free_port()}"
    with http.Session(nobody, retries=http.Retries()) as session, pytest.raises(http.NoAnswer) as caught:
        session.post("/")
    assert caught.value.details == ("  ConnectionRefusedError: [Errno 111] Connection refused",)


def test_a_service_that_comes_late_is_reached() -> None:
    """A refused connection must be tried again until the service listens, within the time-out."""
    port = free_port()
    held: list[socket.socket] = []

    def listen() -> None:
        held.append(socket.create_server(("127.0.0.1", port)))
        connection, _ = held[0].accept()
        with connection:
            says(b"HTTP/1.1 204 No Content\r\n\r\n")(connection, threading.Event())

    timer = threading.Timer(0.3, listen)
    timer.start()
    try:
        with http.Session(f"127.0.0.1:{port}", retries=http.Retries()) as session:
            assert session.get("/", timeout=30).status_code == 204
    finally:
        timer.join()
        for connection in held:
            connection.close()


def test_repetitions_end_with_the_time_out() -> None:
    """When the time is up, the last answer must be returned, and a failure told with what each try gave."""
    # The last pause (2.56 s, after 2.54 s) does not fit by a little, so that the last try had half of the time.
    retries = http.Retries(pause=0.02, longest=60)
    with Web((503, b"busy")).running() as web, http.Session(web.endpoint, timeout=5, retries=retries) as session:
        start = now()
        assert session.get("/").text == "busy"
        assert now() - start < 30
    assert len(web.asked) > 3
    nobody = f"127.0.0.1:{free_port()}"
    with http.Session(nobody, retries=http.Retries(tries=2)) as session, pytest.raises(http.NoAnswer) as caught:
        session.get("/")
    assert caught.value.details == ("  ConnectionRefusedError: [Errno 111] Connection refused",) * 3


def test_a_pause_longer_than_the_time_left_is_not_begun() -> None:
    """When the service asks for more patience than there is, its answer must be returned at once."""
    busy = says(b"HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n")
    with raw_server(busy) as port, http.Session(f"127.0.0.1:{port}", timeout=50, retries=http.Retries()) as session:
        start = now()
        assert session.get("/").status_code == 503
    assert now() - start < 30


def test_a_guard_ends_the_repetitions() -> None:
    """A service that dies must end the repetitions at once."""

    def guard() -> None:
        if len(web.asked) > 1:
            raise HarnessError("the stack is dead")

    with Web((503, b"")).running() as web, http.Session(web.endpoint, retries=http.Retries()) as session:
        add_guard(guard)
        try:
            with pytest.raises(HarnessError, match=r"^the stack is dead$"):
                session.get("/")
        finally:
            remove_guard(guard)


def test_a_session_waits_with_its_credentials() -> None:
    """A wait of a session must send what the session sends, and return the wanted answer of requests."""
    with (
        Web((503, b""), (200, b'{"n": 1}'), (200, b'{"n": 2}')).running() as web,
        http.Session(web.endpoint, headers={"Authorization": "Bearer s3cr3t"}) as session,
    ):
        assert session.wait_for("/x", json={"n": 2}, timeout=30).json() == {"n": 2}
    assert [headers["authorization"] for headers in web.headers] == ["Bearer s3cr3t"] * 3


def test_a_redirect_with_a_password_is_told_without_it() -> None:
    """A user and a password in the place that an answer redirects to must not be in the error."""
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://me:s3cr3t@127.0.0.9:1/x\r\nContent-Length: 0\r\n\r\n"
    with (
        raw_server(says(answer)) as port,
        http.Session(f"127.0.0.1:{port}") as session,
        pytest.raises(HarnessError, match=r"redirects to http://\.\.\.@127\.0\.0\.9:1/x, which is not"),
    ):
        session.get("/")


def test_a_session_hides_what_a_server_echoes() -> None:
    """Credentials of the session that a server sends back must not be in an error."""
    with (
        Web((500, b"you sent Bearer s3cr3t, me:pa55word")).running() as web,
        http.Session(web.endpoint, headers={"X-Whatever": "Bearer s3cr3t"}) as session,
    ):
        session.auth = ("me", "pa55word")
        with pytest.raises(WaitTimeout) as caught:
            session.wait_for("/", timeout=0.1)
    assert "you sent" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"Authorization": "Bearer s3cr3t"}},
        {"headers": {"X-Whatever": b"s3cr3t"}},
        {"cookies": {"id": "s3cr3t"}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_session_hides_what_one_request_sent(more: dict[str, Any]) -> None:
    """Credentials of one request that a server sends back must not be in an error."""
    with raw_server(says(b"HTTP/1.1 s3cr3t, Bearer s3cr3t, id=s3cr3t\r\n\r\n")) as port:
        session = http.Session(f"127.0.0.1:{port}")
        with session, pytest.raises(http.NoAnswer, match="BadStatusLine") as caught:
            session.get("/", **more)
    assert "s3cr3t" not in str(caught.value)


def test_short_headers_leave_an_error_readable() -> None:
    """A header of a letter or two is no credential, and must not be cut out of every word."""
    endpoint = f"127.0.0.1:{free_port()}"
    with (
        http.Session(endpoint, headers={"X-Run": "1", "X-Env": "t"}) as session,
        pytest.raises(http.NoAnswer) as caught,
    ):
        session.get("/path")
    assert str(caught.value).startswith(f"GET http://{endpoint}/path: ConnectionRefusedError: [Errno 111] Connection")


def test_a_wait_of_a_session_tells_why_nothing_answered() -> None:
    """At the deadline the error must tell why nothing answered."""
    endpoint = f"127.0.0.1:{free_port()}"
    with http.Session(endpoint) as session, pytest.raises(WaitTimeout) as caught:
        session.wait_for("/x", timeout=0.1)
    assert caught.value.summary == (
        f"http://{endpoint}/x in 0.1 s: ConnectionRefusedError: [Errno 111] Connection refused; status 200 was needed"
    )


def test_probes_do_without_requests() -> None:
    """Importing the helper, as probes do, must not import requests."""
    code = "import sys, harness.helpers.http; sys.exit('requests' in sys.modules)"
    assert procs.run([sys.executable, "-c", code], timeout=30).code == 0
