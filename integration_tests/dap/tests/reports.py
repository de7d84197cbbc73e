"""Reports of DAP's draft 09, as they stand in an upload: decoded, and opened by who has the keys."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.helpers.dap import Dialect
    from integration_tests.dap.tests.hpke import Key

REPORT = "application/dap-report"
CONFIGS = "application/dap-hpke-config-list"
ID_LENGTH = 16
_CLIENT, LEADER, HELPER = 1, 2, 3
"""Roles, by DAP's numbers."""


@dataclass(frozen=True)
class Sealed:
    """An HpkeCiphertext."""

    key: int
    encapsulated: bytes
    payload: bytes


@dataclass(frozen=True)
class InputShare:
    """A PlaintextInputShare."""

    extensions: bytes
    payload: bytes


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        id: its own, which is the VDAF's nonce as well.
        time: seconds since the epoch.
        public_share: what both aggregators get.
        leader: the leader's input share.
        helper: the helper's.
    """

    id: bytes
    time: int
    public_share: bytes
    leader: Sealed
    helper: Sealed

    @classmethod
    def decode(cls, body: bytes) -> Report:
        """Return the report that an upload has. Raises ValueError when it is none, or more than one."""
        reader = Reader(body)
        report = cls(reader.take(ID_LENGTH), reader.number(8), reader.opaque(4), _sealed(reader), _sealed(reader))
        reader.end()
        return report

    def open(self, role: int, key: Key, *, task: bytes, dialect: Dialect) -> InputShare:
        """Return the leader's share or the helper's. Raises ``hpke.Unopened``, and ValueError when it is no share."""
        sealed = self.leader if role == LEADER else self.helper
        info = f"{dialect.version} input share".encode() + bytes([_CLIENT, role])
        metadata = self.id + struct.pack(">Q", self.time)
        aad = task + metadata + struct.pack(">I", len(self.public_share)) + self.public_share
        reader = Reader(key.open(sealed.encapsulated, sealed.payload, info=info, aad=aad))
        share = InputShare(reader.opaque(2), reader.opaque(4))
        reader.end()
        return share


def _sealed(reader: Reader) -> Sealed:
    return Sealed(reader.number(1), reader.opaque(2), reader.opaque(4))


class Reader:
    """Bytes that are read from their beginning on, as TLS encodes values."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return so many bytes. Raises ValueError when there are less."""
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise ValueError(f"{len(part)} bytes are left at {self._at}, {count} were needed")
        self._at += count
        return part

    def number(self, count: int) -> int:
        """Return a number of so many bytes. Raises ValueError."""
        return int.from_bytes(self.take(count), "big")

    def opaque(self, count: int) -> bytes:
        """Return bytes before which their length stands, in so many bytes. Raises ValueError."""
        return self.take(self.number(count))

    def end(self) -> None:
        """Raise ValueError when there is more."""
        if more := len(self._data) - self._at:
            raise ValueError(f"{more} bytes more than a report has")
