"""A deadline for what the main thread does: it is interrupted wherever it waits, and what everybody did is seen.

The interrupt is a signal whose handler raises: it ends a wait for a socket, a process or a lock as well. Code that
heeds no signal is left after a grace, by whoever is called then.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.clock import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

SIGNAL = signal.SIGRTMAX - 3  # nobody's; SIGALRM may be what a test itself uses
SPUR = signal.SIGRTMAX - 4  # of a timer of the kernel: it needs no thread of ours to come
SPUR_AFTER = 0.5  # seconds after a moment of a deadline, in which the watchdog has seen to it where it can
PATIENCE = 10.0  # seconds in which it does so
SHORTEST_GRACE, LONGEST_GRACE = 2.0, 10.0
LAST_RESORT = 5.0  # seconds after the grace in which the interpreter must have let another thread run
MOST_PROCESSES = 20  # of a service, that are described
MOST_THREADS = 60  # of a process


def grace_of(seconds: float) -> float:
    """Return how long what was interrupted may take to end, for a deadline of so many seconds."""
    return min(LONGEST_GRACE, max(SHORTEST_GRACE, seconds))


class KernelTimer:
    """A timer whose end is a signal to this process, whatever its threads do; none where the system has no such timers.

    Python has one of these, and its signal, SIGALRM, may be what a test itself uses.
    """

    def __init__(self, number: int) -> None:
        """Make it, not set; ``number`` is that of the signal."""
        self._settime: Callable[..., int] | None = None
        self._delete: Callable[..., int] | None = None
        self._id = ctypes.c_void_p()
        event = _Event(0, number, 0)  # SIGEV_SIGNAL
        with contextlib.suppress(OSError, AttributeError):
            library = _library()
            if library.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._id)) == 0:
                self._settime, self._delete = library.timer_settime, library.timer_delete

    def set(self, seconds: float) -> None:
        """Have the signal come after some seconds, 0 for never."""
        if self._settime is not None:
            whole, part = divmod(round(seconds * 1e9), 10**9)
            self._settime(self._id, 0, ctypes.byref(_Times(0, 0, whole, part)), None)

    def close(self) -> None:
        """Have no timer any more."""
        if self._delete is not None:
            self._settime, delete, self._delete = None, self._delete, None
            delete(self._id)


def _library() -> ctypes.CDLL:
    """Return the C library; before glibc 2.34 what is needed of it is in a library beside it. Raises OSError."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "timer_create") else ctypes.CDLL("librt.so.1")


class _Event(ctypes.Structure):
    """``struct sigevent`` of 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("how", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _Times(ctypes.Structure):
    """``struct itimerspec``: an interval, and the time to the first end."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every", "every_ns", "first", "first_ns"))


