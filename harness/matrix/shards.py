"""Parts of a matrix that are run on several machines: which cells each has."""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.matrix.cells import Cell

_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class Shard:
    """One of several parts.

    Attributes:
        number: which, from 1 on.
        count: how many there are.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the part that ``i/n`` means. Raises ConfigError for any other text."""
        match = _SHARD.fullmatch(text.strip())
        shard = cls(*map(int, match.groups())) if match else None
        if shard is None or not 1 <= shard.number <= shard.count:
            raise ConfigError(f"Shard {text!r} is none: i/n was needed, such as 2/3, with i from 1 to n")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def divide(cells: Iterable[Cell], seconds: Mapping[str, float], count: int) -> tuple[tuple[str, ...], ...]:
    """Return the ids of the cells of each of ``count`` parts that last about as long.

    The longest cell goes first, each to the part that has least to do. What decides are ids and seconds alone, not the
    order of the cells.
    """
    parts: list[list[str]] = [[] for _ in range(count)]
    loads = [(0.0, number) for number in range(count)]
    for cell in sorted(cells, key=lambda cell: (-_cost(cell, seconds), cell.id)):
        load, number = loads[0]
        parts[number].append(cell.id)
        heapq.heapreplace(loads, (load + _cost(cell, seconds), number))
    return tuple(tuple(sorted(part)) for part in parts)


def _cost(cell: Cell, seconds: Mapping[str, float]) -> float:
    return 0.0 if cell.skipped else seconds[cell.id]
