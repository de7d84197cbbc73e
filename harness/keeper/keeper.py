"""The keeper: a small process that outlives everything else of an environment and is the only one that removes.

It is the parent of the environment's services: it holds their standard input, writes their output to files, reaps
them, tells every connected run when one ends, and stops them when nobody needs them any more. A stack is needed while
somebody holds it: a connected run, a stack that includes it, or ``kept``. A run's connection *is* its lease: when the
process that opened it is gone, however it went, its holds are gone too.

Only the standard library is used, and one thread, so that services can be forked safely; where an environment has
containers, the engine is spoken to by threads that touch none of the keeper's state (``containers``).
The protocol is one JSON object a line over an abstract unix socket: ``{"id": 1, "do": "start", ...}`` is answered by
``{"id": 1, "ok": {...}}`` or ``{"id": 1, "error": "..."}``; ``{"event": "exit", ...}`` comes unasked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import clock, procs
from harness.artifacts import FULL
from harness.daemon import Daemon
from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.keeper import held as holding
from harness.keeper.addresses import Leases
from harness.keeper.bounding import LogBounds
from harness.keeper.containers import Container, Engine
from harness.keeper.holds import KEPT, Answer, Holds, Outcome, Request, State
from harness.keeper.marks import LogMarks
from harness.keeper.networks import Network, first_name
from harness.ownership import objects, removal
from harness.ownership.identity import RUN_COOKIE, SERVICE_COOKIE, this_process
from harness.ownership.ledger import SUFFIX, LedgerWriter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

FIRST_LEASE_WITHIN = 5.0
STOP_BUDGET = 7.0
KILL_BUDGET = 10.0
LIMIT = 16 * 1024 * 1024
LOOK_BUDGET = 1.0
REFRESH = 1.0
AGAIN = 0.1  # seconds after which logs are looked at again while one grows beyond its bound
UNREAPED = 0.5  # seconds in which a dead child is ours to collect, unless a debugger has not looked yet
SWITCH_EVERY = 0.0005  # seconds that a thread, such as one that reads a log, may hold up answers
CLOSING = 1.0  # seconds between the end of a client's connection and that of its process, at most
RETRY_FOR, RETRY_EVERY = 120.0, 2.0
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_keeper() -> None:
    """Run in a service between fork and exec: the kernel kills it should its keeper die first."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


