"""The keeper: a small process that outlives everything else of an environment and is the only one that removes.

Only the standard library is used, and one thread, so that services can be forked safely; where an environment has
containers, threads that touch none of the keeper's state speak to the engine. docs/architecture.md has its rooms.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import clock, procs
from harness.daemon import Daemon
from harness.errors import HarnessError
from harness.keeper.addresses import Leases
from harness.keeper.cells import Cells
from harness.keeper.clients import Clients
from harness.keeper.containers import Engine
from harness.keeper.holds import State
from harness.keeper.intents import REFRESH, Intents
from harness.keeper.logs import Logs, wait_for
from harness.keeper.networks import Networks, first_name
from harness.keeper.own_log import say
from harness.keeper.processes import Processes
from harness.keeper.stacks import Stack, Stacks, hurry
from harness.ownership import objects, removal
from harness.ownership.identity import this_process
from harness.ownership.ledger import SUFFIX, LedgerWriter

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine

    from harness.keeper.server import Server
    from harness.keeper.services import Service

FIRST_LEASE_WITHIN = 5.0
RETRY_FOR, RETRY_EVERY = 120.0, 2.0


class Keeper:
    """One environment: puts together what keeps it, and removes it."""

    def __init__(self, header: dict[str, Any]) -> None:
        self.env: str = header["env"]
        self.folder = Path(header["folder"])
        self.header = header
        self.claim = objects.Claim(self.env, header["nonce"], header["key"])
        self.addresses = Leases(self.env)
        ledger = LedgerWriter(
            Path(header["state"]) / f"{self.env}{SUFFIX}",
            {key: header[key] for key in ("env", "checkout", "engine", "folder", "daemon")}
            | {"socket": header["socket"], "owner": this_process().as_dict()}
            | {"nonce": self.claim.nonce, "key": self.claim.key},
        )
        self.finished = asyncio.Event()
        self.terminated = asyncio.Event()
        self.reported = False
        self.ttl = 0.0
        self.left: list[str] = []
        self.engine: Engine | None = None
        self.cells: Cells | None = None
        self.intents = Intents(ledger)
        self.logs = Logs(self.folder / "services", self.finished)
        self.stacks = Stacks(self.remove)
        self.networks = Networks(first_name(self.env), self.intents, awaited=header["awaits_network"])
        self.processes = Processes(self.env, self.intents, self._tell, threads=bool(header["daemon"]))
        self.clients = Clients(self.stacks, self.processes, ledger, self.finished)
        self._clearing = asyncio.Lock()

    # -- life ---------------------------------------------------------------------------------------------------

    async def serve(self, server: Server, listener: socket.socket) -> None:
        """Have clients answered until nothing is needed any more, then remove everything."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self.processes.reap)
        loop.add_signal_handler(signal.SIGTERM, self._terminated)
        if self.header["daemon"]:
            self.engine = Engine(Daemon(**self.header["daemon"]), self.claim, self.header["networks"], self._tell, say)
            self.cells = Cells(self.env, self.engine, self.networks, self.intents, self.labels)
            if self.networks.awaited:
                self.intents.intend("network", name=self.networks.first)
        listening = await server.listen(listener)
        loop.call_later(FIRST_LEASE_WITHIN, self._end_if_nobody_came)
        watched: list[Coroutine[Any, Any, None]] = [
            self._watch_idle(),
            self._look_at_containers(),
            self.logs.mark(lambda: [service.log for service in self.services() if service.log]),
            self.logs.bound(),
            self.intents.mind(self.finished),
        ]
        tasks = [asyncio.create_task(work) for work in watched]
        await self.finished.wait()
        for task in tasks:
            task.cancel()
        deadline = clock.Deadline.after(RETRY_FOR)
        while not self.intents.is_cleared and await self.remove_all() and not self.reported and not deadline.expired():
            # Nobody was told what is left: the engine may be away for a moment. A client that comes now is not served.
            await wait_for(self.terminated, RETRY_EVERY)
        if self.engine:
            self.engine.close()
        for connection in self.clients.connections:
            with contextlib.suppress(OSError, RuntimeError, ConnectionError):
                await asyncio.wait_for(connection.writer.drain(), 1)
        listening.close()

    def _terminated(self) -> None:
        say("TERM: ending")
        self.terminated.set()
        self.finished.set()

    def _end_if_nobody_came(self) -> None:
        if not self.clients.came:
            self.finished.set()

    async def _watch_idle(self) -> None:
        """End a kept environment that nobody used for its ``ttl``."""
        while not self.finished.is_set():
            await wait_for(self.finished, 30)
            if self.ttl and not self.clients.leases() and clock.now() - self.clients.last_use > self.ttl:
                say(f"idle for {self.ttl:g} s: ending")
                self.finished.set()
                return

    async def _look_at_containers(self) -> None:
        """While somebody waits for a stack to settle, ask the engine each second: events may be lost."""
        while self.engine and not self.finished.is_set():
            await wait_for(self.finished, REFRESH)
            if any(stack.state is not State.SETTLED for stack in self.stacks.holds.stacks.values()):
                with contextlib.suppress(HarnessError):
                    await self.engine.refresh()

    def services(self) -> list[Service]:
        """Return everything that was started, or is about to be."""
        return [*self.processes.services.values(), *(self.engine.containers.values() if self.engine else ())]

    def containers(self) -> Engine:
        """Return the engine of this environment. Raises HarnessError when it has none."""
        if self.engine is None:
            raise HarnessError("this environment has no containers")
        return self.engine

    def labels(self, **more: str) -> dict[str, str]:
        """Return the labels of everything that is made for this environment on an engine."""
        return objects.labels_of(self.env, self.claim.nonce, this_process(), self.header["checkout"], **more)

    def _tell(self, event: str, about: Service | None) -> None:
        """Pass on what happened to a service, or to the engine itself."""
        if about and about.container and event == "exit":
            self.intents.ledger.note("container-ended", service=about.name, code=about.exit_code)
        self.clients.tell_all(event, about.facts() if about else None)

    # -- removal ------------------------------------------------------------------------------------------------

    async def remove(self, stack: Stack, budget: clock.Deadline) -> list[str]:
        """Stop a stack's services, subjects first, and forget them; return what is left."""
        copies = self.clients.of_stack(stack.name, budget)
        services = self.processes.of_stack(stack.name)
        subjects = [service for service in services if service.grace > 0]
        # A Compose that failed or was killed may have asked the engine for more than there is yet.
        cut_short = await self.end_commands(stack.name) or stack.unsure
        engine = self.engine
        containers = (
            [container for container in engine.containers.values() if container.stack == stack.name] if engine else []
        )
        await asyncio.gather(
            self.processes.stop({service: min(service.grace, budget.remaining()) for service in subjects}),
            *(
                engine.stop(container, budget)
                for container in containers
                if engine and container.running and container.grace > 0
            ),
        )
        await self.processes.stop({service: 0 for service in services if service not in subjects})
        left = await self._remove_containers(stack.name, settle=removal.CUT_SHORT if cut_short else 0.0)
        for container in containers:
            if engine:
                await engine.log_complete(container)
                engine.containers.pop(container.id, None)
        if self.cells and not left:
            await self.cells.give_back(stack.name)
        self.networks.forget(stack.name)
        self.addresses.fix(stack.name, [])
        left += procs.described(self.processes.left_of(services))
        left += [line for lines in await asyncio.gather(*copies) for line in lines]
        self.processes.forget(services)
        return left

    async def end_commands(self, stack: str) -> bool:
        """End what Compose does for a stack, and what the engine was asked to start; return whether Compose did any."""
        had = await self.processes.end_commands(stack)
        if self.engine:
            await self.engine.starts_ended(stack)
        return had

    async def _remove_containers(self, stack: str | None, *, settle: float = 0.0) -> list[str]:
        if self.engine is None:
            return []
        try:
            return await self.engine.remove(stack, settle=settle)
        except HarnessError as error:
            return [f"containers of {stack or self.env}: {error.summary}"]

    async def remove_all(self) -> list[str]:
        """Remove every stack, every process and the scratch folder of this environment; verify; close the ledger."""
        intents = self.intents.count
        self.stacks.follow(self.stacks.holds.end(), hurry())
        await self.stacks.removals_over()
        async with self._clearing:
            # Stacks take their Compose with them, so no process here goes on making containers.
            of_engine, left = await asyncio.gather(self._remove_rest_of_containers(), self.processes.remove_strays())
            left += of_engine
            await self.logs.bound_once()  # nothing writes any more
            if not removal.remove_work_folder(self.folder, self.env):
                left.append(f"folder {self.folder / removal.WORK}")
            self.left = left
            if not left:
                self.intents.clear(intents)
        return left

    async def _remove_rest_of_containers(self) -> list[str]:
        async with self.networks.making:  # one that is being made for a lost run is there by then
            # A run that was killed may have asked the engine for a network that is not there yet.
            return await self._remove_containers(None, settle=removal.CUT_SHORT if self.networks.awaited else 0.0)
