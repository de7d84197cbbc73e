"""A service for tests that does what its words say, one after the other: ``actor.py say:hello wait``."""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import threading
from pathlib import Path


class _Handler(http.server.BaseHTTPRequestHandler):
    ready = threading.Event()

    def do_GET(self) -> None:
        body = json.dumps({"status": "green" if self.ready.is_set() else "red", "env": dict(os.environ)}).encode()
        self.send_response(200 if self.ready.is_set() else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the log for what tests write."""


def _daemon() -> None:
    """Leave the session and the parent, as daemons do."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.pause()


def act(word: str) -> None:
    """Do one thing."""
    verb, _, rest = word.partition(":")
    if verb == "say":
        print(rest, flush=True)
    elif verb == "raw":
        os.write(1, bytes.fromhex(rest))
    elif verb == "serve":
        host, port, delay = rest.split(":")
        server = http.server.ThreadingHTTPServer((host, int(port)), _Handler)
        threading.Timer(float(delay), _Handler.ready.set).start()
        threading.Thread(target=server.serve_forever, daemon=True).start()
    elif verb == "exit":
        code, _, delay = rest.partition(":")
        threading.Event().wait(float(delay or 0))
        os._exit(int(code))
    elif verb == "daemon":
        _daemon()
    elif verb == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif verb == "polite":
        signal.signal(signal.SIGTERM, lambda *_: (print("asked to stop", flush=True), os._exit(0)))
    elif verb == "touch":
        Path(rest).write_text("here")
    elif verb == "need":
        if not Path(rest).exists():
            print(f"{rest} is missing", flush=True)
            os._exit(9)
    elif verb == "cat":
        print(Path(rest).read_text(), flush=True)
    elif verb == "stdin":
        print(f"stdin ended after {sys.stdin.buffer.read()!r}", flush=True)
    elif verb == "wait":
        signal.pause()


if __name__ == "__main__":
    for one in sys.argv[1:]:
        act(one)
