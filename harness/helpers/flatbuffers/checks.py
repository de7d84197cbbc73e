"""Checks of decoded messages that list every difference: where, what was seen, what was needed."""

from __future__ import annotations

import dataclasses
import enum
import math
import numbers
import re
import reprlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from streaming_data_types import epics_connection_info_ep00, forwarder_config_update_fc00, forwarder_config_update_rf5k
from streaming_data_types.fbschemas.epics_connection_info_ep00.EventType import EventType
from streaming_data_types.fbschemas.forwarder_config_update_fc00 import Protocol as ProtocolFc00
from streaming_data_types.fbschemas.forwarder_config_update_fc00 import UpdateType as UpdateTypeFc00
from streaming_data_types.fbschemas.forwarder_config_update_rf5k import Protocol, UpdateType
from streaming_data_types.logdata_f142 import LogDataInfo

from harness.errors import nearest
from harness.helpers.flatbuffers.codecs import ALARM_SEVERITY, ALARM_STATUS, Decoded, decode, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.helpers.flatbuffers.model import Plain

_LISTED = 10  # differing elements of a list that are shown one by one
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_YEAR = 365 * 86400 * 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")

# Fields that the ESS codecs leave as numbers, and what those mean.
_NAMED: dict[type, dict[str, dict[int, str]]] = {
    LogDataInfo: {"alarm_status": ALARM_STATUS, "alarm_severity": ALARM_SEVERITY},
    epics_connection_info_ep00.EpicsConnection: {"type": names_of(EventType)},
    forwarder_config_update_rf5k.ConfigurationUpdate: {"config_change": names_of(UpdateType.UpdateType)},
    forwarder_config_update_rf5k.StreamInfo: {"protocol": names_of(Protocol.Protocol)},
    forwarder_config_update_fc00.ConfigurationUpdate: {"config_change": names_of(UpdateTypeFc00.UpdateType)},
    forwarder_config_update_fc00.StreamInfo: {"protocol": names_of(ProtocolFc00.Protocol)},
}


# What may be needed


@dataclass(frozen=True)
class Array:
    """An array that is needed with its type or a tolerance of its own.

    Attributes:
        values: its elements.
        dtype: the type that it must have, such as "float32"; "" for any.
        tolerance: the greatest absolute difference.
        relative: the greatest difference as a part of the needed element; the two add up, as in numpy.isclose.
    """

    values: Any
    dtype: str = ""
    tolerance: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True)
class Time:
    """A time that is needed, for fields that count from 1970-01-01 UTC in a unit, and for datetimes.

    Make one by ``after``, ``between``, ``near`` or ``recent``. There, a moment is a datetime with a time zone, an int
    of nanoseconds (``time.time_ns()``) or a float of seconds (``time.time()``).

    Attributes:
        earliest: nanoseconds since 1970, included.
        latest: the same, None for no limit.
        unit: what the field counts: "s", "ms", "us" or "ns".
    """

    earliest: int
    latest: int | None
    unit: str = "ns"

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise ValueError(f"unit {self.unit!r} is none of {', '.join(_UNITS)}")

    @classmethod
    def after(cls, moment: datetime | float, *, unit: str = "ns") -> Time:
        """Need ``moment`` or later."""
        return cls(_nanoseconds(moment), None, unit)

    @classmethod
    def between(cls, earliest: datetime | float, latest: datetime | float, *, unit: str = "ns") -> Time:
        """Need a time from ``earliest`` to ``latest``."""
        return cls(_nanoseconds(earliest), _nanoseconds(latest), unit)

    @classmethod
    def near(cls, moment: datetime | float, seconds: float, *, unit: str = "ns") -> Time:
        """Need a time at most ``seconds`` from ``moment``."""
        middle, aside = _nanoseconds(moment), round(seconds * 1e9)
        return cls(middle - aside, middle + aside, unit)

    @classmethod
    def recent(cls, seconds: float, *, unit: str = "ns") -> Time:
        """Need a time in the last ``seconds`` before this call, and not in the future."""
        now = time.time_ns()
        return cls(now - round(seconds * 1e9), now, unit)

    def __str__(self) -> str:
        return f"{_moment(self.earliest)} {'or later' if self.latest is None else 'to ' + _moment(self.latest)}"

    def _holds(self, nanoseconds: int) -> bool:
        return self.earliest <= nanoseconds and (self.latest is None or nanoseconds <= self.latest)

    def _plausible(self, nanoseconds: int) -> bool:
        return self.earliest - _YEAR <= nanoseconds <= (self.latest or self.earliest) + _YEAR

    def problem(self, seen: object) -> str:
        """Return what is wrong with ``seen``, "" for nothing."""
        if isinstance(seen, datetime):
            there = _nanoseconds(seen if seen.tzinfo else seen.replace(tzinfo=UTC))
            return "" if self._holds(there) else f"{_moment(there)} seen, {self} needed"
        if isinstance(seen, bool) or not isinstance(seen, int | float) or not math.isfinite(seen):
            return f"{_shown(seen)} seen, a time in {self.unit} needed"
        factors = {unit: round(seen * factor) for unit, factor in _UNITS.items()}
        there = factors[self.unit]
        others = [unit for unit, nanoseconds in factors.items() if self._plausible(nanoseconds)]
        if others and self.unit not in others:
            return f"{seen} seen, {self} needed: looks like {others[0]}, {self.unit} was needed"
        return "" if self._holds(there) else f"{seen} ({_moment(there)}) seen, {self} needed"


