"""Signals in a pytest session: they end it once, as Ctrl-C does, and none tears through its teardown."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from harness.clock import now

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from harness.pytest_workers import Workers

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SAME_WISH = 1.0  # seconds in which a second Ctrl-C adds nothing to the first


class Signals:
    """Let signals end a session so that fixtures are torn down.

    Attributes:
        number: the signal that ends it, 0 for none and for Ctrl-C.
    """

    def __init__(self, workers: Workers) -> None:
        self.number = 0
        self._workers = workers
        self._came: float | None = None

    @property
    def came(self) -> bool:
        """Whether there was one, Ctrl-C among them."""
        return self._came is not None

    def catch(self) -> None:
        """Have signals end the session from now on."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._interrupt)
            # Where SIGINT is ignored (a background job of a shell), it stays so.
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, _: FrameType | None) -> None:
        """End the session once. Nox and shells send INT and then TERM for one Ctrl-C: that is one wish, not two.

        A second exception while the first unwinds would tear through finalizers and locks.
        """
        again = self.came
        self._workers.interrupt()
        if again and (number != signal.SIGINT or now() - (self._came or 0) < _SAME_WISH):
            return
        if not again and number != signal.SIGINT:
            self.number = number
        self._came = now()
        raise KeyboardInterrupt(f"signal {signal.Signals(number).name}")


class Calm:
    """During teardown no signal is an exception: a finalizer would be lost with it."""

    def __init__(self) -> None:
        self._came = 0.0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, None, None]:
        """Hold off signals until everything is given back."""
        if threading.current_thread() is not threading.main_thread():
            return (yield)
        before = {number: signal.signal(number, self._wait) for number in (signal.SIGINT, *_SIGNALS)}
        try:
            return (yield)
        finally:
            for number, handler in before.items():
                # Our own handlers end with the session.
                ours = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, signal.SIG_IGN if handler is signal.SIG_IGN else ours)

    def _wait(self, number: int, _: FrameType | None) -> None:
        """Say what is under way; to one who then presses again, give the prompt back."""
        if self._came and now() - self._came < _SAME_WISH:
            return
        if self._came:
            os._exit(128 + number)
        self._came = now()
        print("harness: teardown is under way; once more leaves the rest of it to the keeper", file=sys.stderr)
