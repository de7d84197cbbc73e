"""Checks of decoded messages: what they complain of, word by word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from checkout import TESTS
from streaming_data_types.alarm_al00 import Severity
from streaming_data_types.epics_connection_ep01 import ConnectionInfo
from streaming_data_types.fbschemas.logdata_f142.AlarmSeverity import AlarmSeverity
from streaming_data_types.fbschemas.logdata_f142.AlarmStatus import AlarmStatus
from streaming_data_types.forwarder_config_update_rf5k import StreamInfo

from harness.helpers import flatbuffers
from harness.helpers.flatbuffers import Array, BadBuffer, Decoded, Time, check, differences

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NOON_NS = 1_767_355_200 * 10**9
F142 = flatbuffers.read_schema(TESTS / "schemas" / "ess" / "f142.fbs")


def update(value: Any = 17.0, *, timestamp: int = NOON_NS, alarm: tuple[str, str] = ("HIGH", "MINOR")) -> Decoded:
    """Return a decoded f142 update."""
    status, severity = alarm
    message = flatbuffers.encode(
        "f142",
        value=value,
        source_name="PV:1",
        timestamp_unix_ns=timestamp,
        alarm_status=getattr(AlarmStatus, status),
        alarm_severity=getattr(AlarmSeverity, severity),
    )
    return flatbuffers.decode(message)


def reflected(message: Decoded) -> dict[str, Any]:
    """Return an f142 update as the schema reads it."""
    value = np.asarray(message.value.value)
    name = "ArrayDouble" if value.ndim else "Double"
    return F142.decode(
        F142.encode(
            {
                "source_name": message.value.source_name,
                "value_type": name,
                "value": {"value": value if value.ndim else value.item()},
                "timestamp": message.value.timestamp_unix_ns,
                "status": message.value.alarm_status,
                "severity": message.value.alarm_severity,
            }
        )
    )


def test_a_message_that_is_as_needed_passes() -> None:
    """Fields that are as needed must raise nothing, by codec, by schema and encoded."""
    check(update(), value=17.0, source_name="PV:1", alarm=("HIGH", "MINOR"), timestamp_unix_ns=Time.near(NOON, 1))
    check(update().value, value=17, alarm="MINOR", alarm_status="HIGH")
    check(
        reflected(update()),
        {"value.value": 17.0, "value": {"value": 17.0}, "timestamp": NOON_NS},
        value_type="Double",
        alarm=("HIGH", "MINOR"),
    )
    check(flatbuffers.encode("f144", source_name="PV", value=1.5), value=1.5)
    check(update(np.array([1.0, np.nan])), value=[1, np.nan])


def test_all_differences_come_in_one_error() -> None:
    """Everything that differs must be in one error, a line each, with path, seen and needed."""
    with pytest.raises(AssertionError) as caught:
        check(update(16.5), value=17.0, source_name="PV:2", alarm=("HIHI", "MAJOR"), valeu=1)
    assert str(caught.value).splitlines() == [
        "f142: 5 differences",
        "  value: 16.5 seen, 17.0 needed (difference 0.5)",
        "  source_name: 'PV:1' seen, 'PV:2' needed",
        (
            "  valeu: no such field; did you mean 'value'? (has: value, source_name, timestamp_unix_ns, alarm_status, "
            "alarm_severity)"
        ),
        "  alarm_status: HIGH (4) seen, 'HIHI' needed",
        "  alarm_severity: MINOR (0) seen, 'MAJOR' needed",
    ]


def test_the_error_points_to_the_test() -> None:
    """The traceback must end in the test, not in the check."""
    with pytest.raises(AssertionError) as caught:
        check(update(), value=1.0)
    assert caught.traceback[-1].ishidden(caught)


@pytest.mark.parametrize(
    ("seen", "needed", "options", "lines"),
    [
        (1.05, 1.0, {"tolerance": 0.1}, []),
        (1.2, 1.0, {"tolerance": 0.1}, ["value: 1.2 seen, 1.0 needed (difference 0.2, tolerance 0.1)"]),
        (110.0, 100.0, {"relative": 0.1}, []),
        (float("nan"), float("nan"), {}, []),
        (float("inf"), float("inf"), {"tolerance": 1}, []),
        (float("inf"), 1.0, {"tolerance": 1}, ["value: inf seen, 1.0 needed (difference inf, tolerance 1)"]),
        (2**63, 2**63 - 1, {}, [f"value: {2**63} seen, {2**63 - 1} needed (difference 1)"]),
        (
            float(np.float32(1.1)),
            1.1,
            {},
            ["value: 1.100000023841858 seen, 1.1 needed (difference 2.38419e-08); equal as float32: give a tolerance"],
        ),
        (True, 1, {}, ["value: True seen, 1 needed"]),
        ("1", 1, {}, ["value: '1' seen, 1 needed"]),
        (None, 1, {}, ["value: None seen, 1 needed"]),
        (np.float64(2.0), 2, {}, []),
        (np.array(2.0), np.float32(2), {}, []),
        (3.0, [3.0, 4.0], {}, ["value: 3.0 seen, a list of 2 needed"]),
        (["a", "b"], ["a", "c"], {}, ["value[1]: 'b' seen, 'c' needed"]),
        (["a"], ["a", "c"], {}, ["value: 1 elements seen, 2 needed"]),
        ([{"x": 1, "y": 2}], [{"x": 3}], {}, ["value[0].x: 1 seen, 3 needed (difference 2)"]),
        ({"x": 1}, {"z": 3}, {}, ["value.z: no such field (has: x)"]),
        (5, {"z": 3}, {}, ["value.z: 5 seen, which has no field 'z'"]),
        (["Red", "Blue"], ["Red"], {}, ["value: 2 elements seen, 1 needed"]),
        (["a"] * 15, ["b"] * 15, {}, [*[f"value[{at}]: 'a' seen, 'b' needed" for at in range(10)], "value: 5 more"]),
    ],
    ids=str,
)
def test_values_of_any_kind(seen: Any, needed: Any, options: dict[str, Any], lines: list[str]) -> None:
    """Each difference must be told in its own words, and no more than that."""
    assert differences({"value": seen}, {"value": needed}, **options) == lines


@pytest.mark.parametrize(
    ("seen", "needed", "lines"),
    [
        (
            np.array([1.0, 2.0, 3.0, 9.0]),
            [1.0, 2.5, 3.0, 4.0],
            [
                (
                    "value: 2 of 4 elements differ, first at [1]: 2.0 seen, 2.5 needed; greatest difference 5 at [3], "
                    "tolerance 0.1"
                )
            ],
        ),
        (np.array([1.0, 2.05]), [1.0, 2.0], []),
        (
            np.array([1, 2], np.int32),
            np.array([1, 2, 3], np.float64),
            ["value: shape (2,) seen, (3,) needed (dtype int32 seen, float64 needed)"],
        ),
        (
            np.array([[1, 2], [3, 4]]),
            [[1, 2], [3, 9]],
            [
                (
                    "value: 1 of 4 elements differ, first at [1, 1]: 4 seen, 9 needed; greatest difference 5 "
                    "at [1, 1], tolerance 0.1"
                )
            ],
        ),
        (
            np.array([np.nan, np.inf]),
            [1.0, np.inf],
            [
                (
                    "value: 1 of 2 elements differ, first at [0]: nan seen, 1.0 needed; greatest difference nan "
                    "at [0], tolerance 0.1"
                )
            ],
        ),
        (np.array([], np.int32), [], []),
        (np.array([True, False]), [True, False], []),
        (np.array([1, 2], np.int32), Array([1, 2], dtype="int32"), []),
        (np.array([1, 2], np.int32), Array([1, 2], dtype="int64"), ["value: dtype int32 seen, int64 needed"]),
        (np.array([1.0, 2.0]), Array([1, 3], tolerance=2), []),
        (
            np.array([2**63 + 1], np.uint64),
            Array(np.array([2**63], np.uint64)),
            [
                (
                    f"value: 1 of 1 elements differ, first at [0]: {2**63 + 1} seen, {2**63} needed; "
                    "greatest difference 1 at [0]"
                )
            ],
        ),
    ],
    ids=str,
)
def test_arrays(seen: Any, needed: Any, lines: list[str]) -> None:
    """Arrays must be compared element by element, and the difference told by place, count, greatest, shape and type."""
    assert differences({"value": seen}, {"value": needed}, tolerance=0.1) == lines


MS = NOON_NS // 10**6


@pytest.mark.parametrize(
    ("seen", "needed", "line"),
    [
        (NOON_NS, Time.near(NOON, 1), ""),
        (NOON_NS, Time.near(NOON_NS, 1), ""),
        (NOON_NS, Time.near(NOON_NS / 1e9, 1), ""),
        (NOON_NS, Time.between(NOON, NOON), ""),
        (MS, Time.near(NOON, 1, unit="ms"), ""),
        (NOON, Time.near(NOON, 1), ""),
        (NOON.replace(tzinfo=None), Time.after(NOON), ""),
        (NOON_NS + 5 * 10**9, Time.after(NOON), ""),
        (
            MS,
            Time.near(NOON, 1),
            f"t: {MS} seen, 2026-01-02T11:59:59Z to 2026-01-02T12:00:01Z needed: looks like ms, ns was needed",
        ),
        (
            MS // 1000,
            Time.after(NOON, unit="ms"),
            f"t: {MS // 1000} seen, 2026-01-02T12:00:00Z or later needed: looks like s, ms was needed",
        ),
        # Read as milliseconds this is later than needed, in a year that nobody means.
        (
            NOON_NS,
            Time.after(NOON, unit="ms"),
            f"t: {NOON_NS} seen, 2026-01-02T12:00:00Z or later needed: looks like ns, ms was needed",
        ),
        (
            NOON_NS - 10**9,
            Time.after(NOON),
            f"t: {NOON_NS - 10**9} (2026-01-02T11:59:59Z) seen, 2026-01-02T12:00:00Z or later needed",
        ),
        (
            NOON - timedelta(hours=1),
            Time.after(NOON),
            "t: 2026-01-02T11:00:00Z seen, 2026-01-02T12:00:00Z or later needed",
        ),
        (0, Time.after(NOON), "t: 0 (1970-01-01T00:00:00Z) seen, 2026-01-02T12:00:00Z or later needed"),
        ("noon", Time.after(NOON), "t: 'noon' seen, a time in ns needed"),
        (None, Time.after(NOON), "t: None seen, a time in ns needed"),
    ],
    ids=str,
)
def test_times(seen: Any, needed: Time, line: str) -> None:
    """A time must be in its window; a wrong unit must be recognised, on whichever side of the window it falls."""
    assert differences({"t": seen}, {"t": needed}) == ([line] if line else [])


def test_recent_times() -> None:
    """A time of now must be recent, one of an hour ago or to come must not."""
    now = datetime.now(UTC)
    needed = Time.recent(60)
    assert differences({"t": now - timedelta(seconds=1)}, {"t": needed}) == []
    for hours in (-1, 1):
        assert len(differences({"t": now + timedelta(hours=hours)}, {"t": needed})) == 1


def test_times_must_be_clear() -> None:
    """A moment without a time zone and an unknown unit must be refused where they are written."""
    with pytest.raises(ValueError, match="has no time zone"):
        Time.after(NOON.replace(tzinfo=None))
    with pytest.raises(ValueError, match="unit 'min' is none of s, ms, us, ns"):
        Time.after(NOON, unit="min")


def test_names_of_numbers_and_enums() -> None:
    """Fields that mean names must be compared by name, whether the codec gives an enum, a number or a text."""
    alarm = flatbuffers.decode(
        flatbuffers.encode("al00", source="PV", timestamp_ns=1, severity=Severity.MAJOR, message="")
    )
    check(alarm, severity="MAJOR", alarm="MAJOR")
    check(alarm, severity=Severity.MAJOR)
    assert differences(alarm, {}, alarm=("HIGH", "MINOR")) == [
        "alarm status: no such field, HIGH needed (has: source, timestamp_ns, severity, message)",
        "severity: MAJOR seen, 'MINOR' needed",
    ]
    old = flatbuffers.decode(flatbuffers.encode("ep00", timestamp_ns=1, event_type=2, source_name="PV", service_id="s"))
    check(old, type="CONNECTED")
    assert differences(old, {"type": "DESTROYED"}) == ["type: CONNECTED (2) seen, 'DESTROYED' needed"]
    new = flatbuffers.encode("ep01", timestamp_ns=1, status=ConnectionInfo.CONNECTED, source_name="PV", service_id="s")
    check(new, status="CONNECTED")
    assert differences(new, {"status": ConnectionInfo.FINISHED}) == ["status: CONNECTED seen, FINISHED needed"]
    command = flatbuffers.encode("rf5k", config_change=1, streams=[StreamInfo("PV", "f142", "t", 1)])
    check(command, {"config_change": "REMOVE", "streams[0].protocol": "CA"}, streams=[{"channel": "PV"}])
    assert differences(command, {"streams[1].channel": "x", "streams[0].chanel": "x"}) == [
        (
            "streams[1].channel: [StreamInfo(channel='PV', schema='f142', topic='t', protocol=1)] seen, "
            "which has no element 1"
        ),
        "streams[0].chanel: no such field; did you mean 'channel'? (has: channel, schema, topic, protocol)",
    ]


@dataclass
class Part:
    """A message of a codec of somebody's own."""

    place: dict[str, Any]
    texts: list[str]


def test_dataclasses_and_paths() -> None:
    """Dataclasses, and what is in them by path, must be checked as other messages are."""
    part = Part({"x": 1.0, "a.b": 3}, ["one"])
    check(part, {"place.x": 1.0, "texts[0]": "one"}, place={"a.b": 3})
    assert differences(part, {"place.x": 2.0}) == ["place.x: 1.0 seen, 2.0 needed (difference 1)"]
    check({"a": part}, a=part)


def test_bytes_that_cannot_be_decoded_are_no_failed_check() -> None:
    """A message of an unknown schema must be a BadBuffer, not an AssertionError."""
    with pytest.raises(BadBuffer, match="Schema 'zz99' is not known"):
        check(b"\x10\0\0\0zz99" + bytes(20), value=1)
