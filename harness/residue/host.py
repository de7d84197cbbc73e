"""What tests may leave in their own process: threads, variables, the folder it is in, its umask, signal handlers."""

from __future__ import annotations

import os
import signal
import threading
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping, MutableMapping

OUR_THREADS = "harness-"  # how the names of our own threads begin
OUR_VARIABLES = "HARNESS_"  # what the toolkit itself tells tests and their processes
PYTESTS_OWN = "PYTEST_"  # PYTEST_CURRENT_TEST is another one in each phase of each test
_STATUS = Path("/proc/self/status")


class Threads:
    """Threads of this process that Python has started."""

    kind = "threads"
    counts_removed = False
    is_shared = False

    def glance(self) -> Hashable:
        """Return their numbers; the kernel gives none again soon, as Python does."""
        return frozenset(thread.native_id for thread in threading.enumerate())

    def look(self) -> Mapping[str, str]:
        """Return their names, with what they run."""
        return {
            f"{thread.name} (thread {thread.native_id})": _described(thread)
            for thread in threading.enumerate()
            if not (thread.name.startswith(OUR_THREADS) or _is_foreign(thread) or thread is threading.main_thread())
        }


def _is_foreign(thread: threading.Thread) -> bool:
    """Return whether it was no Python that started a thread: then Python does not see it end either."""
    return isinstance(thread, threading._DummyThread)  # noqa: SLF001 - there is no other name for it


def _described(thread: threading.Thread) -> str:
    target = getattr(thread, "_target", None) or getattr(thread, "function", None)  # of a Timer
    daemon = "daemon" if thread.daemon else ""
    return ", ".join(part for part in (f"runs {name_of(target)}" if target else "", daemon) if part)


def name_of(function: object) -> str:
    """Return what a function is called, with its module."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', None) or type(function).__module__}.{name}"


class EnvironmentVariables:
    """Variables of this process. Their values are never shown.

    Args:
        ours: returns the names of those that the session itself sets.
        environ: where they are.
    """

    kind = "environment"
    counts_removed = True
    is_shared = False

    def __init__(
        self, ours: Callable[[], Collection[str]] = tuple, environ: MutableMapping[str, str] | None = None
    ) -> None:
        self._ours = ours
        self._environ = os.environ if environ is None else environ
        self._salt = os.urandom(8)

    def glance(self) -> Hashable:
        """Return them as they are."""
        return frozenset(self._theirs().items())

    def look(self) -> Mapping[str, str]:
        """Return their names, with how long the value is and a mark by which it is told from others."""
        return {name: self._mark(value) for name, value in self._theirs().items()}

    def _theirs(self) -> dict[str, str]:
        ours = self._ours()
        return {
            name: value
            for name, value in self._environ.items()
            if not name.startswith((PYTESTS_OWN, OUR_VARIABLES)) and name not in ours
        }

    def _mark(self, value: str) -> str:
        digest = sha256(self._salt + value.encode(errors="surrogateescape")).hexdigest()
        return f"{len(value)} characters, mark {digest[:6]}"


class WorkingDirectory:
    """The folder that this process is in."""

    kind = "working directory"
    counts_removed = False
    is_shared = False

    def glance(self) -> Hashable:
        """Return its path."""
        return _current_folder()

    def look(self) -> Mapping[str, str]:
        """Return its path."""
        return {"current folder": _current_folder()}


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "one that is removed"


class Umask:
    """Which permissions files that this process makes are not to have."""

    kind = "umask"
    counts_removed = False
    is_shared = False

    def glance(self) -> Hashable:
        """Return it, as the kernel tells it: to ask by umask(2) is to change it for a moment. Raises OSError."""
        with _STATUS.open("rb") as status:
            for line in status:
                if line.startswith(b"Umask:"):
                    return line.split()[1].decode()
        raise OSError(f"{_STATUS} has no Umask")

    def look(self) -> Mapping[str, str]:
        """Return it."""
        return {"umask": str(self.glance())}


class SignalHandlers:
    """What Python does when a signal comes."""

    kind = "signal handlers"
    counts_removed = True
    is_shared = False

    def __init__(self) -> None:
        self._signals = sorted(signal.valid_signals())
        self._seen: dict[str, list[object]] = {}  # name -> those of that name: each test may define its own

    def glance(self) -> Hashable:
        """Return what is called for each."""
        return tuple(id(signal.getsignal(number)) for number in self._signals)

    def look(self) -> Mapping[str, str]:
        """Return those that are not handled as they are from the beginning."""
        handlers = {number: signal.getsignal(number) for number in self._signals}
        return {
            _signal_name(number): self._described(handler)
            for number, handler in handlers.items()
            if handler not in (None, signal.SIG_DFL)
        }

    def _described(self, handler: object) -> str:
        name = "ignored" if handler == signal.SIG_IGN else name_of(handler)
        seen = self._seen.setdefault(name, [])
        if handler not in seen:  # a method that is bound once more is equal
            seen.append(handler)
        number = seen.index(handler) + 1
        return name if number == 1 else f"{name}, no. {number} of that name"


def _signal_name(number: int) -> str:
    return number.name if isinstance(number, signal.Signals) else f"signal {number}"
