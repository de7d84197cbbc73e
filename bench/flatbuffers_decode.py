"""Decoding of FlatBuffers by reflection, against generated code: the ESS codecs, and the accessors by themselves."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from streaming_data_types import DESERIALISERS
from streaming_data_types.fbschemas.eventdata_ev44.Event44Message import Event44Message
from streaming_data_types.fbschemas.forwarder_config_update_rf5k.ConfigUpdate import ConfigUpdate
from streaming_data_types.fbschemas.forwarder_config_update_rf5k.Protocol import Protocol
from streaming_data_types.fbschemas.forwarder_config_update_rf5k.UpdateType import UpdateType
from streaming_data_types.fbschemas.logdata_f142.ArrayDouble import ArrayDouble
from streaming_data_types.fbschemas.logdata_f142.Double import Double
from streaming_data_types.fbschemas.logdata_f142.LogData import LogData
from streaming_data_types.fbschemas.status_x5f2.Status import Status
from streaming_data_types.forwarder_config_update_rf5k import StreamInfo

from bench.project import ROOT
from bench.rounds import alternate
from harness import clock
from harness.helpers import flatbuffers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.series import Series

TITLE = "decoding one FlatBuffers message"
NEEDS: tuple[str, ...] = ()
ROUNDS = 7
LIMITS = (
    "Ours: Python, one step for each field of the schema; arrays are taken at once by numpy. Generated accessors are "
    "Python too, and look up the table for each field."
)
SECONDS = 0.05  # that one way decodes in one round
SCHEMAS = ROOT / "tests" / "schemas" / "ess"


@dataclass(frozen=True)
class Case:
    """One kind of message.

    Attributes:
        name: for people.
        buffer: a message.
        accessors: reads every field of it by the generated code.
    """

    name: str
    buffer: bytes
    accessors: Callable[[bytes], object]


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure every kind of message in three ways."""
    del scratch  # nothing is written
    made: list[Series] = []
    for case in cases():
        schema = flatbuffers.file_identifier(case.buffer)
        reflection, codec, accessors = (f"{case.name}, {way}" for way in ("reflection", "ESS codec", "accessors"))
        seen = alternate(
            {
                reflection: partial(
                    each, partial(flatbuffers.read_schema(SCHEMAS / f"{schema}.fbs").decode, case.buffer)
                ),
                codec: partial(each, partial(DESERIALISERS[schema], case.buffer)),
                accessors: partial(each, partial(case.accessors, case.buffer)),
            },
            rounds,
            say,
        )
        made += [
            seen.series(codec, float, unit="us"),
            seen.series(accessors, float, unit="us", against=codec),
            seen.series(reflection, float, unit="us", against=codec),
        ]
    return made


def each(decode: Callable[[], object]) -> float:
    """Return the microseconds of one call, from as many as fit into a while."""
    calls, began = 0, clock.now()
    while (spent := clock.now() - began) < SECONDS:
        for _ in range(20):
            decode()
        calls += 20
    return spent / calls * 1e6


def cases() -> list[Case]:
    """Return the messages."""
    numbers = np.arange(1000, dtype=np.int32)
    stream = StreamInfo("SIMPLE:DOUBLE", "f142", "TEST_forwarderData", Protocol.PVA)
    status = {
        "software_name": "forwarder",
        "software_version": "1.0",
        "service_id": "one",
        "host_name": "here",
        "process_id": 4711,
        "update_interval": 5000,
        "status_json": '{"streams": [' + ", ".join(['{"channel_name": "SIMPLE:DOUBLE"}'] * 10) + "]}",
    }
    events: dict[str, Any] = {
        "source_name": "detector",
        "message_id": 1,
        "reference_time": np.array([1], np.int64),
        "reference_time_index": np.array([0], np.int32),
        "time_of_flight": numbers,
        "pixel_id": numbers,
    }
    encode = flatbuffers.encode
    array = encode("f142", source_name="SIMPLE:ARRAY", value=np.arange(1000.0), timestamp_unix_ns=5)
    return [
        Case(
            "f142 double", encode("f142", source_name="SIMPLE:DOUBLE", value=1.5, timestamp_unix_ns=5), log_of(Double)
        ),
        Case("f142 array of 1,000", array, log_of(ArrayDouble)),
        Case("ev44 of 1,000", encode("ev44", **events), events_of),
        Case("x5f2", encode("x5f2", **status), status_of),
        Case("rf5k of 10", encode("rf5k", config_change=UpdateType.ADD, streams=[stream] * 10), update_of),
    ]


def log_of(kind: Any) -> Callable[[bytes], object]:  # noqa: ANN401 - generated code is untyped
    """Return what reads every field of an f142 with a value of this kind."""

    def read(buffer: bytes) -> object:
        log, value = LogData.GetRootAsLogData(buffer, 0), kind()
        union = log.Value()
        value.Init(union.Bytes, union.Pos)
        number = value.ValueAsNumpy() if kind is ArrayDouble else value.Value()
        return log.SourceName().decode(), log.ValueType(), number, log.Timestamp(), log.Status(), log.Severity()

    return read


def events_of(buffer: bytes) -> object:
    """Read every field of an ev44."""
    one = Event44Message.GetRootAs(buffer, 0)
    return (
        one.SourceName().decode(),
        one.MessageId(),
        one.ReferenceTimeAsNumpy(),
        one.ReferenceTimeIndexAsNumpy(),
        one.TimeOfFlightAsNumpy(),
        one.PixelIdAsNumpy(),
    )


def status_of(buffer: bytes) -> object:
    """Read every field of an x5f2."""
    one = Status.GetRootAsStatus(buffer, 0)
    texts = (one.SoftwareName(), one.SoftwareVersion(), one.ServiceId(), one.HostName(), one.StatusJson())
    return one.ProcessId(), one.UpdateInterval(), *(text.decode() for text in texts)


def update_of(buffer: bytes) -> object:
    """Read every field of an rf5k."""
    one = ConfigUpdate.GetRootAsConfigUpdate(buffer, 0)
    streams = [one.Streams(index) for index in range(one.StreamsLength())]
    return one.ConfigChange(), [
        (stream.Channel().decode(), stream.Schema().decode(), stream.Topic().decode(), stream.Protocol())
        for stream in streams
    ]


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "flatbuffers_decode", "--no-history", *sys.argv[1:]]))
