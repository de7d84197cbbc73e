"""A program that passes a Docker engine on at another unix socket: ``engine_proxy.py SOCKET ENGINE``."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
from pathlib import Path


class _Passing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(sys.argv[2])
            back = threading.Thread(target=_copy, args=(engine, self.request), daemon=True)
            back.start()
            _copy(self.request, engine)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class _Proxy(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Path(sys.argv[1]).unlink(missing_ok=True)
    with _Proxy(sys.argv[1], _Passing) as proxy:
        proxy.serve_forever()
