"""FlatBuffers for tests: messages by file identifier, schemas of your own, checks with readable differences.

Needs the extra ``flatbuffers`` (ess-streaming-data-types, numpy, flatbuffers and, for ``.fbs`` files, flatc).
"""

from harness.helpers.flatbuffers.buffers import BadBuffer, BadValue, file_identifier
from harness.helpers.flatbuffers.checks import Array, Time, check, differences, in_words
from harness.helpers.flatbuffers.codecs import (
    ALARM_SEVERITY,
    ALARM_STATUS,
    Decoded,
    decode,
    encode,
    load_schema,
    register,
)
from harness.helpers.flatbuffers.schemas import Schema, read_schema

__all__ = [
    "ALARM_SEVERITY",
    "ALARM_STATUS",
    "Array",
    "BadBuffer",
    "BadValue",
    "Decoded",
    "Schema",
    "Time",
    "check",
    "decode",
    "differences",
    "encode",
    "file_identifier",
    "in_words",
    "load_schema",
    "read_schema",
    "register",
]
