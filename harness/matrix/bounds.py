"""How soon a matrix can be done at best: no order of its cells beats the largest of these bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.matrix.budgets import Budgets

SLOTS, LONGEST, CPU, ENGINE, MEMORY, TOKEN = "slots", "longest cell", "cpu", "engine", "memory", "exclusive"
# Seconds for each cell in which an engine does things for no other one.
SERIALISED = {"compose": 0.1, "embedded": 0.002}


@dataclass(frozen=True)
class Cost:
    """What a cell takes, or has taken.

    Attributes:
        cell: its id.
        seconds: wall time.
        cpu: seconds of processor time, None where it is not known.
        memory: bytes.
        exclusive: tokens.
        alone: whether no other cell runs meanwhile.
    """

    cell: str
    seconds: float
    cpu: float | None = None
    memory: int = 0
    exclusive: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class Bound:
    """A time below which nobody gets.

    Attributes:
        name: which.
        seconds: the time.
        why: how it comes about.
    """

    name: str
    seconds: float
    why: str


@dataclass(frozen=True)
class Bounds:
    """All bounds of a matrix, in a fixed order."""

    all: tuple[Bound, ...]

    @property
    def binding(self) -> Bound:
        """The one that counts."""
        return max(self.all, key=lambda bound: bound.seconds)

    def ratio(self, seconds: float) -> float | None:
        """Return how many times the binding bound some seconds are, None where nothing ran."""
        return seconds / self.binding.seconds if self.binding.seconds > 0 else None

    @property
    def seconds(self) -> dict[str, float]:
        """Name of each bound -> its seconds."""
        return {bound.name: bound.seconds for bound in self.all}

    def as_dict(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return {"binding": self.binding.name, "bounds": [vars(bound) for bound in self.all]}

    def __str__(self) -> str:
        width = max(len(bound.name) for bound in self.all)
        binding = self.binding
        lines = []
        for bound in self.all:
            mark = "  <- binding" if bound is binding and bound.seconds > 0 else ""
            lines.append(f"{bound.name:<{width}}  {bound.seconds:10.2f} s  {bound.why}{mark}")
        return "\n".join(lines)


def bounds(costs: Iterable[Cost], budgets: Budgets, engine: str, serialised: float | None = None) -> Bounds:
    """Return the bounds for cells that are run under some budgets.

    Each is what cells that run alone take, and what the others cannot be done in less than.

    Args:
        costs: of all cells that are run.
        budgets: under which.
        engine: on which.
        serialised: seconds for each cell in which the engine does nothing for another one; None for the usual.
    """
    costs = list(costs)
    alone = sum(cost.seconds for cost in costs if cost.alone)
    shared = [cost for cost in costs if not cost.alone]
    total, slots = sum(cost.seconds for cost in shared), budgets.at_once
    longest = max(shared, key=lambda cost: (cost.seconds, cost.cell), default=None)
    known = [cost.cpu for cost in costs if cost.cpu is not None]
    each = SERIALISED.get(engine, 0.0) if serialised is None else serialised
    after = f", and {alone:.2f} s of cells that run alone" if alone else ""
    found = [
        Bound(SLOTS, total / slots + alone, f"{total:.2f} s of cells in {slots} slots{after}"),
        Bound(LONGEST, longest.seconds + alone, f"{longest.cell}{after}")
        if longest
        else Bound(LONGEST, alone, "all cells run alone" if alone else "no cell runs"),
        Bound(CPU, sum(known) / budgets.cores, _cpu_why(sum(known), len(known), len(costs), budgets.cores)),
        Bound(ENGINE, each * len(costs), f"{each * 1000:g} ms of each of {len(costs)} cells, one by one"),
    ]
    if budgets.memory and (taken := sum(cost.memory * cost.seconds for cost in shared)):
        why = f"cells that take memory, in {budgets.memory / 2**20:.0f} MiB{after}"
        found.append(Bound(MEMORY, taken / budgets.memory + alone, why))
    found += [
        Bound(f"{TOKEN} {token}", seconds + alone, f"cells that have {token!r}, one by one{after}")
        for token, seconds in sorted(_by_token(shared).items())
    ]
    return Bounds(tuple(found))


def _cpu_why(seconds: float, known: int, count: int, cores: float) -> str:
    """Return how the bound of the processors comes about, and of how many cells it is not known."""
    unknown = f"; not known of {count - known} of {count} cells" if known < count else ""
    return f"{seconds:.2f} s of processor time on {cores:g} cores{unknown}"


def _by_token(costs: Iterable[Cost]) -> Mapping[str, float]:
    seconds: dict[str, float] = {}
    for cost in costs:
        for token in cost.exclusive:
            seconds[token] = seconds.get(token, 0.0) + cost.seconds
    return seconds
