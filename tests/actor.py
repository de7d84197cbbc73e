"""A service for tests that does what its words say, one after the other: ``actor.py say:hello wait``."""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable


class _Handler(http.server.BaseHTTPRequestHandler):
    ready = threading.Event()
    hung = threading.Event()
    posted: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.path in ("/die", "/end"):
            os._exit(3 if self.path == "/die" else 0)
        if self.path == "/hang" or self.hung.is_set():
            self.hung.set()
            threading.Event().wait()
        facts = {"status": "green" if self.ready.is_set() else "red", "env": dict(os.environ), "posted": self.posted}
        body = json.dumps(facts).encode()
        self.send_response(200 if self.ready.is_set() else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.posted.append(data)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

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


def _hop(seconds: str) -> None:
    """Leave a process that forks and ends, as its child does, every 5 ms: none of them is there for long.

    They end when there is a file ``stop`` in the folder that ``TEST_HOPPER`` names, if it does.
    """
    if os.fork():
        return
    os.setsid()
    end = time.monotonic() + float(seconds)
    stop = Path(os.environ.get("TEST_HOPPER", "/nonexistent")) / "stop"
    while time.monotonic() < end and not stop.exists():
        if os.fork():
            os._exit(0)
        threading.Event().wait(0.005)
    os._exit(0)


def _child(words: str) -> None:
    """Fork a child that does ``VERB,VERB,...`` and stays in the process group."""
    if not os.fork():
        for act in words.split(","):
            verb, _, rest = act.partition(":")
            VERBS[verb](rest)
        os._exit(0)


def _stop_slowly(seconds: str) -> None:
    """End some time after TERM, and say so then."""

    def end(*_: object) -> None:
        threading.Event().wait(float(seconds))
        print("ended slowly", flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)


def _serve(where: str) -> None:
    host, port, delay = where.split(":")
    server = http.server.ThreadingHTTPServer((host, int(port)), _Handler)
    threading.Timer(float(delay), _Handler.ready.set).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _exit(how: str) -> None:
    code, _, delay = how.partition(":")
    threading.Event().wait(float(delay or 0))
    os._exit(int(code))


def _eat(size: str) -> None:
    """Take memory, MiB by MiB, up to ``size`` of them."""
    taken = [b"x" * (1 << 20) for _ in range(int(size))]
    print(f"ate {len(taken)} MiB", flush=True)


def _loud(size: str) -> None:
    """Write ``size`` MiB of numbered lines of 128 bytes."""
    for number in range(int(size)):
        os.write(1, b"".join(b"%0127d\n" % line for line in range(number << 13, (number + 1) << 13)))


def _after(what: str) -> None:
    """Do a verb in ``SECONDS:VERB:REST`` after that many seconds, beside what follows."""
    seconds, _, rest = what.partition(":")
    verb, _, argument = rest.partition(":")
    threading.Timer(float(seconds), VERBS[verb], [argument]).start()


def _once(what: str) -> None:
    """Do a verb in ``PATH:VERB:REST`` where that path is not there, and make it."""
    path, _, rest = what.partition(":")
    verb, _, argument = rest.partition(":")
    if not Path(path).exists():
        Path(path).touch()
        VERBS[verb](argument)


def _need(path: str) -> None:
    if not Path(path).exists():
        print(f"{path} is missing", flush=True)
        os._exit(9)


def _stop_politely(*_: object) -> None:
    print("asked to stop", flush=True)
    os._exit(0)


VERBS: dict[str, Callable[[str], object]] = {
    "say": lambda text: print(text, flush=True),
    "raw": lambda data: os.write(1, bytes.fromhex(data)),
    "serve": _serve,
    "exit": _exit,
    "eat": _eat,
    "loud": _loud,
    "after": _after,
    "child": _child,
    "slow": _stop_slowly,
    "hop": _hop,
    "daemon": lambda _: _daemon(),
    "deaf": lambda _: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "polite": lambda _: signal.signal(signal.SIGTERM, _stop_politely),
    "touch": lambda path: Path(path).write_text("here"),
    "need": _need,
    "once": _once,
    "cat": lambda path: print(Path(path).read_text(), flush=True),
    "stdin": lambda _: print(f"stdin ended after {sys.stdin.buffer.read()!r}", flush=True),
    "wait": lambda _: signal.pause(),
}

if __name__ == "__main__":
    for act in sys.argv[1:]:
        verb, _, rest = act.partition(":")
        VERBS[verb](rest)
