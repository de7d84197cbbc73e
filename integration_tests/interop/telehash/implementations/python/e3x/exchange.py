"""An exchange: the keys of two endpoints, their handshakes, and the session that comes of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from e3x import cs3a, hashnames
from e3x.packets import Packet, decode, encode
from e3x.salsa import ForgedError


@dataclass(frozen=True)
class Handshake:
    """What a message that opens a link says.

    Attributes:
        hashname: of who has sent it.
        key: of who has sent it; the message was proven to be of its owner.
        at: number of the handshake; both sides must come to the same.
        ephemeral: the key of the sender's half of the session.
        parts: hashes of the sender's other keys.
    """

    hashname: str
    key: bytes
    at: int
    ephemeral: bytes
    parts: dict[str, str]


def read_handshake(packet: Packet, own: cs3a.Pair) -> Handshake:
    """Read and prove a handshake. Raises ForgedError, and ValueError with what is wrong."""
    if packet.head.hex() != cs3a.ID:
        raise ValueError(f"cipher set {packet.head.hex()} is not spoken here")
    inner = decode(cs3a.open_(packet.body, own))
    attached = decode(inner.body) if inner else None
    if inner is None or attached is None or inner.json.get("type", "link") != "link":
        raise ValueError("it is no handshake of a link")
    at = inner.json.get("at")
    if not isinstance(at, int) or at <= 0 or len(attached.body) != cs3a.KEY:
        raise ValueError("its number or key is none")
    cs3a.prove(packet.body, own, attached.body)
    parts = {name: part for name, part in attached.json.items() if hashnames.is_id(name) and isinstance(part, str)}
    hashes = {name: hashnames.decode(part) for name, part in parts.items() if name != cs3a.ID}
    name = hashnames.of_keys({cs3a.ID: attached.body}, hashes)
    return Handshake(name, attached.body, at, packet.body[: cs3a.KEY], parts)


class Exchange:
    """One side of an exchange with the owner of a key.

    Attributes:
        session: None until a handshake has come.
        token: by which channel packets for us are known.
    """

    def __init__(self, own: cs3a.Pair, theirs: bytes) -> None:
        self._own = own
        self._theirs = theirs
        self._ephemeral = cs3a.Pair()
        self._session_key = b""
        self.session: cs3a.Session | None = None
        self.token = cs3a.token(self._ephemeral.key)
        # The greater key has the odd numbers, of handshakes and of channels.
        self._order = 2 if theirs > own.key else 1
        self._at = self._own_number(int(time.time()))
        self._channel = self._order

    def _own_number(self, at: int) -> int:
        return at if at % 2 == self._order % 2 else at + 1

    def next_channel(self) -> int:
        """Return a number for a channel that we open."""
        self._channel += 2
        return self._channel - 2

    def renew(self) -> None:
        """Take a higher number: the next handshake must be answered."""
        self._at = self._own_number(self._at + 1)

    def handshake(self) -> bytes:
        """Return a handshake on the wire."""
        inner = encode({"type": "link", "at": self._at}, encode({cs3a.ID: True}, self._own.key))
        return encode(bytes.fromhex(cs3a.ID), cs3a.shut(inner, self._own, self._ephemeral, self._theirs))

    def take(self, handshake: Handshake) -> bool:
        """Take a handshake of theirs; return whether it must be answered with one of ours."""
        if handshake.ephemeral != self._session_key:
            self._session_key = handshake.ephemeral
            self.session = cs3a.Session(self._ephemeral, handshake.ephemeral)
            self._channel = self._order
        in_step = handshake.at == self._at
        self._at = max(self._at, handshake.at)
        return not in_step

    def shut(self, head: dict[str, Any], body: bytes) -> bytes:
        """Return a packet of a channel on the wire. Raises ValueError where there is no session."""
        if self.session is None:
            raise ValueError("there is no session")
        return encode(b"", self.session.shut(encode(head, body)))

    def open(self, packet: Packet) -> Packet:
        """Return the packet of a channel. Raises ForgedError."""
        inner = decode(self.session.open(packet.body)) if self.session else None
        if inner is None:
            raise ForgedError
        return inner
