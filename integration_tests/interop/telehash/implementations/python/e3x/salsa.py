"""XSalsa20 with Poly1305 (NaCl's secretbox), of which ``cryptography`` has the second half only."""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

MASK = 0xFFFFFFFF
SIGMA = struct.unpack("<4I", b"expand 32-byte k")
# Columns and rows in turn: of a, b, c, d each word is changed by the two before it.
QUARTERS = (
    (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
    (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
)  # fmt: skip
TAG = 16


class ForgedError(Exception):
    """A box that was not made with this key."""


def _state(key: bytes, given: bytes) -> list[int]:
    k, n = struct.unpack("<8I", key), struct.unpack("<4I", given)
    return [SIGMA[0], *k[:4], SIGMA[1], *n, SIGMA[2], *k[4:], SIGMA[3]]


def _rounds(x: list[int]) -> list[int]:
    for _ in range(10):
        for a, b, c, d in QUARTERS:
            t = (x[a] + x[d]) & MASK
            x[b] ^= (t << 7 & MASK) | t >> 25
            t = (x[b] + x[a]) & MASK
            x[c] ^= (t << 9 & MASK) | t >> 23
            t = (x[c] + x[b]) & MASK
            x[d] ^= (t << 13 & MASK) | t >> 19
            t = (x[d] + x[c]) & MASK
            x[a] ^= (t << 18 & MASK) | t >> 14
    return x


def hsalsa20(key: bytes, given: bytes) -> bytes:
    """Return a key made from a key of 32 bytes and 16 bytes of input."""
    x = _rounds(_state(key, given))
    return struct.pack("<8I", *(x[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))


def _stream(key: bytes, nonce: bytes, size: int) -> bytes:
    subkey = hsalsa20(key, nonce[:16])
    blocks = []
    for counter in range((size + 63) // 64):
        state = _state(subkey, nonce[16:] + counter.to_bytes(8, "little"))
        mixed = _rounds(list(state))
        blocks.append(struct.pack("<16I", *((a + b) & MASK for a, b in zip(state, mixed, strict=True))))
    return b"".join(blocks)[:size]


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")


def seal(key: bytes, nonce: bytes, text: bytes) -> bytes:
    """Return ``text`` encrypted, behind its tag; the nonce has 24 bytes."""
    stream = _stream(key, nonce, 32 + len(text))
    hidden = _xor(text, stream[32:])
    return Poly1305.generate_tag(stream[:32], hidden) + hidden


def unseal(key: bytes, nonce: bytes, box: bytes) -> bytes:
    """Return the text of a box. Raises ForgedError."""
    tag, hidden = box[:TAG], box[TAG:]
    stream = _stream(key, nonce, 32 + len(hidden))
    try:
        Poly1305.verify_tag(stream[:32], hidden, tag)
    except InvalidSignature as error:
        raise ForgedError from error
    return _xor(hidden, stream[32:])
