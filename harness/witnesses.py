"""Who can say what went on in a test that failed: clients that saw traffic, asked when its report is made.

A client calls a witness when it is made. Whoever makes the report asks all of them; nobody needs to know the other.
"""

from __future__ import annotations

import threading
from typing import Protocol

from harness.clock import Deadline, now

BUDGET = 1.0
"""Seconds that all witnesses of one report have together."""


class Witness(Protocol):
    """Something that saw what went on."""

    @property
    def subject(self) -> str:
        """What it saw, as a title."""

    @property
    def over(self) -> bool:
        """Whether it will see no more."""

    def tell(self, since: float, deadline: Deadline | None) -> str:
        """Return what it saw since ``since`` (monotonic), "" for nothing; until ``deadline`` it may ask services."""


_called: list[Witness] = []
_lock = threading.Lock()


def call(witness: Witness) -> None:
    """Ask ``witness`` when a test fails, until the test after that in which it was over."""
    with _lock:
        _called.append(witness)


def begin() -> float:
    """Let go of witnesses that have seen all they will; return the moment from which on the next test is told of."""
    with _lock:
        _called[:] = [witness for witness in _called if not witness.over]
    return now()


def hear(since: float, *, ask: bool = True) -> dict[str, str]:
    """Return subject -> what its witnesses saw since ``since``. Nothing that they trip over is raised.

    With ``ask`` they may ask services, for ``BUDGET`` seconds in all.
    """
    deadline = Deadline.after(BUDGET) if ask else None
    testimony: dict[str, str] = {}
    with _lock:
        called = list(_called)
    for witness in called:
        try:
            words = witness.tell(since, deadline)
        except Exception as error:  # noqa: BLE001 - a report must not lose its own failure to its evidence
            words = f"no evidence: {type(error).__name__}: {error}"
        if words:
            testimony[witness.subject] = (
                f"{testimony[witness.subject]}\n{words}" if witness.subject in testimony else words
            )
    return testimony