def _nanoseconds(moment: datetime | float) -> int:
    if not isinstance(moment, datetime):
        return moment if isinstance(moment, int) else round(moment * 1e9)
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _moment(nanoseconds: int) -> str:
    try:
        whole = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return f"year {1970 + nanoseconds // _YEAR}"
    return whole.isoformat().replace("+00:00", "Z")


# Checks


def check(
    message: object,
    fields: Mapping[str, Any] | None = None,
    /,
    *,
    tolerance: float = 0.0,
    relative: float = 0.0,
    alarm: str | tuple[str, str] | None = None,
    **more: object,
) -> None:
    """Check fields of a decoded message; raise one error that lists all differences.

    Args:
        message: what ``decode`` returned, or its value: a namedtuple, dataclass or dict; or an encoded message.
        fields: what is needed, by name or path (``"position.x"``, ``"streams[0].channel"``). Dicts name the fields
            that matter, lists and arrays are compared whole, enums by name, NaN equals NaN, ``Array`` and ``Time``
            say more.
        tolerance: the greatest absolute difference of numbers.
        relative: the greatest difference as a part of the needed number; the two add up, as in numpy.isclose.
        alarm: the names of the needed alarm: (status, severity) such as ("HIGH", "MINOR"), or the severity alone.
        more: further fields, by name.

    Raises:
        AssertionError: something differs: one line for each, with its path, what was seen and what was needed.
        BadBuffer: ``message`` is bytes that cannot be decoded.
    """
    __tracebackhide__ = True
    if isinstance(message, bytes | bytearray | memoryview):
        message = decode(bytes(message))
    lines = differences(message, {**(fields or {}), **more}, tolerance=tolerance, relative=relative, alarm=alarm)
    if lines:
        subject = message.schema if isinstance(message, Decoded) else type(message).__name__
        count = "1 difference" if len(lines) == 1 else f"{len(lines)} differences"
        raise AssertionError("\n  ".join([f"{subject}: {count}", *lines]))


def differences(
    message: object,
    fields: Mapping[str, Any],
    *,
    tolerance: float = 0.0,
    relative: float = 0.0,
    alarm: str | tuple[str, str] | None = None,
) -> list[str]:
    """Return what ``check`` would complain of, one line for each difference."""
    if isinstance(message, bytes | bytearray | memoryview):
        message = decode(bytes(message))
    value = message.value if isinstance(message, Decoded) else message
    comparison = _Comparison(tolerance, relative)
    lines = []
    for path, needed in fields.items():
        lines += comparison.at(value, path, needed)
    if alarm is not None:
        lines += comparison.alarm(value, alarm)
    return lines


class _Missing(Exception):
    """A path leads nowhere; the text says why."""


def in_words(message: Decoded) -> Any:  # noqa: ANN401 - whatever its codec made of it
    """Return the value of a decoded message for people: its fields as a dict, numbers that have names by these."""
    fields = _fields_of(message.value)
    if fields is None:
        return message.value
    names = _NAMED.get(type(message.value), {})
    return {key: names.get(key, {}).get(value, value) if key in names else value for key, value in fields.items()}


