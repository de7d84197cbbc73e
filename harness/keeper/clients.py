"""The clients of a keeper: their connections, the processes that they work for, and what their going means."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from harness import clock, procs
from harness.errors import HarnessError
from harness.keeper.own_log import say
from harness.keeper.processes import KILL_BUDGET, wait_gone
from harness.keeper.stacks import hurry
from harness.ownership.identity import this_process

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from harness.keeper.messages import ServiceFacts
    from harness.keeper.processes import Processes
    from harness.keeper.stacks import Stacks
    from harness.ownership.ledger import LedgerWriter

CLOSING = 1.0  # seconds between the end of a client's connection and that of its process, at most


class Sponsor:
    """A process for which several clients work, a pytest with workers: what they share is held until it is gone."""

    def __init__(self, pid: int, start: int) -> None:
        self.id = f"sponsor-{pid}-{start}"
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)


class Connection:
    """A client; one of kind ``run`` holds a lease."""

    def __init__(self, number: int, writer: asyncio.StreamWriter) -> None:
        self.id = f"run-{number}"
        self.writer = writer
        self.is_lease = False
        self.sponsor: Sponsor | None = None
        self.stack = ""  # of which it is a service itself
        self.pid = 0
        self.start = 0
        self.pidfd = -1
        self.closed = False

    @property
    def run(self) -> str:
        """The run that it is of: its sponsor's, else its own."""
        return self.sponsor.id if self.sponsor else self.id

    def send(self, message: Mapping[str, object]) -> None:
        """Write a message; a client that is gone is no error."""
        if not self.closed:
            with contextlib.suppress(OSError, RuntimeError):
                self.writer.write(json.dumps(message).encode() + b"\n")


class Clients:
    """Who is connected, and for whom they work; ``finished`` is set when nobody who holds anything is left."""

    def __init__(self, stacks: Stacks, processes: Processes, ledger: LedgerWriter, finished: asyncio.Event) -> None:
        self.connections: list[Connection] = []
        self.sponsors: dict[str, Sponsor] = {}
        self.last_use = clock.now()
        self.came = False  # whether anybody has ever held a lease
        self._stacks = stacks
        self._processes = processes
        self._ledger = ledger
        self._finished = finished
        self._tasks: set[asyncio.Task[None]] = set()

    def leases(self) -> list[Connection | Sponsor]:
        """Return who holds a lease, but for services of the environment: for these nothing stays up."""
        clients = [client for client in self.connections if client.is_lease and not client.stack]
        return [*clients, *self.sponsors.values()]

    def tell_all(self, event: str, facts: ServiceFacts | None) -> None:
        """Pass an event to every client; of the clients of one run the first is to write it down."""
        runs: set[str] = set()
        for connection in self.connections:
            first = connection.run not in runs and not connection.stack
            connection.send({"event": event, **(facts or {}), "record": first})
            runs.add(connection.run)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def sponsor(self, pid: int, start: int) -> Sponsor:
        """Return the process for which clients work. Raises HarnessError when it is gone."""
        if known := self.sponsors.get(f"sponsor-{pid}-{start}"):
            return known
        if not procs.is_alive(pid, start):
            raise HarnessError(f"pid {pid}, for which this run works, is gone")
        sponsor = Sponsor(pid, start)
        self.sponsors[sponsor.id] = sponsor
        self._ledger.write("holder", owner=this_process().as_dict() | {"pid": pid, "start": start})
        asyncio.get_running_loop().add_reader(sponsor.pidfd, lambda: self.in_background(self._sponsor_ended(sponsor)))
        return sponsor

    def lease(self, connection: Connection, pid: int, start: int) -> None:
        """Let a client hold what it acquires until its process is gone. Raises HarnessError if it is another one."""
        # A second sense beside the end of the stream, which a forked child of the client would delay.
        with contextlib.suppress(OSError):
            connection.pidfd = os.pidfd_open(connection.pid)
            if procs.start_time_of(pid) not in (start, None):
                raise HarnessError(f"pid {pid} is not who it says")
            asyncio.get_running_loop().add_reader(connection.pidfd, lambda: self.in_background(self.lost(connection)))
        connection.is_lease, connection.start = True, start
        self.came = True
        self._ledger.write("holder", owner=this_process().as_dict() | {"pid": pid, "start": start})

    async def lost(self, connection: Connection) -> None:
        """Drop what a client held, because it closed its connection or its process is gone."""
        if connection.closed:
            return
        connection.closed = True
        loop = asyncio.get_running_loop()
        if connection.pidfd >= 0:
            loop.remove_reader(connection.pidfd)
            os.close(connection.pidfd)
        self.connections.remove(connection)
        connection.writer.close()
        if connection.is_lease:
            say(f"{connection.id} (pid {connection.pid}) is gone")
            self._ledger.note("released", pid=connection.pid)
            removed = self._stacks.carry_out(self._stacks.holds.leave(connection.id), hurry())
            await asyncio.gather(self._end_children(connection), removed)
            if connection.sponsor and connection.id == connection.sponsor.id:
                await self.lost_sponsor(connection.sponsor)
            await self._end_if_unused()

    async def _end_children(self, connection: Connection) -> None:
        """End what was to end with a client that did not say goodbye: the command that it ran, and all of its."""
        pid, start = connection.pid, connection.start
        await wait_gone(pid, start, clock.Deadline.after(CLOSING))
        if start and not procs.is_alive(pid, start):
            orphans = procs.carriers(procs.parent_of_children(pid, start))
            await self._processes.kill_all(orphans, clock.Deadline.after(KILL_BUDGET))

    def of_stack(self, stack: str, budget: clock.Deadline) -> list[asyncio.Task[list[str]]]:
        """A stack goes: have what its services hold go with it; each of the tasks returns what is left."""
        clients = [client for client in self.connections if client.stack == stack]
        removals = [
            task for client in clients for task in self._stacks.follow(self._stacks.holds.leave(client.id), budget)
        ]
        for client in clients:
            client.is_lease = False  # it gets nothing more
            self.in_background(self.lost(client))
        return removals

    async def _sponsor_ended(self, sponsor: Sponsor) -> None:
        say(f"{sponsor.id} is gone")
        await self.lost_sponsor(sponsor)
        await self._end_if_unused()

    async def lost_sponsor(self, sponsor: Sponsor, *, hurried: bool = True) -> list[str]:
        """Drop what a sponsor's clients share, and the clients: they work for nobody. Return what is left."""
        if self.sponsors.pop(sponsor.id, None) is None:
            return []
        asyncio.get_running_loop().remove_reader(sponsor.pidfd)
        os.close(sponsor.pidfd)
        self._ledger.note("released", pid=sponsor.pid)
        clients = [client for client in self.connections if client.sponsor is sponsor and client.id != sponsor.id]
        budget = hurry() if hurried else None
        holders = [*(client.id for client in clients), sponsor.id]
        removals = [
            task for holder in holders for task in self._stacks.follow(self._stacks.holds.leave(holder), budget)
        ]
        closing = asyncio.gather(*(self.lost(client) for client in clients))  # which may take a moment longer
        left = await asyncio.gather(*removals)
        await closing
        return [line for lines in left for line in lines]

    async def _end_if_unused(self) -> None:
        """End, once what goes is gone, if nobody is left: who asked for a removal may not be there any more."""
        await self._stacks.removals_over()
        if self.came and not self.leases() and not self._stacks.holds.stacks:
            self._finished.set()
