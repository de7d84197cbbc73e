"""The keeper's eyes and hands on a Docker engine: events and logs come in, acts go out.

Each call blocks, so it runs in a thread; what the threads find is told on the keeper's loop, and only there is state
changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import clock
from harness.daemon import PING_BUDGET, Api, Daemon, ask, query
from harness.errors import BrokenStack, EngineUnreachableError, HarnessError
from harness.keeper.networks import Network, make_network
from harness.ownership import objects
from harness.ownership.objects import NUMBER, RUN, SERVICE, STACK, Claim, Object, as_object

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from http.client import HTTPResponse

LOST_AFTER = 10.0
RETRY = 0.2
EVENT_BUDGET = 5.0
START_BUDGET = 10.0
THREADS = 32  # for calls that block; starts leave room for others
STARTS_AT_ONCE = 8  # more do not make it quicker: the engine does much of it one at a time
LOG_BUDGET = 1.0
ATTACH_BUDGET = 10.0
SUBSCRIBE_BUDGET = 10.0
STOP_BUDGET = 60.0  # beyond the grace that a container is given
ENGINE_FILE = 60 << 20  # bytes after which the engine's first file of a log is about full (64 MiB: ``compose.plan``)
PER_MESSAGE = 28  # bytes that its driver "local" adds to each line
NOT_ALL = b"\n... harness: the engine may not have given all of this log ...\n"
MOST_AT_ONCE = 1 << 20
FRAME = 8  # bytes before each piece of output: stream, three zeros, length ("Attach to a container" in the Engine API)
_HEALTH = re.compile(r"\((?:health: )?(?:(healthy|unhealthy)|(starting))\)")
EVENTS = ["start", "die", "oom", "health_status", "pause", "unpause"]
NANO = 1e9


class Output:
    """What a container writes, byte for byte, until it ends.

    Args:
        api: the engine.
        container: its id.
        method: of the request.
        path: what is asked for: to be attached, or its log.
        within: seconds for the beginning of the answer.
    """

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


class Container:
    """One service as a container: what the engine told of it."""

    def __init__(self, stack: str, name: str, log: str, grace: float) -> None:
        self.stack = stack
        self.name = name
        self.log = log
        self.grace = grace
        self.container = ""
        self.state = "created"
        self.pid = 0
        self.exit_code: int | None = None
        self.expected = False
        self.under = ""  # what ran when it ended, in words
        self.oom = False
        self.health = ""
        self.starts = 0
        self.log_start = 0
        self.log_from = 0.0
        self.seen = 0
        self.followed = asyncio.Event()
        self.attached: Output | None = None  # of the life that is about to begin

    @property
    def id(self) -> str:
        """``stack/service``."""
        return f"{self.stack}/{self.name}"

    @property
    def running(self) -> bool:
        """Whether it runs (a paused one does)."""
        return self.state in ("running", "paused")

    def facts(self) -> dict[str, Any]:
        """Return what clients may know."""
        return {
            "stack": self.stack,
            "service": self.name,
            "state": self.state,
            "pid": self.pid,
            "start_time": 0,
            "exit_code": self.exit_code,
            "expected": self.expected,
            "under": self.under,
            "starts": self.starts,
            "restarts": max(0, self.starts - 1),
            "log": self.log,
            "log_start": self.log_start,
            "container": self.container,
            "health": self.health,
            "oom": self.oom,
        }


class Engine:
    """The containers, networks and volumes of one environment on one engine.

    Args:
        daemon: where the engine is.
        claim: what tells the environment's objects from all others.
        range_: the private range that networks are taken from.
        tell: called on the loop with an event's name and the container that it is about, None for the engine itself.
        say: takes lines for the keeper's log.
    """

    def __init__(
        self,
        daemon: Daemon,
        claim: Claim,
        range_: str,
        tell: Callable[[str, Container | None], None],
        say: Callable[[str], None],
    ) -> None:
        self._api = Api(daemon)
        self._claim = claim
        self._own: set[str] = set()  # ids of containers that were proven to be ours; one may be renamed since
        self._range = range_
        self._tell = tell
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_task(self._open())
        self._closing = threading.Event()
        self._news = asyncio.Event()
        self._listener: threading.Thread | None = None
        self._starts: dict[str, set[asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.set_default_executor(ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="call"))
        self.containers: dict[str, Container] = {}
        self.lost = ""

    # -- the connection -----------------------------------------------------------------------------------------

    async def _open(self) -> None:
        daemon = self._api.daemon
        engine = await asyncio.to_thread(ask, daemon)
        self._say(f"engine {daemon.host}: version {engine.version}, API {engine.api}")
        subscribed = asyncio.Event()
        self._listener = threading.Thread(target=self._listen, args=(subscribed,), name="events", daemon=True)
        self._listener.start()
        try:
            await asyncio.wait_for(subscribed.wait(), SUBSCRIBE_BUDGET)
        except TimeoutError:
            raise EngineUnreachableError(
                f"Docker engine {daemon.host} ({daemon.origin}) told no events in {SUBSCRIBE_BUDGET:g} s"
            ) from None

    async def opened(self) -> None:
        """Return when the engine has answered and the events are subscribed to. Raises EngineUnreachableError."""
        await asyncio.shield(self._opened)

    async def _ask(self, method: str, path: str, body: object = None, *, within: float | None = None) -> Any:  # noqa: ANN401 - what JSON may be
        """Ask the engine in a thread, as ``Api.request`` does."""
        await self.opened()
        return await asyncio.to_thread(self._api.request, method, path, body, within=within)

    async def _do(self, container: str, act: str, *, grace: float = 0.0, **words: object) -> None:
        """Have the engine do something with a container."""
        path = f"/containers/{container}/{act}" + (f"?{query(**words)}" if words else "")
        ends = act in ("kill", "stop")
        with objects.killed_within(container, grace + objects.KILL_PATIENCE) if ends else contextlib.nullcontext():
            await self._ask("POST", path, within=STOP_BUDGET + grace)

    async def _inspect(self, container: str) -> dict[str, Any]:
        facts: dict[str, Any] = await self._ask("GET", f"/containers/{container}/json")
        return facts

    async def _list(self, **filters: list[str]) -> list[dict[str, Any]]:
        """Return the containers that carry this environment's label: those of ours, and what was copied from them."""
        await self.opened()
        filters["label"] = [f"{RUN}={self._claim.env}", *filters.get("label", ())]
        return await asyncio.to_thread(objects.list_all, self._api, "container", **filters)

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()

    # -- events -------------------------------------------------------------------------------------------------

    def _on_loop(self, act: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(act, *args)

    def _listen(self, subscribed: asyncio.Event) -> None:
        """Follow the events of this environment's containers; after a break, from where it broke."""
        filters = {"type": ["container"], "label": [f"{RUN}={self._claim.env}"], "event": EVENTS}
        since = datetime.now(UTC).timestamp()  # the engine is on this machine, and so is its clock
        again = False
        patience = clock.Deadline.after(LOST_AFTER)
        while not self._closing.is_set():
            reason = "its stream of events ended"
            try:
                path = f"/events?{query(filters=filters, since=f'{since:.9f}')}"
                with self._api.stream("GET", path, within=PING_BUDGET) as stream:
                    patience = clock.Deadline.after(LOST_AFTER)
                    self._on_loop(self._subscribed, subscribed, again)
                    again = True
                    try:
                        for event in _events(stream):
                            since = max(since, event.get("timeNano", 0) / NANO)
                            self._on_loop(self._event, event)
                    finally:
                        patience = clock.Deadline.after(LOST_AFTER)  # it was there until now
            except Exception as error:  # noqa: BLE001 - a broken stream is any of three libraries' errors; all mean this
                reason = str(error)
            if patience.expired():
                self._on_loop(self._engine_lost, reason)
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
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def refresh(self) -> None:
        """Ask for the state of every container, in case an event was missed."""
        for one in await self._list():
            known = self._known(as_object("container", one))
            if known is None:
                continue
            lives = one.get("State") in ("running", "paused")
            if one.get("State") == "created" or (lives == known.running and one["Id"] == known.container):
                self._take_health(known, _HEALTH.search(one.get("Status", "")))
                continue
            await self._look_at(known, one["Id"])

    async def _look_at(self, known: Container, container: str) -> None:
        """Ask for the state of a container, in case an event was missed."""
        seen = known.seen
        with contextlib.suppress(HarnessError):  # it is gone by now, or the next look will tell
            facts = await self._inspect(container)
            if known.seen == seen:  # else the answer may be older than what was told meanwhile
                self._compare(known, facts)

    def _compare(self, known: Container, facts: dict[str, Any]) -> None:
        """Take over a state that no event has told.

        Times of states and of events are not of one clock: a container that ends at once may have done so before its
        start is told. Only different lives are far enough apart to be told apart by them.
        """
        state = facts["State"]
        current = known.running and known.container == facts["Id"]
        began, finished = _nanoseconds(state.get("StartedAt", "")), _nanoseconds(state.get("FinishedAt", ""))
        if state.get("Running"):
            if began > known.seen:
                known.seen = began
                self._started(known, facts["Id"])
        elif current or finished > known.seen:
            known.seen = max(known.seen, finished)
            if not current:  # neither its start nor its end was told
                self._started(known, facts["Id"])
            self._died(known, int(state["ExitCode"]), finished / NANO)

    def _take_health(self, known: Container, told: re.Match[str] | None) -> None:
        health = (told[1] or told[2]) if told else ""
        if health and health != known.health:
            known.health = health
            self._tell("health", known)

    def _ours(self, thing: Object) -> bool:
        return thing.id in self._own or self._claim.holds(thing)

    def _known(self, thing: Object) -> Container | None:
        """Return the service that a container is; None for one that merely has its labels, such as a copy."""
        labels = thing.labels
        if not self._ours(thing):
            return None
        name = labels.get(SERVICE, "")
        if labels.get(NUMBER, "1") != "1":
            name += f"-{labels[NUMBER]}"
        return self.containers.get(f"{labels.get(STACK, '')}/{name}")

    def _event(self, event: dict[str, Any]) -> None:
        actor = event.get("Actor", {})
        labels = actor.get("Attributes", {})
        known = self._known(Object("container", actor.get("ID", ""), labels.get("name", ""), labels))
        self._news.set()
        action = str(event.get("Action", event.get("status", "")))
        if known is None:
            return
        if event.get("timeNano", 0) <= known.seen:
            return  # told again after a break
        if action == "die" and not known.running:
            # Its start was never told, or its end is known already: the engine knows whether that life is another one.
            self._in_background(self._look_at(known, actor.get("ID", "")))
            return
        known.seen = event.get("timeNano", 0)
        when = known.seen / NANO
        if action == "start":
            self._started(known, actor.get("ID", ""))
        elif action == "die" and known.container == actor.get("ID"):
            self._died(known, int(labels.get("exitCode", -1)), when)
        elif action == "oom":
            known.oom = True
        elif action in ("pause", "unpause"):
            known.state = "paused" if action == "pause" else "running"
        elif action.startswith("health_status"):
            known.health = action.partition(":")[2].strip()
            self._tell("health", known)

    def _started(self, known: Container, container: str) -> None:
        attached, known.attached = known.attached, None
        if attached and (attached.container != container or known.running):
            attached.close()  # it is of another life
            attached = None
        if known.running and known.container == container:
            return  # seen by a refresh already
        same = known.container == container
        self._own.add(container)
        known.container, known.state, known.pid = container, "running", 0
        known.exit_code, known.expected, known.oom, known.health = None, False, False, ""
        known.under = ""
        known.starts += 1
        path = Path(known.log)
        path.touch()
        known.log_start = path.stat().st_size
        known.followed = asyncio.Event()
        since = known.log_from if same else 0.0
        threading.Thread(
            target=self._follow,
            args=(container, since, attached, path, known.followed),
            name=f"log-{known.name}",
            daemon=True,
        ).start()
        self._say(f"{known.id}: container {container[:12]} started")
        self._tell("started", known)

    def _died(self, known: Container, code: int, when: float) -> None:
        if not known.running:
            return
        known.state, known.exit_code, known.log_from = "exited", code, when
        self._say(f"{known.id}: exit code {code}{'' if known.expected else ', not asked for'}")
        self._tell("exit", known)

    def _follow(
        self, container: str, since: float, attached: Output | None, path: Path, followed: asyncio.Event
    ) -> None:
        """Write a container's output to its file until it ends: what it is attached by, else what its log gives."""
        filled = 0
        try:
            output = attached or Output.logged(self._api, container, since)
            with contextlib.closing(output), path.open("ab", buffering=0) as file:
                for piece in output:
                    filled += len(piece) + PER_MESSAGE
                    file.write(piece)
                if not attached and filled > ENGINE_FILE:
                    file.write(NOT_ALL)
        except Exception as error:  # noqa: BLE001 - as in ``_listen``; what came until now is in the file
            if not self._closing.is_set():
                self._say(f"log of {path.stem}: {error}")
        self._on_loop(followed.set)

    async def _start(self, known: Container, container: str) -> None:
        """Start a container, after attaching to its output."""
        with contextlib.suppress(HarnessError):  # then its log is followed
            known.attached = await asyncio.to_thread(Output.attached, self._api, container)
        try:
            await self._do(container, "start")
        except HarnessError:
            if known.attached:
                known.attached.close()
                known.attached = None
            raise

    # -- networks -----------------------------------------------------------------------------------------------

    async def make_network(self, name: str, labels: dict[str, str]) -> Network:
        """Make a network in a free /24 of the range. Raises HarnessError as ``networks.make_network`` does."""
        return await asyncio.to_thread(make_network, self._api, name, self._range, self._claim, labels)

    async def connect_to(self, network: Network, container: str, aliases: list[str]) -> None:
        """Let a container join another network under the names ``aliases``."""
        wanted = {"Container": container, "EndpointConfig": {"Aliases": aliases}}
        await self._ask("POST", f"/networks/{network.id}/connect", wanted)

    # -- starts -------------------------------------------------------------------------------------------------

    async def start_created(self, stack: str, stopped: Callable[[], bool]) -> dict[str, str]:
        """Start all that was created for a stack, several at once; return service -> why the engine did not.

        Args:
            stack: its name.
            stopped: tells that no more is to be started.
        """
        gate = asyncio.Semaphore(STARTS_AT_ONCE)
        refused: dict[str, str] = {}

        async def start(known: Container, container: str) -> None:
            async with gate:
                if not stopped():
                    try:
                        await self._start(known, container)
                    except HarnessError as error:
                        refused[known.name] = error.summary

        starts = self._starts[stack] = set()
        for one in await self._list(label=[f"{STACK}={stack}"], status=["created"]):
            known = self._known(as_object("container", one))
            if known:
                starts.add(self._loop.create_task(start(known, one["Id"])))
        await asyncio.gather(*starts)
        return refused

    async def starts_ended(self, stack: str) -> None:
        """Wait until the engine has answered every start that it was asked for."""
        if starts := self._starts.pop(stack, None):
            await asyncio.wait(starts, timeout=START_BUDGET)

    # -- acts ---------------------------------------------------------------------------------------------------

    async def act(self, one: Container, act: str, grace: float) -> None:
        """Do to a container what a test asks for: kill, stop, start, restart, pause, unpause."""
        if act in ("kill", "stop", "restart") and one.running:
            one.expected = True
            try:
                if one.state == "paused":
                    await self._do(one.container, "unpause")
                if act == "kill":
                    await self._do(one.container, "kill")
                else:
                    await self._do(one.container, "stop", grace=grace, t=round(grace))
            except HarnessError:
                one.expected = not one.running
                raise
            await self._until(lambda: not one.running)
        if act in ("start", "restart") and not one.running:
            starts = one.starts
            await self.log_complete(one)  # what its last life wrote comes before its next
            await self._start(one, one.container)
            await self._until(lambda: one.starts > starts)
        if act == "pause" and one.state == "running":
            await self._do(one.container, "pause")
            one.state = "paused"
        if act == "unpause" and one.state == "paused":
            await self._do(one.container, "unpause")
            one.state = "running"

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for events to have told of an act; ask the engine when they do not."""
        deadline = clock.Deadline.after(EVENT_BUDGET)
        while not holds() and not deadline.expired():
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), deadline.remaining())
        if not holds():
            await self.refresh()
        if not holds():
            raise BrokenStack(f"The engine did what was asked and told nothing of it in {EVENT_BUDGET:g} s")

    async def log_complete(self, one: Container) -> None:
        """Wait until the output of a container that has ended is in its file."""
        if one.starts and not one.running:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(one.followed.wait(), LOG_BUDGET)

    async def explain(self, one: Container) -> dict[str, Any]:
        """Return what the engine knows of a container now: state, flags, its last health checks."""
        if not one.container:
            return {}
        facts = await self._inspect(one.container)
        state = facts["State"]
        one.oom = one.oom or bool(state.get("OOMKilled"))
        one.pid = int(state.get("Pid") or 0)
        health = state.get("Health") or {}
        return {
            "oom": one.oom,
            "pid": one.pid,
            "error": state.get("Error", ""),
            "restarts": facts.get("RestartCount", 0),
            "health": health.get("Status", ""),
            "health_log": [
                f"exit code {check.get('ExitCode')}: {str(check.get('Output', '')).strip()[:300]}"
                for check in (health.get("Log") or [])[-3:]
            ],
            "memory": facts["HostConfig"].get("Memory") or 0,
        }

    async def exposed(self) -> list[str]:
        """Return bindings that are not on loopback, as the engine has them."""
        listed = await self._list(status=["running", "paused"])
        return [
            f"{one['Names'][0].lstrip('/')}: {port['IP']}:{port['PublicPort']}"
            for one in listed
            if self._ours(as_object("container", one))
            for port in one.get("Ports") or ()
            if port.get("IP") and not port["IP"].startswith("127.") and port["IP"] != "::1"
        ]

    # -- removal ------------------------------------------------------------------------------------------------

    async def remove(self, stack: str | None = None, *, settle: float = 0.0) -> list[str]:
        """Remove everything of a stack, or of the whole environment; return what is left, in words."""
        await self.opened()
        for one in self.containers.values():
            if stack in (None, one.stack):
                one.expected = True
        own, claim, api = frozenset(self._own), self._claim, self._api
        return await asyncio.to_thread(
            objects.remove_all,
            api,
            f"{RUN}={claim.env}",
            lambda thing: thing.id in own or claim.proves(api, thing),
            where=lambda labels: stack is None or labels.get(STACK) == stack,
            settle=settle,
        )

    async def stop(self, one: Container, grace: float) -> None:
        """Ask a container to end, and kill it after ``grace`` seconds."""
        one.expected = True
        grace = max(1, round(grace))
        with contextlib.suppress(HarnessError):
            if one.state == "paused":
                await self._do(one.container, "unpause")
            await self._do(one.container, "stop", grace=grace, t=grace)


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
