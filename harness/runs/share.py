"""What the workers of one pytest have in common."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.artifacts import new_run_id
from harness.clock import now
from harness.keeper.living import find_one
from harness.reporting import RunFolder

if TYPE_CHECKING:
    from harness.config import Settings
    from harness.ownership.ledger import LedgerRecord


@dataclass(frozen=True)
class Share:
    """What a pytest with workers decides for all of them before any needs a stack; nothing of it exists yet.

    Attributes:
        run: id of the run, and of the environment should one be opened for it.
        pid: the controller, for which the environment is held.
        start: its start time.
        began: monotonic time at which the run began.
    """

    run: str
    pid: int
    start: int
    began: float

    @classmethod
    def begin(cls) -> Share:
        """Return what this process decides for its workers."""
        return cls(new_run_id(), os.getpid(), procs.start_time_of(os.getpid()) or 0, now())

    def report(self, settings: Settings) -> RunFolder | None:
        """Return the folder of the run for the process that sums up, None while no worker has made it."""
        with suppress(OSError, ValueError):
            return RunFolder.of_controller(self.folder(settings), self.began)
        return None

    def folder(self, settings: Settings) -> Path:
        """Return the folder of the run."""
        return settings.logs / self.run

    def record(self, settings: Settings) -> LedgerRecord | None:
        """Return the ledger of the environment that was opened for the run, None before that and after its end."""
        try:
            facts = json.loads((self.folder(settings) / "run.json").read_text(encoding="utf-8"))
            return find_one(settings.state, facts["environment"])
        except (OSError, ValueError, KeyError):
            return None
