"""Packets (LOB: length, head, body) and their cloaks."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

CLOAK_KEY = hashlib.sha256(b"telehash").digest()
SHORTEST_JSON = 7  # a head of fewer bytes is binary


@dataclass(frozen=True)
class Packet:
    """What a datagram or a body holds: ``json`` is {} where the head is binary."""

    head: bytes = b""
    body: bytes = b""
    json: dict[str, Any] = field(default_factory=dict)


def encode(head: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    """Return a packet on the wire; a head of JSON that is too short to be told from a binary one is left out."""
    if not isinstance(head, bytes):
        head = json.dumps(head, separators=(",", ":")).encode()
        head = head if len(head) >= SHORTEST_JSON else b""
    return len(head).to_bytes(2, "big") + head + body


def decode(data: bytes) -> Packet | None:
    """Return the packet in ``data``, None where there is none."""
    size = int.from_bytes(data[:2], "big")
    if len(data) < 2 + size:
        return None
    head, body = data[2 : 2 + size], data[2 + size :]
    if size < SHORTEST_JSON:
        return Packet(head, body)
    try:
        value = json.loads(head)
    except ValueError:
        return None
    return Packet(head, body, value) if isinstance(value, dict) else None


def _chacha(nonce: bytes, data: bytes) -> bytes:
    # The original cipher has a counter of 8 bytes before a nonce of 8.
    encryptor = Cipher(ChaCha20(CLOAK_KEY, bytes(8) + nonce), mode=None).encryptor()
    return encryptor.update(data)


def cloak(data: bytes) -> bytes:
    """Return ``data`` as noise: a packet's first byte is 0, so that a nonce begins with anything else."""
    nonce = os.urandom(8)
    while not nonce[0]:
        nonce = os.urandom(8)
    return nonce + _chacha(nonce, data)


def decloak(data: bytes) -> Packet | None:
    """Return the packet of a datagram, however often it was cloaked; None where there is none."""
    while data and data[0]:
        data = _chacha(data[:8], data[8:]) if len(data) >= 10 else b""
    return decode(data)
