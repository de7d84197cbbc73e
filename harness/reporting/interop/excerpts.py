"""Events of a cell as a page shows them: those around the one that decided, and all that steer a cell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.matrix.cases import DRIVER, WORKER
from harness.matrix.events import ASSERT, ASSERT_FAILED, DONE, EXEC, EXITED, READY, RUNNER, STATUS

MOST = 200  # events of a cell around the one that decided it
AFTER = 60  # of them, those that came after it
LONGEST = 300  # characters of what belongs to an event
MOST_CONTROL = 400  # events that steer, wherever they are: a process can send any number of asserts
# One of each for all events: they take longer to make than to use.
_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_CONTROL = frozenset((READY, DONE, ASSERT, ASSERT_FAILED, EXEC, STATUS, EXITED, "check"))
# Most lines are told from one that may steer without being parsed.
_HINTS = (*(f'"{ty}"' for ty in sorted(_CONTROL)), f'"{RUNNER}.')


@dataclass(frozen=True)
class Excerpt:
    """Some events of a cell.

    Attributes:
        base: milliseconds since 1970 of its first event.
        lanes: roles, the runner's "" first.
        rows: place in the log, milliseconds after ``base``, place of the lane, type, and what belongs to it as text.
        total: events in the log.
        deciding: the event that decided, as the log has it; None where none did or it cannot be read.
    """

    base: int
    lanes: tuple[str, ...]
    rows: tuple[tuple[int, int, int, str, str], ...]
    total: int
    deciding: dict[str, Any] | None = None

    def as_json(self) -> str:
        """Return it as the page reads it."""
        facts = {"base": self.base, "lanes": self.lanes, "rows": self.rows, "total": self.total}
        return _ENCODER.encode(facts)


def excerpt_of(path: Path, deciding: int | None, *, most: int = MOST, longest: int = LONGEST) -> Excerpt:
    """Return what is shown of a log of events; one that is not there has none, and what is no event is left out."""
    try:
        lines = path.read_bytes().decode("utf-8", "replace").rstrip("\n").split("\n")
    except OSError:
        return Excerpt(0, ("",), (), 0)
    events = {}
    steering = 0
    for place, line in enumerate(lines):
        is_near = _is_near(place, len(lines), deciding, most)
        if not is_near and (steering >= MOST_CONTROL or not any(hint in line for hint in _HINTS)):
            continue
        event = _event(line)
        if event and (is_near or is_control(event["ty"])):
            steering += not is_near
            events[place] = event
    seen = {event["ro"] for event in events.values()}
    lanes = ["", *(role for role in (WORKER, DRIVER) if role in seen), *sorted(seen - {"", WORKER, DRIVER})]
    base = next((event["ti"] for event in events.values()), 0)
    rows = tuple(
        (place, event["ti"] - base, lanes.index(event["ro"]), event["ty"], _said(event["in"], longest))
        for place, event in events.items()
    )
    return Excerpt(base, tuple(lanes), rows, len(lines), events.get(-1 if deciding is None else deciding))


def is_control(ty: str) -> bool:
    """Return whether events of a type steer a cell, or say how far it is."""
    return ty in _CONTROL or ty.startswith(f"{RUNNER}.")


def _is_near(place: int, total: int, deciding: int | None, most: int) -> bool:
    """Return whether an event is shown for its place: around the deciding one, else of the beginning and the end."""
    if deciding is None or not 0 <= deciding < total:
        return place < most // 2 or place >= total - most // 2
    after = min(AFTER, most // 3)
    first = max(0, deciding - (most - after))
    return first <= place < first + most


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = _DECODER.decode(line)
        known = {"id": event.get("id", 0), "ty": str(event["ty"]), "ti": int(event.get("ti") or 0)}
        return {**known, "ro": str(event.get("ro") or ""), "in": event.get("in") or {}}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _said(info: object, longest: int) -> str:
    """Return what belongs to an event as one text; of a line of a log, the line."""
    if isinstance(info, dict) and isinstance(info.get("line"), str):
        others = {key: value for key, value in info.items() if key != "line"}
        text = info["line"] + (f"  {_ENCODER.encode(others)}" if others else "")
    else:
        text = _ENCODER.encode(info) if info else ""
    return text if len(text) <= longest else f"{text[:longest]} ... ({len(text)} characters)"
