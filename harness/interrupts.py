"""Signals that end a run: told once as an exception, then in words; nothing that gives things back is torn apart."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

from harness import clock

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
SAME_WISH = 0.3  # seconds in which a second signal adds nothing: shells and Nox send INT and TERM for one Ctrl-C


class Interrupted(BaseException):
    """A signal asked this run to end. No Exception, like KeyboardInterrupt, so that nothing takes it for a fault."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[None]:
    """End the block by Interrupted at INT, TERM, HUP or QUIT, and this process by that very signal after it.

    The first is raised in the main thread. The next says what is under way, the one after that ends this process at
    once; the keeper of its environment then finishes by itself. A signal that was ignored before stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    moments: list[float] = []

    def handle(number: int, _: FrameType | None) -> None:
        if moments and clock.now() - moments[-1] < SAME_WISH:
            return
        moments.append(clock.now())
        if len(moments) == 1:
            say(f"{signal.Signals(number).name}: giving everything back; once more shows that it is under way")
            raise Interrupted(number)
        if len(moments) == 2:  # noqa: PLR2004 - the second of three
            say("teardown is under way; once more ends this command at once, and the keeper does the rest")
            return
        os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    except Interrupted as interrupted:
        # So that a shell sees what ended it, 128 + n, and stops its own loop.
        signal.signal(interrupted.number, signal.SIG_DFL)
        os.kill(os.getpid(), interrupted.number)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
