"""What a run's time went into: starting, testing, stopping."""

from __future__ import annotations

from typing import Any

import pytest

from harness.results.times import Times, times_in, times_of


def span(stage: str, began: float, seconds: float) -> dict[str, Any]:
    """Return a span as run.json has it."""
    return {"stage": stage, "of": "x", "began": began, "seconds": seconds}


def test_each_part_of_a_start_is_told() -> None:
    """Building, settling and seeding must be told, what is none of them be the start, and the rest be the tests."""
    spans = [
        span("bring", 0, 10),
        span("stack", 4, 6),
        span("build", 1, 2),
        span("settle", 5, 3),
        span("seed", 8, 1),
        span("stop", 18, 2),
    ]
    times = times_of(spans, 21)
    assert times == Times(10, build=2, start=4, settle=3, seed=1, testing=9, stopping=2)
    assert str(times) == ("starting 10.0 s (build 2.0, start 4.0, settle 3.0, seed 1.0), testing 9.0 s, stopping 2.0 s")


@pytest.mark.parametrize(
    ("spans", "starting"),
    [
        ([span("bring", 0, 2), span("bring", 1, 2)], 3),
        ([span("bring", 1, 2), span("bring", 0, 5)], 5),
        ([span("bring", 0, 1), span("bring", 2, 1)], 2),
        ([span("settle", 0, 1)], 1),
        ([span("inside", 0, 9)], 0),
        ([], 0),
    ],
)
def test_what_goes_on_at_once_counts_once(spans: list[dict[str, Any]], starting: float) -> None:
    """Stacks that come up side by side must count for the time that somebody waited, and gaps not at all."""
    assert times_of(spans, 10).starting == starting
    assert times_of(spans, 10).testing == 10 - starting


def test_no_part_is_negative_whatever_clocks_say() -> None:
    """Workers measure by themselves: rounding must make no time less than nothing."""
    times = times_of([span("bring", 0, 5), span("settle", 0, 5.0001)], 4)
    assert (times.testing, times.start) == (0, 0)
    assert str(times_of([], 1.26)) == "starting 0.0 s, testing 1.3 s, stopping 0.0 s"


@pytest.mark.parametrize("facts", [{}, {"time": None}, {"time": {"starting": 1}}, {"time": {"starting": "x"}}])
def test_a_run_of_before_tells_nothing(facts: dict[str, Any]) -> None:
    """A run.json without times, or with others, must be shown without them."""
    assert times_in(facts) is None


def test_what_was_written_is_read_back() -> None:
    """What run.json has must be the same value again."""
    times = times_of([span("bring", 0, 1.5)], 3)
    assert times_in({"time": times.as_dict()}) == times
