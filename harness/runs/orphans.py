"""What a command, or pytest, has left running at its end: found by a variable, ended and named. Nothing heavy here."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from harness import procs
from harness.clock import Deadline, poll
from harness.errors import TEST_RESIDUE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STILL_ENDING = 1.0  # seconds in which what a command has started may end by itself after it, and again after TERM
KILL_BUDGET = 5.0


def end_left_by_command(parent: Mapping[str, str], code: int, say: Callable[[str], None]) -> int:
    """End what a command has left running, and say what that was; return the exit code for it, 0 for nothing.

    Args:
        parent: the variable that the command was given, ``procs.as_parent``, by which all that it started is found.
        code: its exit code. After a signal nothing has time to end by itself.
        say: takes lines for the user.
    """
    patience = 0.0 if code > 128 else STILL_ENDING  # noqa: PLR2004 - 128 + n for signal n
    left = _left_after(parent, patience)
    words = [f"pid {pid} ({procs.command_of(pid)})" for pid in left]
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, KILL_BUDGET)):
        for pid, start in left.items():
            procs.kill(pid, number, start_time=start)
        left = _left_after(parent, seconds) if left else {}
    for line in words:
        say(f"the command left {line} running; it was ended")
    return TEST_RESIDUE if words else 0


def _left_after(parent: Mapping[str, str], seconds: float) -> dict[int, int]:
    """Return what carries the variable ``parent`` after a while, or nothing as soon as nothing does."""
    left: dict[int, int] = {}
    for _ in poll(Deadline.after(seconds)):
        left = procs.carriers(parent)
        if not left:
            break
    return left
