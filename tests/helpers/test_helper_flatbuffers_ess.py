"""Schemas of ESS messages by reflection, against the ESS codecs, in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checkout import TESTS
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_data_types import DESERIALISERS
from streaming_data_types.alarm_al00 import Severity
from streaming_data_types.fbschemas.forwarder_config_update_rf5k.Protocol import Protocol
from streaming_data_types.fbschemas.forwarder_config_update_rf5k.UpdateType import UpdateType
from streaming_data_types.fbschemas.logdata_f142.AlarmSeverity import AlarmSeverity
from streaming_data_types.fbschemas.logdata_f142.AlarmStatus import AlarmStatus
from streaming_data_types.forwarder_config_update_rf5k import StreamInfo

from harness.helpers import flatbuffers
from harness.helpers.flatbuffers import BadBuffer, codecs

SCHEMAS = {path.stem: flatbuffers.read_schema(path) for path in sorted((TESTS / "schemas" / "ess").glob("*.fbs"))}
NUMBERS: dict[str, Any] = {
    "Byte": np.int8,
    "UByte": np.uint8,
    "Short": np.int16,
    "UShort": np.uint16,
    "Int": np.int32,
    "UInt": np.uint32,
    "Long": np.int64,
    "ULong": np.uint64,
    "Float": np.float32,
    "Double": np.float64,
}
EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True, database=None)
TEXT = st.text(max_size=10)
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)


def ess(schema: str, buffer: bytes) -> Any:
    """Decode by the ESS codec."""
    return DESERIALISERS[schema](buffer)


def listed(value: Any) -> Any:
    """Return numbers of any kind as Python's own."""
    return np.asarray(value).tolist()


@pytest.mark.parametrize("schema", ["f142", "f144"])
@pytest.mark.parametrize("member", NUMBERS)
def test_log_values_of_every_type_are_the_same_in_both(schema: str, member: str) -> None:
    """Scalars and arrays of each type must have the same value and union member by codec and by reflection."""
    dtype = NUMBERS[member]
    edges = np.finfo(dtype) if issubclass(dtype, np.floating) else np.iinfo(dtype)
    array = np.array([edges.min, 0, 1, edges.max], dtype)
    # The f142 codec writes whatever the union's numbers say; names come from its generated code.
    for value, name in ((array[-1], member), (array[0], member), (array, f"Array{member}")):
        message = flatbuffers.encode(schema, source_name="é", value=value, timestamp_unix_ns=5)
        decoded = SCHEMAS[schema].decode(message)
        assert (decoded["source_name"], decoded["timestamp"], decoded["value_type"]) == ("é", 5, name)
        assert listed(decoded["value"]["value"]) == listed(value)
        again = ess(schema, SCHEMAS[schema].encode(decoded))
        assert listed(again.value) == listed(value)
        assert np.asarray(again.value).dtype == dtype or name == member
        assert (again.source_name, again.timestamp_unix_ns) == ("é", 5)


@pytest.mark.parametrize(("value", "member"), [("Grüße", "String"), (["one", "zwei"], "ArrayString")])
def test_texts_of_f142_are_the_same_in_both(value: Any, member: str) -> None:
    """Texts must have the same value and union member by codec and by reflection."""
    decoded = SCHEMAS["f142"].decode(flatbuffers.encode("f142", source_name="", value=np.array(value)))
    assert (decoded["value_type"], decoded["value"]) == (member, {"value": value})
    assert listed(ess("f142", SCHEMAS["f142"].encode(decoded)).value) == value


@pytest.mark.parametrize(
    ("field", "names", "given"),
    [
        ("status", codecs.names_of(AlarmStatus), "alarm_status"),
        ("severity", codecs.names_of(AlarmSeverity), "alarm_severity"),
    ],
)
def test_alarms_of_f142_are_the_same_in_both(field: str, names: dict[int, str], given: str) -> None:
    """Every alarm must have the same name by codec and by reflection, the absent one too."""
    seen = {}
    for number in names:
        message = flatbuffers.encode("f142", source_name="", value=1.0, **{"alarm_status": 3, given: number})
        decoded = SCHEMAS["f142"].decode(message)
        seen[number] = decoded[field]
        assert getattr(ess("f142", SCHEMAS["f142"].encode(decoded)), given) == number
    assert seen == names
    assert SCHEMAS["f142"].decode(flatbuffers.encode("f142", source_name="", value=1.0))[field] == "NO_CHANGE"


