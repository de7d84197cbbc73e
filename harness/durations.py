"""Durations as Compose writes them."""

from __future__ import annotations

import re

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")


def parse_duration(value: object) -> float:
    """Return seconds for a Compose duration (``1m30s``) or a plain number of seconds, which may be text too.

    The format is that of the Compose specification's "Specifying durations".

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, bool):
        raise ValueError("a duration such as 90s or 1m30s was needed")  # noqa: TRY004 - what pydantic collects
    if isinstance(value, int | float):
        return float(value)
    text = str(value)
    if _NUMBER.fullmatch(text):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("a duration such as 90s or 1m30s was needed")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_age(text: str) -> float:
    """Return seconds for a number of days (``7d``) or another duration. Raises ValueError when it is neither."""
    days = text.strip().removesuffix("d")
    if days != text.strip() and days.isdecimal():
        return int(days) * 86400.0
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError("a time such as 7d or 12h was needed") from error
