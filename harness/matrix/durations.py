"""Durations as Go writes them, which is what tests of a matrix have."""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LONGEST = 2**63 / 1e9  # seconds: Go counts nanoseconds in 64 bits
NEEDED = "a duration such as 3ms, 1.5s or 1h30m was needed"


def parse_go_duration(text: str) -> float:
    """Return seconds for a duration as Go's ``time.ParseDuration`` takes it; negative where it has a minus.

    Raises:
        ValueError: it is none.
    """
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0.0
    seconds, at = 0.0, 0
    while match := _PART.match(rest, at):
        seconds += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    if not rest or at != len(rest) or seconds >= _LONGEST:
        raise ValueError(NEEDED)
    return sign * seconds
