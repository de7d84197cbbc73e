"""FlatBuffers for tests: a registry from file identifier to codec, filled with the ESS streaming data types.

Needs the extra ``flatbuffers`` (ess-streaming-data-types).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

# ess-streaming-data-types 0.27 uses two names that numpy 2 removed; without them it cannot serialise f142.
for _old, _new in (("unicode_", np.str_), ("string_", np.bytes_)):
    if not hasattr(np, _old):
        setattr(np, _old, _new)

from streaming_data_types import DESERIALISERS, SERIALISERS  # noqa: E402 - after the two names
from streaming_data_types.fbschemas.logdata_f142.AlarmSeverity import AlarmSeverity  # noqa: E402
from streaming_data_types.fbschemas.logdata_f142.AlarmStatus import AlarmStatus  # noqa: E402

__all__ = [
    "ALARM_SEVERITY",
    "ALARM_STATUS",
    "BadBuffer",
    "Decoded",
    "decode",
    "encode",
    "file_identifier",
    "register",
]

HEAD = 16
IDENTIFIER = slice(4, 8)  # https://flatbuffers.dev/internals: root offset, then the file identifier


def _names(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


ALARM_STATUS = _names(AlarmStatus)
"""f142 alarm status numbers and their names."""
ALARM_SEVERITY = _names(AlarmSeverity)
"""f142 alarm severity numbers and their names."""


class BadBuffer(HarnessError):
    """Bytes that are no FlatBuffers message that the registry knows."""


class _Strict(bytes):
    """Bytes whose slices must exist: plain ones come back shorter, and a truncated string would pass unseen."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - as bytes
        if isinstance(index, slice) and index.stop is not None and index.stop > len(self):
            raise IndexError(f"bytes {index.start} to {index.stop} of {len(self)}")
        return super().__getitem__(index)


@dataclass(frozen=True)
class Decoded:
    """A decoded message.

    Attributes:
        schema: its file identifier.
        value: what its codec made of it.
    """

    schema: str
    value: Any


_decoders: dict[str, Callable[[bytes], Any]] = dict(DESERIALISERS)
_encoders: dict[str, Callable[..., bytes]] = dict(SERIALISERS)


def register(schema: str, decoder: Callable[[bytes], Any], encoder: Callable[..., bytes] | None = None) -> None:
    """Use these functions for messages with the file identifier ``schema`` (four characters).

    Raises:
        ValueError: ``schema`` is no file identifier.
    """
    if len(schema.encode()) != 4:  # noqa: PLR2004 - by format
        raise ValueError(f"a file identifier has four bytes, {schema!r} has {len(schema.encode())}")
    _decoders[schema] = decoder
    if encoder:
        _encoders[schema] = encoder


def file_identifier(buffer: bytes) -> str:
    """Return the file identifier of ``buffer``. Raises BadBuffer when it is too short to have one."""
    if len(buffer) < IDENTIFIER.stop:
        raise BadBuffer(f"A buffer of {len(buffer)} bytes is no FlatBuffers message, 8 or more were needed")
    return bytes(buffer[IDENTIFIER]).decode("latin-1")


def _check_root(buffer: bytes) -> None:
    """Check that the root table and its vtable lie inside the buffer (https://flatbuffers.dev/internals)."""
    (root,) = struct.unpack_from("<I", buffer, 0)
    (back,) = struct.unpack_from("<i", buffer, root)
    vtable = root - back
    if vtable < 0:
        raise IndexError(f"vtable at {vtable}")
    vtable_size, table_size = struct.unpack_from("<HH", buffer, vtable)
    if vtable + vtable_size > len(buffer) or root + table_size > len(buffer):
        raise IndexError(f"table of {table_size} bytes at {root} in {len(buffer)}")


def decode(buffer: bytes, *, schema: str = "") -> Decoded:
    """Decode ``buffer`` by its file identifier.

    Args:
        buffer: a whole message.
        schema: the identifier that it must have, "" for any that is known.

    Raises:
        BadBuffer: it is too short, of an unknown or another schema, truncated or malformed.
    """
    found = file_identifier(buffer)
    head = bytes(buffer[:HEAD]).hex(" ")
    if schema and found != schema:
        raise BadBuffer(f"A message of schema {found!r} came, {schema!r} was needed (head: {head})")
    decoder = _decoders.get(found)
    if decoder is None:
        raise BadBuffer(f"Schema {found!r} is not known (head: {head})", hint=f"known: {', '.join(sorted(_decoders))}")
    try:
        _check_root(buffer)
        return Decoded(found, decoder(_Strict(buffer)))
    except Exception as error:  # decoders raise whatever they trip over; all of it means a bad buffer
        raise BadBuffer(
            f"A {found} message of {len(buffer)} bytes is malformed or truncated: {error} (head: {head})"
        ) from error


def encode(schema: str, **fields: object) -> bytes:
    """Return ``fields`` as a message of ``schema``. Raises BadBuffer when the schema has no encoder."""
    encoder = _encoders.get(schema)
    if encoder is None:
        raise BadBuffer(f"Schema {schema!r} has no encoder", hint=f"known: {', '.join(sorted(_encoders))}")
    return encoder(**fields)
