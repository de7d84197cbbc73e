"""The figures of the bench: their arithmetic, how ways take turns, and that a figure can be measured at all."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from bench import flatbuffers_decode, kafka_consume
from bench.comparing import quantile
from bench.project import surely
from bench.rounds import Rounds, alternate, slope
from harness.interrupts import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_slope_is_what_one_more_costs() -> None:
    """A fixed cost must not count, and of values off the line those nearest in sum of squares must."""
    assert slope([1, 5, 20, 60], [0.1 + 0.02 * count for count in (1, 5, 20, 60)]) == pytest.approx(0.02)
    assert slope([0, 1, 2], [0.0, 3.0, 0.0]) == pytest.approx(0.0)
    assert slope([0, 1, 2], [0.0, 0.0, 3.0]) == pytest.approx(1.5)


def test_a_quantile_of_many_starts_is_near_the_worst() -> None:
    """Of 50 starts the 95 % quantile must lie between the third and the fourth worst."""
    starts = [float(number) for number in range(1, 51)]
    assert 47 < quantile(starts, 0.95) < 48


def take_turns(rounds: int, fails: str = "", at: int = 0) -> tuple[Rounds[float], list[str], list[str]]:
    """Return what came of ways a, b and c, in which order they went, and what was said."""
    went: list[str] = []
    said: list[str] = []

    def way(name: str) -> Callable[[], float]:
        def go() -> float:
            went.append(name)
            if name == fails and went.count(name) > at:
                raise OSError("it\nbroke")
            return float(len(went))

        return go

    return alternate({name: way(name) for name in "abc"}, rounds, said.append), went, said


def test_ways_take_turns_and_the_first_round_does_not_count() -> None:
    """Each round must begin with another way, and the first of all must leave no value."""
    seen, went, _ = take_turns(3)
    assert "".join(went) == "abc" + "bca" + "cab" + "abc"
    assert seen.values == {"a": [6.0, 8.0, 10.0], "b": [4.0, 9.0, 11.0], "c": [5.0, 7.0, 12.0]}
    assert not seen.failed


def test_a_way_that_fails_is_out_and_keeps_what_it_has() -> None:
    """The others must go on, and the series of the one must have its values and its reason in a line."""
    seen, went, said = take_turns(3, fails="b", at=2)
    assert (went.count("a"), went.count("b"), went.count("c")) == (4, 3, 4)
    one = seen.series("b", float, "bee", unit="ms", against="a")
    assert (one.name, one.values, one.failed, one.unit, one.against) == ("bee", (4.0,), "OSError: it", "ms", "a")
    assert any("OSError: it" in line for line in said)


def test_an_interrupt_ends_all_ways() -> None:
    """A signal must not be taken for the failure of a way."""

    def stop() -> float:
        raise OSError("while cleaning up") from KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        alternate({"a": stop}, 1, lambda _: None)


@pytest.mark.parametrize("module", [flatbuffers_decode, kafka_consume], ids=lambda module: module.__name__)
def test_a_figure_is_measured_and_leaves_nothing(module: Any, tmp_path: Path) -> None:
    """Each of its ways must give one value for one round, and folder and environment must be as before."""
    before = dict(os.environ)
    series = module.measure(1, tmp_path, lambda _: None)
    names = [figure.name for figure in series]
    assert len(names) == len(set(names)) > 2
    for figure in series:
        assert (len(figure.values), figure.failed) == (1, "")
        assert figure.values[0] > 0
        assert figure.against in ("", *names)
    assert list(tmp_path.iterdir()) == []
    assert dict(os.environ) == before


def test_what_is_cleared_away_is_so_after_a_signal_too() -> None:
    """An interrupt in the middle must not keep anything from being cleared, and must not be lost."""
    done: list[int] = []

    def clear() -> None:
        done.append(len(done))
        if len(done) == 1:
            raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted):
        surely(clear)
    assert done == [0, 1]
