"""Cells of an interoperability matrix as containers: each role is a service of a stack that is the cell's own.

The keeper has the engine create, start, signal and remove them. This process is attached to their streams, from before
they start; nothing of it goes by way of the engine's logs, so a flood fills no disk.
"""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from harness.clock import Deadline
from harness.daemon import Api, hijack, query
from harness.engine.cells import LOGS, SHARED, KeptSite, stack_of
from harness.engine.compose.unpacking import Bounds, Chunks, unpack
from harness.engine.known import Known
from harness.engine.streams import Stream
from harness.errors import BrokenStack, HarnessError
from harness.keeper.messages import LOGS_UNTOUCHED, CreateCell, StartRole
from harness.matrix.site import Collected, Heard

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Iterator
    from http.client import HTTPResponse
    from pathlib import Path

    from harness.daemon import Daemon
    from harness.engine.driver import Place
    from harness.keeper.messages import Event
    from harness.matrix.site import Part

CREATE_BUDGET = START_BUDGET = 60.0
ATTACH_BUDGET, COPY_BUDGET = 10.0, 20.0
STREAM_GRACE = 5.0  # seconds in which a container's last output comes after its end, however busy its engine is
FRAME, STDERR = 8, 2  # "Attach to a container", stream format: stream, three zeros, length as 32 bits
MOST_LOGS = Bounds(64 << 20, 10_000)
AT_ONCE = 1 << 18


class ContainerSites:
    """Places of cells in one environment."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.mounts = self.clears_slowly = True
        self._numbers = itertools.count()

    def site(self, cell: str, folder: Path, hear: Callable[[Heard], None]) -> ContainerSite:
        """Return a place for a cell; nothing is made yet."""
        return ContainerSite(self.place, stack_of(cell, next(self._numbers), self.place.report.path.name), folder, hear)


class ContainerSite(KeptSite):
    """The place of one cell; see ``harness.matrix.site``."""

    def __init__(self, place: Place, stack: str, folder: Path, hear: Callable[[Heard], None]) -> None:
        assert place.daemon is not None  # this engine has one
        super().__init__(place, stack, folder, hear, STREAM_GRACE)
        self._daemon: Daemon = place.daemon
        self._containers: dict[str, str] = {}
        self._parts: dict[str, Part] = {}
        self._started: set[str] = set()

    def create(self, parts: Collection[Part]) -> None:
        """Have all roles' containers created, with their network and /shared. Raises HarnessError."""
        if bare := [part.implementation for part in parts if not part.image]:
            raise BrokenStack(f"Implementation {bare[0]!r} has no image, which the compose engine needs")
        self._parts = {part.role: part for part in parts}
        self._listen()
        self._acquire()
        roles = {part.role: config_of(part, [part.role for part in parts]) for part in parts}
        self._containers = self._place.link.ask(CreateCell(self._stack, roles), timeout=CREATE_BUDGET)

    def start(self, role: str) -> None:
        """Start a role, once its streams are heard. Raises HarnessError."""
        container = self._containers[role]
        path = f"/containers/{container}/attach?{query(stream=True, stdin=True, stdout=True, stderr=True)}"
        held = hijack(self._daemon, path, within=ATTACH_BUDGET)
        self._heard().add(Stream(role, SocketEnd(held), Frames().feed, takes=True))
        self._place.link.ask(StartRole(self._stack, role, container), timeout=START_BUDGET)
        self._started.add(role)

    def collect(self) -> Collected:
        """Copy what roles left in /logs; what the engine cannot give, or is too much, is among what is left."""
        roles = sorted(self._started)
        with ThreadPoolExecutor(max_workers=len(roles) or 1) as pool:
            left = [line for lines in pool.map(self._copied, roles) for line in lines]
        return Collected(left=tuple(left))

    def _copied(self, role: str) -> list[str]:
        """Copy what a role left; return what could not be, in words."""
        to = self._folder / "logs" / role
        try:
            to.mkdir(parents=True, exist_ok=True)
            if is_untouched(self._daemon, self._containers[role]):
                return []
            return [f"/logs of {role}: {line}" for line in self._copy(self._containers[role], to)]
        except (HarnessError, OSError, tarfile.TarError) as error:
            return [f"/logs of {role}: {error}"]

    # -- details ------------------------------------------------------------------------------------------------

    def _known(self) -> Iterator[Known]:
        """Yield the roles; their containers go on without anybody who hears them, and their standard input stays."""
        for role, container in self._containers.items():
            yield Known(self._stack, role, (), dict(self._parts[role].env), "", {}, 0.0, container)

    def _copy(self, container: str, to: Path) -> list[str]:
        path = _archive_of(container)
        with Api(self._daemon).stream("GET", path, within=COPY_BUDGET, silence=COPY_BUDGET) as answer:
            chunks = Chunks(_pieces(answer), Deadline.after(COPY_BUDGET))
            with tarfile.open(fileobj=chunks, mode="r|") as archive:
                return unpack(archive, "logs", to, MOST_LOGS)

    def _told(self, event: Event | None) -> None:
        """Hear from the keeper that a role has ended, or that there is no keeper or no engine any more."""
        if event is None or event["event"] == "engine-lost":
            what = "the keeper" if event is None else "the Docker engine"
            self._heard().tell(Heard("", "lost", why=f"{what} is gone"))
        elif event["event"] == "exit":
            code = event["exit_code"] or 0
            self._heard().ended(Heard(event["service"], "exited", code=code, oom=event["oom"], at=time.time()))


