"""HTTP for tests and probes: one deadline, a time-out on each request, the last answer in the error.

``ask`` and ``wait_for`` need the standard library only. ``Session`` is a ``requests.Session`` that is bound to one
endpoint; it needs the extra ``http`` (requests) and is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.helpers.http_plain import (
    BODY_LIMIT,
    IDEMPOTENT,
    REQUEST_BUDGET,
    Answer,
    Conditions,
    Retries,
    Wanted,
    ask,
    json_mismatch,
    wait_for,
)

if TYPE_CHECKING:
    from harness.helpers.http_session import NoAnswer, Session, TooLate

__all__ = [
    "BODY_LIMIT",
    "IDEMPOTENT",
    "REQUEST_BUDGET",
    "Answer",
    "Conditions",
    "NoAnswer",
    "Retries",
    "Session",
    "TooLate",
    "Wanted",
    "ask",
    "json_mismatch",
    "wait_for",
]


def __getattr__(name: str) -> object:
    """Load what needs requests, which takes longer to import than most probes run (PEP 562)."""
    if name in {"NoAnswer", "Session", "TooLate"}:
        from harness.helpers import http_session  # noqa: PLC0415 - see above

        return getattr(http_session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
