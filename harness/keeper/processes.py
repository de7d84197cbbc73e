"""The processes of an environment: its services, Compose, and whatever they leave; all are children of the keeper."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import clock, procs
from harness.keeper import held, mounts
from harness.keeper.logs import wait_for
from harness.keeper.own_log import say
from harness.keeper.pipes import Pipes
from harness.keeper.services import Service
from harness.ownership.identity import RUN_COOKIE, SERVICE_COOKIE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from harness.keeper.intents import Intents
    from harness.keeper.messages import Spec

KILL_BUDGET = 10.0
UNREAPED = 0.5  # seconds in which a dead child is ours to collect, unless a debugger has not looked yet
PR_SET_PDEATHSIG = 1  # prctl(2)

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


class ServiceProcess(Service):
    """One service as a process."""

    def __init__(self, stack: str, name: str, spec: Spec, log: str) -> None:
        super().__init__(stack, name, log, spec["grace"])
        self.spec = spec
        self.process: procs.Popen[bytes] | None = None
        self.paused = False
        self.held = False
        self.gone = asyncio.Event()
        self._stdin = -1
        self._pipes: Pipes | None = None

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.exit_code is None

    def state_now(self) -> str:
        """Return its state: held, paused, running or exited."""
        if self.held:
            return "held"
        return ("paused" if self.paused else "running") if self.running else "exited"

    def launch(self, env: str, *, threads: bool) -> None:
        """Start a process for it; with ``threads`` in this process, by way of one that has none.

        Where its spec says ``hold``, it is held at its first instruction.

        Raises:
            OSError: it cannot be executed.
        """
        spec = self.spec
        launcher = held.LAUNCHER if spec.get("hold") else _LAUNCHER if threads else ()
        with contextlib.ExitStack() as opened:
            stdin, output, errors = self._piped(opened) if spec.get("streams") else self._logged(opened)
            self.began = time.time()
            self.process = procs.spawn(
                [*launcher, *spec["argv"]],
                env=spec["env"] | {RUN_COOKIE: env, SERVICE_COOKIE: self.id},
                cwd=spec["cwd"],
                stdin=stdin,
                output=output,
                errors=errors,
                umask=0o077,
                before_exec=None if launcher else self._before_exec,
            )
        self.pid = self.process.pid
        self.start_time = procs.start_time_of(self.pid) or 0
        self.exit_code, self.expected, self.under, self.paused = None, False, "", False
        self.held = bool(spec.get("hold")) and held.hold(self.pid)
        self.starts += 1
        self.gone = asyncio.Event()

    def _logged(self, opened: contextlib.ExitStack) -> tuple[int, int, None]:
        """Open its streams: a pipe of which the other end is held here, and its log."""
        log = Path(self.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        read_end, self._stdin = os.pipe()
        opened.callback(os.close, read_end)
        opened.push(self._close_stdin_on_error)
        output = opened.enter_context(log.open("ab"))
        self.log_start = output.tell()
        return read_end, output.fileno(), None

    def _piped(self, opened: contextlib.ExitStack) -> tuple[int, int, int]:
        """Open its streams where somebody else has the other ends; nobody is waited for. Raises OSError."""
        ends = []
        for path, way in zip(self.spec["streams"], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True):
            ends.append(end := os.open(path, way | os.O_NONBLOCK | os.O_CLOEXEC))
            opened.callback(os.close, end)
            os.set_blocking(end, True)
        return ends[0], ends[1], ends[2]

    def take_streams(self, log: str) -> None:
        """Have what it writes from now on in a log, instead of where somebody else heard it. Raises OSError."""
        if self.running and self.spec.get("streams") and self._pipes is None:
            Path(log).parent.mkdir(parents=True, exist_ok=True)
            self._pipes = Pipes(self.spec["streams"], log)
            self.log = log

    def close_streams(self) -> None:
        """It was removed: nobody writes to its streams any more."""
        if self._pipes:
            self._pipes.close()
            self._pipes = None

    def _close_stdin_on_error(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._close_stdin()

    def _before_exec(self) -> None:
        """Run between fork and exec."""
        if self.spec.get("mounts"):
            mounts.enter(self.spec["mounts"], self.spec["cwd"])
        _die_with_keeper()

    def go(self) -> None:
        """Let it run, when it is held."""
        if self.held and self.running:
            procs.kill_group(self.pid, signal.SIGCONT)
        self.held = False

    def ended(self, code: int) -> None:
        """Take note of its end."""
        self.exit_code = code
        self.held = False
        self._close_stdin()
        self.gone.set()

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def spawn_stop_command(self) -> procs.Popen[bytes]:
        """Start the command that asks it to stop. Raises OSError."""
        with Path(self.log).open("ab") as output:
            return procs.spawn(self.spec["stop"], env=self.spec["env"], cwd=self.spec["cwd"], output=output)


class Command:
    """A child that does something for a stack: Compose."""

    def __init__(self, stack: str, process: procs.Popen[bytes]) -> None:
        self.stack = stack
        self.process = process
        self.code: int | None = None
        self.gone = asyncio.Event()


class Processes:
    """The services and commands of one environment.

    With ``threads`` this process has some, so that no Python may run between fork and exec.
    """

    def __init__(self, env: str, intents: Intents, tell: Callable[[str, Service], None], *, threads: bool) -> None:
        self.services: dict[str, ServiceProcess] = {}
        self.commands: dict[int, Command] = {}
        self._env = env
        self._intents = intents
        self._threads = threads
        self._tell = tell

    def of_stack(self, stack: str) -> list[ServiceProcess]:
        """Return the services of a stack."""
        return [service for service in self.services.values() if service.stack == stack]

    def start(self, stack: str, name: str, spec: Spec, log: str) -> ServiceProcess:
        """Start a service and return it. Raises OSError when it cannot be executed."""
        service = ServiceProcess(stack, name, spec, log)
        self.services[service.id] = service
        self.launch(service)
        return service

    def launch(self, service: ServiceProcess) -> None:
        """Start the process of a service. Raises OSError when it cannot be executed."""
        self._intents.intend("start", service=service.id)
        service.launch(self._env, threads=self._threads)
        self._intents.ledger.note("started", pid=service.pid, start=service.start_time, service=service.id)
        say(f"{service.id}: started as pid {service.pid}")

    def spawn(self, stack: str, argv: list[str], env: dict[str, str], cwd: str, log: Path) -> Command:
        """Start a command that does something for a stack. Raises OSError."""
        with log.open("ab") as output:
            # Without ``_die_with_keeper``: between fork and exec nothing may run in a process with threads. Should the
            # keeper be killed, the sweep finds Compose by its cookie.
            process = procs.spawn(argv, env=env | {RUN_COOKIE: self._env}, cwd=cwd, output=output)
        command = self.commands[process.pid] = Command(stack, process)
        return command

    def reap(self) -> None:
        """Collect every child that ended: services, and orphans that came to us as subreaper."""
        while True:
            try:
                child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if child is None:
                return
            running = (service for service in self.services.values() if service.running)
            service = next((service for service in running if service.pid == child.si_pid), None)
            command = self.commands.pop(child.si_pid, None)
            if command is not None:
                command.code = command.process.wait()
                command.gone.set()
                continue
            if service is None or service.process is None:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.si_pid, os.WNOHANG)
                continue
            service.cpu = procs.spent_by(service.pid)
            self._ended(service, service.process.wait())

    def _ended(self, service: ServiceProcess, code: int) -> None:
        service.ended(code)
        self._intents.ledger.note("ended", pid=service.pid, code=code)
        say(f"{service.id}: {procs.describe_exit(code)}{'' if service.expected else ', not asked for'}")
        self._tell("exit", service)

    def forget(self, services: Collection[ServiceProcess]) -> None:
        """Know no more of services that were removed."""
        for service in services:
            service.close_streams()
            del self.services[service.id]

    async def end_commands(self, stack: str) -> bool:
        """Kill the commands of a stack; return whether there were any."""
        commands = [command for command in self.commands.values() if command.stack == stack]
        for command in commands:
            procs.kill_group(command.process.pid, signal.SIGKILL)
        for command in commands:
            await wait_for(command.gone, KILL_BUDGET)
        return bool(commands)

    def left_of(self, services: Collection[ServiceProcess]) -> dict[int, int]:
        """Return ``{pid: start time}`` of what lives of services, by one walk through /proc."""
        names = {service.id for service in services}
        processes = procs.with_cookies(f"{RUN_COOKIE}={self._env}", SERVICE_COOKIE) if names else {}
        return {pid: start for pid, (start, name) in processes.items() if name in names}

    def terminate(self, services: Collection[ServiceProcess]) -> None:
        """Ask services to end by TERM; nobody waits for that."""
        for service in services:
            if service.running:
                service.expected = True
                procs.kill_group(service.pid, signal.SIGTERM)
                procs.kill_group(service.pid, signal.SIGCONT)

    async def stop(self, graces: Mapping[ServiceProcess, float]) -> None:
        """End services side by side, each asked to for its seconds of grace first, then whatever they forked."""
        for service in graces:
            service.expected = True
        running = [service.pid for service in graces if service.running]
        families = procs.families(running) if running else {}
        await asyncio.gather(
            *(self._end(service, grace, families.get(service.pid, {})) for service, grace in graces.items())
        )
        relatives = {pid: start for family in families.values() for pid, start in family.items()}
        deadline = clock.Deadline.after(KILL_BUDGET)
        while not deadline.expired():  # again, because what is killed may fork until it is dead
            rest = {pid: start for pid, start in relatives.items() if procs.is_alive(pid, start)}
            rest |= self.left_of(graces)
            if not rest:
                return
            await self.kill_all(rest, deadline)

    async def _end(self, service: ServiceProcess, grace: float, family: dict[int, int]) -> None:
        """Walk the ladder: declared command, TERM, KILL."""
        if service.running and grace > 0:
            deadline = clock.Deadline.after(grace)
            if service.spec.get("stop"):
                await self._run_stop_command(service, deadline.remaining())
            elif service.running:
                procs.kill_group(service.pid, signal.Signals(service.spec.get("signal", signal.SIGTERM)))
                procs.kill_group(service.pid, signal.SIGCONT)
            await wait_for(service.gone, deadline.remaining())
            for pid, start in _of_group(family, service.pid).items():  # a launcher may end before what it launched
                await wait_gone(pid, start, deadline)
        if service.running:
            procs.kill_group(service.pid, signal.SIGKILL)
            await self._wait_until_ended(service)

    async def _wait_until_ended(self, service: ServiceProcess) -> None:
        """Wait until it is dead. A debugger that has not looked yet keeps its end from us: it is over all the same."""
        await wait_gone(service.pid, service.start_time, clock.Deadline.after(KILL_BUDGET))
        await wait_for(service.gone, UNREAPED)
        if service.running and not procs.is_alive(service.pid, service.start_time):
            self._ended(service, -signal.SIGKILL)

    async def _run_stop_command(self, service: ServiceProcess, seconds: float) -> None:
        try:
            process = service.spawn_stop_command()
        except OSError as error:
            say(f"{service.id}: stop command failed: {error}")
            return
        start = procs.start_time_of(process.pid) or 0
        await wait_for(service.gone, seconds)
        procs.kill(process.pid, signal.SIGKILL, start_time=start)
        process.returncode = 0  # ``reap`` collects it, like any orphan

    async def kill_all(self, pids: dict[int, int], deadline: clock.Deadline) -> None:
        """Kill processes, given as ``{pid: start time}``, and wait until they are gone."""
        for pid, start in pids.items():
            say(f"killing pid {pid} ({procs.command_of(pid)}), which was left")
            procs.kill(pid, signal.SIGKILL, start_time=start)
        for pid, start in pids.items():
            await wait_gone(pid, start, deadline)

    async def remove_strays(self) -> list[str]:
        """End what services left running; return what would not end."""
        strays = procs.with_cookie(f"{RUN_COOKIE}={self._env}") | procs.descendants(os.getpid())
        if strays:
            await self.kill_all(strays, clock.Deadline.after(KILL_BUDGET))
            strays = procs.with_cookie(f"{RUN_COOKIE}={self._env}")
        return procs.described(strays)


def _of_group(pids: dict[int, int], group: int) -> dict[int, int]:
    """Return those of ``pids`` that are in a process group, so that they got its TERM as well."""
    members = {}
    for pid, start in pids.items():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == group:
                members[pid] = start
    return members


async def wait_gone(pid: int, start: int, deadline: clock.Deadline) -> None:
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
