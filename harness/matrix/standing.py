"""How far a matrix has come, for those who show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.verdicts import Result, Status


@dataclass(frozen=True)
class Standing:
    """How far a matrix has come.

    Attributes:
        total: how many cells there are, those of other shards left out.
        done: how many have a result; also those that were skipped, or taken over from an earlier run.
        running: the ids of those that run, longest first.
        counts: status -> how many have it.
        elapsed: seconds since the first cell could start.
        left: seconds that remain by what is expected of the cells.
        pressed: what the machine is short of, "" for nothing; no cell starts meanwhile.
        last: the result that has just come, None where something else has happened.
    """

    total: int
    done: int = 0
    running: tuple[str, ...] = ()
    counts: Mapping[Status, int] = field(default_factory=dict)
    elapsed: float = 0.0
    left: float = 0.0
    pressed: str = ""
    last: Result | None = None
