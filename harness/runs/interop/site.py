"""Where a cell takes place, as ``harness.matrix.site`` has it: engines make them, and know nothing of runs."""

from __future__ import annotations

from harness.matrix.site import Collected, Heard, Part, Site, Sites

__all__ = ["Collected", "Heard", "Part", "Site", "Sites"]
