"""Signals that end a command of ours."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from harness import procs
from harness.clock import Deadline, poll

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Reports its steps to a file, waits, and takes its time to tear down when it is told to end.
CHILD = """
import sys, threading
from pathlib import Path
from harness.interrupts import interruptible
steps = Path(sys.argv[1])
def say(line):
    with steps.open("a") as file:
        file.write(line.partition(":")[0] + "\\n")
again = threading.Event()
with interruptible(say):
    try:
        say("begun")
        threading.Event().wait(600)
    finally:
        say("tearing down")
        again.wait(float(sys.argv[2]))
        say("torn down")
"""


class Child:
    """A command that can be interrupted, and what it has said."""

    def __init__(self, folder: Path, teardown: float, before: str = "") -> None:
        self.steps = folder / "steps"
        self.process = procs.spawn([sys.executable, "-c", before + CHILD, str(self.steps), str(teardown)])
        self.wait_for("begun")

    def said(self) -> list[str]:
        return self.steps.read_text().splitlines() if self.steps.exists() else []

    def wait_for(self, step: str) -> None:
        for _ in poll(Deadline.after(60)):
            if step in self.said():
                return
        raise AssertionError(f"{step!r} was not said: {self.said()}")


@pytest.fixture
def children() -> Iterator[list[Child]]:
    made: list[Child] = []
    yield made
    for child in made:
        child.process.kill()
        child.process.wait(60)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_ends_the_block_and_is_what_the_shell_sees(tmp_path: Path, children: list[Child], name: str) -> None:
    """The block must be torn down as by an exception, and the process must then end by that very signal."""
    number = signal.Signals[name]
    child = Child(tmp_path, 0.0)
    children.append(child)
    child.process.send_signal(number)
    assert child.process.wait(60) == -number
    assert child.said() == ["begun", name, "tearing down", "torn down"]


def test_int_and_term_at_once_are_one_wish(tmp_path: Path, children: list[Child]) -> None:
    """What one Ctrl-C sends in a moment must not count as pressing again."""
    child = Child(tmp_path, 2.0)
    children.append(child)
    child.process.send_signal(signal.SIGINT)
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(60) in (-signal.SIGINT, -signal.SIGTERM)
    assert [line for line in child.said() if line.startswith("teardown is")] == []
    assert child.said()[-1] == "torn down"


def test_a_third_signal_gives_the_prompt_back(tmp_path: Path, children: list[Child]) -> None:
    """The second must say that teardown goes on, the third must end the command at once with 128 + n."""
    child = Child(tmp_path, 600.0)
    children.append(child)
    child.process.send_signal(signal.SIGINT)
    child.wait_for("tearing down")
    for _ in poll(Deadline.after(60)):
        child.process.send_signal(signal.SIGINT)
        if any(line.startswith("teardown is") for line in child.said()):
            break
    for _ in poll(Deadline.after(60)):
        child.process.send_signal(signal.SIGTERM)
        if child.process.poll() is not None:
            break
    assert child.process.wait(60) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert child.said()[-1] != "torn down"


def test_a_signal_that_was_ignored_stays_so(tmp_path: Path, children: list[Child]) -> None:
    """A background job of a shell, to which INT means nothing, must go on after one."""
    ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    child = Child(tmp_path, 0.0, ignore)
    children.append(child)
    child.process.send_signal(signal.SIGINT)
    with pytest.raises(procs.TimeoutExpired):
        child.process.wait(0.3)
    assert child.said() == ["begun"]
