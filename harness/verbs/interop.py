"""An interoperability matrix: what it would run, run, and what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.runs.choice import choose
from harness.runs.interop.making import Made
from harness.runs.interop.running import Wanted, declared, planned, run_matrix

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.config import Settings
    from harness.matrix.planning import Plan
    from harness.matrix.standing import Standing
    from harness.reporting.interop.report import Report

__all__ = ["Wanted", "plan", "run"]


def plan(settings: Settings, wanted: Wanted, say: Callable[[str], None]) -> Plan:
    """Return what would be run; nothing is made, so its hash knows no images. Raises ConfigError."""
    choice = choose(settings)
    return planned(declared(choice, say), choice, Made({}), wanted)


def run(
    settings: Settings, wanted: Wanted, say: Callable[[str], None], tell: Callable[[Standing], None]
) -> tuple[Report, Path]:
    """Run a matrix, as ``run_matrix`` does; return its report and the run's folder."""
    return run_matrix(choose(settings), wanted, say, tell)
