"""What a keeper does for each request of its clients (``messages`` says what they mean)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.errors import HarnessError
from harness.keeper import messages, mounts
from harness.keeper.addresses import Fixed
from harness.keeper.holds import KEPT, State
from harness.keeper.networks import Network
from harness.keeper.stacks import hurry
from harness.keeper.watch import Container
from harness.ownership import objects, removal
from harness.ownership.identity import this_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.keeper.clients import Connection
    from harness.keeper.keeper import Keeper
    from harness.keeper.server import Handler
    from harness.keeper.stacks import Stack

LOOK_BUDGET = 1.0


class StackRequests:
    """What is asked for of stacks: to hold them, and to let them go."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._stacks, self._clients = keeper.stacks, keeper.clients
        self._ledger, self._addresses = keeper.intents.ledger, keeper.addresses

    def handlers(self) -> dict[type[messages.Request[Any]], Handler]:
        """Return what does which request."""
        return {
            messages.Hello: self._hello,
            messages.Ledger: self._ledger_lines,
            messages.Lease: self._lease,
            messages.FixPorts: self._fix_ports,
            messages.Acquire: self._acquire,
            messages.Settled: self._settled,
            messages.Release: self._release,
            messages.Keep: self._keep,
            messages.Down: self._down,
            messages.AskGraces: self._graces,
            messages.Goodbye: self._goodbye,
        }

    async def _hello(self, connection: Connection, request: messages.Hello) -> messages.EnvironmentFacts:
        if request.sponsor:
            connection.sponsor = self._clients.sponsor(*request.sponsor)
            if request.sponsor[0] == request.pid:
                connection.id = connection.sponsor.id
        if request.stack:
            self._stacks.refuse_what_goes(request.stack, f"pid {connection.pid} is no service of it")
            connection.stack, connection.id = request.stack, f"service-{connection.id}"
        if request.lease:
            self._clients.lease(connection, request.pid, request.start)
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

    async def _ledger_lines(self, _: Connection, __: messages.Ledger) -> messages.LedgerLines:
        ledger = self._ledger
        return {} if ledger.is_deleted else {"path": str(ledger.path), "lines": ledger.lines()}

    async def _lease(self, _: Connection, request: messages.Lease) -> messages.Leased:
        for name in request.ports if request.anew else ():
            self._addresses.forget_port(name)
        return {
            "addresses": {name: self._addresses.address(name) for name in request.services},
            "ports": {name: self._addresses.port(name) for name in request.ports},
        }

    async def _fix_ports(self, _: Connection, request: messages.FixPorts) -> messages.Fixed:
        stays = not request.ports and request.stack in self._stacks.holds.stacks
        fixed = Fixed() if stays else self._addresses.fix(request.stack, request.ports)
        return {"new": list(fixed.new), "taken": fixed.taken, "pid": fixed.pid, "stack": fixed.stack}

    async def _acquire(self, connection: Connection, request: messages.Acquire) -> messages.Acquired:
        if connection.closed or not connection.is_lease:
            raise HarnessError(f"{connection.id} holds no lease, and so no stack")
        sponsor = connection.sponsor
        run = sponsor.id if sponsor and sponsor.id in self._clients.sponsors else ""
        return await self._stacks.acquire(
            connection.id, request.stack, tuple(request.includes), alone=request.alone, sponsor=run
        )

    async def _settled(self, connection: Connection, request: messages.Settled) -> None:
        if not self._stacks.holds.is_needed(request.stack):
            raise HarnessError(f"Stack {request.stack!r} is gone")
        self._stacks.known[request.stack].record = request.record
        self._stacks.follow(self._stacks.holds.settled(connection.id, request.stack))

    async def _release(self, connection: Connection, request: messages.Release) -> dict[str, list[str]]:
        return {"left": await self._stacks.carry_out(self._stacks.holds.release(connection.id, request.stack))}

    async def _keep(self, connection: Connection, request: messages.Keep) -> None:
        held = [stack.name for stack in self._stacks.holds.stacks.values() if connection.id in stack.holders]
        wanted = held if request.stacks is None else request.stacks
        if gone := [name for name in wanted if not self._stacks.holds.is_needed(name)]:
            raise HarnessError(f"Stack {gone[0]!r} is gone")
        self._stacks.follow(self._stacks.holds.keep(wanted))
        self._keeper.ttl = request.ttl
        self._ledger.write("kept", value=True)

    async def _down(self, _: Connection, request: messages.Down) -> messages.Downed:
        stacks = self._stacks.holds.stacks
        if request.stack and request.stack not in stacks:
            raise HarnessError(f"Stack {request.stack!r} is not up; there are: {', '.join(stacks)}")
        kept = sorted(
            stack.name for stack in stacks.values() if KEPT in stack.holders and request.stack not in ("", stack.name)
        )
        if not kept:
            with contextlib.suppress(OSError):  # a full disk does not keep it up
                self._ledger.write("kept", value=False)
        left = await self._stacks.carry_out(
            self._stacks.holds.release(KEPT, request.stack) if request.stack else self._stacks.holds.leave(KEPT)
        )
        await self._stacks.removals_over()
        if not kept:
            self._clients.came = self._keeper.reported = True
            if not self._clients.leases() and not stacks:
                left += await self._keeper.remove_all()
                asyncio.get_running_loop().call_soon(self._keeper.finished.set)
        held = {holder for stack in stacks.values() for holder in stack.holders}
        return {
            "left": left,
            "kept": kept,
            "stacks": sorted(stacks),
            "held_by": [f"{client.id} (pid {client.pid})" for client in self._clients.leases() if client.id in held],
        }

    async def _graces(self, _: Connection, __: messages.AskGraces) -> dict[str, float]:
        graces: dict[str, float] = {}
        for service in self._keeper.services():
            graces[service.stack] = max(service.patience, graces.get(service.stack, 0.0))
        return {"seconds": sum(graces.values())}

    async def _goodbye(self, connection: Connection, request: messages.Goodbye) -> messages.Ended:
        left = await self._stacks.carry_out(
            self._stacks.holds.leave(connection.id), hurry() if request.hurried else None
        )
        if connection.sponsor and connection.id == connection.sponsor.id:
            left += await self._clients.lost_sponsor(connection.sponsor, hurried=request.hurried)
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

    def handlers(self) -> dict[type[messages.Request[Any]], Handler]:
        """Return what does which request."""
        return {
            messages.Start: self._start,
            messages.TakeNetwork: self._take_network,
            messages.JoinNetwork: self._network,
            messages.Compose: self._compose,
            messages.StartCreated: self._start_created,
            messages.StopCompose: self._stop_compose,
            messages.Explain: self._explain,
            messages.AskExposed: self._exposed,
            messages.Services: self._services,
            messages.Look: self._look,
            messages.Blame: self._blame,
            messages.LogsSince: self._logs_since,
            messages.Act: self._act,
            messages.End: self._end,
            messages.TakeStreams: self._take_streams,
            messages.AskMounts: self._mounts,
            messages.CreateCell: self._create_cell,
            messages.StartRole: self._start_role,
        }

    def _log_of(self, connection: Connection, stack: str, service: str) -> str:
        """Return the log of a service: what a service of the environment starts is a copy, and always says of which."""
        return self._logs.path_of(stack, service, copy=bool(connection.stack))

    async def _start(self, connection: Connection, request: messages.Start) -> messages.ServiceFacts:
        self._stacks.refuse_what_goes(request.stack, f"service {request.service!r} was not started")
        log = "" if request.spec.get("streams") else self._log_of(connection, request.stack, request.service)
        return self._processes.start(request.stack, request.service, request.spec, log).facts()

    async def _create_cell(self, _: Connection, request: messages.CreateCell) -> dict[str, str]:
        self._stacks.refuse_what_goes(request.stack, "it was not created")
        engine, cells, holds = self._keeper.containers(), self._keeper.cells, self._stacks.holds
        assert cells is not None  # it is there where an engine is
        making = asyncio.ensure_future(
            cells.create(request.stack, request.roles, lambda: holds.is_needed(request.stack))
        )
        engine.begun(request.stack, making)
        return await making

    async def _start_role(self, _: Connection, request: messages.StartRole) -> None:
        self._stacks.refuse_what_goes(request.stack, f"{request.service!r} was not started")
        engine, cells = self._keeper.containers(), self._keeper.cells
        if cells:
            await cells.opened(request.stack, request.container)
        await engine.start_cell(engine.containers[f"{request.stack}/{request.service}"], request.container)

    async def _end(self, _: Connection, request: messages.End) -> None:
        if engine := self._keeper.engine:
            containers = [engine.containers.get(f"{request.stack}/{name}") for name in request.services]
            await engine.signal([service for service in containers if service], kill=request.kill)
        processes = [process for process in self._processes.of_stack(request.stack) if process.name in request.services]
        if request.kill:
            await self._processes.stop(dict.fromkeys(processes, 0.0))
        else:
            self._processes.terminate(processes)

    async def _take_streams(self, _: Connection, request: messages.TakeStreams) -> None:
        for process in self._processes.of_stack(request.stack):
            process.take_streams(self._logs.path_of(request.stack, process.name))

    async def _mounts(self, _: Connection, __: messages.AskMounts) -> dict[str, bool]:
        work = self._keeper.folder / removal.WORK
        return {"allowed": not self._keeper.engine and mounts.are_allowed(work)}

    async def _take_network(self, _: Connection, request: messages.TakeNetwork) -> None:
        async with self._networks.making:
            if request.made:
                self._networks.take(Network(**request.made))
            self._networks.awaited = False

    async def _network(self, connection: Connection, request: messages.JoinNetwork) -> dict[str, str]:
        engine, networks = self._keeper.containers(), self._networks
        async with networks.making:
            name = networks.name_for(request.stack, request.services)
            network = networks.get(name)
            if network is None:
                if connection.closed:
                    raise HarnessError(f"{connection.id} is gone")
                own = name != networks.first
                labels = self._keeper.labels(**({objects.STACK: request.stack} if own else {}))
                network = await networks.make(engine.make_network, name, labels)
                below = self._stacks.holds.below(request.stack) if own else set()
                for container in engine.containers.values():
                    if container.stack in below and container.container:
                        await engine.connect_to(network, container.container, [container.name])
            return network.as_dict()

    async def _compose(self, connection: Connection, request: messages.Compose) -> messages.Composed:
        engine = self._keeper.containers()
        await engine.opened()  # its events are subscribed to before anything can happen
        for name, grace in request.services.items():
            log, hooks = self._log_of(connection, request.stack, name), request.hooks.get(name)
            container = Container(request.stack, name, log, grace, hooks)
            engine.containers[container.id] = container
        if connection.closed:
            raise HarnessError(f"{connection.id} is gone")
        self._stacks.refuse_what_goes(request.stack, "Compose was not run")
        self._intents.intend("compose", stack=request.stack, services=sorted(request.services))
        command = self._processes.spawn(request.stack, request.argv, request.env, request.cwd, Path(request.log))
        await command.gone.wait()
        stack, refused = self._stacks.known.get(request.stack), {}
        if request.services and stack:
            stack.unsure = stack.unsure or command.code != 0
            if request.start and command.code == 0:
                refused = await engine.start_created(request.stack, request.start, self._is_given_up(stack))
            await engine.refresh()
        return {"code": command.code, "refused": refused}

    def _is_given_up(self, stack: Stack) -> Callable[[], bool]:
        return lambda: stack.stopped or not self._stacks.holds.is_needed(stack.name)

    async def _start_created(self, _: Connection, request: messages.StartCreated) -> messages.Refused:
        self._stacks.refuse_what_goes(request.stack, f"{', '.join(request.services)} was not started")
        stack = self._stacks.known[request.stack]
        engine = self._keeper.containers()
        given_up = self._is_given_up(stack)
        return {"refused": await engine.start_created(request.stack, request.services, given_up, request.patience)}

    async def _stop_compose(self, _: Connection, request: messages.StopCompose) -> None:
        if request.stack in self._stacks.known:
            self._stacks.known[request.stack].stopped = True
        if self._keeper.engine:
            self._keeper.engine.give_up_hooks(request.stack)
        await self._keeper.end_commands(request.stack)

    async def _explain(self, _: Connection, request: messages.Explain) -> messages.Explained:
        engine = self._keeper.engine
        container = engine.containers.get(f"{request.stack}/{request.service}") if engine else None
        if engine is None or container is None:
            return {}
        await engine.log_complete(container)
        return await engine.explain(container) if request.ask else {}

    async def _exposed(self, _: Connection, __: messages.AskExposed) -> dict[str, list[str]]:
        return {"exposed": await self._keeper.containers().exposed()}

    async def _services(self, _: Connection, __: messages.Services) -> messages.Listed:
        containers = list(self._keeper.engine.containers.values()) if self._keeper.engine else []
        unknown = [container for container in containers if container.running and not container.pid]
        if self._keeper.engine and unknown:
            await asyncio.gather(
                *(self._keeper.engine.explain(container) for container in unknown), return_exceptions=True
            )
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

    async def _look(self, _: Connection, __: messages.Look) -> dict[str, bool]:
        self._processes.reap()
        try:
            if self._keeper.engine:
                await asyncio.wait_for(self._keeper.engine.refresh(), LOOK_BUDGET)
        except TimeoutError:
            return {"late": True}
        return {"late": False}

    async def _blame(self, _: Connection, request: messages.Blame) -> None:
        for service in self._keeper.services():
            if service.id == f"{request.stack}/{request.service}" and not service.running:
                service.under = service.under or request.under

    async def _logs_since(self, _: Connection, request: messages.LogsSince) -> dict[str, dict[str, int]]:
        logs = [service.log for service in self._keeper.services() if service.log]
        return {"sizes": {log: self._logs.marks.since(log, request.seconds) for log in logs}}

    async def _act(self, _: Connection, request: messages.Act) -> messages.ServiceFacts:
        if request.act in ("start", "restart"):
            self._stacks.refuse_what_goes(request.stack, f"service {request.service!r} was not started")
        if self._keeper.engine and (
            container := self._keeper.engine.containers.get(f"{request.stack}/{request.service}")
        ):
            await self._keeper.engine.act(container, request.act, request.grace)
            return container.facts()
        process = self._processes.services[f"{request.stack}/{request.service}"]
        if request.act in ("kill", "stop", "restart") and process.running:
            await self._processes.stop({process: 0 if request.act == "kill" else request.grace})
        if request.act in ("start", "restart") and not process.running:
            self._stacks.refuse_what_goes(request.stack, f"service {request.service!r} was not started")
            self._processes.launch(process)
        if request.act == "go":
            process.go()
        if request.act in ("pause", "unpause") and process.running:
            process.paused = request.act == "pause"
            procs.kill_group(process.pid, signal.SIGSTOP if process.paused else signal.SIGCONT)
        return process.facts()
