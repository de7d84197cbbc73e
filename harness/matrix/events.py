"""Events of a cell: what its processes say on standard output, and what the runner adds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RUNNER = "runner"  # the role of events that no process has sent, in reports only: a dump has "" there
READY, DONE, ASSERT, LOG, EXEC, STATUS, EXITED = "ready", "done", "assert", "log", "exec", "status", "exited"
ASSERT_FAILED, CHECK, SAMPLE = "assert-failed", "check", "sample"
# What the runner alone knows has names that a process cannot send.
TIMED_OUT, MALFORMED, BROKEN, PROBED, ENDED = (
    "runner.timeout",
    "runner.malformed",
    "runner.broken",
    "runner.probe",
    "runner.ended",
)
FLOODED = "runner.flooded"
_RUNNERS_OWN = (EXEC, STATUS, EXITED, LOG, ASSERT_FAILED)

UNSUPPORTED = 127
"""Exit code of a role, before it is ready, whose implementation does not know the test."""
LINE_LIMIT = 64 * 1024
"""Bytes of a line that an event has; it says where it was cut."""
JSON_LIMIT = 1024 * 1024
"""Bytes of a line that is read as JSON; a longer one is malformed."""
EVENTS_KEPT = 10_000
"""Events of a role that are kept; of those that come later, the ones that decide something are."""
BYTES_KEPT = 8 * 1024 * 1024
"""Bytes of a role's output that are made into events; in what comes later, events that decide something are heard."""


