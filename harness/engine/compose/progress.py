"""What builds say of their steps, told while they are at it: one line a step, on a terminal as in a pipe."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING

from harness import artifacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONGEST = 110
_PERIOD = 0.2  # seconds between looks at the log
_MOST = 1 << 20
_OURS = re.compile(r"^LABEL (?:harness|com\.docker\.compose)\.")
# The classic builder's and Podman's words, and those of BuildKit.
_STEPS = re.compile(
    r"^\s*(?:Step (?P<at>\d+/\d+) : (?P<what>.+)|STEP (?P<pod>\d+/\d+): (?P<pods>.+)"
    r"|#\d+ \[(?P<kit>[^\]]*\d+/\d+)\] (?P<kits>.+))$"
)


def step_of(line: str) -> str:
    """Return what a line of a build's log says of a step that begins, "" where none does."""
    match = _STEPS.match(line.rstrip())
    if not match:
        return ""
    at, what = match["at"] or match["pod"] or match["kit"], match["what"] or match["pods"] or match["kits"]
    if _OURS.match(what):
        return ""
    text = f"[{at}] {' '.join(what.split())}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


@contextlib.contextmanager
def followed(log: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Tell each step that a build's log gets, once, from now on; lines are ``artifacts.Step``."""
    over = threading.Event()
    thread = threading.Thread(
        target=_follow, args=(log, artifacts.file_size(log), over, say), name="harness-build-log", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=1.0)


def _follow(log: Path, offset: int, over: threading.Event, say: Callable[[str], None]) -> None:
    told: set[str] = set()
    rest = b""
    while True:
        is_over = over.wait(_PERIOD)
        data, offset = artifacts.read_on(log, offset, _MOST)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            step = step_of(line.decode(errors="replace"))
            if step and step not in told:
                told.add(step)
                say(artifacts.Step(artifacts.printable(step.encode())))
        if is_over and not data:
            return