# The same for a keeper with threads, in which no Python may run between fork and exec.
_LAUNCH = (
    f"import ctypes,os,sys; ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {int(signal.SIGKILL)}, 0, 0, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
_LAUNCHER = (sys.executable, "-ISc", _LAUNCH)


class Service:
    """One service process, and the next one after a restart."""

    def __init__(self, stack: str, name: str, spec: dict[str, Any]) -> None:
        self.stack = stack
        self.name = name
        self.spec = spec
        self.process: procs.Popen[bytes] | None = None
        self.pid = 0
        self.start_time = 0
        self.exit_code: int | None = None
        self.expected = False
        self.under = ""  # what ran when it ended, in words
        self.paused = False
        self.held = False
        self.starts = 0
        self.log_start = 0
        self.gone = asyncio.Event()
        self._stdin = -1

    @property
    def id(self) -> str:
        """``stack/service``."""
        return f"{self.stack}/{self.name}"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.exit_code is None

    def launch(self, env: str, *, threads: bool) -> None:
        """Start a process for it; with ``threads`` in this process, by way of one that has none.

        Where its spec says ``hold``, it is held at its first instruction.

        Raises:
            OSError: it cannot be executed.
        """
        spec = self.spec
        launcher = holding.LAUNCHER if spec.get("hold") else _LAUNCHER if threads else ()
        log = Path(spec["log"])
        log.parent.mkdir(parents=True, exist_ok=True)
        read_end, write_end = os.pipe()
        try:
            with log.open("ab") as output:
                self.log_start = output.tell()
                self.process = procs.spawn(
                    [*launcher, *spec["argv"]],
                    env=spec["env"] | {RUN_COOKIE: env, SERVICE_COOKIE: self.id},
                    cwd=spec["cwd"],
                    stdin=read_end,
                    output=output,
                    umask=0o077,
                    before_exec=None if launcher else _die_with_keeper,
                )
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        self._stdin = write_end
        self.pid = self.process.pid
        self.start_time = procs.start_time_of(self.pid) or 0
        self.exit_code, self.expected, self.under, self.paused = None, False, "", False
        self.held = bool(spec.get("hold")) and holding.hold(self.pid)
        self.starts += 1
        self.gone = asyncio.Event()

    def go(self) -> None:
        """Let it run, when it is held."""
        if self.held and self.running:
            procs.kill_group(self.pid, signal.SIGCONT)
        self.held = False

    def ended(self, code: int) -> None:
        """Take note of its end."""
        self.exit_code = code
        self.held = False
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1
        self.gone.set()

    def spawn_stop_command(self) -> procs.Popen[bytes]:
        """Start the command that asks it to stop. Raises OSError."""
        with Path(self.spec["log"]).open("ab") as output:
            return procs.spawn(self.spec["stop"], env=self.spec["env"], cwd=self.spec["cwd"], output=output)

    def facts(self) -> dict[str, Any]:
        """Return what clients may know."""
        state = "running" if self.running else "exited"
        return {
            "stack": self.stack,
            "service": self.name,
            "state": "held" if self.held else "paused" if self.paused and self.running else state,
            "pid": self.pid,
            "start_time": self.start_time,
            "exit_code": self.exit_code,
            "expected": self.expected,
            "under": self.under,
            "starts": self.starts,
            "restarts": max(0, self.starts - 1),
            "log": self.spec["log"],
            "log_start": self.log_start,
            "container": "",
            "health": "",
            "oom": False,
        }


class Command:
    """A child that does something for a stack: Compose."""

    def __init__(self, stack: str, process: procs.Popen[bytes]) -> None:
        self.stack = stack
        self.process = process
        self.code: int | None = None
        self.gone = asyncio.Event()


class Stack:
    """What is known of a stack beside who holds it, from when its builder is told to build it until it is removed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.record: dict[str, Any] = {}
        self.unsure = False
        self.stopped = False  # nothing more of it is to be started


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
        self.pid = 0
        self.start = 0
        self.pidfd = -1
        self.closed = False

    @property
    def run(self) -> str:
        """The run that it is of: its sponsor's, else its own."""
        return self.sponsor.id if self.sponsor else self.id

    def send(self, message: dict[str, Any]) -> None:
        """Write a message; a client that is gone is no error."""
        if not self.closed:
            with contextlib.suppress(OSError, RuntimeError):
                self.writer.write(json.dumps(message).encode() + b"\n")


class Keeper:
    """The state of one environment and every change to it."""

    def __init__(self, header: dict[str, Any]) -> None:
        self.env: str = header["env"]
        self.folder = Path(header["folder"])
        self.leases = Leases(self.env)
        self.header = header
        self.claim = objects.Claim(self.env, header["nonce"], header["key"])
        self._awaits_network: bool = header["awaits_network"]  # the run has asked for it, and has not told of it yet
        self.ledger = LedgerWriter(
            Path(header["state"]) / f"{self.env}{SUFFIX}",
            {key: header[key] for key in ("env", "checkout", "engine", "folder", "daemon")}
            | {"socket": header["socket"], "owner": this_process().as_dict()}
            | {"nonce": self.claim.nonce, "key": self.claim.key},
        )
        self.holds = Holds()
        self.stacks: dict[str, Stack] = {}
        self.services: dict[str, Service] = {}
        self.engine: Engine | None = None
        self.commands: dict[int, Command] = {}
        self.networks: dict[str, Network] = {}
        self.names: dict[str, dict[str, str]] = {}
        self.logs: dict[str, str] = {}
        self.marks = LogMarks()
        self.bounds = LogBounds(self.folder / "services", say)
        self.connections: list[Connection] = []
        self.sponsors: dict[str, Sponsor] = {}
        self.ttl = 0.0
        self.last_use = clock.now()
        self.left: list[str] = []
        self.finished = asyncio.Event()
        self.terminated = asyncio.Event()
        self.reported = False
        self._intents = 0
        self._cleared_at = -1  # how many intents there had been when everything was last seen to be gone
        self._numbers = 0
        self._first_lease_seen = False
        self._requests: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tickets = 0
        self._removals: set[asyncio.Task[list[str]]] = set()
        self._clearing = asyncio.Lock()
        self._networking = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ---------------------------------------------------------------------------------------------------

    async def serve(self, listener: socket.socket) -> None:
        """Answer clients until nothing is needed any more, then remove everything."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self.reap)
        loop.add_signal_handler(signal.SIGTERM, self._terminated)
        if self.header["daemon"]:
            self.engine = Engine(Daemon(**self.header["daemon"]), self.claim, self.header["networks"], self._tell, say)
            if self._awaits_network:
                self._intend("network", name=self._first_network)
        server = await asyncio.start_unix_server(self.talk, sock=listener, limit=LIMIT)
        loop.call_later(FIRST_LEASE_WITHIN, self._end_if_nobody_came)
        watch = asyncio.create_task(self._watch_idle())
        look = asyncio.create_task(self._look_at_containers())
        mark = asyncio.create_task(self._mark_logs())
        mind = asyncio.create_task(self._mind_ledger())
        bound = asyncio.create_task(self._bound_logs())
        await self.finished.wait()
        watch.cancel()
        look.cancel()
        mark.cancel()
        mind.cancel()
        bound.cancel()
        deadline = clock.Deadline.after(RETRY_FOR)
        while not self._is_cleared() and await self._remove_all() and not self.reported and not deadline.expired():
            # Nobody was told what is left: the engine may be away for a moment. A client that comes now is not served.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.terminated.wait(), RETRY_EVERY)
        if self.engine:
            self.engine.close()
        for connection in self.connections:
            with contextlib.suppress(OSError, RuntimeError, ConnectionError):
                await asyncio.wait_for(connection.writer.drain(), 1)
        server.close()

    def _terminated(self) -> None:
        say("TERM: ending")
        self.terminated.set()
        self.finished.set()

    def _end_if_nobody_came(self) -> None:
        if not self._first_lease_seen:
            self.finished.set()

    async def _watch_idle(self) -> None:
        """End a kept environment that nobody used for its ``ttl``."""
        while not self.finished.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.finished.wait(), 30)
            if self.ttl and not self._leases() and clock.now() - self.last_use > self.ttl:
                say(f"idle for {self.ttl:g} s: ending")
                self.finished.set()
                return

    async def _look_at_containers(self) -> None:
        """While somebody waits for a stack to settle, ask the engine each second: events may be lost."""
        while self.engine and not self.finished.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.finished.wait(), REFRESH)
            if any(stack.state is not State.SETTLED for stack in self.holds.stacks.values()):
                with contextlib.suppress(HarnessError):
                    await self.engine.refresh()

    async def _mark_logs(self) -> None:
        """Note the sizes of logs each second, so that a client can ask what was written since when."""
        while not self.finished.is_set():
            for one in self._everything():
                self.marks.note(one.spec["log"] if isinstance(one, Service) else one.log)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.finished.wait(), REFRESH)

    async def _mind_ledger(self) -> None:
        """Write the ledger again, within a second, when somebody has removed, replaced or changed it."""
        told = ""
        while not self.finished.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.finished.wait(), REFRESH)
            if not self.ledger.is_deleted:
                told = self._restore_ledger(told)

    def _restore_ledger(self, told: str) -> str:
        """Write the ledger again if need be; return what is in the way, which is said when it is not ``told``."""
        try:
            trouble = "gone or changed, written again" if self.ledger.restore() else ""
            told = ""
        except HarnessError as error:
            trouble = f"gone, and cannot be written again: {error.summary}"
        except OSError as error:
            trouble = f"gone, and cannot be written again: {error.strerror}"
        if trouble not in ("", told):
            say(f"the ledger was {trouble}")
        return trouble

    async def _bound_logs(self) -> None:
        """Keep logs bounded: what was too much is soon off the disk, most of it before it was ever written there."""
        while not self.finished.is_set():
            steps = await self._bound_logs_once()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.finished.wait(), AGAIN if steps else REFRESH)

    async def _bound_logs_once(self) -> int:
        steps = 0
        for _ in self.bounds.look():
            steps += 1
            await asyncio.sleep(0)  # whoever asks something is answered between the steps
        return steps

    def _everything(self) -> list[Service | Container]:
        return [*self.services.values(), *(self.engine.containers.values() if self.engine else ())]

    def _leases(self) -> list[Connection | Sponsor]:
        return [*(one for one in self.connections if one.is_lease), *self.sponsors.values()]

    def _in_background(self, work: Any) -> None:  # noqa: ANN401 - any coroutine
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def reap(self) -> None:
        """Collect every child that ended: services, and orphans that came to us as subreaper."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            service = next((one for one in self.services.values() if one.pid == found.si_pid and one.running), None)
            command = self.commands.pop(found.si_pid, None)
            if command is not None:
                command.code = command.process.wait()
                command.gone.set()
                continue
            if service is None or service.process is None:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(found.si_pid, os.WNOHANG)
                continue
            self._ended(service, service.process.wait())

    def _ended(self, service: Service, code: int) -> None:
        service.ended(code)
        self.ledger.note("ended", pid=service.pid, code=code)
        say(f"{service.id}: {procs.describe_exit(code)}{'' if service.expected else ', not asked for'}")
        self._tell_all({"event": "exit", **service.facts()})

    def _tell(self, event: str, about: Container | None) -> None:
        """Pass on what happened to a container."""
        facts = about.facts() if about else {}
        if event == "exit":
            self.ledger.note("container-ended", service=facts["service"], code=facts["exit_code"])
        self._tell_all({"event": event, **facts})

    def _tell_all(self, message: dict[str, Any]) -> None:
        """Pass an event to every client; of the clients of one run the first is to write it down."""
        told: set[str] = set()
        for connection in self.connections:
            connection.send({**message, "record": connection.run not in told})
            told.add(connection.run)

    # -- clients ------------------------------------------------------------------------------------------------

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until its connection ends; processes of other users are not listened to."""
        self._numbers += 1
        connection = Connection(self._numbers, writer)
        peer: socket.socket = writer.get_extra_info("socket")
        pid, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.getuid():
            writer.close()
            return
        connection.pid = pid
        self.connections.append(connection)
        try:
            while line := await reader.readline():
                self.last_use = clock.now()
                self._in_background(self._answer(connection, line))
        except (ConnectionError, ValueError, asyncio.CancelledError):
            say(f"{connection.id}: the connection ended")
        await self._lost(connection)

    async def _answer(self, connection: Connection, line: bytes) -> None:
        number = None
        try:
            if connection.closed:
                return  # what it asks for on its deathbed would be held for nobody
            message = json.loads(line)
            number = message.pop("id", None)
            handler = getattr(self, f"do_{message.pop('do')}")
            result = await handler(connection, **message)
            connection.send({"id": number, "ok": result or {}})
        except HarnessError as error:
            connection.send({"id": number, "error": error.summary, "kind": type(error).__name__})
        except OSError as error:
            text = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
            kind = BrokenStack if error.errno in FULL else HarnessError
            connection.send({"id": number, "error": text, "kind": kind.__name__})
        except Exception as error:  # noqa: BLE001 - the keeper must outlive a bad request; it is logged and answered
            say(traceback.format_exc())
            connection.send({"id": number, "error": f"{type(error).__name__}: {error}"})

    async def _lost(self, connection: Connection) -> None:
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
            self.ledger.note("released", pid=connection.pid)
            removed = self._carry_out(self.holds.leave(connection.id), _hurry())
            await asyncio.gather(self._end_children(connection), removed)
            if connection.sponsor and connection.id == connection.sponsor.id:
                await self._lost_sponsor(connection.sponsor)
            await self._end_if_unused()

    async def _end_children(self, connection: Connection) -> None:
        """End what was to end with a client that did not say goodbye: the command that it ran, and all of its."""
        pid, start = connection.pid, connection.start
        await _wait_gone(pid, start, clock.Deadline.after(CLOSING))
        if start and not procs.is_alive(pid, start):
            orphans = procs.carriers(procs.parent_of_children(pid, start))
            await self._kill_all(orphans, clock.Deadline.after(KILL_BUDGET))

    async def _sponsor_ended(self, sponsor: Sponsor) -> None:
        say(f"{sponsor.id} is gone")
        await self._lost_sponsor(sponsor)
        await self._end_if_unused()

    async def _lost_sponsor(self, sponsor: Sponsor, *, hurried: bool = True) -> list[str]:
        """Drop what a sponsor's clients share, and the clients: they work for nobody. Return what is left."""
        if self.sponsors.pop(sponsor.id, None) is None:
            return []
        asyncio.get_running_loop().remove_reader(sponsor.pidfd)
        os.close(sponsor.pidfd)
        self.ledger.note("released", pid=sponsor.pid)
        clients = [one for one in self.connections if one.sponsor is sponsor and one.id != sponsor.id]
        budget = _hurry() if hurried else None
        holders = [*(one.id for one in clients), sponsor.id]
        removals = [task for holder in holders for task in self._follow(self.holds.leave(holder), budget)]
        closing = asyncio.gather(*(self._lost(one) for one in clients))  # which may take a moment longer
        left = await asyncio.gather(*removals)
        await closing
        return [line for lines in left for line in lines]

    async def _end_if_unused(self) -> None:
        """End, once what goes is gone, if nobody is left: who asked for a removal may not be there any more."""
        await self._removals_over()
        if self._first_lease_seen and not self._leases() and not self.holds.stacks:
            self.finished.set()

    async def do_hello(
        self, connection: Connection, *, pid: int, start: int, lease: bool, sponsor: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """Take a client's name; with ``lease`` it holds what it acquires until its process is gone.

        What clients share is held for their ``sponsor`` (pid, start time) as well; when that is the client itself, it
        takes over this hold.
        """
        if sponsor:
            connection.sponsor = self._sponsor(*sponsor)
            if sponsor[0] == pid:
                connection.id = connection.sponsor.id
        if lease:
            # A second sense beside the end of the stream, which a forked child of the client would delay.
            with contextlib.suppress(OSError):
                connection.pidfd = os.pidfd_open(connection.pid)
                if procs.start_time_of(pid) not in (start, None):
                    raise HarnessError(f"pid {pid} is not who it says")
                asyncio.get_running_loop().add_reader(
                    connection.pidfd, lambda: self._in_background(self._lost(connection))
                )
            connection.is_lease, connection.start = True, start
            self._first_lease_seen = True
            holder = this_process().as_dict() | {"pid": pid, "start": start}
            self.ledger.write("holder", owner=holder)
        me = this_process()
        return {
            "env": self.env,
            "pid": me.pid,
            "start": me.start,
            "network": self.leases.network,
            "connection": connection.id,
            "labels": self._labels(),
            "key": self.claim.key,
            "engine_lost": bool(self.engine and self.engine.lost),
        }

    def _sponsor(self, pid: int, start: int) -> Sponsor:
        known = next((one for one in self.sponsors.values() if one.id == f"sponsor-{pid}-{start}"), None)
        if known:
            return known
        if not procs.is_alive(pid, start):
            raise HarnessError(f"pid {pid}, for which this run works, is gone")
        made = Sponsor(pid, start)
        self.sponsors[made.id] = made
        self.ledger.write("holder", owner=this_process().as_dict() | {"pid": pid, "start": start})
        asyncio.get_running_loop().add_reader(made.pidfd, lambda: self._in_background(self._sponsor_ended(made)))
        return made

    def _labels(self, **more: str) -> dict[str, str]:
        """Return the labels of everything that is made for this environment on an engine."""
        return objects.labels_of(self.env, self.claim.nonce, this_process(), self.header["checkout"], **more)

    async def do_ledger(self, _: Connection) -> dict[str, Any]:
        """Return where the ledger is, or should be, and its lines; {} when nothing is left that it would tell of."""
        return self.ledger.told()

    async def do_lease(
        self, _: Connection, *, services: list[str], ports: list[str], anew: bool = False
    ) -> dict[str, Any]:
        """Return addresses for ``stack/service`` names and numbers for named ports; with ``anew`` other numbers."""
        for name in ports if anew else ():
            self.leases.forget_port(name)
        return {
            "addresses": {name: self.leases.address(name) for name in services},
            "ports": {name: self.leases.port(name) for name in ports},
        }

    async def do_acquire(
        self, connection: Connection, *, stack: str, includes: list[str], alone: bool = False
    ) -> dict[str, Any]:
        """Hold a stack. The first one to ask is told to build it, others wait until it is settled.

        A client with a sponsor shares it with that sponsor's other clients to the sponsor's end; or has it ``alone``:
        they wait until it is given back, unless it is shared already.
        """
        if connection.closed or not connection.is_lease:
            raise HarnessError(f"{connection.id} holds no lease, and so no stack")
        self._tickets += 1
        sponsor = connection.sponsor.id if connection.sponsor and connection.sponsor.id in self.sponsors else ""
        request = Request(self._tickets, connection.id, stack, tuple(includes), alone, sponsor)
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._requests[request.ticket] = waiting
        self._follow(self.holds.acquire(request))
        return await waiting

    def _follow(self, outcome: Outcome, budget: clock.Deadline | None = None) -> list[asyncio.Task[list[str]]]:
        """Answer who is to be answered, and begin the removals; each returns what is left.

        With a ``budget`` services get no more grace than what is left of it; by default, all that their files say.
        """
        for answer in outcome.answers:
            if answer.build:
                self.stacks[answer.stack] = Stack(answer.stack)
            waiting = self._requests.pop(answer.ticket)
            if waiting.done():
                continue
            if answer.refusal:
                waiting.set_exception(_refusal(answer))
            else:
                record = {} if answer.build else {"record": self.stacks[answer.stack].record}
                waiting.set_result({"build": answer.build, **record})
        removals = [
            asyncio.create_task(self._remove_and_follow(self.stacks[name], budget)) for name in outcome.removals
        ]
        for task in removals:
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)
        return removals

    async def _carry_out(self, outcome: Outcome, budget: clock.Deadline | None = None) -> list[str]:
        """Do what follows; return what could not be removed."""
        return [line for lines in await asyncio.gather(*self._follow(outcome, budget)) for line in lines]

    async def _remove_and_follow(self, stack: Stack, budget: clock.Deadline | None) -> list[str]:
        try:
            left = await self._remove(stack, budget or clock.Deadline.after(clock.LIFTED))
        except Exception as error:  # noqa: BLE001 - whoever waits for its end must not wait for ever
            say(traceback.format_exc())
            left = [f"stack {stack.name}: {type(error).__name__}: {error}"]
        del self.stacks[stack.name]
        self.left += left
        say(f"stack {stack.name}: removed" + (f", left: {left}" if left else ""))
        return left + await self._carry_out(self.holds.removed(stack.name), budget)

    async def _removals_over(self) -> None:
        """Wait until nothing is being removed."""
        while self._removals:
            await asyncio.wait(set(self._removals))

    async def do_settled(self, connection: Connection, *, stack: str, record: dict[str, Any]) -> None:
        """Take the word of the builder that its stack is ready and seeded."""
        if not self.holds.is_needed(stack):
            raise HarnessError(f"Stack {stack!r} is gone")
        self.stacks[stack].record = record
        self._follow(self.holds.settled(connection.id, stack))

    async def do_release(self, connection: Connection, *, stack: str) -> dict[str, Any]:
        """Stop holding a stack; what nobody holds any more is removed and verified."""
        return {"left": await self._carry_out(self.holds.release(connection.id, stack))}

    async def do_keep(self, connection: Connection, *, ttl: float, stacks: list[str] | None = None) -> None:
        """Let stacks (default: all that the client holds) stay without a run, until ``down`` or ``ttl`` s unused."""
        held = [one.name for one in self.holds.stacks.values() if connection.id in one.holders]
        wanted = held if stacks is None else stacks
        if gone := [name for name in wanted if not self.holds.is_needed(name)]:
            raise HarnessError(f"Stack {gone[0]!r} is gone")
        self._follow(self.holds.keep(wanted))
        self.ttl = ttl
        self.ledger.write("kept", value=True)

    async def do_down(self, _: Connection, *, stack: str = "") -> dict[str, Any]:
        """Stop keeping one stack, or all; what nobody holds any more is removed and verified.

        ``held_by`` names the runs that still use something, ``kept`` the stacks that stay up because of ``up``.
        """
        stacks = self.holds.stacks
        if stack and stack not in stacks:
            raise HarnessError(f"Stack {stack!r} is not up; there are: {', '.join(stacks)}")
        kept = sorted(one.name for one in stacks.values() if KEPT in one.holders and stack not in ("", one.name))
        if not kept:
            with contextlib.suppress(OSError):  # a full disk does not keep it up
                self.ledger.write("kept", value=False)
        left = await self._carry_out(self.holds.release(KEPT, stack) if stack else self.holds.leave(KEPT))
        await self._removals_over()
        if not kept:
            self._first_lease_seen = self.reported = True
            if not self._leases() and not stacks:
                left += await self._remove_all()
                asyncio.get_running_loop().call_soon(self.finished.set)
        held = {holder for one in stacks.values() for holder in one.holders}
        return {
            "left": left,
            "kept": kept,
            "stacks": sorted(stacks),
            "held_by": [f"{one.id} (pid {one.pid})" for one in self._leases() if one.id in held],
        }

    async def do_graces(self, _: Connection) -> dict[str, Any]:
        """Return how many seconds all services have to end when they are asked to, one stack after the other."""
        graces: dict[str, float] = {}
        for one in self._everything():
            grace = one.spec["grace"] if isinstance(one, Service) else one.grace
            graces[one.stack] = max(grace, graces.get(one.stack, 0.0))
        return {"seconds": sum(graces.values())}

    async def do_goodbye(self, connection: Connection, *, hurried: bool = False) -> dict[str, Any]:
        """End a run: drop all its holds, and report what could not be removed. A signal is in a hurry."""
        left = await self._carry_out(self.holds.leave(connection.id), _hurry() if hurried else None)
        if connection.sponsor and connection.id == connection.sponsor.id:
            left += await self._lost_sponsor(connection.sponsor, hurried=hurried)
        await self._removals_over()
        connection.is_lease = False
        self.ledger.note("released", pid=connection.pid)
        last = not self._leases() and not self.holds.stacks
        if last:
            self.reported = True
            left += await self._remove_all()
            asyncio.get_running_loop().call_soon(self.finished.set)
        return {"left": left, "ended": last}

    async def do_start(self, _: Connection, *, stack: str, service: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Start a service: argv, env, cwd, log (a wish, which may get a suffix), subject, grace, stop, hold."""
        self._refuse_what_goes(stack, f"service {service!r} was not started")
        made = Service(stack, service, spec | {"log": self._log_of(stack, service)})
        self.services[made.id] = made
        self._launch(made)
        return made.facts()

    def _refuse_what_goes(self, stack: str, undone: str) -> None:
        """Do nothing when something of a stack may be started. Raises HarnessError."""
        if not self.holds.is_needed(stack):
            raise HarnessError(f"Stack {stack!r} is gone, {undone}")

    def _log_of(self, stack: str, service: str) -> str:
        """Return the log of a service: ``NAME.log``, for a second stack with that service ``NAME@STACK.log``."""
        owner = self.logs.setdefault(service, stack)
        name = service if owner == stack else f"{service}@{stack}"
        return str(self.folder / "services" / f"{name}.log")

    def _intend(self, act: str, **facts: object) -> None:
        """Have it written down that something is about to be made, on disk where it outlives the machine's end."""
        self._intents += 1
        self.ledger.restore()  # a line in a file that somebody has deleted is of no use
        write = self.ledger.append if act == "start" else self.ledger.write
        write("intent", act=act, **facts)

    def _is_cleared(self) -> bool:
        """Whether everything was seen to be gone, and nothing was about to be made since."""
        return self._cleared_at == self._intents

    def _launch(self, service: Service) -> None:
        self._intend("start", service=service.id)
        service.launch(self.env, threads=self.engine is not None)
        self.ledger.note("started", pid=service.pid, start=service.start_time, service=service.id)
        say(f"{service.id}: started as pid {service.pid}")

    def _engine(self) -> Engine:
        if self.engine is None:
            raise HarnessError("this environment has no containers")
        return self.engine

    async def do_take_network(self, _: Connection, *, made: dict[str, str] | None) -> None:
        """Take the environment's network from the run that has made it; None when the engine refused it."""
        async with self._networking:
            if made:
                self._take_network(Network(**made))
            self._awaits_network = False

    def _take_network(self, made: Network) -> None:
        self.networks[made.name] = made
        say(f"network {made.name}: {made.subnet}")

    async def do_network(self, connection: Connection, *, stack: str, services: list[str]) -> dict[str, str]:
        """Return the network that a stack's containers join.

        It is the environment's; a stack with a service name that is taken there gets one of its own, which the
        containers of the stacks that it includes join too. Its name sorts after the first: a container that joins a
        network whose name sorts before would lose its open connections.
        """
        engine = self._engine()
        async with self._networking:
            first = self._first_network
            taken = self.names.setdefault(first, {})
            shared = any(taken.get(service, stack) != stack for service in services)
            name = f"{first}-{stack}" if shared else first
            self.names.setdefault(name, {}).update(dict.fromkeys(services, stack))
            if name not in self.networks:
                if connection.closed:
                    raise HarnessError(f"{connection.id} is gone")
                await self._make_network(name, self._labels(**({objects.STACK: stack} if shared else {})))
                if shared:
                    below = self.holds.below(stack)
                    for one in engine.containers.values():
                        if one.stack in below and one.container:
                            await engine.connect_to(self.networks[name], one.container, [one.name])
            return self.networks[name].as_dict()

    async def _make_network(self, name: str, labels: dict[str, str]) -> None:
        self._intend("network", name=name)
        self._take_network(await self._engine().make_network(name, labels))

    @property
    def _first_network(self) -> str:
        return first_name(self.env)

    async def do_compose(  # noqa: PLR0913 - a command, and what it is about to start
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
        engine = self._engine()
        await engine.opened()  # its events are subscribed to before anything can happen
        for name, grace in services.items():
            made = Container(stack, name, self._log_of(stack, name), grace)
            engine.containers[made.id] = made
        if connection.closed:
            raise HarnessError(f"{connection.id} is gone")
        self._refuse_what_goes(stack, "Compose was not run")
        self._intend("compose", stack=stack, services=sorted(services))
        command = self._spawn(stack, argv, env, cwd, Path(log))
        await command.gone.wait()
        known, refused = self.stacks.get(stack), {}
        if services and known:
            known.unsure = known.unsure or command.code != 0
            if start and command.code == 0:
                refused = await engine.start_created(stack, lambda: known.stopped or not self.holds.is_needed(stack))
            await engine.refresh()
        return {"code": command.code, "refused": refused}

    def _spawn(self, stack: str, argv: list[str], env: dict[str, str], cwd: str, log: Path) -> Command:
        with log.open("ab") as output:
            # Without ``_die_with_keeper``: between fork and exec nothing may run in a process with threads. Should the
            # keeper be killed, the sweep finds Compose by its cookie.
            process = procs.spawn(argv, env=env | {RUN_COOKIE: self.env}, cwd=cwd, output=output)
        command = self.commands[process.pid] = Command(stack, process)
        return command

    async def do_stop_compose(self, _: Connection, *, stack: str) -> None:
        """End what Compose does for a stack now, and what it has us do: it is of no use any more."""
        if stack in self.stacks:
            self.stacks[stack].stopped = True
        await self._end_commands(stack)

    async def _end_commands(self, stack: str) -> bool:
        """Kill the commands of a stack; return whether there were any."""
        mine = [one for one in self.commands.values() if one.stack == stack]
        for one in mine:
            procs.kill_group(one.process.pid, signal.SIGKILL)
        for one in mine:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(one.gone.wait(), KILL_BUDGET)
        if self.engine:
            await self.engine.starts_ended(stack)
        return bool(mine)

    async def do_explain(self, _: Connection, *, stack: str, service: str, ask: bool = True) -> dict[str, Any]:
        """Return what the engine knows of a container: OOM flag, error, last health checks; {} for a process.

        With ``ask`` false the engine is not asked (which takes it a tenth of a second); the log is complete afterwards.
        """
        engine = self.engine
        one = engine.containers.get(f"{stack}/{service}") if engine else None
        if engine is None or one is None:
            return {}
        await engine.log_complete(one)
        return await engine.explain(one) if ask else {}

    async def do_exposed(self, _: Connection) -> dict[str, Any]:
        """Return bindings of containers that are not on loopback."""
        return {"exposed": await self._engine().exposed()}

    async def do_services(self, _: Connection) -> dict[str, Any]:
        """Return the facts of all services and the state of all stacks."""
        containers = list(self.engine.containers.values()) if self.engine else []
        unknown = [one for one in containers if one.running and not one.pid]
        if self.engine and unknown:
            await asyncio.gather(*(self.engine.explain(one) for one in unknown), return_exceptions=True)
        return {
            "services": [service.facts() for service in self._everything() if service.starts],
            "stacks": {
                stack.name: {
                    "settled": stack.state is State.SETTLED,
                    "includes": list(stack.includes),
                    "holders": self.holds.holders_of(stack.name),
                    "record": self.stacks[stack.name].record,
                }
                for stack in self.holds.stacks.values()
            },
        }

    async def do_look(self, _: Connection) -> dict[str, Any]:
        """Look which services have ended, and tell of it before this is answered: their ends may not be known yet.

        ``late`` tells that the engine did not answer in time.
        """
        self.reap()
        try:
            if self.engine:
                await asyncio.wait_for(self.engine.refresh(), LOOK_BUDGET)
        except TimeoutError:
            return {"late": True}
        return {"late": False}

    async def do_blame(self, _: Connection, *, stack: str, service: str, under: str) -> None:
        """Note what ran when a service ended, for everybody who finds it so later on; who comes first knows best."""
        for one in self._everything():
            if one.id == f"{stack}/{service}" and not one.running:
                one.under = one.under or under

    async def do_logs_since(self, _: Connection, *, seconds: float) -> dict[str, Any]:
        """Return log -> the size that it had ``seconds`` ago."""
        logs = [facts["log"] for facts in (one.facts() for one in self._everything())]
        return {"sizes": {log: self.marks.since(log, seconds) for log in logs}}

    async def do_act(self, _: Connection, *, stack: str, service: str, act: str, grace: float = 2.0) -> dict[str, Any]:
        """Do to one service what a test asks for: kill, stop, start, restart, pause, unpause, go."""
        if act in ("start", "restart"):
            self._refuse_what_goes(stack, f"service {service!r} was not started")
        if self.engine and (container := self.engine.containers.get(f"{stack}/{service}")):
            await self.engine.act(container, act, grace)
            return container.facts()
        one = self.services[f"{stack}/{service}"]
        if act in ("kill", "stop", "restart") and one.running:
            await self._stop({one: 0 if act == "kill" else grace})
        if act in ("start", "restart") and not one.running:
            self._refuse_what_goes(stack, f"service {service!r} was not started")
            self._launch(one)
        if act == "go":
            one.go()
        if act in ("pause", "unpause") and one.running:
            one.paused = act == "pause"
            procs.kill_group(one.pid, signal.SIGSTOP if one.paused else signal.SIGCONT)
        return one.facts()

    # -- removal ------------------------------------------------------------------------------------------------

    async def _remove(self, stack: Stack, budget: clock.Deadline) -> list[str]:
        """Stop a stack's services, subjects first, and forget them; return what is left."""
        mine = [service for service in self.services.values() if service.stack == stack.name]
        subjects = [service for service in mine if service.spec["grace"] > 0]
        # A Compose that failed or was killed may have asked the engine for more than there is yet.
        cut_short = await self._end_commands(stack.name) or stack.unsure
        engine = self.engine
        containers = [one for one in engine.containers.values() if one.stack == stack.name] if engine else []
        await asyncio.gather(
            self._stop({one: min(one.spec["grace"], budget.remaining()) for one in subjects}),
            *(
                engine.stop(one, min(one.grace, budget.remaining()))
                for one in containers
                if engine and one.running and one.grace > 0
            ),
        )
        await self._stop({one: 0 for one in mine if one not in subjects})
        left = await self._remove_containers(stack.name, settle=removal.CUT_SHORT if cut_short else 0.0)
        for container in containers:
            if engine:
                await engine.log_complete(container)
                engine.containers.pop(container.id, None)
        self._forget_names(stack.name)
        left += [f"process {pid} ({procs.command_of(pid)})" for pid in self._processes_of(mine)]
        for one in mine:
            del self.services[one.id]
        return left

    async def _remove_containers(self, stack: str | None, *, settle: float = 0.0) -> list[str]:
        if self.engine is None:
            return []
        try:
            return await self.engine.remove(stack, settle=settle)
        except HarnessError as error:
            return [f"containers of {stack or self.env}: {error.summary}"]

    def _forget_names(self, stack: str) -> None:
        for names in self.names.values():
            for service in [service for service, owner in names.items() if owner == stack]:
                del names[service]
        own = f"{self._first_network}-{stack}"
        self.networks.pop(own, None)
        self.names.pop(own, None)

    def _processes_of(self, services: Collection[Service]) -> dict[int, int]:
        """Return ``{pid: start time}`` of what lives of services, by one walk through /proc."""
        names = {one.id for one in services}
        found = procs.with_cookies(f"{RUN_COOKIE}={self.env}", SERVICE_COOKIE) if names else {}
        return {pid: start for pid, (start, name) in found.items() if name in names}

    async def _stop(self, graces: Mapping[Service, float]) -> None:
        """End services side by side, each asked to for its seconds of grace first, then whatever they forked."""
        for one in graces:
            one.expected = True
        running = [one.pid for one in graces if one.running]
        families = procs.families(running) if running else {}
        await asyncio.gather(*(self._end(one, grace, families.get(one.pid, {})) for one, grace in graces.items()))
        known = {pid: start for family in families.values() for pid, start in family.items()}
        deadline = clock.Deadline.after(KILL_BUDGET)
        while not deadline.expired():  # again, because what is killed may fork until it is dead
            rest = {pid: start for pid, start in known.items() if procs.is_alive(pid, start)}
            rest |= self._processes_of(graces)
            if not rest:
                return
            await self._kill_all(rest, deadline)

    async def _end(self, service: Service, grace: float, family: dict[int, int]) -> None:
        """Walk the ladder: declared command, TERM, KILL."""
        if service.running and grace > 0:
            deadline = clock.Deadline.after(grace)
            if service.spec.get("stop"):
                await self._run_stop_command(service, deadline.remaining())
            elif service.running:
                procs.kill_group(service.pid, signal.SIGTERM)
                procs.kill_group(service.pid, signal.SIGCONT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(service.gone.wait(), deadline.remaining())
            for pid, start in _of_group(family, service.pid).items():  # a launcher may end before what it launched
                await _wait_gone(pid, start, deadline)
        if service.running:
            procs.kill_group(service.pid, signal.SIGKILL)
            await self._wait_until_ended(service)

    async def _wait_until_ended(self, service: Service) -> None:
        """Wait until it is dead. A debugger that has not looked yet keeps its end from us: it is over all the same."""
        await _wait_gone(service.pid, service.start_time, clock.Deadline.after(KILL_BUDGET))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(service.gone.wait(), UNREAPED)
        if service.running and not procs.is_alive(service.pid, service.start_time):
            self._ended(service, -signal.SIGKILL)

    async def _run_stop_command(self, service: Service, seconds: float) -> None:
        try:
            process = service.spawn_stop_command()
        except OSError as error:
            say(f"{service.id}: stop command failed: {error}")
            return
        start = procs.start_time_of(process.pid) or 0
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(service.gone.wait(), seconds)
        procs.kill(process.pid, signal.SIGKILL, start_time=start)
        process.returncode = 0  # ``reap`` collects it, like any orphan

    async def _kill_all(self, pids: dict[int, int], deadline: clock.Deadline) -> None:
        for pid, start in pids.items():
            say(f"killing pid {pid} ({procs.command_of(pid)}), which was left")
            procs.kill(pid, signal.SIGKILL, start_time=start)
        for pid, start in pids.items():
            await _wait_gone(pid, start, deadline)

    async def _remove_all(self) -> list[str]:
        """Remove every stack, every process and the scratch folder of this environment; verify; close the ledger."""
        intents = self._intents
        self._follow(self.holds.end(), _hurry())
        await self._removals_over()
        async with self._clearing:
            # Stacks take their Compose with them, so no process here goes on making containers.
            of_engine, left = await asyncio.gather(self._remove_rest_of_containers(), self._remove_strays())
            left += of_engine
            await self._bound_logs_once()  # nothing writes any more
            if not removal.remove_work_folder(self.folder, self.env):
                left.append(f"folder {self.folder / removal.WORK}")
            self.left = left
            if not left:
                self.ledger.delete()
                self._cleared_at = intents
        return left

    async def _remove_rest_of_containers(self) -> list[str]:
        async with self._networking:  # one that is being made for a lost run is there by then
            # A run that was killed may have asked the engine for a network that is not there yet.
            return await self._remove_containers(None, settle=removal.CUT_SHORT if self._awaits_network else 0.0)

    async def _remove_strays(self) -> list[str]:
        """End what services left running; return what would not end."""
        found = procs.with_cookie(f"{RUN_COOKIE}={self.env}") | procs.descendants(os.getpid())
        if found:
            await self._kill_all(found, clock.Deadline.after(KILL_BUDGET))
            found = procs.with_cookie(f"{RUN_COOKIE}={self.env}")
        return [f"process {pid} ({procs.command_of(pid)})" for pid in found]


def _refusal(answer: Answer) -> HarnessError:
    """Return the error for a client that does not get a stack."""
    if answer.circular:
        return ConfigError(
            f"Stack {answer.stack!r} is with another worker, which waits for one of this worker's: "
            "use stacks in the same order everywhere, or with scope='session'"
        )
    return BrokenStack(f"Stack {answer.stack!r} is not to be had: {answer.refusal}")


def _hurry() -> clock.Deadline:
    """Return the time in which services may end by themselves after a signal, or when nobody waits for them."""
    return clock.Deadline.after(STOP_BUDGET)


def _of_group(pids: dict[int, int], group: int) -> dict[int, int]:
    """Return those of ``pids`` that are in a process group, so that they got its TERM as well."""
    found = {}
    for pid, start in pids.items():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == group:
                found[pid] = start
    return found


async def _wait_gone(pid: int, start: int, deadline: clock.Deadline) -> None:
    """Wait until a process has ended, whoever its parent is."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    try:
        if procs.is_alive(pid, start):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), deadline.remaining())
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def say(text: str) -> None:
    """Write a line to the keeper's own log. A full disk must not keep it from removing things."""
    with contextlib.suppress(OSError):
        print(f"{clock.now():.3f} {text}", file=sys.stderr, flush=True)


def _become(header: dict[str, Any]) -> tuple[Keeper, socket.socket]:
    """Make the keeper of an environment, and the socket on which it listens.

    Raises:
        OSError: its files cannot be written, or its name is taken; then there is no ledger.
        HarnessError: there is no network for it.
    """
    with Path(header["folder"], removal.LOG).open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0" + header["socket"])
    keeper = Keeper(header)
    try:
        removal.mark_work_folder(keeper.folder, keeper.env)
    except OSError:
        keeper.ledger.delete()
        raise
    listener.listen(64)
    return keeper, listener


def _why(error: OSError | HarnessError) -> str:
    """Return why no keeper could be made, for the run that wanted one."""
    if isinstance(error, HarnessError):
        return error.summary
    return f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")


def main(argv: list[str]) -> int:
    """Become the keeper that ``argv`` describes.

    Args:
        argv: a JSON header, and two descriptors. From the first comes the rest of the header when it is to begin; its
            end without that means that no keeper is wanted. The second takes the acknowledgement.
    """
    header, begin, ack = json.loads(argv[0]), int(argv[1]), int(argv[2])
    sys.setswitchinterval(SWITCH_EVERY)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    order = os.read(begin, select.PIPE_BUF)
    if not order:
        return 0
    header |= json.loads(order)
    os.close(begin)
    try:
        keeper, listener = _become(header)
    except (OSError, HarnessError) as error:
        with contextlib.suppress(OSError):
            traceback.print_exc()  # before it is told: whoever hears of it reads this
        with contextlib.suppress(BrokenPipeError):
            os.write(ack, json.dumps({"error": _why(error), "full": getattr(error, "errno", 0) in FULL}).encode())
        return 1
    owner = this_process()
    # A run that was killed meanwhile reads nothing; then nobody comes, and the keeper ends by itself.
    with contextlib.suppress(BrokenPipeError):
        os.write(ack, json.dumps({"pid": owner.pid, "start": owner.start}).encode())
    os.close(ack)
    say(f"keeping {keeper.env} on {keeper.leases.network}.0/24")
    asyncio.run(keeper.serve(listener))
    say("ended" + (f", left: {keeper.left}" if keeper.left else ", nothing left"))
    return 1 if keeper.left else 0
