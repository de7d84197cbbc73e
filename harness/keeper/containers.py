"""The keeper's hands on a Docker engine: what is done to containers, networks and volumes of an environment."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from harness import clock
from harness.daemon import query
from harness.errors import BrokenStack, HarnessError
from harness.keeper import hooks
from harness.keeper.calls import Calls
from harness.keeper.networks import Network, make_network
from harness.keeper.watch import Container, Output, Watch
from harness.ownership import objects
from harness.ownership.objects import RUN, STACK, Claim, as_object

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from harness.daemon import Daemon
    from harness.keeper.messages import Explained, Hook

EVENT_BUDGET = 5.0
START_BUDGET = 10.0
STARTS_AT_ONCE = 8  # more do not make it quicker: the engine does much of it one at a time
LOG_BUDGET = 1.0
HOOK_BUDGET = 30.0  # for what is run after a start that is not the first


class Engine:
    """The containers, networks and volumes of one environment on one engine; networks are taken from ``range_``.

    Events are told as ``Watch`` tells them.
    """

    def __init__(
        self,
        daemon: Daemon,
        claim: Claim,
        range_: str,
        tell: Callable[[str, Container | None], None],
        say: Callable[[str], None],
    ) -> None:
        self._calls = Calls(daemon, claim)
        self._range = range_
        self._say = say
        self._starts: dict[str, set[asyncio.Task[Any]]] = {}
        self._hooks: dict[str, set[asyncio.Task[None]]] = {}
        self.watch = Watch(self._calls, tell, say)
        self.containers = self.watch.containers
        self._calls.open(self.watch.open())

    @property
    def lost(self) -> str:
        """Why the engine cannot be heard any more, "" while it can."""
        return self.watch.lost

    async def opened(self) -> None:
        """Return when the engine has answered and the events are subscribed to. Raises EngineUnreachableError."""
        await self._calls.opened()

    async def refresh(self) -> None:
        """Ask for the state of every container, in case an event was missed."""
        await self.watch.refresh()

    def close(self) -> None:
        """Stop listening."""
        self.watch.close()

    async def make_network(self, name: str, labels: dict[str, str]) -> Network:
        """Make a network in a free /24 of the range. Raises HarnessError as ``networks.make_network`` does."""
        return await asyncio.to_thread(make_network, self._calls.api, name, self._range, self._calls.claim, labels)

    async def make_volume(self, name: str, labels: dict[str, str]) -> None:
        """Make a volume. Raises HarnessError."""
        labels = objects.sealed(labels, self._calls.claim.key, "volume", name)
        await self._calls.ask("POST", "/volumes/create", {"Name": name, "Labels": labels})

    async def create(self, name: str, wanted: dict[str, Any], labels: dict[str, str]) -> str:
        """Create a container as the Engine API has it; return its id. Raises HarnessError."""
        labels = objects.sealed(labels, self._calls.claim.key, "container", name)
        path = f"/containers/create?{query(name=name)}"
        made = await self._calls.ask("POST", path, {**wanted, "Labels": labels})
        self.watch.own.add(made["Id"])
        return str(made["Id"])

    async def put(self, container: str, folder: str, archive: bytes) -> None:
        """Unpack an archive in a container that was created. Raises HarnessError."""
        await self._calls.ask("PUT", f"/containers/{container}/archive?{query(path=folder)}", archive)

    async def has(self, container: str, path: str) -> bool:
        """Return whether there is something at a path of a container that was created. Raises HarnessError."""
        return await self._calls.has(container, path)

    async def start_cell(self, service: Container, container: str) -> None:
        """Start a container of which somebody else hears the output. Raises HarnessError."""
        task = self._calls.loop.create_task(self._calls.do(container, "start"))
        self.begun(service.stack, task)
        await task

    def begun(self, stack: str, task: asyncio.Task[Any]) -> None:
        """Have the removal of a stack wait for something that the engine was asked for."""
        tasks = self._starts.setdefault(stack, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def signal(self, containers: Collection[Container], *, kill: bool) -> None:
        """Signal containers: TERM, or KILL and wait until that was told. Raises HarnessError."""
        running = [service for service in containers if service.running]
        for service in running:
            service.expected = True
        number = "KILL" if kill else "TERM"
        answers = await asyncio.gather(
            *(self._calls.do(service.container, "kill", signal=number) for service in running), return_exceptions=True
        )
        if kill:
            await self._until(lambda: not any(service.running for service in running))
        elif refused := [no for no, service in zip(answers, running, strict=True) if no and service.running]:
            raise refused[0]

    async def connect_to(self, network: Network, container: str, aliases: list[str]) -> None:
        """Let a container join another network under the names ``aliases``."""
        wanted = {"Container": container, "EndpointConfig": {"Aliases": aliases}}
        await self._calls.ask("POST", f"/networks/{network.id}/connect", wanted)

    async def _start(self, service: Container, container: str, patience: float = HOOK_BUDGET) -> None:
        """Start a container, after attaching to its output, and run its hooks for ``patience`` seconds each."""
        with contextlib.suppress(HarnessError):  # then its log is followed
            service.attached = await asyncio.to_thread(Output.attached, self._calls.api, container)
        try:
            await self._calls.do(container, "start")
        except HarnessError:
            if service.attached:
                service.attached.close()
                service.attached = None
            raise
        for hook in service.hooks["post_start"] if service.hooks else ():
            await self._run_hook(service, container, hook, patience)

    async def _run_hook(self, service: Container, container: str, hook: Hook, patience: float) -> None:
        """Run what a file wants to be run after a start. Raises HarnessError when that fails though it runs."""
        task = self._calls.loop.create_task(hooks.run(self._calls, container, hook, patience))
        tasks = self._hooks.setdefault(service.stack, set())
        tasks.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():  # it is this one who is
                task.cancel()
                raise
            raise HarnessError("its stack was given up while its hook ran") from None
        except HarnessError:
            if (await self._calls.inspect(container))["State"]["Running"]:
                raise  # else its own end is what is told
        finally:
            tasks.discard(task)

    def give_up_hooks(self, stack: str) -> None:
        """Wait for no hook of a stack's containers any more."""
        for task in self._hooks.pop(stack, set()):
            task.cancel()

    async def start_created(
        self, stack: str, names: Collection[str], stopped: Callable[[], bool], patience: float = HOOK_BUDGET
    ) -> dict[str, str]:
        """Start services of those that were created for a stack, several at once, until ``stopped``.

        Each of their hooks may take ``patience`` seconds.

        Returns:
            Service -> why the engine did not.
        """
        gate = asyncio.Semaphore(STARTS_AT_ONCE)
        refused: dict[str, str] = {}

        async def start(service: Container, container: str) -> None:
            async with gate:
                if not stopped():
                    try:
                        await self._start(service, container, patience)
                    except HarnessError as error:
                        refused[service.name] = error.summary

        starts: set[asyncio.Task[None]] = set()
        for listed in await self._calls.list(label=[f"{STACK}={stack}"], status=["created"]):
            service = self.watch.known(as_object("container", listed))
            if service and service.name in names:
                starts.add(self._calls.loop.create_task(start(service, listed["Id"])))
        self._starts.setdefault(stack, set()).update(starts)
        await asyncio.gather(*starts)
        return refused

    async def starts_ended(self, stack: str) -> None:
        """Wait until the engine has answered every start that it was asked for; hooks are given up."""
        self.give_up_hooks(stack)
        if starts := self._starts.pop(stack, None):
            await asyncio.wait(starts, timeout=START_BUDGET)

    async def act(self, service: Container, act: str, grace: float) -> None:
        """Do to a container what a test asks for: kill, stop, start, restart, pause, unpause."""
        if act in ("kill", "stop", "restart") and service.running:
            service.expected = True
            try:
                if service.state == "paused":
                    await self._calls.do(service.container, "unpause")
                if act == "kill":
                    await self._calls.do(service.container, "kill")
                else:
                    await self._take_leave(service, grace, clock.Deadline.after(service.patience))
                    await self._calls.do(service.container, "stop", grace=grace, t=round(grace))
            except HarnessError:
                service.expected = not service.running
                raise
            await self._until(lambda: not service.running)
        if act in ("start", "restart") and not service.running:
            starts = service.starts
            await self.log_complete(service)  # what its last life wrote comes before its next
            await self._start(service, service.container)
            await self._until(lambda: service.starts > starts)
        if act == "pause" and service.state == "running":
            await self._calls.do(service.container, "pause")
            service.state = "paused"
        if act == "unpause" and service.state == "paused":
            await self._calls.do(service.container, "unpause")
            service.state = "running"

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for events to have told of an act; ask the engine when they do not."""
        deadline = clock.Deadline.after(EVENT_BUDGET)
        while not holds() and not deadline.expired():
            self.watch.news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.watch.news.wait(), deadline.remaining())
        if not holds():
            await self.watch.refresh()
        if not holds():
            raise BrokenStack(f"The engine did what was asked and told nothing of it in {EVENT_BUDGET:g} s")

    async def log_complete(self, service: Container) -> None:
        """Wait until the output of a container that has ended is in its file."""
        if service.log and service.starts and not service.running:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(service.followed.wait(), LOG_BUDGET)

    async def explain(self, service: Container) -> Explained:
        """Return what the engine knows of a container now: state, flags, its last health checks."""
        if not service.container:
            return {}
        facts = await self._calls.inspect(service.container)
        state = facts["State"]
        service.oom = service.oom or bool(state.get("OOMKilled"))
        service.pid = int(state.get("Pid") or 0)
        health = state.get("Health") or {}
        return {
            "oom": service.oom,
            "pid": service.pid,
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
        containers = await self._calls.list(status=["running", "paused"])
        return [
            f"{container['Names'][0].lstrip('/')}: {port['IP']}:{port['PublicPort']}"
            for container in containers
            if self.watch.is_ours(as_object("container", container))
            for port in container.get("Ports") or ()
            if port.get("IP") and not port["IP"].startswith("127.") and port["IP"] != "::1"
        ]

    async def remove(self, stack: str | None = None, *, settle: float = 0.0) -> list[str]:
        """Remove everything of a stack, or of the whole environment; return what is left, in words."""
        await self._calls.opened()
        for service in self.watch.containers.values():
            if stack in (None, service.stack):
                service.expected = True
        own, claim, api = frozenset(self.watch.own), self._calls.claim, self._calls.api
        return await asyncio.to_thread(
            objects.remove_all,
            api,
            f"{RUN}={claim.env}",
            lambda thing: thing.id in own or claim.proves(api, thing),
            where=lambda labels: stack is None or labels.get(STACK) == stack,
            settle=settle,
        )

    async def stop(self, service: Container, budget: clock.Deadline) -> None:
        """Ask a container to end, and kill it after its grace, or what is left of a budget."""
        service.expected = True
        with contextlib.suppress(HarnessError):
            if service.state == "paused":
                await self._calls.do(service.container, "unpause")
            await self._take_leave(service, service.grace, budget)
            grace = max(1, round(min(service.grace, budget.remaining())))
            await self._calls.do(service.container, "stop", grace=grace, t=grace)

    async def _take_leave(self, service: Container, grace: float, budget: clock.Deadline) -> None:
        """Run what a file wants to be run before a container is asked to end; it ends all the same when that fails."""
        for hook in service.hooks["pre_stop"] if service.hooks else ():
            try:
                await hooks.run(self._calls, service.container, hook, max(1.0, min(grace, budget.remaining())))
            except HarnessError as error:
                self.watch.hook_failed(service, error.summary)
                return