class Watch:
    """A deadline that is being watched.

    Attributes:
        left: seconds that it has, when it began or was paused last.
        grace: seconds between the interrupt and giving up.
        error: makes what is raised in the main thread.
        look: called once before that, in another thread.
        lost: called in another thread when the main thread does not come back; it does not return.
        fired: whether it has passed, and the main thread was interrupted.
    """

    def __init__(
        self,
        left: float,
        grace: float,
        *,
        error: Callable[[], BaseException],
        look: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self.left = left
        self.grace = grace
        self.error = error
        self.look = look
        self.lost = lost
        self.fired = False
        self.next = 0.0  # when something is to be done
        self.interrupts = 0
        self.paused = 0


class Watchdog:
    """Watches one deadline of the main thread at a time, from a thread of its own."""

    def __init__(self, stderr: int = -1) -> None:
        """Begin; ``stderr`` takes the stacks of an interpreter that runs no other thread any more, -1 for nobody."""
        self._main = threading.main_thread()
        self._changed = threading.Condition()
        self._watch: Watch | None = None
        self._stderr = stderr
        self._closed = False
        self._acted = threading.Event()
        self._before = signal.signal(SIGNAL, self._interrupt)
        self._before_spur = signal.signal(SPUR, self._let_act)
        self._spur = KernelTimer(SPUR)
        threading.Thread(target=self._run, name="harness-watchdog", daemon=True).start()

    def leave(self) -> None:
        """Let what is watched now take its time."""
        self._set(None)
        self._disarm()

    def close(self) -> None:
        """Watch nothing any more; called by the main thread."""
        self.leave()
        with self._changed:
            self._closed = True
            self._changed.notify()
        signal.signal(SIGNAL, self._before)
        self._spur.close()
        signal.signal(SPUR, signal.SIG_IGN)  # which drops what is on its way: it would end the process
        signal.signal(SPUR, self._before_spur)
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    # -- in the main thread -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watching(self, watch: Watch) -> Iterator[None]:
        """Have the block interrupted when a deadline passes; what it has left is noted at the end."""
        watch.next = now() + watch.left
        self._set(watch)
        self._arm(watch)
        try:
            yield
        finally:
            self._watch = None  # first of all: from here on no interrupt comes
            self._set(None)
            watch.left = max(0.0, watch.next - now()) if not watch.fired else 0.0
            self._disarm()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have the time that the block takes not count."""
        watch = self._watch if threading.current_thread() is self._main else None
        if watch is None or watch.fired:
            yield
            return
        began = now()
        watch.paused += 1
        self._disarm()
        try:
            yield
        finally:
            watch.next += now() - began
            watch.paused -= 1
            self._set(self._watch)
            self._arm(watch)

    def _set(self, watch: Watch | None) -> None:
        with self._changed:
            self._watch = watch
            self._changed.notify()

    def _arm(self, watch: Watch) -> None:
        """Have an interpreter that runs no other thread any more do so, or else show its stacks and end."""
        if watch.paused:
            return
        left = max(0.0, watch.next - now())
        self._spur.set(left + SPUR_AFTER)
        if self._stderr >= 0:
            faulthandler.dump_traceback_later(left + watch.grace + LAST_RESORT, exit=True, file=self._stderr)

    def _disarm(self) -> None:
        self._spur.set(0.0)
        if self._stderr >= 0:
            faulthandler.cancel_dump_traceback_later()

    def _let_act(self, _: int, __: FrameType | None) -> None:
        """Let the watchdog act, where code of C keeps it from running but heeds signals, such as regular expressions.

        The interrupt ends the wait.
        """
        watch = self._watch
        if watch is None or watch.paused:
            return
        try:
            if watch.next <= now():
                self._acted.clear()
                self._acted.wait(PATIENCE)
        finally:
            if self._watch is watch and not watch.paused:
                self._spur.set(max(0.0, watch.next - now()) + SPUR_AFTER)

    def _interrupt(self, _: int, __: FrameType | None) -> None:
        """Raise, where the deadline of what the main thread is at has passed."""
        watch = self._watch
        if watch is not None and watch.fired:
            raise watch.error()

    # -- in the other one ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                watch = self._watch
                if watch is None or watch.paused:
                    self._changed.wait()
                    continue
                if (left := watch.next - now()) > 0:
                    self._changed.wait(left)
                    continue
            self._act(watch)

    def _act(self, watch: Watch) -> None:
        """Do what a moment of a deadline asks for: look and interrupt; interrupt again; give up."""
        if watch.interrupts == 0:
            with contextlib.suppress(Exception):  # what is not seen must not keep the test from its end
                watch.look()
        if watch.interrupts == len(_AGAIN):
            if self._watch is watch:
                watch.lost()
            return
        if self._watch is not watch:
            return  # it has ended meanwhile
        watch.fired = True
        watch.next = now() + watch.grace * _AGAIN[watch.interrupts]
        watch.interrupts += 1
        if self._main.ident is not None:
            signal.pthread_kill(self._main.ident, SIGNAL)
        self._acted.set()


_AGAIN = (0.5, 0.5)  # parts of the grace after which it is interrupted again, and after which it is given up


# -- what everybody does ---------------------------------------------------------------------------------------------


def python_stacks() -> str:
    """Return the stacks of all Python threads of this process but the one that asks, and of tasks of event loops."""
    names = {thread.ident: thread for thread in threading.enumerate()}
    lines: list[str] = []
    loops: dict[int, Any] = {}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - what faulthandler shows, with names
        if ident == threading.get_ident():
            continue
        thread = names.get(ident)
        how = " (daemon)" if thread and thread.daemon else ""
        lines += [f"thread {thread.name if thread else ident}{how}, most recent call last:"]
        lines += [line.rstrip("\n") for line in traceback.format_stack(frame)]
        loops |= {id(loop): loop for loop in _loops(frame)}
    for loop in loops.values():
        lines += _tasks(loop)
    return "\n".join(lines)


def _loops(frame: FrameType | None) -> Iterator[Any]:
    """Yield the event loops that run in a thread."""
    asyncio = sys.modules.get("asyncio")
    while frame is not None and asyncio is not None:
        if frame.f_code.co_name == "run_forever" and isinstance(
            loop := frame.f_locals.get("self"), asyncio.AbstractEventLoop
        ):
            yield loop
        frame = frame.f_back


def _tasks(loop: Any) -> list[str]:  # noqa: ANN401 - asyncio is not loaded for this
    import asyncio  # noqa: PLC0415 - it is loaded: one of its loops runs

    lines = []
    for task in asyncio.all_tasks(loop):
        lines.append(f"task {task.get_name()} of an event loop, most recent call last:")
        for frame in _awaiting(task.get_coro()):
            lines += [line.rstrip("\n") for line in traceback.format_stack(frame, limit=1)]
    return lines


def _awaiting(awaited: object) -> Iterator[FrameType]:
    """Yield the frames of a coroutine and of all that it awaits; a task itself tells the first one only."""
    while awaited is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(awaited, f"{kind}_frame")), "")
        frame = getattr(awaited, f"{kind}_frame", None)
        if frame is None:
            return
        yield frame
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)


def process_threads(pid: int) -> list[str]:
    """Return, a line each, what a process and its descendants do: names, states, what each thread waits for."""
    lines = []
    for member in [pid, *procs.descendants(pid)][:MOST_PROCESSES]:
        folder = Path(f"/proc/{member}")
        lines.append(f"process {member} {_word(folder / 'comm')}: {procs.state_of(member)}")
        threads = sorted(folder.glob("task/*"), key=lambda path: int(path.name))
        for thread in threads[:MOST_THREADS]:
            lines += _thread(thread)
        lines += [f"  and {len(threads) - MOST_THREADS} more threads"] * (len(threads) > MOST_THREADS)
    return lines


def _thread(folder: Path) -> list[str]:
    """Return what a thread does, as far as this user may know it."""
    state = _word(folder / "stat").rpartition(")")[2].split()[:1]
    call = _word(folder / "syscall").split()[:1]
    waits, stack = _word(folder / "wchan"), _word(folder / "stack")
    words = [f"  thread {folder.name} {_word(folder / 'comm')}: {procs.STATES.get(''.join(state), 'gone')}"]
    words += [f"in {waits}"] if waits not in ("", "0") else []
    words += [f"system call {call[0]}"] if call and call[0].lstrip("-").isdigit() else []
    return [", ".join(words), *(f"    {line}" for line in stack.splitlines()[:20])]


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
