"""Ways of doing one thing, measured in turns, and the arithmetic on what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.figures import in_a_line, raise_interrupt_behind
from bench.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")


@dataclass
class Rounds(Generic[T]):
    """What came of each way.

    Attributes:
        values: name of a way -> one value for each measured round.
        failed: name of a way -> why it took no further part.
    """

    values: dict[str, list[T]]
    failed: dict[str, str] = field(default_factory=dict)

    def series(
        self,
        way: str,
        of: Callable[[T], float],
        name: str = "",
        **more: Any,  # noqa: ANN401 - the attributes of a series
    ) -> Series:
        """Return one number of each value of a way as a series."""
        values = tuple(of(value) for value in self.values[way])
        return Series(name or way, values, failed=self.failed.get(way, ""), **more)


def alternate(ways: Mapping[str, Callable[[], T]], rounds: int, say: Callable[[str], None]) -> Rounds[T]:
    """Run every way once for nothing and then ``rounds`` times, taking turns; one that fails takes no further part.

    Each round begins with another way, so that none always comes after the same one.
    """
    made: Rounds[T] = Rounds({name: [] for name in ways})
    names = list(ways)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in [one for one in names[first:] + names[:first] if one not in made.failed]:
            try:
                seen = ways[name]()
            except Exception as error:  # noqa: BLE001 - one way's failure must not hide the others' values
                raise_interrupt_behind(error)
                made.failed[name] = in_a_line(error)
                say(f"{name}: {made.failed[name]}")
                continue
            if number:
                made.values[name].append(seen)
            say(f"{number:>3}  {name:<28} {_shown(seen)}{'' if number else '  (not counted)'}")
    return made


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def slope(counts: Sequence[float], values: Sequence[float]) -> float:
    """Return by how much values grow with each count, by least squares."""
    middle, mean = sum(counts) / len(counts), sum(values) / len(values)
    spread = sum((count - middle) ** 2 for count in counts)
    return sum((count - middle) * (value - mean) for count, value in zip(counts, values, strict=True)) / spread
