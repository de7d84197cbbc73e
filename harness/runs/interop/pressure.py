"""Whether this machine is short of memory, so that what takes too long there says little of what was run."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from harness.matrix.budgets import Machine

STALLED = 10.0  # per cent of the last 10 seconds in which something waited for memory
SCARCE = 0.05  # of all memory
PRESSURE = Path("/proc/pressure/memory")
_SOME = re.compile(r"^some avg10=([0-9.]+)", re.MULTILINE)


@dataclass(frozen=True)
class Observed:
    """What a machine says of its memory.

    Attributes:
        stalled: per cent of the last 10 seconds in which something waited for memory, 0 where the kernel does not tell.
        available: bytes.
        total: bytes.
    """

    stalled: float = 0.0
    available: int = 0
    total: int = 0

    @property
    def short_of(self) -> str:
        """What there is too little of, "" for nothing."""
        if self.stalled > STALLED:
            return f"memory: processes waited for it for {self.stalled:g} % of the last 10 s"
        if self.total and self.available < SCARCE * self.total:
            return f"memory: {self.available / 2**20:.0f} of {self.total / 2**20:.0f} MiB are available"
        return ""


def read_stalled(text: str) -> float:
    """Return what /proc/pressure/memory tells, 0 for what it does not."""
    match = _SOME.search(text)
    return float(match[1]) if match else 0.0


def observe() -> Observed:
    """Look at this machine."""
    import psutil  # noqa: PLC0415 - takes a while to load

    memory, stalled = psutil.virtual_memory(), 0.0
    with contextlib.suppress(OSError):  # a kernel without it, or a container that may not
        stalled = read_stalled(PRESSURE.read_text(encoding="ascii", errors="replace"))
    return Observed(stalled, memory.available, memory.total)


def machine() -> Machine:
    """Return what this machine has for cells."""
    return Machine(float(len(os.sched_getaffinity(0))), observe().available)
