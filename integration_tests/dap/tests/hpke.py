"""HPKE's base mode (RFC 9180) of DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-128-GCM: keys, and what they open.

``cryptography`` has HPKE from its version 47 on, without the additional data that DAP authenticates; here are the few
lines that it takes on the parts of older ones.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEM, KDF, AEAD = 0x0020, 0x0001, 0x0001
"""What RFC 9180 has for numbers of these."""
_KEM_SUITE = b"KEM" + struct.pack(">H", KEM)
_SUITE = b"HPKE" + struct.pack(">HHH", KEM, KDF, AEAD)
_BASE_MODE = b"\0"
_SHARED, _KEY, _NONCE = 32, 16, 12
"""Bytes."""


class Unopened(ValueError):
    """What was sealed with another key, for another purpose, or changed since."""


@dataclass(frozen=True)
class Key:
    """A key of an aggregator.

    Attributes:
        number: by which shares say that they are for it.
    """

    number: int
    private: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)

    @property
    def public(self) -> bytes:
        """The half that is told."""
        return self.private.public_key().public_bytes_raw()

    @property
    def config(self) -> bytes:
        """An HpkeConfig, as DAP encodes it."""
        return config(self.number, KEM, self.public)

    def open(self, encapsulated: bytes, sealed: bytes, *, info: bytes, aad: bytes) -> bytes:
        """Return what was sealed for this key. Raises Unopened."""
        shared = self._decapsulated(encapsulated)
        hashes_of_info = _extracted(b"", b"psk_id_hash", b""), _extracted(b"", b"info_hash", info)
        context = _BASE_MODE + b"".join(hashes_of_info)
        secret = _extracted(shared, b"secret", b"")
        key = _expanded(secret, b"key", context, _KEY)
        nonce = _expanded(secret, b"base_nonce", context, _NONCE)  # of the first message, the only one in DAP
        try:
            return AESGCM(key).decrypt(nonce, sealed, aad)
        except InvalidTag as error:
            raise Unopened(f"key {self.number} does not open it") from error

    def _decapsulated(self, encapsulated: bytes) -> bytes:
        try:
            agreed = self.private.exchange(X25519PublicKey.from_public_bytes(encapsulated))
        except ValueError as error:
            raise Unopened(f"no encapsulated key: {error}") from error
        secret = _extracted(b"", b"eae_prk", agreed, suite=_KEM_SUITE)
        return _expanded(secret, b"shared_secret", encapsulated + self.public, _SHARED, suite=_KEM_SUITE)


def config(number: int, kem: int, public: bytes) -> bytes:
    """Return an HpkeConfig as DAP encodes it, of any KEM."""
    return struct.pack(">BHHHH", number, kem, KDF, AEAD, len(public)) + public


def config_list(*configs: bytes) -> bytes:
    """Return an HpkeConfigList as DAP encodes it."""
    listed = b"".join(configs)
    return struct.pack(">H", len(listed)) + listed


def _extracted(salt: bytes, label: bytes, material: bytes, *, suite: bytes = _SUITE) -> bytes:
    """LabeledExtract of RFC 9180, section 4."""
    keyed = hmac.HMAC(salt or bytes(_SHARED), hashes.SHA256())
    keyed.update(b"HPKE-v1" + suite + label + material)
    return keyed.finalize()


def _expanded(secret: bytes, label: bytes, info: bytes, length: int, *, suite: bytes = _SUITE) -> bytes:
    """LabeledExpand of the same."""
    whole = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    return HKDFExpand(hashes.SHA256(), length, whole).derive(secret)
