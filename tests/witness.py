"""A service for tests that tells by HTTP what it was given: ``witness.py ADDRESS:PORT,... WORD...``.

Of each variable that begins with ``FILE_`` it tells what the file has in it and its mode for its owner, of each that
begins with ``REACH_`` what answers there. It prints the name of the signal that ends it.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import threading
import urllib.request
from pathlib import Path


def read(path: str) -> list[str]:
    """Return the content of a file, or the names in a folder, and its mode for its owner, without the one to write."""
    file = Path(path)
    try:
        text = " ".join(sorted(entry.name for entry in file.iterdir())) if file.is_dir() else file.read_text()
        return [text, oct(file.stat().st_mode & 0o500)]
    except OSError as error:
        return [type(error).__name__, ""]


def reach(place: str) -> str:
    """Return ``200`` when HTTP is answered at ``NAME:PORT``, else what kind of error that is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{place}/up", timeout=5) as answer:
            return str(answer.status)
    except OSError as error:
        return type(error).__name__


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request with what the service was given, but for ``/up``, which is asked by others of its kind."""

    def do_GET(self) -> None:
        """Answer."""
        seen = {} if self.path == "/up" else facts()
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the log for what tests look for."""


def facts() -> dict[str, object]:
    """Return what the service was given."""
    env = dict(os.environ)
    files = {name[5:]: read(path) for name, path in env.items() if name.startswith("FILE_")}
    reached = {name[6:]: reach(place) for name, place in env.items() if name.startswith("REACH_")}
    folder = sorted(path.name for path in Path.cwd().iterdir() if path.name != "logs")
    return {"argv": sys.argv[2:], "env": env, "files": files, "reached": reached, "folder": folder}


def end(number: int, _: object) -> None:
    """Say what ended it, and end."""
    print("ended by", signal.Signals(number).name, flush=True)
    os._exit(0)


if __name__ == "__main__":
    for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(wanted, end)
    places = [place.rpartition(":") for place in sys.argv[1].split(",")]
    servers = [http.server.ThreadingHTTPServer((host, int(port)), Handler) for host, _, port in places]
    print("given", *sys.argv[2:], flush=True)
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()
