"""Tests of `harness.residue.host`: what of this process is a test's, and what is not."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from harness.residue.host import EnvironmentVariables, SignalHandlers, Threads
from harness.residue.watching import difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """What ends the threads of a test."""
    over = threading.Event()
    yield over
    over.set()


def test_threads_of_tests_are_told_and_those_of_the_toolkit_are_not(over: threading.Event) -> None:
    """A connection that the watch itself keeps for a second must make no test wait for its thread."""
    before = Threads().look()
    for name in ("harness-residue-unused", "poller"):
        threading.Thread(target=over.wait, name=name, daemon=True).start()
    left = difference("threads", before, Threads().look())
    assert [(thing.name.partition(" ")[0], thing.detail) for thing in left] == [
        ("poller", "runs threading.Event.wait, daemon")
    ]


def test_variables_of_tests_are_told_and_those_of_pytest_and_the_toolkit_are_not() -> None:
    environ = {"HOME": "/root"}
    watcher = EnvironmentVariables(lambda: ["OURS"], environ)
    before, glance = watcher.look(), watcher.glance()
    environ |= {"PYTEST_CURRENT_TEST": "x", "HARNESS_X": "x", "OURS": "x"}
    assert (watcher.look(), watcher.glance()) == (before, glance)
    environ["THEIRS"] = "x"
    assert watcher.glance() != glance
    assert [left.name for left in difference("environment", before, watcher.look())] == ["THEIRS"]


class Program:
    """What is told of a signal by a method, which is bound anew each time."""

    def stop(self, *_: object) -> None:
        """Do nothing."""


def test_a_signal_handler_is_another_one_also_where_it_has_the_name_of_the_one_before() -> None:
    """Each test that sets a function of its own must be told of, and one that puts the old one back must not."""

    def handler() -> Callable[..., None]:
        return lambda *_: None

    watcher, old = SignalHandlers(), signal.getsignal(signal.SIGUSR1)
    try:
        first = handler()
        signal.signal(signal.SIGUSR1, first)
        before, glance = watcher.look(), watcher.glance()
        signal.signal(signal.SIGUSR1, handler())
        (left,) = difference("signal handlers", before, watcher.look())
        assert (left.name, left.change) == ("SIGUSR1", "changed")
        assert left.detail.endswith("<lambda>, no. 2 of that name")
        assert watcher.glance() != glance
        signal.signal(signal.SIGUSR1, first)
        assert (watcher.look(), watcher.glance()) == (before, glance)
        program = Program()
        signal.signal(signal.SIGUSR1, program.stop)
        bound = watcher.look()
        signal.signal(signal.SIGUSR1, program.stop)
        assert watcher.look() == bound
    finally:
        signal.signal(signal.SIGUSR1, old)
