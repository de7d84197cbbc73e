"""The only place that starts or signals processes: argument lists, own sessions, a time-out on each."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import signal
import subprocess  # noqa: TID251 - this module is what the ban points to
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Popen = subprocess.Popen
DEVNULL, PIPE, STDOUT = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
TimeoutExpired = subprocess.TimeoutExpired

START_TIME_FIELD = 19  # field 22 of /proc/PID/stat, counted behind the closing parenthesis (proc(5))
STATE_FIELD = 0
PARENT_FIELD = 1
FLAGS_FIELD, EXITING = 6, 0x4  # PF_EXITING is set before the files are closed: who saw them closed sees it
USER_FIELD, SYSTEM_FIELD = 11, 12  # in clock ticks, without those of children
PARENT = "HARNESS_PARENT"  # the process with which all that have this variable are to end: pid:start time:namespace
ORPHAN_GRACE = 0.7  # seconds that they then have to end by themselves
STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting for a disk",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "a zombie",
    "X": "dead",
}
STOPPED = (STATES["T"], STATES["t"])
LOOK_AGAIN = 0.1  # seconds after which a command that is run learns that nobody waits for it
LISTINGS = 20  # of /proc in one walk, at most: somebody may fork faster than we can look


@dataclass(frozen=True)
class Finished:
    """What a command did.

    Attributes:
        code: its exit code, negative for a signal; None when its time-out ended it.
        stdout: what it wrote, decoded, with replacements for what is no UTF-8.
    """

    argv: tuple[str, ...]
    code: int | None
    stdout: str
    stderr: str

    def ending(self, budget: float) -> str:
        """Return how it ended, in words; ``budget`` is its time-out in seconds."""
        return f"no end in {budget:g} s" if self.code is None else describe_exit(self.code)


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    given_up: threading.Event | None = None,
    given: str = "",
) -> Finished:
    """Run ``argv`` to its end and return what it did; after ``timeout`` seconds its whole group is killed.

    The same is done soon after ``given_up`` is set, by another thread. Its standard input is what is ``given``, which
    must fit into a pipe (pipe(7): 64 KiB).

    Raises:
        OSError: ``argv[0]`` cannot be executed.
    """
    with (
        _piped(given) as stdin,
        subprocess.Popen(
            list(argv), env=env, cwd=cwd, stdin=stdin, stdout=PIPE, stderr=PIPE, start_new_session=True
        ) as process,
    ):
        code: int | None
        try:
            out, err = _output_of(process, timeout, given_up)
            code = process.returncode
        except subprocess.TimeoutExpired:
            kill_group(process.pid, signal.SIGKILL)
            code = None
            try:
                out, err = process.communicate(timeout=1)
            except subprocess.TimeoutExpired as error:
                # A descendant that left the group still holds the pipes; what was read until now must do.
                out, err = error.stdout or b"", error.stderr or b""
        except BaseException:
            kill_group(process.pid, signal.SIGKILL)
            raise
    return Finished(tuple(argv), code, out.decode(errors="replace"), err.decode(errors="replace"))


@contextlib.contextmanager
def _piped(text: str) -> Iterator[int]:
    """Give a descriptor from which ``text`` can be read, and no more."""
    if not text:
        yield DEVNULL
        return
    read_end, write_end = os.pipe()
    try:
        try:
            os.write(write_end, text.encode())
        finally:
            os.close(write_end)
        yield read_end
    finally:
        os.close(read_end)


def _output_of(
    process: subprocess.Popen[bytes], timeout: float, given_up: threading.Event | None
) -> tuple[bytes, bytes]:
    """Return what a process writes until its end. Raises TimeoutExpired when that does not come in time."""
    if given_up is None:
        return process.communicate(timeout=timeout)
    end = time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        try:
            return process.communicate(timeout=max(0.0, min(left, LOOK_AGAIN)))
        except subprocess.TimeoutExpired:
            if left <= LOOK_AGAIN or given_up.is_set():
                raise


def spawn(  # noqa: PLR0913 - mirrors the operating system's own parameters
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    stdin: int = DEVNULL,
    output: IO[bytes] | int | None = None,
    errors: IO[bytes] | int | None = None,
    own_session: bool = True,
    pass_fds: Sequence[int] = (),
    umask: int = -1,
    before_exec: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` and return at once. The caller owns its end. Without ``errors`` they are among its output.

    Raises:
        OSError: ``argv[0]`` cannot be executed, or ``before_exec`` failed.
    """
    try:
        return subprocess.Popen(
            list(argv),
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=output,
            stderr=errors if errors is not None else STDOUT if output is not None else None,
            start_new_session=own_session,
            pass_fds=pass_fds,
            umask=umask,
            preexec_fn=before_exec,  # noqa: PLW1509 - given by the keeper only, which has one thread
        )
    except subprocess.SubprocessError as error:
        raise OSError(errno.EPERM, str(error)) from error


