"""``python -m pynode``: load the model, and serve it until told to stop."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NoReturn

from pynode.model import BadInputError, BadModelError, Model
from pynode.settings import BadSettingError, Settings, read_settings

LARGEST = 1024 * 1024
"""Bytes of a request."""
IDLE = 30.0
"""Seconds in which a client must have sent its request."""
BAD_SETTING, BAD_MODEL, CRASHED = 2, 3, 70
"""Exit codes."""


class Server(ThreadingHTTPServer):
    """Answers each request in a thread of its own."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, settings: Settings, model: Model) -> None:
        self.settings, self.model = settings, model
        self._lock, self._count = threading.Lock(), 0
        super().__init__((settings.host, settings.port), Handler)

    def predict(self, rows: Any) -> list[float]:
        """Predict, or misbehave as the settings say."""
        with self._lock:
            self._count += 1
            count = self._count
        if count == self.settings.crash_at:
            print(f"pynode: prediction {count}: crashes, as it was told", flush=True)
            os._exit(CRASHED)
        threading.Event().wait(self.settings.seconds)
        return self.model.predict(rows)


class Handler(BaseHTTPRequestHandler):
    """``GET /ready`` and ``POST /predict``; everything is JSON."""

    server: Server
    timeout: ClassVar[float] = IDLE
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/ready":
            self._answer(200, {"model": self.server.settings.file, "width": self.server.model.width})
        else:
            self._answer(404, {"error": f"there is no {self.path}"})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self.close_connection = True  # its body is not read
            self._answer(413, {"error": f"a Content-Length of at most {LARGEST} was needed"})
            return
        body = self.rfile.read(int(length))
        if self.path != "/predict":
            self._answer(404, {"error": f"there is no {self.path}"})
            return
        try:
            asked = json.loads(body)
            self._answer(200, {"outputs": self.server.predict(asked["inputs"])})
        except BadInputError as error:
            self._answer(400, {"error": str(error)})
        except (ValueError, TypeError, KeyError):
            self._answer(400, {"error": 'a JSON object with "inputs" was needed'})
        except BadModelError as error:
            self._answer(500, {"error": str(error)})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        if self.path != "/ready":
            print(f"pynode: {format % args}", flush=True)


def _stop(*_: object) -> NoReturn:
    sys.exit(0)


def main() -> int:
    """Serve until told to stop; return the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        settings = read_settings(os.environ)
        threading.Event().wait(settings.load_seconds)
        model = Model(settings.folder, settings.file)
    except BadSettingError as error:
        print(f"pynode: {error}", file=sys.stderr)
        return BAD_SETTING
    except BadModelError as error:
        print(f"pynode: {error}", file=sys.stderr)
        return BAD_MODEL
    with Server(settings, model) as server:
        print(f"pynode: serves {settings.file}", flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
