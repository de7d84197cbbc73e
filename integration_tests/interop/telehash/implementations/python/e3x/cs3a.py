"""Cipher set 3a: what is encrypted for an endpoint (handshakes), and within a session (channels)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.poly1305 import Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from e3x.salsa import TAG, ForgedError, hsalsa20, seal, unseal

ID = "3a"
KEY, NONCE = 32, 24


@dataclass(frozen=True)
class Pair:
    """A secret key and its public one."""

    secret: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    @property
    def key(self) -> bytes:
        """The public key."""
        return self.secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def shared_with(self, key: bytes) -> bytes:
        """Return the secret that only the two owners can compute."""
        return hsalsa20(self.secret.exchange(X25519PublicKey.from_public_bytes(key)), bytes(16))


def token(key: bytes) -> bytes:
    """Return the 16 bytes by which channel packets are told to belong to who made an ephemeral key."""
    return sha256(key[:16]).digest()[:16]


def _one_time_key(nonce: bytes, secret: bytes) -> bytes:
    return sha256(nonce + secret).digest()


def shut(inner: bytes, own: Pair, ephemeral: Pair, theirs: bytes) -> bytes:
    """Return a message for the owner of a key, which proves who has sent it."""
    nonce = os.urandom(NONCE)
    body = ephemeral.key + nonce + seal(ephemeral.shared_with(theirs), nonce, inner)
    return body + Poly1305.generate_tag(_one_time_key(nonce, own.shared_with(theirs)), body)


def open_(body: bytes, own: Pair) -> bytes:
    """Return what a message says, whoever has sent it. Raises ForgedError."""
    if len(body) < KEY + NONCE + 2 * TAG:
        raise ForgedError
    nonce = body[KEY : KEY + NONCE]
    return unseal(own.shared_with(body[:KEY]), nonce, body[KEY + NONCE : -TAG])


def prove(body: bytes, own: Pair, theirs: bytes) -> None:
    """Check that a message is of the owner of a key. Raises ForgedError."""
    nonce = body[KEY : KEY + NONCE]
    try:
        Poly1305.verify_tag(_one_time_key(nonce, own.shared_with(theirs)), body[:-TAG], body[-TAG:])
    except InvalidSignature as error:
        raise ForgedError from error


class Session:
    """What two ephemeral keys encrypt."""

    def __init__(self, ephemeral: Pair, theirs: bytes) -> None:
        secret = ephemeral.shared_with(theirs)
        self.token = token(theirs)
        self._out = sha256(secret + ephemeral.key + theirs).digest()
        self._in = sha256(secret + theirs + ephemeral.key).digest()

    def shut(self, inner: bytes) -> bytes:
        """Return the body of a channel packet."""
        nonce = os.urandom(NONCE)
        return self.token + nonce + seal(self._out, nonce, inner)

    def open(self, body: bytes) -> bytes:
        """Return what is in the body of a channel packet. Raises ForgedError."""
        rest = body[16:]
        if len(rest) < NONCE + TAG:
            raise ForgedError
        return unseal(self._in, rest[:NONCE], rest[NONCE:])
