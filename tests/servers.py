"""Small real servers on the loopback interface, each on a port that the kernel chooses."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Web:
    """An HTTP server that answers with what it was told to, the last one again and again.

    Attributes:
        answers: (status, body), in order.
        asked: method, path and body of each request.
        headers: the headers of each request.
    """

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                web.asked.append((self.command, self.path, body))
                web.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, said = web.answers.pop(0) if len(web.answers) > 1 else web.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.send_header("X-Served-By", "Web")
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(said)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - names by http.server

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.endpoint = f"127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Web]:
        """Serve for a ``with`` block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket, threading.Event], object]) -> Iterator[int]:
    """Give every connection to ``serve(connection, over)`` in a thread, close it afterwards; yield the port.

    ``over`` is set when the block ends.
    """
    over = threading.Event()
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection, over)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=handle, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


def free_port() -> int:
    """Return a port of 127.0.0.1 at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
