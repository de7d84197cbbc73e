from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from streaming_data_types.action_response_answ import ActionOutcome, ActionType
from streaming_data_types.alarm_al00 import Severity
from streaming_data_types.epics_connection_ep01 import ConnectionInfo
from streaming_data_types.fbschemas.logdata_f142.AlarmSeverity import AlarmSeverity
from streaming_data_types.fbschemas.logdata_f142.AlarmStatus import AlarmStatus

from harness.helpers import flatbuffers
from harness.helpers.flatbuffers import BadBuffer, codecs

if TYPE_CHECKING:
    from collections.abc import Callable

MUTATIONS = 2000

MESSAGES: dict[str, dict[str, Any]] = {
    "f142": {"value": "a text", "source_name": "PV:1", "timestamp_unix_ns": 1, "alarm_status": 3, "alarm_severity": 1},
    "f144": {"source_name": "PV:1", "value": 1.5, "timestamp_unix_ns": 12},
    "x5f2": {
        "software_name": "forwarder",
        "software_version": "1.0",
        "service_id": "one",
        "host_name": "here",
        "process_id": 7,
        "update_interval": 1000,
        "status_json": '{"streams": []}',
    },
    "6s4t": {"job_id": "j", "run_name": "run", "service_id": "s", "command_id": "c", "stop_time": 5},
    "wrdn": {"service_id": "s", "job_id": "j", "error_encountered": True, "file_name": "f", "metadata": "{}"},
    "al00": {"source": "PV:1", "timestamp_ns": 5, "severity": Severity.MAJOR, "message": "hot"},
    "ep01": {"timestamp_ns": 5, "status": ConnectionInfo.CONNECTED, "source_name": "PV:1", "service_id": "s"},
    "json": {"json_str": '{"a": 1}'},
}


def encoded(schema: str) -> bytes:
    """Return the example message of a schema."""
    return bytes(flatbuffers.encode(schema, **MESSAGES[schema]))


