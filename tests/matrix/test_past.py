"""What earlier runs tell of cells."""

from __future__ import annotations

import pytest
from matrix_cells import cell

from harness.matrix.past import NEWEST, History, Past


def test_a_cell_takes_as_long_as_its_last_results_did() -> None:
    """One slow result, and what it took long ago, must not count."""
    old = [Past("a/a/b", "succeeded", 100.0)] * NEWEST
    new = [Past("a/a/b", "succeeded", seconds) for seconds in (3.0, 2.0, 3.0, 50.0, 4.0)]
    assert History(old + new).seconds(cell("a")) == 3.0


def test_a_cell_that_never_ran_takes_as_long_as_its_test_does() -> None:
    """And a second where nothing is known of that either."""
    history = History([Past("a/x/y", "succeeded", 7.0), Past("a/x/z", "failed", 9.0)])
    assert history.seconds(cell("a")) == 8.0
    assert history.seconds(cell("b")) == 1.0


@pytest.mark.parametrize("status", ["skipped", "broken"])
def test_what_did_not_run_tells_nothing_of_how_long_it_takes(status: str) -> None:
    """A cell whose image did not build would be thought to be the shortest."""
    assert History([Past("a/a/b", status, 0.01)]).seconds(cell("a")) == 1.0
    assert History([Past("a/a/b", "failed", 5.0), Past("a/a/b", status, 0.01)]).seconds(cell("a")) == 5.0


def test_processor_time_is_known_where_it_was_told() -> None:
    """None must be told from none."""
    assert History([Past("a/a/b", "succeeded", 2.0, 0.5), Past("a/a/b", "succeeded", 2.0)]).cpu(cell("a")) == 0.5
    assert History([Past("a/a/b", "succeeded", 2.0)]).cpu(cell("a")) is None


def test_the_last_ends_of_a_cell_are_told_in_their_order() -> None:
    """As many as are asked for."""
    history = History([Past("a/a/b", status) for status in ("failed", "succeeded", "timeout")])
    assert history.statuses("a/a/b", 2) == ("succeeded", "timeout")
    assert history.statuses("b/a/b", 2) == ()


@pytest.mark.parametrize("values", [{}, {"cell": 5, "status": "x"}, {"cell": "a", "status": "x", "seconds": "long"}])
def test_what_is_no_result_is_refused(values: dict[str, object]) -> None:
    """A file that somebody changed must not come as far as the arithmetic."""
    with pytest.raises(ValueError, match="no earlier result"):
        Past.of(values)
