"""What an engine tells of an environment's containers: events come in, states and logs follow.

Threads read; what they find is told on the keeper's loop, and only there is state changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import clock
from harness.daemon import PING_BUDGET, Api, ask, query
from harness.errors import EngineUnreachableError, HarnessError
from harness.keeper.services import Service
from harness.ownership.objects import NUMBER, RUN, SERVICE, STACK, Object, as_object

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from http.client import HTTPResponse

    from harness.keeper.calls import Calls
    from harness.keeper.messages import Hooks

LOST_AFTER = 10.0
RETRY = 0.2
ATTACH_BUDGET = 10.0
SUBSCRIBE_BUDGET = 10.0
ENGINE_FILE = 60 << 20  # bytes after which the engine's first file of a log is about full (64 MiB: ``compose.plan``)
PER_MESSAGE = 28  # bytes that its driver "local" adds to each line
NOT_ALL = b"\n... harness: the engine may not have given all of this log ...\n"
MOST_AT_ONCE = 1 << 20
FRAME = 8  # bytes before each piece of output: stream, three zeros, length ("Attach to a container" in the Engine API)
_HEALTH = re.compile(r"\((?:health: )?(?:(healthy|unhealthy)|(starting))\)")
EVENTS = ["start", "die", "died", "oom", "health_status", "pause", "unpause"]  # Podman 4 is asked for "died"
NANO = 1e9


class Output:
    """What a container writes, byte for byte, until it ends; the answer has begun ``within`` seconds."""

    def __init__(self, api: Api, container: str, method: str, path: str, *, within: float) -> None:
        self.container = container
        facts = api.request("GET", f"/containers/{container}/json")
        self._framed = not facts["Config"].get("Tty")
        self._open = contextlib.ExitStack()
        stream = api.stream(method, f"/containers/{container}/{path}", within=within)
        self._stream = self._open.enter_context(stream)

    @classmethod
    def attached(cls, api: Api, container: str) -> Output:
        """Return the output of a container from its next start on, straight from it and not by way of its log.

        An engine's log is in files that are replaced when they are full. A follower that has not read the old one then
        misses what it had, and from Docker 20.10 hears no more at all. Here the container waits when nobody reads.

        Raises:
            HarnessError: the engine refused or did not answer.
        """
        path = "attach?" + query(stream=True, stdout=True, stderr=True)
        return cls(api, container, "POST", path, within=ATTACH_BUDGET)

    @classmethod
    def logged(cls, api: Api, container: str, since: float) -> Output:
        """Return what the engine has and gets of a container's output since a time (Unix); 0 for all of it.

        Raises:
            HarnessError: the engine refused or did not answer.
        """
        # An engine may say nothing at all before the container does.
        path = "logs?" + query(follow=True, stdout=True, stderr=True, since=since or 0)
        return cls(api, container, "GET", path, within=clock.LIFTED)

    def __iter__(self) -> Iterator[bytes]:
        """Yield what comes. Raises OSError and HTTPException where it breaks off."""
        while piece := self._stream.read(FRAME) if self._framed else self._stream.read1(MOST_AT_ONCE):
            if not self._framed:
                yield piece
                continue
            left = int.from_bytes(piece[4:])
            while left and (piece := self._stream.read1(min(left, MOST_AT_ONCE))):
                left -= len(piece)
                yield piece

    def close(self) -> None:
        """Hear no more."""
        self._open.close()


class Container(Service):
    """One service as a container: what the engine told of it."""

    def __init__(self, stack: str, name: str, log: str, grace: float, hooks: Hooks | None = None) -> None:
        super().__init__(stack, name, log, grace)
        self.hooks = hooks
        self.state = "created"
        self.log_from = 0.0
        self.seen = 0
        self.followed = asyncio.Event()
        self.attached: Output | None = None  # of the life that is about to begin

    @property
    def patience(self) -> float:
        """The most seconds that its end may take: its hooks may take as long as itself."""
        return self.grace * (1 + len(self.hooks["pre_stop"] if self.hooks else ()))

    @property
    def running(self) -> bool:
        """Whether it runs (a paused one does)."""
        return self.state in ("running", "paused")

    def state_now(self) -> str:
        """Return its state, as the engine told it."""
        return self.state


class Watch:
    """The containers of one environment, as the engine tells of them.

    ``tell`` is called on the loop with an event's name and the container that it is about, None for the engine itself.
    """

    def __init__(self, calls: Calls, tell: Callable[[str, Container | None], None], say: Callable[[str], None]) -> None:
        self.containers: dict[str, Container] = {}
        self.own: set[str] = set()  # ids of containers that were proven to be ours; one may be renamed since
        self.news = asyncio.Event()
        self.listener: threading.Thread | None = None
        self.lost = ""
        self._calls = calls
        self._tell = tell
        self._say = say
        self._closing = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """See that the engine answers, and follow its events. Raises EngineUnreachableError."""
        daemon = self._calls.api.daemon
        engine = await asyncio.to_thread(ask, daemon)
        self._say(f"engine {daemon.host}: version {engine.version}, API {engine.api}")
        subscribed = asyncio.Event()
        self.listener = threading.Thread(target=self._listen, args=(subscribed,), name="events", daemon=True)
        self.listener.start()
        try:
            await asyncio.wait_for(subscribed.wait(), SUBSCRIBE_BUDGET)
        except TimeoutError:
            raise EngineUnreachableError(
                f"Docker engine {daemon.host} ({daemon.origin}) told no events in {SUBSCRIBE_BUDGET:g} s"
            ) from None

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()

    def _listen(self, subscribed: asyncio.Event) -> None:
        """Follow the events of this environment's containers; after a break, from where it broke."""
        filters = {"type": ["container"], "label": [f"{RUN}={self._calls.claim.env}"], "event": EVENTS}
        since = datetime.now(UTC).timestamp()  # the engine is on this machine, and so is its clock
        again = False
        patience = clock.Deadline.after(LOST_AFTER)
        while not self._closing.is_set():
            reason = "its stream of events ended"
            try:
                path = f"/events?{query(filters=filters, since=f'{since:.9f}')}"
                with self._calls.api.stream("GET", path, within=PING_BUDGET) as stream:
                    patience = clock.Deadline.after(LOST_AFTER)
                    self._calls.on_loop(self._subscribed, subscribed, again)
                    again = True
                    try:
                        for event in _events(stream):
                            since = max(since, event.get("timeNano", 0) / NANO)
                            self._calls.on_loop(self._event, event)
                    finally:
                        patience = clock.Deadline.after(LOST_AFTER)  # it was there until now
            except Exception as error:  # noqa: BLE001 - a broken stream is any of three libraries' errors; all mean this
                reason = str(error)
            if patience.expired():
                self._calls.on_loop(self._engine_lost, reason)
            self._closing.wait(RETRY)

    def _subscribed(self, subscribed: asyncio.Event, again: bool) -> None:
        subscribed.set()
        if again:
            self._in_background(self.refresh())
        if self.lost:
            self.lost = ""
            self._say("the engine is back")
            self._tell("engine-back", None)

    def _engine_lost(self, reason: str) -> None:
        if not self.lost and not self._closing.is_set():
            self.lost = reason
            self._say(f"the engine is gone: {reason}")
            self._tell("engine-lost", None)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._calls.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def refresh(self) -> None:
        """Ask for the state of every container, in case an event was missed."""
        for listed in await self._calls.list():
            service = self.known(as_object("container", listed))
            if service is None:
                continue
            lives = listed.get("State") in ("running", "paused")
            if listed.get("State") == "created" or (lives == service.running and listed["Id"] == service.container):
                self._take_health(service, _HEALTH.search(listed.get("Status", "")))
                continue
            await self._look_at(service, listed["Id"])

    async def _look_at(self, service: Container, container: str) -> None:
        """Ask for the state of a container, in case an event was missed."""
        seen = service.seen
        with contextlib.suppress(HarnessError):  # it is gone by now, or the next look will tell
            facts = await self._calls.inspect(container)
            if service.seen == seen:  # else the answer may be older than what was told meanwhile
                self._compare(service, facts)

    def _compare(self, service: Container, facts: dict[str, Any]) -> None:
        """Take over a state that no event has told.

        Times of states and of events are not of one clock: a container that ends at once may have done so before its
        start is told. Only different lives are far enough apart to be told apart by them.
        """
        state = facts["State"]
        current = service.running and service.container == facts["Id"]
        began, finished = _nanoseconds(state.get("StartedAt", "")), _nanoseconds(state.get("FinishedAt", ""))
        if state.get("Running"):
            if began > service.seen:
                service.seen = began
                self._started(service, facts["Id"])
        elif current or finished > service.seen:
            service.seen = max(service.seen, finished)
            if not current:  # neither its start nor its end was told
                self._started(service, facts["Id"])
            self._died(service, int(state["ExitCode"]), finished / NANO)

    def _take_health(self, service: Container, match: re.Match[str] | None) -> None:
        health = (match[1] or match[2]) if match else ""
        if health and health != service.health:
            service.health = health
            self._tell("health", service)

    def is_ours(self, thing: Object) -> bool:
        """Return whether a container is one of this environment, or was, before it was renamed."""
        return thing.id in self.own or self._calls.claim.holds(thing)

    def known(self, thing: Object) -> Container | None:
        """Return the service that a container is; None for one that merely has its labels, such as a copy."""
        labels = thing.labels
        if not self.is_ours(thing):
            return None
        name = labels.get(SERVICE, "")
        if labels.get(NUMBER, "1") != "1":
            name += f"-{labels[NUMBER]}"
        return self.containers.get(f"{labels.get(STACK, '')}/{name}")

    def _event(self, event: dict[str, Any]) -> None:
        actor = event.get("Actor", {})
        labels = actor.get("Attributes", {})
        service = self.known(Object("container", actor.get("ID", ""), labels.get("name", ""), labels))
        self.news.set()
        action = str(event.get("Action", event.get("status", "")))
        if service is None:
            return
        if event.get("timeNano", 0) <= service.seen:
            return  # told again after a break
        if action == "die" and not service.running:
            # Its start was never told, or its end is known already: the engine knows whether that life is another one.
            self._in_background(self._look_at(service, actor.get("ID", "")))
            return
        service.seen = event.get("timeNano", 0)
        when = service.seen / NANO
        if action == "start":
            self._started(service, actor.get("ID", ""))
        elif action == "die" and service.container == actor.get("ID"):
            self._died(service, int(labels.get("exitCode", -1)), when)
        elif action == "oom":
            service.oom = True
        elif action in ("pause", "unpause"):
            service.state = "paused" if action == "pause" else "running"
        elif action.startswith("health_status"):
            service.health = action.partition(":")[2].strip()
            self._tell("health", service)

    def _started(self, service: Container, container: str) -> None:
        attached, service.attached = service.attached, None
        if attached and (attached.container != container or service.running):
            attached.close()  # it is of another life
            attached = None
        if service.running and service.container == container:
            return  # seen by a refresh already
        same = service.container == container
        self.own.add(container)
        service.container, service.state, service.pid = container, "running", 0
        service.exit_code, service.expected, service.oom, service.health, service.under = None, False, False, "", ""
        service.pre_stop = ""
        service.starts += 1
        service.began = service.seen / NANO  # which the engine has told
        if service.log:  # else whoever has created it hears what it writes
            self._follow_from(service, container, attached, service.log_from if same else 0.0)
        self._say(f"{service.id}: container {container[:12]} started")
        self._tell("started", service)

    def _follow_from(self, service: Container, container: str, attached: Output | None, since: float) -> None:
        path = Path(service.log)
        path.touch()
        service.log_start = path.stat().st_size
        service.followed = asyncio.Event()
        threading.Thread(
            target=self._follow,
            args=(container, since, attached, path, service.followed),
            name=f"log-{service.name}",
            daemon=True,
        ).start()

    def hook_failed(self, service: Container, reason: str) -> None:
        """Tell that what was to run before a container's end did not run, or failed."""
        service.pre_stop = reason
        self._say(f"{service.id}: before its end: {reason}")
        self._tell("hook-failed", service)

    def _died(self, service: Container, code: int, when: float) -> None:
        if not service.running:
            return
        service.state, service.exit_code, service.log_from = "exited", code, when
        self._say(f"{service.id}: exit code {code}{'' if service.expected else ', not asked for'}")
        self._tell("exit", service)

    def _follow(
        self, container: str, since: float, attached: Output | None, path: Path, followed: asyncio.Event
    ) -> None:
        """Write a container's output to its file until it ends: what it is attached by, else what its log gives."""
        filled = 0
        try:
            output = attached or Output.logged(self._calls.api, container, since)
            with contextlib.closing(output), path.open("ab", buffering=0) as file:
                for piece in output:
                    filled += len(piece) + PER_MESSAGE
                    file.write(piece)
                if not attached and filled > ENGINE_FILE:
                    file.write(NOT_ALL)
        except Exception as error:  # noqa: BLE001 - as in ``_listen``; what came until now is in the file
            if not self._closing.is_set():
                self._say(f"log of {path.stem}: {error}")
        self._calls.on_loop(followed.set)


def _events(stream: HTTPResponse) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream: JSON objects, one a line ("Monitor events" in the Engine API)."""
    while line := stream.readline():
        if line.strip():
            yield json.loads(line)


def _nanoseconds(text: str) -> int:
    """Return a time of the engine (RFC 3339) as nanoseconds, 0 for none; microseconds are as good as it gets."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * NANO)
    except ValueError:
        return 0
