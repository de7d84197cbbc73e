"""What two input shares of Prio3 come to (draft-irtf-cfrg-vdaf-08), in plain Python: no code of a client under test.

The leader's share has the measurement's elements and those of a proof, the helper's two seeds that these are expanded
from. The proof itself is not verified here: that takes two aggregators.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from harness.helpers.dap import Count, Histogram, Sum, Vdaf

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 8
SEED = 16
"""Bytes."""
LEADER, HELPER = 0, 1
_MEASUREMENT_SHARE, _JOINT_RAND_PART = 1, 7
"""Usages of the XOF."""


@dataclass(frozen=True)
class Field:
    """A finite field, whose elements have so many bytes."""

    modulus: int
    size: int

    def read(self, encoded: bytes) -> list[int]:
        """Return elements. Raises ValueError when one is none."""
        parts = (encoded[at : at + self.size] for at in range(0, len(encoded), self.size))
        elements = [int.from_bytes(part, "little") for part in parts]
        if len(encoded) % self.size or any(element >= self.modulus for element in elements):
            raise ValueError(f"{len(encoded)} bytes are no elements of a field of {self.size} bytes")
        return elements

    def expanded(self, stream: Iterator[int]) -> Iterator[int]:
        """Give elements from a stream of bytes; what is too large for one is left out."""
        while True:
            element = int.from_bytes(bytes(islice(stream, self.size)), "little")
            if element < self.modulus:
                yield element

    def write(self, elements: list[int]) -> bytes:
        """Return elements as they are encoded."""
        return b"".join(element.to_bytes(self.size, "little") for element in elements)


FIELD64 = Field((1 << 64) - (1 << 32) + 1, 8)
FIELD128 = Field((1 << 128) - 7 * (1 << 66) + 1, 16)


@dataclass(frozen=True)
class Prio3:
    """A VDAF as its shares are made.

    Attributes:
        number: of the algorithm.
        field: of its elements.
        elements: of a measurement.
        proof: elements of a proof.
        is_joint: whether aggregators draw randomness together, for which shares have a blind each.
    """

    number: int
    field: Field
    elements: int
    proof: int
    is_joint: bool

    @property
    def leader_length(self) -> int:
        """Bytes of the leader's share."""
        return (self.elements + self.proof) * self.field.size + SEED * self.is_joint

    @property
    def helper_length(self) -> int:
        """Bytes of the helper's share."""
        return 2 * SEED + SEED * self.is_joint

    @property
    def public_length(self) -> int:
        """Bytes of the public share."""
        return 2 * SEED * self.is_joint

    def elements_of(self, leader: bytes, helper: bytes) -> list[int]:
        """Return the measurement's elements, which are what both shares of it add up to."""
        pairs = zip(self._leader_elements(leader), self._helper_elements(helper), strict=True)
        return [(one + other) % self.field.modulus for one, other in pairs]

    def public_share(self, leader: bytes, helper: bytes, nonce: bytes) -> bytes:
        """Return the public share that must come with two shares in a report of that ID."""
        if not self.is_joint:
            return b""
        shares = ((leader, self._leader_elements(leader)), (helper, self._helper_elements(helper)))
        return b"".join(
            bytes(islice(self._xof(share[-SEED:], _JOINT_RAND_PART, self._bound(who, nonce, elements)), SEED))
            for who, (share, elements) in enumerate(shares)
        )

    def _bound(self, who: int, nonce: bytes, elements: list[int]) -> bytes:
        return bytes([who]) + nonce + self.field.write(elements)

    def _leader_elements(self, leader: bytes) -> list[int]:
        return self.field.read(leader[: self.elements * self.field.size])

    def _helper_elements(self, helper: bytes) -> list[int]:
        stream = self._xof(helper[:SEED], _MEASUREMENT_SHARE, bytes([HELPER]))
        return list(islice(self.field.expanded(stream), self.elements))

    def _xof(self, seed: bytes, usage: int, binder: bytes) -> Iterator[int]:
        domain = struct.pack(">BBIH", VERSION, 0, self.number, usage)
        return turbo_shake128(bytes([len(domain)]) + domain + seed + binder, 1)


