"""Symbols of statuses, and times, as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.artifacts import printable

SYMBOLS: Mapping[str, str] = {
    "succeeded": "\u2713",
    "failed": "\u2717",
    "unsupported": "\u2205",
    "timeout": "\u25f7",
    "crashed": "\u21af",
    "broken": "\u26a0",
    "skipped": "\u2013",
    "flaky": "\u2248",
    "not run": "\u00b7",
}
PLAIN: Mapping[str, str] = {
    "succeeded": "+",
    "failed": "x",
    "unsupported": "0",
    "timeout": "t",
    "crashed": "#",
    "broken": "!",
    "skipped": "-",
    "flaky": "~",
    "not run": ".",
}


def symbols_for(encoding: str | None) -> Mapping[str, str]:
    """Return the symbols that a stream of an encoding can show: others for those that have ASCII only."""
    try:
        "".join(SYMBOLS.values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN
    return SYMBOLS


def one_line(text: str) -> str:
    """Return ``text`` as one line that a terminal shows as it is."""
    return printable(" ".join(text.split()).encode("utf-8", "replace"))


def span(seconds: float) -> str:
    """Return a time as people read it: ``0.25 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:  # noqa: PLR2004 - from there on nobody reads the fractions
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004 - an hour
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
