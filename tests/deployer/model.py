"""A small server of a template: answers what it was given, and ends, waits or fails when it is asked to."""

import http.server
import json
import os
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Answer with what it was given; ``/end`` ends it with code 7."""
        print(f"asked {self.path}", flush=True)
        if self.path == "/end":
            threading.Thread(target=os._exit, args=(7,)).start()
        given = {key: os.environ[key] for key in ("MODEL_FILE", "MODEL_OPTIONS") if key in os.environ}
        seen = sorted(key for key in os.environ if "DOCKER" in key or "TOKEN" in key)
        body = json.dumps({"given": given, "seen": seen, "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """What is worth it is printed."""


if os.environ.get("MODEL_FILE") == "corrupt":
    print("loading", flush=True)
    sys.exit("model file is corrupt")
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