@dataclass(frozen=True)
class Event:
    """Something that happened in a cell.

    Attributes:
        ty: type.
        ro: role that it is of, "" for the runner's own.
        ti: milliseconds since 1970, UTC.
        id: as the process has numbered it, or the runner.
        info: what belongs to its type (``in`` on the wire).
    """

    ty: str
    ro: str = ""
    ti: int = 0
    id: int = 0
    info: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as its line of JSON has it."""
        return {"id": self.id, "ty": self.ty, "ti": self.ti, "ro": self.ro, "in": dict(self.info)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Event:
        """Return the event of a line of JSON. Raises ValueError where it is none."""
        kinds: dict[str, type] = {"ty": str, "ro": str, "ti": int, "id": int, "in": Mapping}
        empty: dict[str, Any] = {"ty": "", "ro": "", "ti": 0, "id": 0, "in": {}}
        values = {name: data.get(name) or empty[name] for name in kinds}
        for name, kind in kinds.items():
            value = values[name]
            if not isinstance(value, kind) or (name == "ty" and not value):
                raise ValueError(f"{name} of an event is {value!r}, a {kind.__name__} was needed")
        return cls(**{"info" if name == "in" else name: value for name, value in values.items()})


_JSON = re.compile(rb"\s*\{\s*[\"}]")
_DECIDING_TYPES = (READY, DONE, ASSERT, CHECK, SAMPLE)
_DECIDING = re.compile(rb'"(?:ready|done|assert|check|sample)"')
_DEEPEST = 64
_QUOTED = 200  # characters of a malformed line that are told


class Lines:
    """Makes events of one stream of a role, as its bytes come.

    Args:
        role: whose stream it is.
        is_error: whether it is standard error, whose lines are all ``log``.
        is_plain: whether lines of standard output are all ``log``, too.
    """

    def __init__(self, role: str, *, is_error: bool = False, is_plain: bool = False) -> None:
        self._role = role
        self._is_error = is_error
        self._is_log = is_error or is_plain
        self._begun = bytearray()  # a line without its end, as much of it as is read
        self._length = 0  # bytes of that line so far, kept or not
        self._events = 0
        self._is_flooded = False
        self.bytes = 0

    def feed(self, data: bytes, ti: int) -> list[Event]:
        """Return the events of the lines that end in ``data``.

        Args:
            data: what was written, in pieces of any size.
            ti: when, in milliseconds since 1970.
        """
        self.bytes += len(data)
        events: list[Event] = []
        if not self._is_flooded:
            start = 0
            while (end := data.find(b"\n", start)) >= 0:
                self._append(data[start:end])
                events += self._line_ended(ti)
                start = end + 1
                if self._is_flooded:
                    break
            data = data[start:]
        if self._is_flooded:
            return events + self._skim(data, ti)
        self._append(data)
        return events + self._flood(ti, self.bytes > BYTES_KEPT)

    def end(self, ti: int) -> list[Event]:
        """Return the events of a last line that has no end."""
        return self._line_ended(ti) if self._length else []

    def _append(self, data: bytes) -> None:
        self._length += len(data)
        if (room := JSON_LIMIT - len(self._begun)) > 0:
            self._begun += data[:room]

    def _line_ended(self, ti: int) -> list[Event]:
        line, length = bytes(self._begun), self._length
        self._begun.clear()
        self._length = 0
        if self._is_flooded and not _DECIDING.search(line):
            return []
        events = self._read(line.removesuffix(b"\r"), length, ti)
        self._events += len(events)
        if self._is_flooded:
            heard = (READY, DONE) if self._events > 2 * EVENTS_KEPT else _DECIDING_TYPES
            return [event for event in events if event.ty in heard]
        return events + self._flood(ti, self._events >= EVENTS_KEPT)

    def _flood(self, ti: int, is_too_much: bool) -> list[Event]:
        if self._is_flooded or not is_too_much:
            return []
        self._is_flooded = True
        return [Event(FLOODED, self._role, ti, 0, {"bytes": self.bytes, "stream": self._stream})]

    @property
    def _stream(self) -> str:
        return "stderr" if self._is_error else "stdout"

    def _skim(self, data: bytes, ti: int) -> list[Event]:
        """Return the events that decide something; all other lines are not looked at."""
        if self._is_log:
            return []
        events: list[Event] = []
        head, newline, rest = data.partition(b"\n")
        self._append(head)
        if not newline:
            return events
        events += self._line_ended(ti)
        body, _, tail = rest.rpartition(b"\n")
        at = 0
        while match := _DECIDING.search(body, at):
            start = body.rfind(b"\n", 0, match.start()) + 1
            at = body.find(b"\n", match.end())
            at = len(body) if at < 0 else at
            self._append(body[start:at])
            events += self._line_ended(ti)
        self._append(tail)
        return events

    def _read(self, line: bytes, length: int, ti: int) -> list[Event]:
        if self._is_log or not _JSON.match(line):
            return [self._log(line, length, ti)]
        try:
            event = self._event(line, length, ti)
        except (ValueError, RecursionError) as error:
            why = str(error) or type(error).__name__
            info = {"line": line[: 4 * _QUOTED].decode(errors="replace")[:_QUOTED], "why": why}
            return [Event(MALFORMED, self._role, ti, 0, info), self._log(line, length, ti)]
        return [event or self._log(line, length, ti)]

    def _log(self, line: bytes, length: int, ti: int) -> Event:
        info: dict[str, Any] = {"line": line[:LINE_LIMIT].decode(errors="replace")}
        if length > LINE_LIMIT:
            info |= {"cut": True, "bytes": length}
        if self._is_error:
            info["stream"] = self._stream
        return Event(LOG, self._role, ti, 0, info)

    def _event(self, line: bytes, length: int, ti: int) -> Event | None:
        """Return the event of a line of JSON, None where it is an object of another kind. Raises ValueError."""
        if length > JSON_LIMIT:
            raise ValueError(f"a line of {length} bytes, at most {JSON_LIMIT} were needed")
        data = _parse(line)
        if "ty" not in data:
            return None
        ty, number, info = data["ty"], data.get("id"), data.get("in")
        if not isinstance(ty, str) or not ty:
            raise ValueError(f"ty is {_brief(ty)}, a text was needed")
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise ValueError(f"id is {_brief(number)}, a whole number was needed")
        if info is not None and not isinstance(info, dict):
            raise ValueError(f"in is {_brief(info)}, an object was needed")
        if ty in _RUNNERS_OWN or ty.startswith("runner."):
            raise ValueError(f"ty is {_brief(ty)}, which only the runner sends")
        info = info or {}
        if ty in _CHECKS:
            _CHECKS[ty](info)
        if length > LINE_LIMIT and ty not in (ASSERT, CHECK):
            info = {"cut": True, "bytes": length, "line": line[:LINE_LIMIT].decode(errors="replace")}
        return Event(ty, self._role, ti, number or 0, info)


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


def _parse(line: bytes) -> dict[str, Any]:
    if line.count(b"{") + line.count(b"[") > _DEEPEST and _depth(line) > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} deep")
    try:
        data = json.loads(line, parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ValueError(f"no UTF-8: byte {error.start} is {line[error.start]:#04x}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at character {error.pos + 1}") from error
    if not isinstance(data, dict):  # cannot be, since it begins like an object
        raise ValueError("no object")  # noqa: TRY004
    return data


def _depth(line: bytes) -> int:
    """Return at least how deep a line of JSON is nested; brackets in texts count too."""
    depth = deepest = 0
    for match in re.finditer(rb"[\[\]{}]", line):
        depth += 1 if match[0] in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _no_constant(name: str) -> float:
    raise ValueError(f"no JSON: {name} is no number there")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"no JSON number that can be kept: {text[:_QUOTED]}")
    return value


def _check_assert(info: Mapping[str, Any]) -> None:
    number = info.get("assert_id")
    if isinstance(number, bool) or not isinstance(number, str | int) or number == "":
        raise ValueError(f"assert_id is {_brief(number)}, a text or a whole number was needed")
    if "value" not in info:
        raise ValueError("value is missing, which all roles are to agree on")


def _check_check(info: Mapping[str, Any]) -> None:
    if not isinstance(info.get("ok"), bool):
        raise ValueError(f"ok is {_brief(info.get('ok'))}, true or false was needed")  # noqa: TRY004


def _check_sample(info: Mapping[str, Any]) -> None:
    value = info.get("value")
    if not isinstance(info.get("name"), str) or isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("name and value of a sample are a text and a number")  # noqa: TRY004


_CHECKS = {ASSERT: _check_assert, CHECK: _check_check, SAMPLE: _check_sample}


def same(one: object, other: object) -> bool:
    """Return whether two values of JSON are equal: 1 is 1.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
