"""What a run's time went into: starting, testing, stopping. Decided from its spans, which may overlap."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_STARTING = ("bring", "stack", "build", "settle", "seed")
_STOPPING = ("stop",)


@dataclass(frozen=True)
class Times:
    """Seconds of a run, as whoever waits for it has them: what goes on at once counts once.

    Attributes:
        starting: until stacks could be used, all of them together.
        build: of that, building images.
        start: of that, what is none of the others: planning, creating, waiting for a lock or another run.
        settle: of that, from the start of services until they were ready.
        seed: of that, putting data in.
        testing: what is left: tests with their fixtures, and what they collect.
        stopping: removing what is not kept, and seeing that it is gone.
    """

    starting: float
    build: float
    start: float
    settle: float
    seed: float
    testing: float
    stopping: float

    def as_dict(self) -> dict[str, float]:
        """Return it as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        parts = {name: getattr(self, name) for name in ("build", "start", "settle", "seed")}
        named = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items() if seconds >= _SHOWN)
        starting = f"starting {self.starting:.1f} s{f' ({named})' if named else ''}"
        return f"{starting}, testing {self.testing:.1f} s, stopping {self.stopping:.1f} s"


_SHOWN = 0.05  # seconds; less is 0.0


def times_of(spans: Iterable[Mapping[str, Any]], total: float) -> Times:
    """Return what the time of a run went into.

    Args:
        spans: its spans, as run.json has them.
        total: seconds from its begin to its end.
    """
    known = list(spans)

    def covered(*stages: str) -> float:
        return _covered([(span["began"], span["began"] + span["seconds"]) for span in known if span["stage"] in stages])

    starting, stopping = covered(*_STARTING), covered(*_STOPPING)
    build, settle, seed = covered("build"), covered("settle"), covered("seed")
    # Stacks that come up at once may build, settle and seed at once: each is told as it was, and may hide another.
    start = max(0.0, starting - covered("build", "settle", "seed"))
    testing = max(0.0, total - covered(*_STARTING, *_STOPPING))
    return Times(*(round(seconds, 4) for seconds in (starting, build, start, settle, seed, testing, stopping)))


def times_in(facts: Mapping[str, Any]) -> Times | None:
    """Return what run.json says of it, None where it says nothing."""
    table = facts.get("time")
    names = Times.__dataclass_fields__
    if not isinstance(table, dict) or not all(isinstance(table.get(name), int | float) for name in names):
        return None
    return Times(**{name: float(table[name]) for name in names})


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return how many seconds are in at least one of the intervals."""
    covered, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered
