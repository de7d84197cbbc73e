"""The deadline of tests: one that hangs is interrupted and fails, with what everybody did, and the next one goes on."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from harness import artifacts, hangs, runs
from harness.clock import Aside
from harness.pytest_verdict import note_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from harness.pytest_stacks import Stacks
    from harness.pytest_workers import Voice

FILE = "stacks.txt"
SHOWN = 60_000  # characters in a report
LOOK_BUDGET = 5.0  # seconds for what services did
_TIMEOUT = "timeout"  # pytest-timeout's name, its option, its setting and its marker


class Hang(pytest.fail.Exception):  # type: ignore[misc, name-defined] # a variable, for mypy
    """A test did not end before its deadline."""

    __module__ = "builtins"  # as pytest shows its own


class Hangs:
    """What a session does with tests that hang.

    Args:
        config: of the session.
        stacks: of the session.
        voice: of the session.
        seconds: what a test may take: set-up and body together, and its teardown again.
        end: ends the session in another thread: told of the test and of why, it returns the exit code.
    """

    def __init__(
        self, config: pytest.Config, stacks: Stacks, voice: Voice, seconds: float, end: Callable[[str, str, str], int]
    ) -> None:
        self._config = config
        self._stacks = stacks
        self._voice = voice
        self._seconds = seconds
        self._end = end
        self._left = seconds
        self._watch: hangs.Watch | None = None
        self._seen = ""
        self._watchdog: hangs.Watchdog | None = None

    def begin(self) -> None:
        """Begin to watch, where tests run in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            self._voice.say("warning: tests do not run in the main thread, so --test-timeout does nothing")
            return
        stderr = -1
        if not self._config.getini("faulthandler_timeout"):  # pytest's own use of the one timer that there is
            with self._voice.past_capture(), contextlib.suppress(OSError):
                stderr = os.dup(2)
        self._watchdog = hangs.Watchdog(stderr)
        self._stacks.off_the_clock = self._watchdog.paused

    # -- the phases of a test -----------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Give a test its time."""
        self._left, self._seen = self._seconds, ""
        with self._phase(item, "its set-up"):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Give the body what the set-up has left."""
        with self._phase(item, "it"):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """Give the teardown time of its own: it goes on after a body that took all."""
        self._left = self._seconds
        with self._phase(item, "its teardown"):
            return (yield)

    @contextlib.contextmanager
    def _phase(self, item: pytest.Item, phase: str) -> Generator[None, None, None]:
        self._watch = None
        if self._watchdog is None or self._is_others(item):
            yield
            return
        said = f"{item.name} did not end in {self._seconds:g} s: {phase} was interrupted"
        self._watch = hangs.Watch(
            self._left,
            hangs.grace_of(self._seconds),
            error=lambda: Hang(said),
            look=lambda: self._look(item, said),
            lost=lambda: self._give_up(item, said),
        )
        try:
            with self._watchdog.watching(self._watch):
                yield
        finally:
            self._left = self._watch.left
        if self._watch.fired:  # the test has swallowed it
            raise Hang(said)

    def _is_others(self, item: pytest.Item) -> bool:
        """Return whether somebody else watches a test: pytest-timeout, or a person in a debugger."""
        option, plugins = self._config.option, self._config.pluginmanager
        if getattr(option, "usepdb", False) or getattr(option, "trace", False):
            return True
        if not plugins.hasplugin(_TIMEOUT):
            return False
        given = (getattr(option, _TIMEOUT, None), os.environ.get("PYTEST_TIMEOUT"), self._config.getini(_TIMEOUT))
        return item.get_closest_marker(_TIMEOUT) is not None or any(given)

    def pytest_enter_pdb(self) -> None:
        """Leave a test to whoever debugs it."""
        if self._watchdog is not None:
            self._watchdog.leave()

    def pytest_unconfigure(self) -> None:
        """Watch no more."""
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None

    # -- what is seen -------------------------------------------------------------------------------------------

    def _look(self, item: pytest.Item, said: str) -> None:
        """Note what everybody does, now that a test hangs. Called by another thread."""
        lines = [said, "", hangs.python_stacks()]
        environment = self._stacks.environment
        if environment is not None:
            used = self._stacks.uses.of(item) or frozenset(environment.brought)
            asked = Aside(lambda: runs.hangs.look(environment, used))
            in_time = asked.is_over(within=LOOK_BUDGET)
            lines += ["", *(asked.result() if in_time else [f"services: nothing was heard in {LOOK_BUDGET:g} s"])]
        self._seen = artifacts.printable("\n".join(lines).encode(errors="backslashreplace"))
        if environment is not None:
            environment.report.evidence(item.nodeid, FILE, f"{self._seen}\n".encode())

    def judge(self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None) -> None:
        """Have a report of a test that hung say so, with what was seen."""
        if self._watch is None or not self._watch.fired or not report.failed:
            return
        if isinstance(error, Hang):
            note_kind(report, Hang.__name__)
        if self._seen:
            shown = self._seen if len(self._seen) <= SHOWN else f"{self._seen[:SHOWN]}\n... the rest is in {FILE}"
            report.sections.append(("Captured stdout stacks when it hung", shown))
            item.add_report_section("call", "stdout stacks when it hung", shown)
            self._seen = ""

    def _give_up(self, item: pytest.Item, said: str) -> None:
        """End the session: the main thread is in code that heeds no signal. Called by another thread."""
        why = f"Hang: {said}, which it did not heed"
        code = 1
        with contextlib.suppress(Exception):  # whatever is in the way, the process ends
            code = self._end(item.nodeid, why, self._seen)
        os._exit(code)
