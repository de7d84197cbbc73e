"""Tests that fail now and then, in a project: which are in quarantine, and what a session adds to the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.results.flakes import record, results_of
from harness.results.quarantine import read_quarantine, today
from harness.runs.known import checkout_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.config import Settings
    from harness.results import Outcome
    from harness.results.quarantine import Quarantine


def quarantine_of(settings: Settings) -> Quarantine:
    """Return what is in quarantine today. Raises ConfigError."""
    needed = settings.origins.get("quarantine") != "default"
    return read_quarantine(settings.quarantine, today(settings.environ), needed=needed)


def keep(settings: Settings, run: str, outcomes: Sequence[Outcome]) -> tuple[frozenset[str], str]:
    """Add how tests ended to the ledger of this checkout, whatever becomes of that.

    Returns:
        Tests that are flaky and were not known to be, and a line for people where something was in the way, else "".
    """
    results = results_of((outcome.test, outcome.status, outcome.stacks) for outcome in outcomes)
    if not results:
        return frozenset(), ""
    try:
        return record(settings.flakes, results, run=run, checkout=checkout_of(settings))
    except HarnessError as error:
        return frozenset(), f"how tests ended is not kept for `harness flakes`: {error.summary}"
