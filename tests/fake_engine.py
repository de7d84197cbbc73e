"""A small Docker engine on a unix socket: the parts of its API that finding and removing things needs."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import queue
import re
import socketserver
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from harness.daemon import Daemon
from harness.ownership.objects import SEAL, sealed
from harness.ownership.proof import SIZE, environment_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# What an engine of these tests is told to have is sealed with this key where its seal is said to fit.
ENV, USER_KEY, FITS = "20260102-030405-abcdef", bytes(range(SIZE)), "fits"
KEY = environment_key(USER_KEY, ENV)
# When containers have started and ended, as ``inspect`` tells it.
EARLIER, LATER, NEVER = "2026-01-02T03:04:05.000000001Z", "2026-01-02T03:14:05.123456789Z", "0001-01-01T00:00:00Z"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128  # a real one takes thousands
    engine: FakeEngine

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        super().__init__(str(engine.path), _Handler)

    def server_activate(self) -> None:
        own = os.geteuid()
        try:
            if own == 0:
                os.seteuid(self.engine.user)  # who listens is who the kernel says it is
            super().server_activate()
        finally:
            os.seteuid(own)

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def answer(self) -> None:
        path = urlsplit(self.path).path
        if path.endswith("/events"):
            self.tell_events()
        elif path.endswith(("/logs", "/attach")):
            self.tell_output(*path.split("/")[-2:])
        else:
            self.tell()

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 - names by http.server

    def version_string(self) -> str:
        return f"{self.server.engine.kind} (linux)"

    def tell(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, said = self.server.engine.answer(self.command, self.path, json.loads(body) if body else None)
        data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Api-Version", self.server.engine.api)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def tell_events(self) -> None:
        engine = self.server.engine
        engine.asked.append((self.command, "/events"))
        said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        wanted = json.loads(parse_qs(urlsplit(self.path).query).get("filters", ["{}"])[0]).get("event", ())
        engine.streams.append(said)  # before the client knows that it has one
        self.start_stream()
        self.close_connection = True  # in the middle of a chunked answer, as an engine that is killed does
        while (event := said.get()) is not None:
            if event.get("Action") == "die" and engine.is_podman and "died" not in wanted:
                continue  # so does Podman 4: it is asked by a name of its own
            self.send_chunk(json.dumps(event).encode() + b"\n")

    def tell_output(self, container: str, way: str) -> None:
        engine = self.server.engine
        engine.asked.append((self.command, f"/containers/{container}/{way}"))
        data = engine.output.get(container, b"")
        data = data if container in engine.terminals else b"\x01\0\0\0" + len(data).to_bytes(4) + data
        if way == "logs":
            self.start_stream()
            self.send_chunk(data)
            self.send_chunk(b"")
        else:  # its end is the end of the connection
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = True

    def start_stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def address_string(self) -> str:
        return "a client"

    def log_message(self, *_: object) -> None:
        """Write nothing."""


class FakeEngine:
    """An engine whose containers, networks and volumes are plain tables.

    Attributes:
        api: the newest version of the API that it speaks.
        kind: how it calls itself, with its version: ``Docker/...``, or ``Libpod/...``, which is Podman.
        info: what it says of itself when asked for that.
        user: whose process it is, where these tests are root's.
        containers: full id -> labels.
        networks: full id -> (labels, ids of its containers).
        options: full id of a network that was made -> its options.
        volumes: name -> (labels, ids of the containers that use it).
        exited: full id of a container that has ended -> its exit code.
        created: full ids of containers that were not started yet.
        output: full id -> what a container has written; it ends there.
        terminals: full ids of containers that write to a terminal.
        streams: the open streams of events, newest last; what is put there is sent, None breaks one off.
        asked: method and path of each request, without the version.
        before: called with (method, path) before each answer; what it returns is answered instead, if it is something.
    """

    def __init__(self, path: Path, api: str = "1.41", kind: str = "Docker/20.10.0") -> None:
        self.path = path
        self.api = api
        self.kind = kind
        self.info: dict[str, Any] = {}
        self.user = 0
        self.containers: dict[str, dict[str, str]] = {}
        self.networks: dict[str, tuple[dict[str, str], list[str]]] = {}
        self.volumes: dict[str, tuple[dict[str, str], list[str]]] = {}
        self.exited: dict[str, int] = {}
        self.created: set[str] = set()
        self.output: dict[str, bytes] = {}
        self.terminals: set[str] = set()
        self.options: dict[str, dict[str, str]] = {}
        self.images: dict[str, dict[str, str]] = {}
        self.image_of: dict[str, str] = {}
        self.streams: list[queue.SimpleQueue[dict[str, Any] | None]] = []
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[str, str], tuple[int, Any] | None] = lambda _, __: None
        self.daemon = Daemon(f"unix://{path}", "a test")
        self._lock = threading.Lock()

    @property
    def is_podman(self) -> bool:
        """Whether it is as Podman is."""
        return self.kind.startswith("Libpod/")

    def did(self, method: str) -> list[str]:
        """Return the paths that were asked with a method, in order."""
        return [path for asked, path in self.asked if asked == method]

    @contextlib.contextmanager
    def running(self) -> Iterator[FakeEngine]:
        """Serve for a ``with`` block."""
        with _Server(self) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield self
            finally:
                for stream in self.streams:
                    stream.put(None)
                server.shutdown()
                thread.join()

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        """Return status and body of the answer to a request."""
        url = urlsplit(target)
        path = re.sub(r"^/v\d+\.\d+", "", url.path)
        self.asked.append((method, path))
        if (instead := self.before(method, path)) is not None:
            return instead
        version = {"Version": self.kind.partition("/")[2], "ApiVersion": self.api, "MinAPIVersion": "1.12"}
        plain = {"/_ping": "OK", "/version": version, "/info": self.info}
        if path in plain:
            return 200, plain[path]
        filters = json.loads(parse_qs(url.query).get("filters", ["{}"])[0])
        kind, _, rest = path.strip("/").partition("/")
        with self._lock:
            if kind == "containers":
                return self._container(method, rest, filters)
            if kind == "networks":
                return self._network(method, rest, filters, body)
            if kind == "volumes":
                return self._volume(method, rest, filters)
            if kind == "images" and rest.removesuffix("/json") in self.images:
                return 200, {"Config": {"Labels": self.images[rest.removesuffix("/json")]}}
        return 404, {"message": f"page not found: {path}"}

    def _container(self, method: str, rest: str, filters: dict[str, list[str]]) -> tuple[int, Any]:
        name = rest.removesuffix("/json")
        if rest == "json":
            used = [users for volume in filters.get("volume", ()) for users in (self.volumes[volume][1],)]
            wanted = (
                [container for users in used for container in users] if "volume" in filters else list(self.containers)
            )
            found = {container: self.containers[container] for container in wanted if container in self.containers}
            return 200, [
                {
                    "Id": container,
                    "Names": [f"/{name_of(container)}"],
                    "Labels": with_seal("container", name_of(container), labels),
                    "State": self._state(container),
                    "ImageID": self.image_of.get(container, ""),
                }
                for container, labels in _labelled(found, filters).items()
                if "status" not in filters or self._state(container) in filters["status"]
            ]
        name = name.removesuffix("/start")
        if name not in self.containers:
            return 404, {"message": f"No such container: {name}"}
        if rest.endswith("/start"):
            self.created.discard(name)
            return 204, ""
        if method == "DELETE":
            self.forget(name)
            return 204, ""
        running = name not in self.exited
        times = {"StartedAt": EARLIER, "FinishedAt": NEVER if running else LATER}
        state = {"Status": self._state(name), "Running": running, "ExitCode": self.exited.get(name, 0), **times}
        return 200, {
            "Id": name,
            "Name": f"/{name_of(name)}",
            "Image": self.image_of.get(name, ""),
            "Config": {
                "Labels": with_seal("container", name_of(name), self.containers[name]),
                "Tty": name in self.terminals,
            },
            "State": state,
        }

    def _state(self, container: str) -> str:
        return "exited" if container in self.exited else "created" if container in self.created else "running"

    def forget(self, container: str) -> None:
        """Have a container gone, from its networks and volumes too."""
        del self.containers[container]
        for _, users in (*self.networks.values(), *self.volumes.values()):
            if container in users:
                users.remove(container)

    def _network(self, method: str, rest: str, filters: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if not rest:
            found = _labelled({network: labels for network, (labels, _) in self.networks.items()}, filters)
            return 200, [
                {"Id": network, "Name": name_of(network), "Labels": with_seal("network", name_of(network), labels)}
                for network, labels in found.items()
            ]
        name = rest.partition("/")[0]
        if rest == "create":
            if body["Name"] in self.networks:
                return 409, {"message": f"network with name {body['Name']} already exists"}
            self.networks[body["Name"]] = (body["Labels"], [])
            self.options[body["Name"]] = body.get("Options") or {}
            return 201, {"Id": body["Name"]}
        if name not in self.networks:
            return 404, {"message": f"network {name} not found"}
        labels, users = self.networks[name]
        if rest.endswith("/disconnect"):
            users.remove(body["Container"])
            return 200, ""
        if method == "DELETE":
            if users:
                return 403, {"message": f"error while removing network: network {name} has active endpoints"}
            del self.networks[name]
            return 204, ""
        attached = {user: {"Name": name_of(user)} for user in users}
        return 200, {"Id": name, "Name": name_of(name), "Labels": labels, "Containers": attached}

    def _volume(self, method: str, rest: str, filters: dict[str, list[str]]) -> tuple[int, Any]:
        if not rest:
            found = _labelled({volume: labels for volume, (labels, _) in self.volumes.items()}, filters)
            volumes = [
                {"Name": volume, "Labels": with_seal("volume", volume, labels)} for volume, labels in found.items()
            ]
            return 200, {"Volumes": volumes or None}
        if rest not in self.volumes:
            return 404, {"message": f"no such volume: {rest}"}
        labels, users = self.volumes[rest]
        if method == "DELETE":
            if users:
                return 409, {"message": f"remove {rest}: volume is in use - [{', '.join(users)}]"}
            del self.volumes[rest]
            return 204, ""
        return 200, {"Name": rest, "Labels": with_seal("volume", rest, labels)}


def name_of(thing: str) -> str:
    """Return the name of a container or network by its id; what was made by its name has just that."""
    return thing if thing.startswith("harness-") else f"{thing}-name"


def with_seal(kind: str, name: str, labels: dict[str, str]) -> dict[str, str]:
    """Return labels with the seal of something of that kind and name, where theirs is to fit."""
    return sealed(labels, KEY, kind, name) if labels.get(SEAL) == FITS else labels


def _labelled(things: dict[str, dict[str, str]], filters: dict[str, list[str]]) -> dict[str, dict[str, str]]:
    wanted = [label.partition("=") for label in filters.get("label", ())]
    return {
        name: labels
        for name, labels in things.items()
        if all(key in labels and (not equals or labels[key] == value) for key, equals, value in wanted)
    }
