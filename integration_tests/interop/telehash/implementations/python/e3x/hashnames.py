"""Hashnames: the names of endpoints, made of their keys."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from hashlib import sha256


def encode(data: bytes) -> str:
    """Return bytes in base 32 as telehash writes it."""
    return base64.b32encode(data).decode().rstrip("=").lower()


def decode(text: str) -> bytes:
    """Return the bytes of base 32. Raises ValueError."""
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


def is_id(name: str) -> bool:
    """Return whether it is the name of a cipher set."""
    return len(name) == 2 and all(letter in "0123456789abcdef" for letter in name)


def of_keys(keys: Mapping[str, bytes], intermediates: Mapping[str, bytes] | None = None) -> str:
    """Return the hashname of keys; of those that are not known an intermediate (their hash) does."""
    hashed = {**(intermediates or {}), **{name: sha256(key).digest() for name, key in keys.items()}}
    rolled = b""
    for name in sorted(hashed):
        rolled = sha256(rolled + bytes.fromhex(name)).digest()
        rolled = sha256(rolled + hashed[name]).digest()
    return encode(rolled)
