"""The deployer on HTTP, on loopback, for who has its token."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Protocol

from harness.clock import Deadline
from harness.deployer.asking import LARGEST, Refusal, admit, meaning

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.deployer.asking import Asked

READ_BUDGET = 10.0  # seconds in which a request has to come
READ = 1 << 20  # bytes of a body that are read at most, so that who sends too much hears of it
LINGER = 2.0  # seconds in which what is left of a refused body is read, and thrown away
CONNECTIONS = 64


class Doer(Protocol):
    """Who does what is asked for."""

    def do(self, asked: Asked) -> tuple[int, dict[str, object] | str]:
        """Return the status and JSON, or text. Raises Refusal."""
        ...


class Server(ThreadingHTTPServer):
    """Answers each connection once.

    Args:
        address: of loopback, with the port.
        token: what its clients have.
        doer: does what they ask for.
        say: takes a line for each answer.
    """

    daemon_threads = True
    request_queue_size = CONNECTIONS
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], token: str, doer: Doer, say: Callable[[str], None]) -> None:
        self.token, self.doer, self.say = token, doer, say
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind; its base would have a resolver asked for the name of the address, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in its base
        """Answer in a thread; who comes when all are busy waits for one."""
        self._slots.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in its base
        """Give the thread back when it is done."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in its base
        """A client that went away is no error of ours."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    unread = True  # there may be more of the body
    timeout = READ_BUDGET
    server_version = "harness-deployer"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer it."""
        self._answer()

    do_POST = do_DELETE = do_PUT = do_PATCH = do_HEAD = do_GET  # noqa: N815 - as the base has them

    def _answer(self) -> None:
        try:
            given = self._body()  # also of who is refused
            admit(self.headers.get("Authorization", ""), self.server.token)
            status, body = self.server.doer.do(meaning(self.command, self.path, given))
        except Refusal as refusal:
            status, body = refusal.status, dict(refusal.body())
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told and the next one served
            status, body = 500, {"error": f"{type(error).__name__}: {error}"}
        if status != 401 or self.headers.get("Authorization"):  # noqa: PLR2004 - its own probe asks without
            why = f": {body['error']}" if isinstance(body, dict) and "error" in body else ""
            self.server.say(f"{self.command} {self.path[:200]} -> {status}{why}")
        self._send(status, body)
        if self.unread:
            self._linger()

    def _body(self) -> bytes:
        text = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding") or not (text.isascii() and text.isdecimal()):
            raise Refusal(400, "the request needs a Content-Length")
        size = int(text[:9])
        try:
            body = self.rfile.read(min(size, READ))
        except OSError:
            raise Refusal(408, f"the body did not come in {READ_BUDGET:g} s") from None
        self.unread = len(body) < size
        if size > LARGEST:
            raise Refusal(413, f"the body has more than {LARGEST} bytes")
        if len(body) < size:
            raise Refusal(400, "the body is shorter than its Content-Length")
        return body

    def _send(self, status: int, body: dict[str, object] | str) -> None:
        is_text = isinstance(body, str)
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8" if is_text else "application/json")
        if status != 204:  # noqa: PLR2004 - which has no body
            self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        if status != 204 and self.command != "HEAD":  # noqa: PLR2004
            self.wfile.write(data)
        self.close_connection = True

    def _linger(self) -> None:
        """Read on until the client has its answer: the system resets a connection of which something was not read."""
        deadline, left = Deadline.after(LINGER), READ
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (remaining := deadline.remaining()) > 0:
                self.connection.settimeout(remaining)
                read = len(self.connection.recv(1 << 16))
                left = left - read if read else 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in its base
        """What is worth it is said elsewhere."""
