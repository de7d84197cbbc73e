"""The registry from file identifier to codec, filled with the ESS streaming data types."""

from __future__ import annotations

import inspect
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import ConfigError, nearest
from harness.helpers.flatbuffers.buffers import (
    BadBuffer,
    BadValue,
    file_identifier,
    head_of,
    looks_size_prefixed,
    without_size,
)
from harness.helpers.flatbuffers.decoding import amount_allowed
from harness.helpers.flatbuffers.schemas import Schema, read_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# ess-streaming-data-types 0.27 uses two names that numpy 2 removed; without them it cannot serialise f142.
for _old, _new in (("unicode_", np.str_), ("string_", np.bytes_)):
    if not hasattr(np, _old):
        setattr(np, _old, _new)

from streaming_data_types import DESERIALISERS, SERIALISERS  # noqa: E402 - after the two names
from streaming_data_types.fbschemas.logdata_f142.AlarmSeverity import AlarmSeverity  # noqa: E402
from streaming_data_types.fbschemas.logdata_f142.AlarmStatus import AlarmStatus  # noqa: E402


def names_of(enum: type) -> dict[int, str]:
    """Return the numbers and names of an enum that flatc generated."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


ALARM_STATUS = names_of(AlarmStatus)
"""f142 alarm status numbers and their names."""
ALARM_SEVERITY = names_of(AlarmSeverity)
"""f142 alarm severity numbers and their names."""


class _Strict(bytes):
    """Bytes whose slices must exist, and may not add up without end.

    Slices of plain bytes come back shorter, and a truncated string would pass unseen; and a hostile vector of strings
    can have its elements share one.
    """

    left: int

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - as bytes
        if isinstance(index, slice) and index.stop is not None:
            if index.stop > len(self):
                raise IndexError(f"bytes {index.start} to {index.stop} of {len(self)}")
            self.left -= index.stop - (index.start or 0)
            if self.left < 0:
                raise IndexError("its parts are shared so often that it would not fit into memory")
        return super().__getitem__(index)


def _strict(message: bytes) -> _Strict:
    reader = _Strict(message)
    reader.left = amount_allowed(len(message))
    return reader


@dataclass(frozen=True)
class Decoded:
    """A decoded message.

    Attributes:
        schema: its file identifier.
        value: what its codec made of it.
    """

    schema: str
    value: Any


decoders: dict[str, Callable[[bytes], Any]] = dict(DESERIALISERS)
encoders: dict[str, Callable[..., bytes]] = dict(SERIALISERS)


def register(schema: str, decoder: Callable[[bytes], Any], encoder: Callable[..., bytes] | None = None) -> None:
    """Use these functions for messages with the file identifier ``schema`` (four characters).

    Raises:
        ValueError: ``schema`` is no file identifier.
    """
    if len(schema.encode()) != 4:  # noqa: PLR2004 - by format
        raise ValueError(f"a file identifier has four bytes, {schema!r} has {len(schema.encode())}")
    decoders[schema] = decoder
    if encoder:
        encoders[schema] = encoder


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


def load_schema(
    path: str | Path, *, include: Sequence[str | Path] = (), root: str = "", identifier: str = ""
) -> Schema:
    """Read a ``.bfbs`` or ``.fbs`` schema and use it for messages with its file identifier, in place of any other.

    Args:
        path: the file; a ``.fbs`` is compiled by flatc.
        include: folders for ``include`` in a ``.fbs``, besides its own.
        root: the root table, if not the one that the file declares.
        identifier: the file identifier, if not the one that the file declares.

    Raises:
        ConfigError: the file is missing or wrong, has no such root or no identifier, or flatc is missing.
    """
    schema = read_schema(path, include=include, root=root, identifier=identifier)
    if not schema.identifier:
        raise ConfigError(
            f"Schema {path} declares no file_identifier",
            hint="give identifier=, or use what read_schema returns, whose messages need none",
        )
    register(schema.identifier, schema.decode, lambda **fields: schema.encode(fields))
    return schema


def decode(buffer: bytes, *, schema: str = "", size_prefixed: bool = False) -> Decoded:
    """Decode ``buffer`` by its file identifier.

    Args:
        buffer: a whole message.
        schema: the identifier that it must have, "" for any that is known.
        size_prefixed: whether four bytes with its size come first.

    Raises:
        BadBuffer: it is too short, of an unknown or another schema, truncated or malformed.
    """
    message = without_size(buffer) if size_prefixed else buffer
    identifier = file_identifier(message)
    head = head_of(message)
    prefixed = "it looks size-prefixed: size_prefixed=True" if looks_size_prefixed(message) else ""
    if schema and identifier != schema:
        raise BadBuffer(f"A message of schema {identifier!r} came, {schema!r} was needed (head: {head})", hint=prefixed)
    decoder = decoders.get(identifier)
    if decoder is None:
        raise BadBuffer(
            f"Schema {identifier!r} is not known (head: {head})",
            hint=prefixed or f"known: {', '.join(sorted(decoders))}",
        )
    try:
        _check_root(message)
        return Decoded(identifier, decoder(_strict(message)))
    except BadBuffer:
        raise
    except Exception as error:  # decoders raise whatever they trip over; all of it means a bad buffer
        raise BadBuffer(
            f"A {identifier} message of {len(message)} bytes is malformed or truncated: {error} (head: {head})"
        ) from error


def encode(schema: str, /, **fields: object) -> bytes:
    """Return ``fields`` as a message of ``schema``.

    Raises:
        BadBuffer: the schema has no encoder.
        BadValue: a field is unknown, missing, or holds what its type cannot.
    """
    encoder = encoders.get(schema)
    if encoder is None:
        raise BadBuffer(f"Schema {schema!r} has no encoder", hint=f"known: {', '.join(sorted(encoders))}")
    signature = inspect.signature(encoder)
    try:
        signature.bind(**fields)
    except TypeError as error:
        names = signature.parameters
        strange = next((name for name in fields if name not in names), "")
        raise BadValue(f"{schema}: {error}{nearest(strange, names)}", hint=f"takes: {', '.join(names)}") from error
    try:
        return encoder(**fields)
    except BadValue as error:
        raise BadValue(f"{schema}.{error.summary}") from error
    except Exception as error:  # the ESS encoders raise whatever they trip over
        kinds = ", ".join(f"{name} {type(value).__name__}" for name, value in fields.items())
        raise BadValue(f"{schema} cannot be made of these fields: {error}", details=[f"given: {kinds}"]) from error