@EXAMPLES
@given(st.tuples(TEXT, INT64), *[st.lists(kind, max_size=5) for kind in (INT64, INT32, INT32, INT32)])
def test_ev44_is_the_same_in_both(
    head: tuple[str, int], times: list[int], index: list[int], flight: list[int], pixels: list[int]
) -> None:
    """Events must be the same by codec and by reflection."""
    message = flatbuffers.encode(
        "ev44",
        source_name=head[0],
        message_id=head[1],
        reference_time=times,
        reference_time_index=index,
        time_of_flight=flight,
        pixel_id=pixels,
    )
    decoded = SCHEMAS["ev44"].decode(message)
    theirs = ess("ev44", message)._asdict()
    assert {name: listed(value) for name, value in decoded.items()} == {
        name: listed(value) for name, value in theirs.items()
    }
    again = ess("ev44", SCHEMAS["ev44"].encode(decoded))._asdict()
    assert {name: listed(value) for name, value in again.items()} == {
        name: listed(value) for name, value in theirs.items()
    }
    assert {name: value.dtype for name, value in decoded.items() if isinstance(value, np.ndarray)} == {
        name: value.dtype for name, value in theirs.items() if isinstance(value, np.ndarray)
    }


UINT32 = st.integers(0, 2**32 - 1)


@EXAMPLES
@given(st.tuples(TEXT, TEXT, TEXT, TEXT, UINT32, UINT32, TEXT))
def test_x5f2_is_the_same_in_both(values: tuple[Any, ...]) -> None:
    """A status must be the same by codec and by reflection."""
    names = ["software_name", "software_version", "service_id", "host_name"]
    names += ["process_id", "update_interval", "status_json"]
    fields = dict(zip(names, values, strict=True))
    message = flatbuffers.encode("x5f2", **fields)
    assert SCHEMAS["x5f2"].decode(message) == fields
    assert ess("x5f2", SCHEMAS["x5f2"].encode(fields))._asdict() == fields


@EXAMPLES
@given(
    st.sampled_from(["ADD", "REMOVE", "REMOVEALL"]), st.lists(st.tuples(TEXT, TEXT, TEXT, st.sampled_from([0, 1, 2])))
)
def test_rf5k_is_the_same_in_both(change: str, streams: list[tuple[str, str, str, int]]) -> None:
    """A command to the forwarder must be the same by codec and by reflection."""
    given_streams = [StreamInfo(*stream) for stream in streams]
    message = flatbuffers.encode("rf5k", config_change=getattr(UpdateType, change), streams=given_streams)
    decoded = SCHEMAS["rf5k"].decode(message)
    names = codecs.names_of(Protocol)
    wanted = [{**stream._asdict(), "protocol": names[stream.protocol]} for stream in given_streams]
    assert decoded["config_change"] == change
    assert (decoded["streams"] or []) == wanted[::-1]  # the codec writes them back to front
    again = ess("rf5k", SCHEMAS["rf5k"].encode({"config_change": change, "streams": wanted}))
    assert again == (getattr(UpdateType, change), given_streams)


@EXAMPLES
@given(TEXT, INT64, st.sampled_from(list(Severity)), TEXT)
def test_al00_is_the_same_in_both(source: str, when: int, severity: Severity, text: str) -> None:
    """An alarm must be the same by codec and by reflection."""
    message = flatbuffers.encode("al00", source=source, timestamp_ns=when, severity=severity, message=text)
    decoded = SCHEMAS["al00"].decode(message)
    assert decoded == {"source_name": source, "timestamp": when, "severity": severity.name, "message": text}
    assert ess("al00", SCHEMAS["al00"].encode(decoded)) == ess("al00", message) == (source, when, severity, text)


def test_texts_that_are_shared_without_end_are_refused() -> None:
    """A small f142 message of which each text is the same long one must be refused before memory runs out."""
    texts = {"value": ["x" * 100_000] * 50_000}
    message = SCHEMAS["f142"].encode({"source_name": "", "value_type": "ArrayString", "value": texts})
    assert len(message) < 400_000
    with pytest.raises(BadBuffer, match="shared so often"):
        flatbuffers.decode(message)
