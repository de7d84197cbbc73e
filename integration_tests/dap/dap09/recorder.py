"""``python recorder.py``: an aggregator of DAP that computes nothing; it keeps what it is sent, and answers as told.

It serves the interoperation test API as other parties do. ``add_task`` takes ``answers`` beside the API's own values:
by ``hpke_config`` and ``upload`` a list of answers, of which each is given once and the last one ever after. An answer
has a ``status``, a ``content_type`` and a ``body`` (base64url), or it is ``silent``: it never comes. The command
``requests``, which no draft has, tells what came for a task.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TextIO
from urllib.parse import parse_qs, urlsplit

API = "/internal/test/"
ENDPOINT = "/dap/"
"""Where DAP is served: below a path, which aggregators may have."""
LARGEST = 1 << 20
"""Bytes of a body."""
MUTANT = os.environ.get("DAP_MUTANT", "").rpartition(".")[2]
SILENCE = 60.0
"""Seconds after which even a silent answer ends."""

_HPKE_CONFIG = re.compile(rf"GET {ENDPOINT}hpke_config")
_UPLOAD = re.compile(rf"PUT {ENDPOINT}tasks/([A-Za-z0-9_-]+)/reports")


@dataclass
class Task:
    """What is answered for a task, and what came for it."""

    answers: dict[str, list[dict[str, Any]]]
    requests: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, kind: str) -> dict[str, Any]:
        """Return the next answer of a kind; the last one again and again."""
        listed = self.answers.get(kind) or [{"status": 404}]
        return listed.pop(0) if len(listed) > 1 else listed[0]


class Recorder(ThreadingHTTPServer):
    """The server, with all tasks."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], log: TextIO) -> None:
        super().__init__(address, Handler)
        self.log = log
        self.lock = threading.Lock()
        self.tasks: dict[str, Task] = {}

    def command(self, name: str, values: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the answer of a command of the test API: its status and values."""
        if name == "ready":
            return 200, {}
        if name == "endpoint_for_task":
            return 200, {"status": "success", "endpoint": ENDPOINT}
        with self.lock:
            if name == "add_task":
                self.tasks[str(values["task_id"])] = Task(dict(values["answers"]))
                return 200, {"status": "success"}
            if name == "requests":
                return 200, {"status": "success", "requests": self.tasks[str(values["task_id"])].requests}
        return 404, {"status": "error", "error": f"there is no command {name}"}

    def take(self, line: str, query: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """Keep a request of DAP and return what it is answered."""
        kind, task_id = "hpke_config", "".join(parse_qs(query).get("task_id", []))
        if found := _UPLOAD.fullmatch(line):
            kind, task_id = "upload", found[1]
        elif not _HPKE_CONFIG.fullmatch(line):
            return {"status": 404}
        with self.lock:
            if not (task := self.tasks.get(task_id)):
                return {"status": 404}
            kept = base64.urlsafe_b64encode(body).decode()
            seen = {"line": line, "query": query, "headers": headers, "body": kept, "time": time.time()}
            if not (MUTANT == "loses_a_request" and task.requests):
                task.requests.append(seen)
            return task.answer(kind)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Recorder
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Have no connection kept for long by who says nothing."""
        super().setup()
        self.connection.settimeout(SILENCE)

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST:
            self.close_connection = True
            return self._send(413, "", b"")
        body = self.rfile.read(length)
        target = urlsplit(self.path)
        if target.path.startswith(API):
            return self._command(target.path.removeprefix(API), body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.take(f"{self.command} {target.path}", target.query, headers, body)
        if answer.get("silent"):
            select.select([self.connection], [], [], SILENCE)  # until the client has gone
            self.close_connection = True
            return None
        return self._send(
            int(answer["status"]),
            str(answer.get("content_type", "")),
            base64.urlsafe_b64decode(str(answer.get("body", "")) + "==="),
        )

    def _command(self, name: str, body: bytes) -> None:
        if self.command != "POST":
            return self._json(405, {"status": "error", "error": "commands are POST"})
        try:
            status, values = self.server.command(name, json.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            status, values = 400, {"status": "error", "error": f"the command cannot be read: {error!r}"}
        return self._json(status, values)

    def _json(self, status: int, values: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(values).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815 - the names that their caller has

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that its caller has
        """Write a line to where it is expected."""
        print(f"{time.time():.3f} {format % args}", file=self.server.log, flush=True)


def main() -> None:
    """Serve until told to stop."""
    host, _, port = os.environ.get("LISTEN", "0.0.0.0:8080").rpartition(":")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path = os.environ.get("LOG_FILE")
    with open(path, "a", encoding="utf-8") if path else contextlib.nullcontext(sys.stderr) as log:  # noqa: PTH123
        print(f"{time.time():.3f} recorder serves at http://{host}:{port}", file=log, flush=True)
        Recorder((host, int(port)), log).serve_forever()


if __name__ == "__main__":
    main()