def prio3_of(vdaf: Vdaf) -> Prio3:
    """Return how shares of a VDAF are made. Raises ValueError when that is not known here."""
    if isinstance(vdaf, Count):
        return Prio3(0, FIELD64, elements=1, proof=_proof(2, 1), is_joint=False)
    if isinstance(vdaf, Sum):
        return Prio3(1, FIELD128, elements=vdaf.bits, proof=_proof(1, vdaf.bits), is_joint=True)
    if isinstance(vdaf, Histogram):
        length, chunk = (int(str(vdaf.sizes[name])) for name in ("length", "chunk_length"))
        return Prio3(3, FIELD128, elements=length, proof=_proof(2 * chunk, -(-length // chunk)), is_joint=True)
    raise ValueError(f"{vdaf} is not known")


def _proof(arity: int, calls: int) -> int:
    """Return the elements of a proof with one gadget of degree 2, which is called so often."""
    return arity + 2 * ((1 << calls.bit_length()) - 1) + 1


def measured(vdaf: Vdaf, elements: list[int]) -> int:
    """Return the measurement, a histogram's as the index of its bucket. Raises ValueError when elements are none."""
    if any(element not in {0, 1} for element in elements):
        raise ValueError(f"{elements} are not 0 and 1")
    if isinstance(vdaf, Histogram):
        if sum(elements) != 1:
            raise ValueError(f"{elements} are {sum(elements)} buckets")
        return elements.index(1)
    return sum(bit << place for place, bit in enumerate(elements))


# -- TurboSHAKE128 (RFC 9861): Keccak's sponge with half as many rounds ------------------------------------------------

_RATE = 168
_LANES = 25
_MASK = (1 << 64) - 1
_TURNS = (0, 1, 62, 28, 27, 36, 44, 6, 55, 20, 3, 10, 43, 25, 39, 41, 45, 15, 21, 8, 18, 2, 61, 56, 14)
"""By how many bits each lane is rotated."""
_CONSTANTS = (
    *(0x000000008000808B, 0x800000000000008B, 0x8000000000008089, 0x8000000000008003, 0x8000000000008002),
    *(0x8000000000000080, 0x000000000000800A, 0x800000008000000A, 0x8000000080008081, 0x8000000000008080),
    *(0x0000000080000001, 0x8000000080008008),
)
"""Of the last twelve rounds of Keccak-f[1600]."""


def turbo_shake128(message: bytes, domain: int) -> Iterator[int]:
    """Give the bytes of TurboSHAKE128 of a message, without end."""
    padded = bytearray(message + bytes([domain]))
    padded += bytes(-len(padded) % _RATE)
    padded[-1] ^= 0x80
    lanes = [0] * _LANES
    for start in range(0, len(padded), _RATE):
        for place, lane in enumerate(struct.unpack_from("<21Q", padded, start)):
            lanes[place] ^= lane
        lanes = _permuted(lanes)
    while True:
        yield from struct.pack("<21Q", *lanes[:21])
        lanes = _permuted(lanes)


def _permuted(lanes: list[int]) -> list[int]:
    for constant in _CONSTANTS:
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        mixed = [columns[(x - 1) % 5] ^ _turned(columns[(x + 1) % 5], 1) for x in range(5)]
        moved = [0] * _LANES
        for place in range(_LANES):
            x, y = place % 5, place // 5
            moved[y + 5 * ((2 * x + 3 * y) % 5)] = _turned(lanes[place] ^ mixed[x], _TURNS[place])
        lanes = [
            moved[place] ^ (~moved[place - place % 5 + (place + 1) % 5] & moved[place - place % 5 + (place + 2) % 5])
            for place in range(_LANES)
        ]
        lanes[0] ^= constant
    return lanes


def _turned(lane: int, bits: int) -> int:
    return ((lane << bits) | (lane >> (64 - bits))) & _MASK
