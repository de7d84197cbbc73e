"""What a figure's measurement gives: series of values that are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """Values measured in one way.

    Attributes:
        name: the way, such as ``ours`` or ``floor``.
        values: one for each round, in ``unit``.
        unit: s, ms, us, MiB, ...; lower is better.
        against: name of the series of the same figure that it is a ratio to, "" for none.
        goal: the most that the median (or, with ``against``, the ratio of medians) should be; None for none.
        quantile: which quantile of the values counts, 0.5 for the median.
        failed: why there are no (more) values, "" when it was measured.
    """

    name: str
    values: tuple[float, ...]
    unit: str = "s"
    against: str = ""
    goal: float | None = None
    quantile: float = 0.5
    failed: str = ""
