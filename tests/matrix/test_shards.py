"""Which cells each part of a matrix has."""

from __future__ import annotations

import random

import pytest
from matrix_cells import cell, many

from harness.errors import ConfigError
from harness.matrix.budgets import Budgets
from harness.matrix.past import History, Past
from harness.matrix.planning import plan
from harness.matrix.shards import Shard, divide


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "a/b", "1/3/4", "-1/3", "1/3x"])
def test_what_is_no_part_is_refused(text: str) -> None:
    """It must say what was needed."""
    with pytest.raises(ConfigError, match="i/n was needed"):
        Shard.parse(text)


def test_each_cell_is_in_one_part_whatever_their_order() -> None:
    """Two machines that ask for two parts of one plan must neither share a cell nor leave one out."""
    cells, order = many(200), random.Random(7)  # noqa: S311 - no secret
    seconds = {each.id: order.choice((0.5, 1.0, 8.0)) for each in cells}
    parts = divide(cells, seconds, 3)
    assert sorted(name for part in parts for name in part) == sorted(seconds)
    order.shuffle(cells)
    assert divide(cells, seconds, 3) == parts


def test_parts_last_about_as_long() -> None:
    """Longest first, each to who has least to do: no two parts differ by more than the longest cell."""
    cells, order = many(100), random.Random(3)  # noqa: S311 - no secret
    seconds = {each.id: order.uniform(0.1, 9.0) for each in cells}
    loads = [sum(seconds[name] for name in part) for part in divide(cells, seconds, 4)]
    assert max(loads) - min(loads) <= 9.0


def test_what_is_skipped_costs_nothing() -> None:
    """A part of skipped cells must not be thought to have something to do."""
    cells = [cell("a", skipped="x"), cell("b"), cell("c")]
    assert divide(cells, {"a/a/b": 99.0, "b/a/b": 1.0, "c/a/b": 1.0}, 2) == (("a/a/b", "b/a/b"), ("c/a/b",))


def test_the_parts_of_a_plan_keep_its_order() -> None:
    """Each part must start its own longest cell first."""
    history = History(
        [Past(f"{name}/a/b", "succeeded", seconds) for name, seconds in zip("abcd", (1, 4, 3, 2), strict=True)]
    )
    planned = plan([cell(name) for name in "abcd"], history, Budgets(1, 1.0), "embedded")
    here = [[each.test for each in planned.sharded(Shard(number, 2)).here] for number in (1, 2)]
    assert here == [["b", "a"], ["c", "d"]]
