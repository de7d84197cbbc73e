"""What is news of a suite, and what is none."""

from __future__ import annotations

import pytest

from harness.notices.standing import UNKNOWN, Change, Standing, Verdict, change_of, verdict_of

GREEN, RED, BROKEN = Standing("green"), Standing("red", ("a",)), Standing("broken", ("a",))


@pytest.mark.parametrize(
    ("before", "now", "sentence"),
    [
        (UNKNOWN, GREEN, ""),
        (UNKNOWN, RED, "green -> red"),
        (GREEN, GREEN, ""),
        (GREEN, RED, "green -> red"),
        (RED, RED, ""),
        (RED, Standing("red", ("b", "c")), ""),
        (RED, GREEN, "red -> green"),
        (RED, BROKEN, "red -> broken"),
        (BROKEN, RED, "broken -> red"),
        (BROKEN, BROKEN, ""),
        (BROKEN, GREEN, "broken -> green"),
        (GREEN, Standing("green", flakes=frozenset({"x"})), "1 new flake"),
        (Standing("green", flakes=frozenset({"x"})), Standing("green", flakes=frozenset({"x"})), ""),
        (Standing("green", flakes=frozenset({"x"})), GREEN, ""),
        (GREEN, Standing("green", lapsed=frozenset({"x", "y"})), "2 lapsed quarantines"),
        (GREEN, Standing("red", ("x",), frozenset({"f"}), frozenset({"x"})),
         "green -> red, 1 new flake, 1 lapsed quarantine"),
    ],
)  # fmt: skip
def test_only_what_changed_is_news(before: Standing, now: Standing, sentence: str) -> None:
    """Another verdict, a new flake and a lapsed quarantine must be told, and nothing else."""
    change = change_of(before, now)
    assert change.is_any == bool(sentence)
    assert change.sentence == (sentence or f"still {now.verdict}")


@pytest.mark.parametrize(
    ("earlier", "later", "is_any"),
    [
        (Change("green", "red"), Change("red", "green"), False),
        (Change("green", "red"), Change("red", "broken"), True),
        (Change("red", "green"), Change("green", "red"), False),
        (Change("green", "red", frozenset({"f"})), Change("red", "green"), True),
    ],
)
def test_what_flipped_back_before_it_was_heard_is_no_news(earlier: Change, later: Change, is_any: bool) -> None:
    """A reader who has not got the first of two changes must get their sum, and nothing where that is none."""
    both = later.after(earlier)
    assert both.is_any == is_any
    assert (both.before, both.now) == (earlier.before, later.now)
    assert later.after(None) == later


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0, "green"), (1, "red"), (13, "red"), (14, "red"), (10, "broken"), (11, "broken"), (12, "broken"),
        (3, "broken"), (4, "broken"), (5, "broken"), (137, "broken"), (-9, "broken"), (2, None),
        (129, None), (130, None), (131, None), (143, None), (-2, None), (-15, None),
    ],
)  # fmt: skip
def test_each_exit_code_has_its_verdict(code: int, verdict: Verdict | None) -> None:
    """Broken runs must not pass for red ones, and interrupted ones say nothing."""
    assert verdict_of(code) == verdict


def test_a_suite_that_cannot_be_collected_is_broken() -> None:
    """Pytest says 2 of an import error as of an interruption: it must not be passed over."""
    assert verdict_of(2, collected=False) == "broken"
    assert verdict_of(130, collected=False) is None