def _fields_of(value: object) -> dict[str, Any] | None:
    """Return the fields of a message or a part of one, None when it has none."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field_.name: getattr(value, field_.name) for field_ in dataclasses.fields(value)}
    return None


def _step(owner: object, name: str) -> Plain:
    fields = _fields_of(owner)
    if fields is None:
        raise _Missing(f"{_shown(owner)} seen, which has no field {name!r}")
    if name not in fields:
        raise _Missing(f"no such field{nearest(name, fields)} (has: {', '.join(fields)})")
    value = fields[name]
    names = _NAMED.get(type(owner), {}).get(name)
    return _Number(value, names) if names and isinstance(value, int) else value


def _element(owner: Plain, index: int) -> Plain:
    if not (isinstance(owner, np.ndarray) or _is_list(owner)) or index >= len(owner):
        raise _Missing(f"{_shown(owner)} seen, which has no element {index}")
    return owner[index]


class _Number(int):
    """A number that has a name."""

    name: str

    def __new__(cls, number: int, names: Mapping[int, str]) -> Self:
        named = super().__new__(cls, number)
        named.name = names.get(number, str(number))
        return named

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class _Comparison:
    tolerance: float
    relative: float

    def at(self, value: object, path: str, needed: object) -> list[str]:
        """Return the differences of what is at ``path``."""
        try:
            fields = _fields_of(value)
            if fields is not None and path in fields:
                return list(self.compare(path, _step(value, path), needed))
            seen: Plain = value
            for name, index in _STEP.findall(path):
                if name:
                    seen = _step(seen, name)
                    continue
                seen = _element(seen, int(index))
        except _Missing as error:
            return [f"{path}: {error}"]
        return list(self.compare(path, seen, needed))

    def alarm(self, value: object, needed: str | tuple[str, str]) -> list[str]:
        """Return how the alarm of a message differs."""
        fields = _fields_of(value) or {}
        status, severity = (None, needed) if isinstance(needed, str) else needed
        lines = []
        for part, name in (("status", status), ("severity", severity)):
            if name is None:
                continue
            here = next((key for key in (f"alarm_{part}", part) if key in fields), None)
            if here is None:
                lines.append(f"alarm {part}: no such field, {name} needed (has: {', '.join(fields)})")
            else:
                lines += self.at(value, here, name)
        return lines

    def compare(self, path: str, seen: Plain, needed: Plain) -> Iterator[str]:
        """Return the differences of one value, or of all in it."""
        seen, needed = _unwrapped(seen), _unwrapped(needed)
        if isinstance(needed, Time):
            problem = needed.problem(seen)
            if problem:
                yield f"{path}: {problem}"
        elif isinstance(needed, Array):
            yield from _Comparison(needed.tolerance, needed.relative).array(path, seen, needed.values, needed.dtype)
        elif (fields := _fields_of(needed)) is not None:
            for name, wanted in fields.items():
                try:
                    yield from self.compare(f"{path}.{name}", _step(seen, name), wanted)
                except _Missing as error:
                    yield f"{path}.{name}: {error}"
        elif isinstance(needed, np.ndarray) or _is_list(needed):
            yield from self.array(path, seen, needed)
        elif not self._same(seen, needed):
            yield f"{path}: {_shown(seen)} seen, {_shown(needed)} needed{self._apart(seen, needed)}"

    def _same(self, seen: Plain, needed: Plain) -> bool:
        if isinstance(needed, enum.Enum) and not isinstance(seen, type(needed)):
            needed = needed.name if isinstance(seen, str | _Number | enum.Enum) else needed.value
        if isinstance(needed, str) and isinstance(seen, enum.Enum | _Number):
            return seen.name == needed
        if _is_number(seen) and _is_number(needed):
            return bool(_close(seen, needed, self.tolerance, self.relative))
        if isinstance(seen, bool) != isinstance(needed, bool) or isinstance(seen, np.ndarray):
            return False
        return bool(seen == needed)

    def _apart(self, seen: Plain, needed: Plain) -> str:
        """Return by how much two numbers differ, in words."""
        if not (_is_number(seen) and _is_number(needed)) or isinstance(seen, _Number):
            return ""
        text = f" (difference {_difference(seen, needed)}{self._allowed()})"
        if isinstance(needed, float) and float(np.float32(needed)) == seen:
            text += "; equal as float32: give a tolerance"
        return text

    def _allowed(self) -> str:
        parts = [f"tolerance {self.tolerance:g}"] if self.tolerance else []
        parts += [f"relative {self.relative:g}"] if self.relative else []
        return "".join(f", {part}" for part in parts)

    def array(self, path: str, seen: Plain, needed: Plain, dtype: str = "") -> Iterator[str]:
        """Return the differences of one array or list."""
        if not isinstance(seen, np.ndarray) and not _is_list(seen):
            yield f"{path}: {_shown(seen)} seen, {_shape(needed)} needed"
            return
        if dtype and np.asarray(seen).dtype != np.dtype(dtype):
            yield f"{path}: dtype {np.asarray(seen).dtype} seen, {np.dtype(dtype)} needed"
        if not (_numeric(seen) and _numeric(needed)):
            yield from self._list(path, list(seen), list(needed))
            return
        left, right = np.asarray(seen), np.asarray(needed)
        kinds = f" (dtype {left.dtype} seen, {right.dtype} needed)" if left.dtype != right.dtype else ""
        if left.shape != right.shape:
            yield f"{path}: shape {left.shape} seen, {right.shape} needed{kinds}"
            return
        wrong = ~_close(left, right, self.tolerance, self.relative)
        if not wrong.any():
            return
        places = np.argwhere(wrong)
        apart = np.where(wrong, _difference(left, right), -1)
        greatest = np.unravel_index(np.argmax(np.where(np.isnan(apart), np.inf, apart)), apart.shape)
        first = tuple(places[0])
        yield (
            f"{path}: {len(places)} of {left.size} elements differ, first at {_index(first)}: "
            f"{left[first].item()!r} seen, {right[first].item()!r} needed; greatest difference "
            f"{apart[greatest]:g} at {_index(greatest)}{self._allowed()}{kinds}"
        )

    def _list(self, path: str, seen: list[Any], needed: list[Any]) -> Iterator[str]:
        if len(seen) != len(needed):
            yield f"{path}: {len(seen)} elements seen, {len(needed)} needed"
        lines = [
            line
            for at, (element, wanted) in enumerate(zip(seen, needed, strict=False))
            for line in self.compare(f"{path}[{at}]", element, wanted)
        ]
        yield from lines[:_LISTED]
        if len(lines) > _LISTED:
            yield f"{path}: {len(lines) - _LISTED} more"


def _close(seen: Plain, needed: Plain, tolerance: float, relative: float) -> Plain:
    """Return where numbers are equal, within a tolerance, or both NaN."""
    equal = seen == needed
    if not np.all(equal):
        with np.errstate(invalid="ignore", over="ignore"):
            left, right = np.asarray(seen, np.longdouble), np.asarray(needed, np.longdouble)
            equal = equal | (np.isnan(left) & np.isnan(right))
            if tolerance or relative:
                finite = np.isfinite(left) & np.isfinite(right)
                equal = equal | (finite & (np.abs(left - right) <= tolerance + relative * np.abs(right)))
    return equal


def _difference(seen: Plain, needed: Plain) -> Plain:
    if isinstance(seen, int) and isinstance(needed, int):
        return abs(seen - needed)
    with np.errstate(invalid="ignore", over="ignore"):
        # Wide enough for 64-bit integers where the machine has such a type.
        apart = np.abs(np.asarray(seen, np.longdouble) - np.asarray(needed, np.longdouble))
    return apart if apart.ndim else f"{float(apart):g}"


def _unwrapped(value: Plain) -> Plain:
    """Return a scalar of numpy as Python's own."""
    return value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and not hasattr(value, "_asdict")


def _numeric(values: Plain) -> bool:
    try:
        return np.asarray(values).dtype.kind in "biuf"
    except ValueError:  # rows of unlike lengths
        return False


def _shape(values: Plain) -> str:
    return f"an array of shape {values.shape}" if isinstance(values, np.ndarray) else f"a list of {len(values)}"


def _index(place: Sequence[object]) -> str:
    return "[" + ", ".join(map(str, place)) + "]"


def _shown(value: object) -> str:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, _Number):
        return f"{value.name} ({int(value)})"
    return _REPR.repr(value)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 120
