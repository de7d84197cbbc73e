"""How soon a matrix can be done at best."""

from __future__ import annotations

import pytest
from matrix_cells import cell

from harness.matrix.bounds import Bounds, Cost, bounds
from harness.matrix.budgets import Budgets
from harness.matrix.past import History, Past
from harness.matrix.planning import plan

BUDGETS = Budgets(4, 2.0, 100, cores=2.0)


def of(*costs: Cost, serialised: float = 0.0) -> Bounds:
    """Return the bounds of cells on two cores in four slots."""
    return bounds(costs, BUDGETS, "embedded", serialised)


@pytest.mark.parametrize(
    ("costs", "serialised", "binding", "seconds"),
    [
        ([Cost(f"c{number}", 2.0, 0.1) for number in range(10)], 0.0, "slots", 5.0),
        ([Cost("long", 9.0), Cost("b", 1.0)], 0.0, "longest cell", 9.0),
        ([Cost(f"c{number}", 2.0, 1.9) for number in range(10)], 0.0, "cpu", 9.5),
        ([Cost(f"c{number}", 2.0) for number in range(10)], 1.0, "engine", 10.0),
        ([Cost(f"c{number}", 2.0, memory=60) for number in range(10)], 0.0, "memory", 12.0),
        ([Cost(f"c{number}", 2.0, exclusive=("x",)) for number in range(3)], 0.0, "exclusive x", 6.0),
    ],
)
def test_the_largest_bound_is_the_binding_one(
    costs: list[Cost], serialised: float, binding: str, seconds: float
) -> None:
    """Each of them must be able to be it."""
    found = of(*costs, serialised=serialised)
    assert found.binding.name == binding
    assert found.binding.seconds == pytest.approx(seconds)


def test_what_runs_alone_is_added_to_what_the_others_take() -> None:
    """Nothing runs beside it."""
    found = of(Cost("a", 4.0), Cost("m", 3.0, alone=True))
    assert found.seconds["slots"] == 4.0
    assert found.seconds["longest cell"] == 7.0
    assert of(Cost("m", 3.0, alone=True)).binding.seconds == 3.0


def test_nothing_to_run_takes_no_time_and_has_no_ratio() -> None:
    """A matrix whose cells were all taken over must be told, too."""
    assert of().binding.seconds == 0
    assert of().ratio(1.0) is None
    assert of(Cost("a", 2.0)).ratio(3.0) == 1.5


def test_bounds_tell_how_they_come_about() -> None:
    """And which one is binding, and of how many cells something is not known."""
    text = str(of(Cost("a/b/c", 2.0, 1.0), Cost("d/e/f", 3.0), serialised=0.01))
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "slots 1.25 s 5.00 s of cells in 4 slots",
        "longest cell 3.00 s d/e/f <- binding",
        "cpu 0.50 s 1.00 s of processor time on 2 cores; not known of 1 of 2 cells",
        "engine 0.02 s 10 ms of each of 2 cells, one by one",
    ]


def test_a_plan_costs_what_earlier_runs_tell() -> None:
    """What is skipped costs nothing."""
    history = History([Past("a/a/b", "succeeded", 6.0, 0.5), Past("b/a/b", "succeeded", 2.0)])
    planned = plan([cell("a"), cell("b"), cell("c", skipped="no")], history, BUDGETS, "embedded")
    assert planned.cost().seconds["slots"] == 2.0
    assert planned.cost().binding.why == "a/a/b"


def test_no_order_of_cells_beats_the_bounds() -> None:
    """Three cells of a token that each take one second take three, however many slots there are."""
    found = bounds([Cost(name, 1.0, exclusive=("x",)) for name in "abc"], Budgets(28, 14.0, cores=2.0), "compose")
    assert found.binding.seconds == 3.0
