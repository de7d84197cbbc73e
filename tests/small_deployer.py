"""A deployer in small: real model servers as processes, for tests of the platform without a stack.

It keeps the interface of docs/deployer.md, as far as the platform uses that.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from checkout import ROOT

from harness import clock, procs
from harness.helpers import http as asking

if TYPE_CHECKING:
    import subprocess  # noqa: TID251 - a type
    from collections.abc import Iterator
    from pathlib import Path

PYNODE = ROOT / "integration_tests/platform/pynode"
READY = 20.0
NAMES = {"MODEL_FILE", "MODEL_OPTIONS"}


@dataclass
class Instance:
    """A model server."""

    name: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    output: IO[bytes] | None = None
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> str:
        """Start it; return "" when it is ready, else why it is not."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        env = {**os.environ, **self.environment, "LISTEN": f"127.0.0.1:{self.port}", "MODEL_FOLDER": "models"}
        self.output = self.output or self.log.open("ab")
        self.process = procs.spawn([sys.executable, "-m", "pynode"], env=env, cwd=PYNODE, output=self.output)

        for _ in clock.poll(clock.Deadline.after(READY)):
            if self.process.poll() is not None:
                return f"it ended with exit code {self.process.returncode}"
            if asking.ask("127.0.0.1", self.port, "/ready", timeout=1).status == 200:
                return ""
        return f"it did not answer in {READY:g} s"

    def told(self) -> dict[str, Any]:
        """Return it as the interface tells it."""
        assert self.process
        code = self.process.poll()
        state = "running" if code is None else "exited"
        where = f"http://127.0.0.1:{self.port}"
        return {"name": self.name, "template": "pynode", "url": where, "state": state, "exit_code": code}

    def end(self) -> None:
        """End it."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def remove(self) -> None:
        """End it for good."""
        self.end()
        if self.output:
            self.output.close()


class Deployer:
    """Model servers by their names.

    Attributes:
        token: who asks must know it.
        asked: method and path of each request.
        silent: what it makes it makes, and does not answer.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self.folder, self.token = folder, token
        self.asked: list[tuple[str, str]] = []
        self.silent = False
        self.instances: dict[str, Instance] = {}
        deployer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_it(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                deployer.asked.append((self.command, self.path))
                if self.headers.get("Authorization") != f"Bearer {deployer.token}":
                    self.tell(401, {"error": "the token is not this run's"})
                    return
                answer = deployer.answer(self.command, self.path, body)
                if not (deployer.silent and self.command == "POST"):
                    self.tell(*answer)

            def tell(self, status: int, said: dict[str, Any] | str) -> None:
                text = isinstance(said, str)
                data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if text else "application/json")
                self.send_header("Content-Length", str(0 if status == 204 else len(data)))
                self.end_headers()
                self.wfile.write(b"" if status == 204 else data)

            do_GET = do_POST = do_DELETE = handle_it  # noqa: N815 - names by http.server

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any] | str]:
        """Answer a request that knows the token."""
        place, _, query = path.partition("?")
        words = place.strip("/").split("/")
        if (method, words) == ("GET", ["instances"]):
            return 200, {"instances": [one.told() for one in list(self.instances.values())]}
        if (method, words) == ("POST", ["instances"]):
            return self._create(json.loads(body))
        instance = self.instances.get(words[1]) if len(words) > 1 else None
        if instance is None:
            return 404, {"error": "there is no such instance"}
        with instance.lock:
            if method == "DELETE":
                instance.remove()
                self.instances.pop(instance.name, None)
                return 204, ""
            if words[2:] == ["logs"]:
                lines = instance.log.read_text().splitlines(keepends=True)
                return 200, "".join(lines[-int(query.removeprefix("tail=") or 100) :])
            if words[2:] == ["restart"]:
                instance.end()
                return self._settle(instance)
        return 200, instance.told()

    def _create(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        name, environment = wanted["name"], wanted["environment"]
        assert set(environment) == NAMES
        if name in self.instances:
            return 409, {"error": f"there is an instance {name!r}"}
        instance = self.instances[name] = Instance(name, environment, self.folder / f"pynode-{name}.log")
        with instance.lock:
            status, said = self._settle(instance)
            if status != 200:
                instance.remove()
                del self.instances[name]
        return 201 if status == 200 else status, said

    def _settle(self, instance: Instance) -> tuple[int, dict[str, Any] | str]:
        if why := instance.start():
            return 422, {"error": f"instance {instance.name!r} did not settle: {why}", "log": instance.log.read_text()}
        return 200, instance.told()

    @contextmanager
    def running(self) -> Iterator[Deployer]:
        """Serve for a ``with`` block; every model server ends with it."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
            for instance in list(self.instances.values()):
                instance.remove()
