"""What reports are aggregated to (VDAFs): as plain functions of all measurements, and as the test API writes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.helpers.dap.dialects import Dialect

Result = int | list[int]
"""The aggregate of some measurements."""


@dataclass(frozen=True)
class Vdaf(ABC):
    """A function of measurements, each of which is a number that no party but its client knows."""

    kind: ClassVar[str] = ""
    """Its name, as dialects know it."""

    @property
    def parameters(self) -> dict[str, object]:
        """What the API has of it beside its name; numbers are texts there."""
        return {}

    @property
    def sizes(self) -> dict[str, object]:
        """The same for dialects that have no boundaries."""
        return self.parameters

    def index(self, measurement: int) -> int:
        """Return what is reported of a measurement in dialects that have no boundaries."""
        return measurement

    @property
    @abstractmethod
    def largest(self) -> int:
        """The largest measurement that there is."""

    @abstractmethod
    def aggregate(self, measurements: Iterable[int]) -> Result:
        """Return what all measurements come to, by plain arithmetic.

        Raises:
            ValueError: one is none of this VDAF.
        """

    def checked(self, measurements: Iterable[int]) -> list[int]:
        """Return the measurements. Raises ValueError when one is none of this VDAF."""
        listed = list(measurements)
        if wrong := [one for one in listed if not 0 <= one <= self.largest]:
            raise ValueError(f"{self}: {wrong[0]} is no measurement of it; 0 to {self.largest} are")
        return listed

    @staticmethod
    def read(result: object) -> Result:
        """Return a result that the API has told. Raises ValueError when it is none."""
        if isinstance(result, list):
            return [_number(text) for text in result]
        return _number(result)


@dataclass(frozen=True)
class Count(Vdaf):
    """How many of the measurements are 1; the others are 0."""

    kind: ClassVar[str] = "count"

    @property
    def largest(self) -> int:
        """1."""
        return 1

    def aggregate(self, measurements: Iterable[int]) -> Result:
        """Return how many are 1."""
        return self.checked(measurements).count(1)


@dataclass(frozen=True)
class Sum(Vdaf):
    """The sum of measurements below 2 to the power of ``bits``."""

    bits: int
    kind: ClassVar[str] = "sum"

    @property
    def parameters(self) -> dict[str, object]:
        """Its bits."""
        return {"bits": str(self.bits)}

    @property
    def largest(self) -> int:
        """All bits set."""
        return (1 << self.bits) - 1

    def aggregate(self, measurements: Iterable[int]) -> Result:
        """Return their sum."""
        return sum(self.checked(measurements))


@dataclass(frozen=True)
class Histogram(Vdaf):
    """How many measurements are in each bucket.

    Attributes:
        boundaries: ascending; a bucket has what is above the boundary before and not above its own, the last one, which
            has none, has what is above all of them.
    """

    boundaries: tuple[int, ...]
    kind: ClassVar[str] = "histogram"

    @property
    def parameters(self) -> dict[str, object]:
        """Its boundaries."""
        return {"buckets": [str(boundary) for boundary in self.boundaries]}

    @property
    def sizes(self) -> dict[str, object]:
        """The number of its buckets, and of how many of them a proof is about at once: about the root of that."""
        length = len(self.boundaries) + 1
        return {"length": str(length), "chunk_length": str(isqrt(length))}

    def index(self, measurement: int) -> int:
        """Return the bucket of a measurement."""
        return bisect_left(self.boundaries, measurement)

    @property
    def largest(self) -> int:
        """64 bits."""
        return (1 << 64) - 1

    def aggregate(self, measurements: Iterable[int]) -> Result:
        """Return the number of each bucket."""
        counts = [0] * (len(self.boundaries) + 1)
        for measured in self.checked(measurements):
            counts[self.index(measured)] += 1
        return counts


def _number(text: object) -> int:
    if not (isinstance(text, str) and text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no result: the text of a number in base 10 was needed")
    return int(text)


def written(vdaf: Vdaf, dialect: Dialect) -> dict[str, object]:
    """Return a VDAF as the API has it in a dialect."""
    return {"type": dialect.vdafs[vdaf.kind], **(vdaf.parameters if dialect.has_boundaries else vdaf.sizes)}


def reported(vdaf: Vdaf, measurement: int, dialect: Dialect) -> str:
    """Return a measurement as the API has it in a dialect."""
    return str(measurement if dialect.has_boundaries else vdaf.index(measurement))