def same(one: Any, other: Any) -> bool:
    """Return whether two decoded values are equal, arrays and NaN included."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("schema", sorted(MESSAGES))
def test_a_message_is_decoded_by_its_identifier(schema: str) -> None:
    """A message must decode to the fields that it was made of."""
    decoded = flatbuffers.decode(encoded(schema), schema=schema)
    assert decoded.schema == schema
    text = repr(decoded.value)
    words = [str(value) for value in MESSAGES[schema].values() if isinstance(value, str)]
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        ("", ""),
        ("Grüße", "Grüße"),
        (42, 42),
        (-1.25, -1.25),
        (np.float32(1.5), 1.5),
        (np.int8(-3), -3),
        (np.uint8(200), 200),
        (np.int16(-300), -300),
        (np.uint16(60000), 60000),
        (np.int32(-70000), -70000),
        (np.uint32(4_000_000_000), 4_000_000_000),
        (np.int64(-(2**60)), -(2**60)),
        (np.uint64(2**63), 2**63),
        (np.array([1.5, -2.5], dtype=np.float32), [1.5, -2.5]),
        (np.array([1.5, -2.5], dtype=np.float64), [1.5, -2.5]),
        (np.array([1, -2, 3], dtype=np.int32), [1, -2, 3]),
        (np.array([1, 2], dtype=np.uint64), [1, 2]),
        (np.array([], dtype=np.int32), []),
        (np.array(["one", "two"]), ["one", "two"]),
    ],
    ids=str,
)
def test_every_kind_of_f142_value_survives(value: Any, shown: Any) -> None:
    """A log value of any type must come back with its name, time and alarm as it went in."""
    message = flatbuffers.encode(
        "f142",
        value=value,
        source_name="PV",
        timestamp_unix_ns=123,
        alarm_status=AlarmStatus.HIGH,
        alarm_severity=AlarmSeverity.MINOR,
    )
    update = flatbuffers.decode(message).value
    assert np.asarray(update.value).tolist() == shown
    assert (update.source_name, update.timestamp_unix_ns) == ("PV", 123)
    assert flatbuffers.ALARM_STATUS[update.alarm_status] == "HIGH"
    assert flatbuffers.ALARM_SEVERITY[update.alarm_severity] == "MINOR"


def test_ev44_events_survive() -> None:
    """Neutron events must come back with their times and pixels."""
    message = flatbuffers.encode(
        "ev44",
        source_name="detector",
        message_id=9,
        reference_time=[100, 200],
        reference_time_index=[0, 2],
        time_of_flight=[1, 2, 3],
        pixel_id=[7, 8, 9],
    )
    events = flatbuffers.decode(message, schema="ev44").value
    assert (events.source_name, events.message_id) == ("detector", 9)
    assert [list(part) for part in (events.reference_time, events.time_of_flight, events.pixel_id)] == [
        [100, 200],
        [1, 2, 3],
        [7, 8, 9],
    ]


def test_x5f2_status_survives() -> None:
    """A status message must come back field by field."""
    assert flatbuffers.decode(encoded("x5f2")).value._asdict() == MESSAGES["x5f2"]


def test_an_answer_to_a_command_survives() -> None:
    """An answer to a command must come back with its outcome."""
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    message = flatbuffers.encode(
        "answ",
        service_id="s",
        job_id="j",
        command_id="c",
        action=ActionType.StartJob,
        outcome=ActionOutcome.Failure,
        message="disk full",
        status_code=500,
        stop_time=when,
    )
    answer = flatbuffers.decode(message, schema="answ").value
    assert (answer.outcome, answer.message, answer.status_code) == (ActionOutcome.Failure, "disk full", 500)


def test_another_schema_names_both() -> None:
    """A message of another schema must be refused with both identifiers and the first bytes."""
    message = encoded("f142")
    with pytest.raises(BadBuffer) as caught:
        flatbuffers.decode(message, schema="x5f2")
    head = message[:16].hex(" ")
    assert caught.value.summary == f"A message of schema 'f142' came, 'x5f2' was needed (head: {head})"


def test_an_unknown_identifier_shows_the_head() -> None:
    """An unknown identifier must be named, with the first sixteen bytes in hex and the known ones as a hint."""
    with pytest.raises(BadBuffer) as caught:
        flatbuffers.decode(b"\x10\0\0\0zz99" + bytes(range(20)))
    lines = str(caught.value).splitlines()
    assert lines[0] == "Schema 'zz99' is not known (head: 10 00 00 00 7a 7a 39 39 00 01 02 03 04 05 06 07)"
    assert lines[1].startswith("next: known: 6s4t, ADAr, ")


@pytest.mark.parametrize("length", range(8))
def test_a_buffer_without_room_for_an_identifier_is_refused(length: int) -> None:
    """Fewer than eight bytes must be refused with their number."""
    with pytest.raises(BadBuffer) as caught:
        flatbuffers.decode(b"x" * length)
    assert str(caught.value) == f"A buffer of {length} bytes is no FlatBuffers message, 8 or more were needed"


@pytest.mark.parametrize("schema", ["f142", "x5f2"])
def test_a_truncated_message_never_decodes_to_something_else(schema: str) -> None:
    """A message cut at any length must be refused, or decode to what the whole one holds where padding was cut."""
    message = encoded(schema)
    whole = flatbuffers.decode(message).value
    refused, wrong = 0, []
    for length in range(len(message)):
        try:
            decoded = flatbuffers.decode(message[:length]).value
        except BadBuffer:
            refused += 1
        else:
            if not same(decoded, whole):
                wrong.append((length, decoded))
    assert wrong == []
    assert refused >= len(message) - 8  # padding is shorter than the widest scalar


def test_a_truncated_message_says_what_it_is() -> None:
    """The error for a truncated message must hold its schema, its length and its first bytes."""
    message = encoded("f142")[:-20]
    with pytest.raises(BadBuffer) as caught:
        flatbuffers.decode(message)
    assert caught.value.summary.startswith(f"A f142 message of {len(message)} bytes is malformed or truncated: ")
    assert caught.value.summary.endswith(f" (head: {message[:16].hex(' ')})")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("schema", sorted(MESSAGES))
def test_mutated_messages_raise_nothing_else(schema: str) -> None:
    """Whatever bytes are changed, decoding must return or raise BadBuffer."""
    chance = random.Random(f"seed of {schema}")  # noqa: S311 - bytes to try, no secret
    message = encoded(schema)
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(MUTATIONS // len(MESSAGES)):
        mutated = bytearray(message)
        for _ in range(chance.randint(1, 4)):
            mutated[chance.randrange(len(mutated))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        try:
            flatbuffers.decode(bytes(mutated))
        except BadBuffer:
            outcomes["refused"] += 1
        else:
            outcomes["decoded"] += 1
    assert min(outcomes.values()) > 0
    assert sum(outcomes.values()) == MUTATIONS // len(MESSAGES)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_buffer_decodes(kind: Callable[[bytes], Any]) -> None:
    """A bytearray and a memoryview must decode as bytes do."""
    assert flatbuffers.decode(kind(encoded("x5f2"))).value.host_name == "here"


def test_a_registered_codec_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec of the user's own must decode and encode messages with its identifier."""
    monkeypatch.setattr(codecs, "decoders", dict(codecs.decoders))
    monkeypatch.setattr(codecs, "encoders", dict(codecs.encoders))
    table = bytes.fromhex("0c000000 6d696e65 04000400 04000000".replace(" ", ""))
    flatbuffers.register("mine", len, lambda **fields: repr(fields).encode())
    assert flatbuffers.decode(table, schema="mine").value == len(table)
    assert flatbuffers.encode("mine", a=1) == b"{'a': 1}"


@pytest.mark.parametrize(("schema", "length"), [("abc", 3), ("abcde", 5), ("äbcd", 5), ("", 0)])
def test_an_identifier_has_four_bytes(schema: str, length: int) -> None:
    """An identifier of another length must be refused, and change nothing."""
    with pytest.raises(ValueError, match=f"^a file identifier has four bytes, '{schema}' has {length}$"):
        flatbuffers.register(schema, bytes)
    assert schema not in codecs.decoders


def test_a_schema_without_an_encoder_is_named() -> None:
    """Encoding by an unknown schema must be refused with its name and the known ones."""
    with pytest.raises(BadBuffer) as caught:
        flatbuffers.encode("zz99", a=1)
    assert caught.value.summary == "Schema 'zz99' has no encoder"
    assert caught.value.hint.startswith("known: 6s4t, ADAr, ")