def kill_group(pid: int, number: int) -> None:
    """Signal the process group that ``pid`` leads; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def kill(pid: int, number: int, *, start_time: int) -> bool:
    """Signal one process, only if it still is the one that started at ``start_time``; return whether it was sent.

    A pidfd is taken before the check, so the signal cannot reach a later process with the same number.
    """
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if start_time_of(pid) != start_time:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(handle, number)
            return True
        return False
    finally:
        os.close(handle)


def _contents(pid: int, name: str) -> bytes:
    """Return /proc/PID/name, b"" when it cannot be read. A walk reads hundreds, in half the time of pathlib."""
    try:
        with io.FileIO(f"/proc/{pid}/{name}") as file:
            return file.read()
    except OSError:
        return b""


def _stat(pid: int) -> list[str]:
    return _contents(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def start_time_of(pid: int) -> int | None:
    """Return the clock tick since boot at which ``pid`` started, or None when there is no such process."""
    fields = _stat(pid)
    return int(fields[START_TIME_FIELD]) if fields else None


def spent_by(pid: int) -> float:
    """Return the seconds of processor time of a process and of what it has waited for, 0 when there is none."""
    ticks = sum(map(int, _stat(pid)[USER_FIELD : SYSTEM_FIELD + 3]))  # the two after them are of its children
    return ticks / os.sysconf("SC_CLK_TCK")


def parent_of(pid: int) -> int:
    """Return the parent of ``pid``, 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[PARENT_FIELD]) if fields else 0


def has_cookie(pid: int, cookie: str) -> bool:
    """Return whether the initial environment of ``pid`` has the entry ``cookie``."""
    return cookie.encode() in _contents(pid, "environ").split(b"\0")


def is_alive(pid: int, start_time: int) -> bool:
    """Return whether the process with this number *and* start time exists and is no zombie."""
    return _living(pid) == start_time


def is_ending(pid: int, start_time: int) -> bool:
    """Return whether the process is gone, a zombie, or on its way there."""
    fields = _stat(pid)
    if not fields or int(fields[START_TIME_FIELD]) != start_time or fields[STATE_FIELD] in "ZX":
        return True
    return bool(int(fields[FLAGS_FIELD]) & EXITING)


def is_in_container(pid: int, container: str) -> bool:
    """Return whether ``pid`` is, as seen from here, a process of a container: its control group bears the id."""
    return bool(container) and container.encode() in _contents(pid, "cgroup")


def kill_in_container(container: str) -> None:
    """Kill what runs in a container, as far as it is seen from here and may be signalled."""
    for pid in all_pids():
        start = start_time_of(pid)  # before the look at its group, so that it is the one which was looked at
        if start is not None and is_in_container(pid, container):
            kill(pid, signal.SIGKILL, start_time=start)


@dataclass(frozen=True)
class Activity:
    """What a process and its descendants are doing.

    Attributes:
        states: pid -> state, a letter as in proc(5): R, S, D, T.
        spent: seconds of processor time that they have used until now.
    """

    states: Mapping[int, str]
    spent: float


def activity_of(pid: int) -> Activity:
    """Return what a process and its descendants are doing; one that is gone has no state."""
    stats = {member: _stat(member) for member in (pid, *descendants(pid))}
    ticks = sum(int(fields[USER_FIELD]) + int(fields[SYSTEM_FIELD]) for fields in stats.values() if fields)
    states = {member: fields[STATE_FIELD] for member, fields in stats.items() if fields}
    return Activity(states, ticks / os.sysconf("SC_CLK_TCK"))


def _living(pid: int) -> int | None:
    """Return the start time of a process, None when there is none or it is a zombie."""
    fields = _stat(pid)
    return int(fields[START_TIME_FIELD]) if fields and fields[STATE_FIELD] not in "ZX" else None


