"""What a buffer says of itself before any schema is known, and the two errors of this helper."""

from __future__ import annotations

import struct

from harness.errors import HarnessError

HEAD = 16
IDENTIFIER = slice(4, 8)  # https://flatbuffers.dev/internals: root offset, then the file identifier
PREFIX = 4


class BadBuffer(HarnessError):
    """Bytes that are no FlatBuffers message that the registry knows."""


class BadValue(HarnessError):
    """A value that cannot be written by its schema; the sentence has its path, what was seen and what was needed."""


def head_of(buffer: bytes) -> str:
    """Return the first bytes of ``buffer`` in hex, for error texts."""
    return bytes(buffer[:HEAD]).hex(" ")


def file_identifier(buffer: bytes) -> str:
    """Return the file identifier of ``buffer``. Raises BadBuffer when it is too short to have one."""
    if len(buffer) < IDENTIFIER.stop:
        raise BadBuffer(f"A buffer of {len(buffer)} bytes is no FlatBuffers message, 8 or more were needed")
    return bytes(buffer[IDENTIFIER]).decode("latin-1")


def without_size(buffer: bytes) -> bytes:
    """Return the message in a size-prefixed ``buffer``. Raises BadBuffer when the size is not that of the rest."""
    if len(buffer) < PREFIX:
        raise BadBuffer(f"A buffer of {len(buffer)} bytes has no size prefix, 4 or more were needed")
    (size,) = struct.unpack_from("<I", buffer, 0)
    if size != len(buffer) - PREFIX:
        raise BadBuffer(f"A size prefix of {size} came before {len(buffer) - PREFIX} bytes (head: {head_of(buffer)})")
    return bytes(buffer[PREFIX:])


def looks_size_prefixed(buffer: bytes) -> bool:
    """Return whether the first four bytes are the length of the rest."""
    return len(buffer) > PREFIX and int.from_bytes(buffer[:PREFIX], "little") == len(buffer) - PREFIX
