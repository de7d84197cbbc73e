"""What clients ask a keeper for, one method each, by the word that asks for it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.errors import HarnessError
from harness.keeper.holds import KEPT, State
from harness.keeper.networks import Network
from harness.keeper.processes import Service
from harness.keeper.stacks import hurry
from harness.keeper.watch import Container
from harness.ownership import objects
from harness.ownership.identity import this_process

if TYPE_CHECKING:
    from harness.keeper.clients import Connection
    from harness.keeper.keeper import Keeper
    from harness.keeper.server import Handler

LOOK_BUDGET = 1.0


class StackRequests:
    """What is asked for of stacks: to hold them, and to let them go."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._stacks, self._clients = keeper.stacks, keeper.clients
        self._ledger, self._addresses = keeper.intents.ledger, keeper.addresses

    def handlers(self) -> dict[str, Handler]:
        """Return what can be asked for, by the word for it."""
        return {
            "hello": self.hello,
            "ledger": self.ledger,
            "lease": self.lease,
            "acquire": self.acquire,
            "settled": self.settled,
            "release": self.release,
            "keep": self.keep,
            "down": self.down,
            "graces": self.graces,
            "goodbye": self.goodbye,
        }

    async def hello(
        self, connection: Connection, *, pid: int, start: int, lease: bool, sponsor: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """Take a client's name; with ``lease`` it holds what it acquires until its process is gone.

        What clients share is held for their ``sponsor`` (pid, start time) as well; when that is the client itself, it
        takes over this hold.
        """
        if sponsor:
            connection.sponsor = self._clients.sponsor(*sponsor)
            if sponsor[0] == pid:
                connection.id = connection.sponsor.id
        if lease:
            self._clients.lease(connection, pid, start)
        me = this_process()
        return {
            "env": self._keeper.env,
            "pid": me.pid,
            "start": me.start,
            "network": self._addresses.network,
            "connection": connection.id,
            "labels": self._keeper.labels(),
            "key": self._keeper.claim.key,
            "engine_lost": bool(self._keeper.engine and self._keeper.engine.lost),
        }

    async def ledger(self, _: Connection) -> dict[str, Any]:
        """Return where the ledger is, or should be, and its lines; {} when nothing is left that it would tell of."""
        return self._ledger.told()

    async def lease(
        self, _: Connection, *, services: list[str], ports: list[str], anew: bool = False
    ) -> dict[str, Any]:
        """Return addresses for ``stack/service`` names and numbers for named ports; with ``anew`` other numbers."""
        for name in ports if anew else ():
            self._addresses.forget_port(name)
        return {
            "addresses": {name: self._addresses.address(name) for name in services},
            "ports": {name: self._addresses.port(name) for name in ports},
        }

    async def acquire(
        self, connection: Connection, *, stack: str, includes: list[str], alone: bool = False
    ) -> dict[str, Any]:
        """Hold a stack. The first one to ask is told to build it, others wait until it is settled.

        A client with a sponsor shares it with that sponsor's other clients to the sponsor's end; or has it ``alone``:
        they wait until it is given back, unless it is shared already.
        """
        if connection.closed or not connection.is_lease:
            raise HarnessError(f"{connection.id} holds no lease, and so no stack")
        sponsor = connection.sponsor
        run = sponsor.id if sponsor and sponsor.id in self._clients.sponsors else ""
        return await self._stacks.acquire(connection.id, stack, tuple(includes), alone=alone, sponsor=run)

    async def settled(self, connection: Connection, *, stack: str, record: dict[str, Any]) -> None:
        """Take the word of the builder that its stack is ready and seeded."""
        if not self._stacks.holds.is_needed(stack):
            raise HarnessError(f"Stack {stack!r} is gone")
        self._stacks.known[stack].record = record
        self._stacks.follow(self._stacks.holds.settled(connection.id, stack))

    async def release(self, connection: Connection, *, stack: str) -> dict[str, Any]:
        """Stop holding a stack; what nobody holds any more is removed and verified."""
        return {"left": await self._stacks.carry_out(self._stacks.holds.release(connection.id, stack))}

    async def keep(self, connection: Connection, *, ttl: float, stacks: list[str] | None = None) -> None:
        """Let stacks (default: all that the client holds) stay without a run, until ``down`` or ``ttl`` s unused."""
        held = [one.name for one in self._stacks.holds.stacks.values() if connection.id in one.holders]
        wanted = held if stacks is None else stacks
        if gone := [name for name in wanted if not self._stacks.holds.is_needed(name)]:
            raise HarnessError(f"Stack {gone[0]!r} is gone")
        self._stacks.follow(self._stacks.holds.keep(wanted))
        self._keeper.ttl = ttl
        self._ledger.write("kept", value=True)

    async def down(self, _: Connection, *, stack: str = "") -> dict[str, Any]:
        """Stop keeping one stack, or all; what nobody holds any more is removed and verified.

        ``held_by`` names the runs that still use something, ``kept`` the stacks that stay up because of ``up``.
        """
        stacks = self._stacks.holds.stacks
        if stack and stack not in stacks:
            raise HarnessError(f"Stack {stack!r} is not up; there are: {', '.join(stacks)}")
        kept = sorted(one.name for one in stacks.values() if KEPT in one.holders and stack not in ("", one.name))
        if not kept:
            with contextlib.suppress(OSError):  # a full disk does not keep it up
                self._ledger.write("kept", value=False)
        left = await self._stacks.carry_out(
            self._stacks.holds.release(KEPT, stack) if stack else self._stacks.holds.leave(KEPT)
        )
        await self._stacks.removals_over()
        if not kept:
            self._clients.came = self._keeper.reported = True
            if not self._clients.leases() and not stacks:
                left += await self._keeper.remove_all()
                asyncio.get_running_loop().call_soon(self._keeper.finished.set)
        held = {holder for one in stacks.values() for holder in one.holders}
        return {
            "left": left,
            "kept": kept,
            "stacks": sorted(stacks),
            "held_by": [f"{one.id} (pid {one.pid})" for one in self._clients.leases() if one.id in held],
        }

    async def graces(self, _: Connection) -> dict[str, Any]:
        """Return how many seconds all services have to end when they are asked to, one stack after the other."""
        graces: dict[str, float] = {}
        for one in self._keeper.services():
            grace = one.spec["grace"] if isinstance(one, Service) else one.grace
            graces[one.stack] = max(grace, graces.get(one.stack, 0.0))
        return {"seconds": sum(graces.values())}

    async def goodbye(self, connection: Connection, *, hurried: bool = False) -> dict[str, Any]:
        """End a run: drop all its holds, and report what could not be removed. A signal is in a hurry."""
        left = await self._stacks.carry_out(self._stacks.holds.leave(connection.id), hurry() if hurried else None)
        if connection.sponsor and connection.id == connection.sponsor.id:
            left += await self._clients.lost_sponsor(connection.sponsor, hurried=hurried)
        await self._stacks.removals_over()
        connection.is_lease = False
        self._ledger.note("released", pid=connection.pid)
        last = not self._clients.leases() and not self._stacks.holds.stacks
        if last:
            self._keeper.reported = True
            left += await self._keeper.remove_all()
            asyncio.get_running_loop().call_soon(self._keeper.finished.set)
        return {"left": left, "ended": last}


class ServiceRequests:
    """What is asked for of services, as processes and as containers."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._stacks, self._processes = keeper.stacks, keeper.processes
        self._networks, self._logs, self._intents = keeper.networks, keeper.logs, keeper.intents

    def handlers(self) -> dict[str, Handler]:
        """Return what can be asked for, by the word for it."""
        return {
            "start": self.start,
            "take_network": self.take_network,
            "network": self.network,
            "compose": self.compose,
            "stop_compose": self.stop_compose,
            "explain": self.explain,
            "exposed": self.exposed,
            "services": self.services,
            "look": self.look,
            "blame": self.blame,
            "logs_since": self.logs_since,
            "act": self.act,
        }

    async def start(self, _: Connection, *, stack: str, service: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Start a service: argv, env, cwd, log (a wish, which may get a suffix), subject, grace, stop, hold."""
        self._stacks.refuse_what_goes(stack, f"service {service!r} was not started")
        return self._processes.start(stack, service, spec | {"log": self._logs.path_of(stack, service)}).facts()

    async def take_network(self, _: Connection, *, made: dict[str, str] | None) -> None:
        """Take the environment's network from the run that has made it; None when the engine refused it."""
        async with self._networks.making:
            if made:
                self._networks.take(Network(**made))
            self._networks.awaited = False

    async def network(self, connection: Connection, *, stack: str, services: list[str]) -> dict[str, str]:
        """Return the network that a stack's containers join.

        The containers of the stacks that it includes join it too.
        """
        engine, networks = self._keeper.containers(), self._networks
        async with networks.making:
            name = networks.name_for(stack, services)
            network = networks.get(name)
            if network is None:
                if connection.closed:
                    raise HarnessError(f"{connection.id} is gone")
                own = name != networks.first
                labels = self._keeper.labels(**({objects.STACK: stack} if own else {}))
                network = await networks.make(engine.make_network, name, labels)
                below = self._stacks.holds.below(stack) if own else set()
                for container in engine.containers.values():
                    if container.stack in below and container.container:
                        await engine.connect_to(network, container.container, [container.name])
            return network.as_dict()

    async def compose(  # noqa: PLR0913 - a command, and what it is about to start
        self,
        connection: Connection,
        *,
        stack: str,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        log: str,
        services: dict[str, float],
        start: bool = False,
    ) -> dict[str, Any]:
        """Run Compose for a stack to its end; return its exit code.

        ``services`` is what it is about to start -> grace in seconds. With ``start`` it only creates, and then all is
        started here; ``refused`` is service -> why the engine did not.
        """
        engine = self._keeper.containers()
        await engine.opened()  # its events are subscribed to before anything can happen
        for name, grace in services.items():
            made = Container(stack, name, self._logs.path_of(stack, name), grace)
            engine.containers[made.id] = made
        if connection.closed:
            raise HarnessError(f"{connection.id} is gone")
        self._stacks.refuse_what_goes(stack, "Compose was not run")
        self._intents.intend("compose", stack=stack, services=sorted(services))
        command = self._processes.spawn(stack, argv, env, cwd, Path(log))
        await command.gone.wait()
        known, refused = self._stacks.known.get(stack), {}
        if services and known:
            known.unsure = known.unsure or command.code != 0
            if start and command.code == 0:
                refused = await engine.start_created(
                    stack, lambda: known.stopped or not self._stacks.holds.is_needed(stack)
                )
            await engine.refresh()
        return {"code": command.code, "refused": refused}

    async def stop_compose(self, _: Connection, *, stack: str) -> None:
        """End what Compose does for a stack now, and what it has us do: it is of no use any more."""
        if stack in self._stacks.known:
            self._stacks.known[stack].stopped = True
        await self._keeper.end_commands(stack)

    async def explain(self, _: Connection, *, stack: str, service: str, ask: bool = True) -> dict[str, Any]:
        """Return what the engine knows of a container: OOM flag, error, last health checks; {} for a process.

        With ``ask`` false the engine is not asked (which takes it a tenth of a second); the log is complete afterwards.
        """
        engine = self._keeper.engine
        one = engine.containers.get(f"{stack}/{service}") if engine else None
        if engine is None or one is None:
            return {}
        await engine.log_complete(one)
        return await engine.explain(one) if ask else {}

    async def exposed(self, _: Connection) -> dict[str, Any]:
        """Return bindings of containers that are not on loopback."""
        return {"exposed": await self._keeper.containers().exposed()}

    async def services(self, _: Connection) -> dict[str, Any]:
        """Return the facts of all services and the state of all stacks."""
        containers = list(self._keeper.engine.containers.values()) if self._keeper.engine else []
        unknown = [one for one in containers if one.running and not one.pid]
        if self._keeper.engine and unknown:
            await asyncio.gather(*(self._keeper.engine.explain(one) for one in unknown), return_exceptions=True)
        return {
            "services": [service.facts() for service in self._keeper.services() if service.starts],
            "stacks": {
                stack.name: {
                    "settled": stack.state is State.SETTLED,
                    "includes": list(stack.includes),
                    "holders": self._stacks.holds.holders_of(stack.name),
                    "record": self._stacks.known[stack.name].record,
                }
                for stack in self._stacks.holds.stacks.values()
            },
        }

    async def look(self, _: Connection) -> dict[str, Any]:
        """Look which services have ended, and tell of it before this is answered: their ends may not be known yet.

        ``late`` tells that the engine did not answer in time.
        """
        self._processes.reap()
        try:
            if self._keeper.engine:
                await asyncio.wait_for(self._keeper.engine.refresh(), LOOK_BUDGET)
        except TimeoutError:
            return {"late": True}
        return {"late": False}

    async def blame(self, _: Connection, *, stack: str, service: str, under: str) -> None:
        """Note what ran when a service ended, for everybody who finds it so later on; who comes first knows best."""
        for one in self._keeper.services():
            if one.id == f"{stack}/{service}" and not one.running:
                one.under = one.under or under

    async def logs_since(self, _: Connection, *, seconds: float) -> dict[str, Any]:
        """Return log -> the size that it had ``seconds`` ago."""
        logs = [facts["log"] for facts in (one.facts() for one in self._keeper.services())]
        return {"sizes": {log: self._logs.marks.since(log, seconds) for log in logs}}

    async def act(self, _: Connection, *, stack: str, service: str, act: str, grace: float = 2.0) -> dict[str, Any]:
        """Do to one service what a test asks for: kill, stop, start, restart, pause, unpause, go."""
        if act in ("start", "restart"):
            self._stacks.refuse_what_goes(stack, f"service {service!r} was not started")
        if self._keeper.engine and (container := self._keeper.engine.containers.get(f"{stack}/{service}")):
            await self._keeper.engine.act(container, act, grace)
            return container.facts()
        one = self._processes.services[f"{stack}/{service}"]
        if act in ("kill", "stop", "restart") and one.running:
            await self._processes.stop({one: 0 if act == "kill" else grace})
        if act in ("start", "restart") and not one.running:
            self._stacks.refuse_what_goes(stack, f"service {service!r} was not started")
            self._processes.launch(one)
        if act == "go":
            one.go()
        if act in ("pause", "unpause") and one.running:
            one.paused = act == "pause"
            procs.kill_group(one.pid, signal.SIGSTOP if one.paused else signal.SIGCONT)
        return one.facts()
