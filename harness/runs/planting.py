"""Planting a seed, so that the wait for it can be left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from harness.clock import Aside, Deadline, poll
from harness.seeding import apply, too_long

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.seeding import Surroundings
    from harness.stack import Seed


def plant_within(
    deadline: Deadline,
    seed: Seed,
    around: Surroundings,
    *,
    wake: threading.Event | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Plant a seed aside, so that it can be left.

    Args:
        deadline: when to give up.
        seed: what to plant.
        around: where.
        wake: an event that is set when there is something to check.
        check: raises to end the wait.

    Raises:
        BrokenStack: it was refused, or was not planted in time.
    """
    wake = wake or threading.Event()
    planting = Aside(lambda: apply(seed, around), wake)
    for _ in poll(deadline, wake=wake):
        if planting.is_over():
            return planting.result()
        check()
    raise too_long(seed, planting.seconds)