def is_untouched(daemon: Daemon, container: str) -> bool:
    """Return whether nothing was put into /logs of a container: an engine tells that at once, and copies slowly.

    Raises as ``Api.request`` does.
    """
    with Api(daemon).stream("HEAD", _archive_of(container), within=COPY_BUDGET) as answer:
        said = answer.headers.get("X-Docker-Container-Path-Stat", "")
    try:
        changed = str(json.loads(base64.b64decode(said))["mtime"])
        return dt.datetime.fromisoformat(changed).timestamp() == LOGS_UNTOUCHED
    except (ValueError, KeyError, TypeError):
        return False  # then it is copied


def _archive_of(container: str) -> str:
    return f"/containers/{container}/archive?{query(path=LOGS)}"


def config_of(part: Part, roles: Collection[str]) -> dict[str, Any]:
    """Return what a role's container is, as the Engine API has it.

    Without an init: that one ends with 127 where it finds no program, which is an implementation's word here.
    """
    peers = " ".join(f"{role}={role}" for role in roles)
    env = {**part.env, "INTEROP_PEERS": peers, "INTEROP_SHARED": SHARED, "INTEROP_LOGS": LOGS}
    host: dict[str, Any] = {"LogConfig": {"Type": "none"}, "SecurityOpt": ["no-new-privileges"]}
    host["Ulimits"] = [{"Name": "core", "Soft": 0, "Hard": 0}]
    if part.memory:
        host |= {"Memory": part.memory, "MemorySwap": part.memory}
    if part.cpu:
        host["NanoCpus"] = round(part.cpu * 1e9)
    return {
        "Image": part.image,
        "Hostname": part.role,
        "Entrypoint": list(part.argv),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Tty": False,
        "OpenStdin": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": host,
    }


class SocketEnd:
    """A connection to a container's streams."""

    def __init__(self, held: socket.socket) -> None:
        self._held = held

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._held.fileno()

    def recv(self, size: int) -> bytes:
        """Return what there is, b"" at the end."""
        return self._held.recv(size)

    def send(self, data: bytes) -> int:
        """Write what there is room for; return how much."""
        return self._held.send(data)

    def close(self) -> None:
        """Close it."""
        self._held.close()


class Frames:
    """Makes of what comes from a container what it wrote to which stream."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._is_error = False

    def feed(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """Yield ``(whether it is of standard error, bytes)``, a frame that is not there yet as far as it is."""
        view = memoryview(data)
        while view:
            if not self._left:
                missing = FRAME - len(self._head)
                self._head += bytes(view[:missing])
                view = view[missing:]
                if len(self._head) < FRAME:
                    return
                self._is_error, self._left = self._head[0] == STDERR, int.from_bytes(self._head[4:])
                self._head = b""
                continue
            piece, view = view[: self._left], view[self._left :]
            self._left -= len(piece)
            yield self._is_error, bytes(piece)


def _pieces(answer: HTTPResponse) -> Iterator[bytes]:
    while piece := answer.read1(AT_ONCE):
        yield piece