def wait_gone(pid: int, start_time: int, timeout: float | None) -> bool:
    """Wait until the process ``pid`` that started at ``start_time`` has ended; return whether it did in time.

    Without a ``timeout`` that is however long it takes.
    """
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        # By the pidfd alone: while other threads still exit, the first one is a zombie, and locks are still held.
        return start_time_of(pid) != start_time or bool(select.select([handle], [], [], timeout)[0])
    finally:
        os.close(handle)


def parent_of_children(pid: int, start_time: int) -> dict[str, str]:
    """Return the variable by which the children of a process of this namespace, and theirs, are to end with it.

    It is in their environment for life, so that what they detached is found by it too.
    """
    return {PARENT: f"{pid}:{start_time}:{Path('/proc/self/ns/pid').stat().st_ino}"}


def as_parent() -> dict[str, str]:
    """Return that variable for this process."""
    return parent_of_children(os.getpid(), start_time_of(os.getpid()) or 0)


def carriers(parent: Mapping[str, str]) -> dict[int, int]:
    """Return ``{pid: start time}`` of the living processes that have the variable which ``parent`` gives."""
    return with_cookie(f"{PARENT}={parent[PARENT]}")


_ends_with: set[str] = set()  # the parents that this process watches


def end_with_parent(environ: Mapping[str, str]) -> None:
    """End this process when the one that ``environ`` names as its parent is gone; without a name do nothing.

    It gets TERM, as from whoever would have told it to end, and soon after that KILL, with all that have the same
    parent. A thread waits for that, and costs nothing.
    """
    value = environ.get(PARENT, "")
    pid, start, namespace = [*value.split(":"), "", ""][:3]
    here = str(Path("/proc/self/ns/pid").stat().st_ino)
    if pid.isdigit() and start.isdigit() and namespace == here and int(pid) != os.getpid() and value not in _ends_with:
        _ends_with.add(value)
        words = (int(pid), int(start))
        threading.Thread(target=_end_after, args=words, name="harness-parent", daemon=True).start()


def _end_after(pid: int, start: int) -> None:
    wait_gone(pid, start, None)
    # The end of this process waits for a thread that is no daemon: however soon it ends, what it detached goes as well.
    threading.Thread(target=_end_all_of, args=(pid, start), name="harness-orphans", daemon=False).start()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_all_of(pid: int, start: int) -> None:
    threading.Event().wait(ORPHAN_GRACE)
    for orphan, since in carriers(parent_of_children(pid, start)).items():
        if orphan != os.getpid():
            kill(orphan, signal.SIGKILL, start_time=since)
    os.kill(os.getpid(), signal.SIGKILL)


def state_of(pid: int) -> str:
    """Return what a process does, in the words of proc(5): running, sleeping, stopped...; "gone" without one."""
    fields = _stat(pid)
    return STATES.get(fields[STATE_FIELD], fields[STATE_FIELD]) if fields else "gone"


def age_of(pid: int) -> float:
    """Return for how many seconds a process has been there, 0 when it is not."""
    start = start_time_of(pid)
    if start is None:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - start / os.sysconf("SC_CLK_TCK"))


def command_of(pid: int) -> str:
    """Return the command line of ``pid`` for people as one line, or ``?``."""
    words = (character if character.isprintable() else " " for character in " ".join(words_of(pid)))
    return " ".join("".join(words).split())[:200] or "?"


def described(pids: Iterable[int]) -> list[str]:
    """Return processes in words, as things that are left."""
    return [f"process {pid} ({command_of(pid)})" for pid in pids]


def words_of(pid: int) -> list[str]:
    """Return the command line of ``pid``, [] when it cannot be read."""
    return _contents(pid, "cmdline").decode(errors="replace").rstrip("\0").split("\0")


