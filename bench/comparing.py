"""Compares the series of a figure: medians, ratios, goals, and tables of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.series import Series

KEPT = (0.05, 0.25, 0.5, 0.75, 0.95)
MEDIAN = 0.5
HEADINGS = ("figure", "way", "median", "worst", "ratio", "goal", "met")
NUMBERS = range(2, 6)  # the columns that are aligned to the right


@dataclass(frozen=True)
class Row:
    """What one series comes to.

    Attributes:
        way: the series' name.
        unit: of all times and sizes in here.
        rounds: how many values there are.
        value: the quantile that counts, None when there are no values.
        quantile: which one that is.
        quantiles: those that are kept, by their number.
        worst: the greatest value.
        against: the way that it is a ratio to, "" for none.
        ratio: of the two ways' values, None when there is none.
        goal: the most that the ratio, or else the value, should be.
        met: whether it is not more than that; None without a goal, or when it cannot be told.
        failed: why there are no (more) values.
    """

    way: str
    unit: str
    rounds: int
    value: float | None
    quantile: float
    quantiles: dict[str, float]
    worst: float | None
    against: str
    ratio: float | None
    goal: float | None
    met: bool | None
    failed: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def without_reason(self) -> Row:
        """Return it as it may be kept among the project's files: a reason may hold paths and names of a machine."""
        return replace(self, failed="failed" if self.failed else "")


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie, between neighbours by how near it is to each.

    The definition that spreadsheets and numpy have by default (number 7 of Hyndman and Fan, 1996); exact at the ends,
    where ``statistics.quantiles`` has no answer.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a quantile of no values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def compare(series: Sequence[Series]) -> list[Row]:
    """Return a row for each series of a figure, in their order."""
    counts = {one.name: quantile(one.values, one.quantile) for one in series if one.values}
    rows = []
    for one in series:
        value, base = counts.get(one.name), counts.get(one.against)
        ratio = value / base if value is not None and base else None
        judged = ratio if one.against else value
        rows.append(
            Row(
                way=one.name,
                unit=one.unit,
                rounds=len(one.values),
                value=value,
                quantile=one.quantile,
                quantiles={f"{share:g}": quantile(one.values, share) for share in KEPT} if one.values else {},
                worst=max(one.values, default=None),
                against=one.against,
                ratio=ratio,
                goal=one.goal,
                met=None if one.goal is None or judged is None else judged <= one.goal,
                failed=one.failed,
            )
        )
    return rows


def number(value: float) -> str:
    """Return ``value`` with three digits that count, and never as a power of ten."""
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"  # noqa: PLR2004 - digits


def cells(figure: str, row: Row) -> tuple[str, ...]:
    """Return what the table says in one row."""
    counted = "" if row.quantile == MEDIAN else f" ({row.quantile:.0%})"
    goal = "" if row.goal is None else f"{number(row.goal)} {'x' if row.against else row.unit}"
    met = "" if row.goal is None else "?" if row.met is None else "yes" if row.met else "no"
    return (
        figure,
        row.way,
        "" if row.value is None else f"{number(row.value)} {row.unit}{counted}",
        "" if row.worst is None else f"{number(row.worst)} {row.unit}",
        "" if row.ratio is None else f"{number(row.ratio)} x {row.against}",
        goal,
        f"{met}, {row.failed}".lstrip(", ") if row.failed else met,
    )


def text_table(figures: Mapping[str, Sequence[Row]]) -> str:
    """Return the table for a terminal."""
    lines = [HEADINGS, *(line for name, rows in figures.items() for line in _lines(name, rows))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS) - 1)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, [*widths, 0], strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(figures: Mapping[str, Sequence[Row]]) -> str:
    """Return the table for a document; a figure is named in its first row only."""
    lines = [
        _markdown(HEADINGS),
        _markdown(["--:" if column in NUMBERS else "---" for column in range(len(HEADINGS))]),
    ]
    for name, rows in figures.items():
        lines += [_markdown(["" if place else name, *line[1:]]) for place, line in enumerate(_lines(name, rows))]
    return "\n".join(lines)


def _lines(figure: str, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    nothing = (figure, *[""] * (len(HEADINGS) - 2), "failed")
    return [cells(figure, row) for row in rows] or [nothing]


def _markdown(row: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