def all_pids() -> list[int]:
    """Return the numbers of all processes that /proc shows."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 - half the time of iterdir


def _pids_again_and_again() -> Iterator[int]:
    """Yield the number of every process, and then of those that came meanwhile: one may fork and end unseen."""
    seen: set[int] = set()
    for _ in range(LISTINGS):
        new = [pid for pid in all_pids() if pid not in seen]
        seen.update(new)
        yield from new
        if not new:
            return


def with_cookie(cookie: str) -> dict[int, int]:
    """Return ``{pid: start time}`` of the living processes whose initial environment has the entry ``cookie``.

    Reading /proc/PID/environ finds daemons that left their session and their parent.
    """
    return {pid: start for pid, (start, _) in with_cookies(cookie, "").items()}


def with_cookies(cookie: str, other: str) -> dict[int, tuple[int, str]]:
    """Return the same in one walk as ``{pid: (start time, value of the variable other)}``, "" where it has none."""
    encoded, prefix, starts = cookie.encode(), f"{other}=".encode(), {}
    for pid in _pids_again_and_again():
        data = _contents(pid, "environ")
        if encoded not in data:
            continue
        entries = data.split(b"\0")
        if encoded not in entries:
            continue
        start = _living(pid)
        if start is not None:
            value = next((entry[len(prefix) :] for entry in entries if entry.startswith(prefix)), b"")
            starts[pid] = start, value.decode(errors="replace")
    return starts


def descendants(root: int) -> dict[int, int]:
    """Return ``{pid: start time}`` of the living descendants of ``root``, without itself."""
    return families([root])[root]


def families(roots: Iterable[int]) -> dict[int, dict[int, int]]:
    """Return root -> ``{pid: start time}`` of its living descendants, without itself, in one walk."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        fields = _stat(pid)
        if fields:
            children.setdefault(int(fields[PARENT_FIELD]), []).append(pid)
    trees: dict[int, dict[int, int]] = {}
    for root in roots:
        family, todo = trees.setdefault(root, {}), [root]
        while todo:
            for pid in children.get(todo.pop(), ()):
                start = _living(pid)
                if start is not None:
                    family[pid] = start
                todo.append(pid)
    return trees


def describe_exit(code: int | None) -> str:
    """Return an exit code in words: ``exit code 3``, or ``signal 9 (SIGKILL)`` for -9."""
    if code is None:
        return "running"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def run_interactive(argv: Sequence[str], *, cwd: str | Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run ``argv``, such as a shell, on this terminal, which is its own until it ends; return its exit code.

    Other than ``run_attached`` it is in this session, so that it may have jobs. INT and QUIT are its own; for TERM and
    HUP that come to this process it is asked to end (HUP), and they then do here what they would have done.

    Raises:
        OSError: ``argv[0]`` cannot be executed.
    """
    terminal, came = 0, list[int]()
    handled = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
    process: subprocess.Popen[bytes] | None = None

    def handle(number: int, _: object = None) -> None:  # not SIG_IGN, which the child would inherit
        if number in (signal.SIGTERM, signal.SIGHUP):
            came.append(number)
            if process:
                process.send_signal(signal.SIGHUP)
                process.send_signal(signal.SIGCONT)

    before = {number: signal.signal(number, handle) for number in handled}
    try:
        process = subprocess.Popen(list(argv), cwd=cwd, env=env)
        if came:
            process.send_signal(signal.SIGHUP)
        code = process.wait()
    finally:
        _take_terminal_back(terminal)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
    return 128 - code if code < 0 else code


def _take_terminal_back(terminal: int) -> None:
    """Be in the terminal's foreground again: a shell that was killed has not given it back."""
    with contextlib.suppress(OSError):
        if os.tcgetpgrp(terminal) != os.getpgrp():
            before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            try:
                os.tcsetpgrp(terminal, os.getpgrp())
            finally:
                signal.signal(signal.SIGTTOU, before)


def run_attached(
    argv: Sequence[str],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    whole_group: bool = False,
    interrupted: int | None = None,
) -> int:
    """Run ``argv`` on this terminal to its own end and return its exit code, 128 + n for signal n.

    INT, QUIT, TERM, HUP, USR1 and USR2 that come to this process are passed on (with ``whole_group`` to all of the
    child's group, as those of a terminal are); how the child ends decides. ``interrupted`` is the exit code by which it
    tells that INT ended it, if it has one; then 130 is returned.

    Raises:
        OSError: ``argv[0]`` cannot be executed.
    """
    passed_on = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    early: list[int] = []
    passed: set[int] = set()
    before = {number: signal.signal(number, lambda n, _: early.append(n)) for number in passed_on}
    try:
        # An own session: otherwise a terminal's Ctrl-C would reach the child twice, from the terminal and from here.
        process = subprocess.Popen(list(argv), cwd=cwd, env=env, start_new_session=True)

        def pass_on(number: int, _: object = None) -> None:
            passed.add(number)
            if whole_group:
                kill_group(process.pid, number)
            else:
                process.send_signal(number)

        for number in passed_on:
            signal.signal(number, pass_on)
        for caught in early:
            pass_on(caught)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in passed and code == interrupted:
        return 128 + signal.SIGINT
    return code if code >= 0 else 128 - code
