"""Which cells run at the same time."""

from __future__ import annotations

import random
from collections import deque

import pytest
from matrix_cells import cell

from harness.errors import ConfigError
from harness.matrix.budgets import NETWORKS, Budgets, Machine, Packing
from harness.matrix.cells import Cell

GIB = 1 << 30


def taken(packing: Packing) -> list[str]:
    """Return the tests of all that starts now."""
    started = []
    while each := packing.take():
        started.append(each.test)
    return started


def test_the_usual_budgets_of_a_machine() -> None:
    """Two slots a core, four fifths of the memory, and no more networks than an engine has."""
    assert Budgets.of(Machine(2, 10 * GIB), "embedded") == Budgets(4, 2.0, 8 * GIB, 0, 2)
    assert Budgets.of(Machine(2, 0), "compose", 60).at_once == NETWORKS
    assert Budgets.of(Machine(0.5, 0), "embedded").slots == 1
    with pytest.raises(ConfigError, match="at least 1"):
        Budgets.of(Machine(2, 0), "embedded", 0)


def test_who_asks_for_slots_gets_them_for_cells_that_say_nothing() -> None:
    """Sixteen idle cells must run side by side on two cores when somebody wants that."""
    packing = Packing(Budgets.of(Machine(2, 0), "embedded", 16), [cell(f"t{number}") for number in range(20)])
    assert len(taken(packing)) == 16


@pytest.mark.parametrize(
    ("budgets", "cells", "expected"),
    [
        (Budgets(2, 9.0), [cell("a"), cell("b"), cell("c")], ["a", "b"]),
        (Budgets(9, 2.0), [cell("a", cpu=1.5), cell("b", cpu=1.0), cell("c")], ["a", "c"]),
        (Budgets(9, 9.0, 10), [cell("a", memory=6), cell("b", memory=5), cell("c", memory=4)], ["a", "c"]),
        (Budgets(9, 9.0), [cell("a", exclusive=("x",)), cell("b", exclusive=("y", "x")), cell("c")], ["a", "c"]),
        (Budgets(9, 9.0), [cell("a"), cell("b", measures=True), cell("c")], ["a", "c"]),
        (Budgets(9, 9.0), [cell("a", measures=True), cell("b")], ["a"]),
        (Budgets(9, 2.0), [cell("a", cpu=3.0), cell("b")], ["a"]),
        (Budgets(9, 2.0), [cell("a"), cell("b", cpu=3.0), cell("c")], ["a", "c"]),
        (Budgets(9, 9.0, 10), [cell("a", memory=11), cell("b")], ["a"]),
    ],
    ids=[
        "slots",
        "cpu",
        "memory",
        "token",
        "measures later",
        "measures",
        "larger than all",
        "too large now",
        "memory of all",
    ],
)
def test_what_fits_runs_at_once(budgets: Budgets, cells: list[Cell], expected: list[str]) -> None:
    """In its order, what does not fit being passed over."""
    assert taken(Packing(budgets, cells)) == expected


def test_what_was_given_back_can_be_taken() -> None:
    """Slots, memory and tokens alike."""
    first = cell("a", memory=10, exclusive=("x",))
    packing = Packing(Budgets(1, 1.0, 10), [first, cell("b", memory=10, exclusive=("x",))])
    assert taken(packing) == ["a"]
    packing.end(first)
    assert taken(packing) == ["b"]


def test_known_cores_count_where_a_test_says_nothing() -> None:
    """What says what it takes must be believed."""
    cells = [cell("a"), cell("b"), cell("c", cpu=1.0)]
    known = {"a/a/b": 1.9, "b/a/b": 0.1, "c/a/b": 0.01}
    assert taken(Packing(Budgets(9, 2.0), cells, known)) == ["a", "b"]


def test_under_pressure_one_cell_runs_at_a_time() -> None:
    """No more start, but where none runs one must: else nothing would ever end."""
    cells = [cell("a"), cell("b")]
    packing = Packing(Budgets(9, 9.0), cells)
    assert packing.take(pressed=True) == cells[0]
    assert packing.take(pressed=True) is None
    packing.end(cells[0])
    assert packing.take(pressed=True) == cells[1]


def test_a_cell_that_is_to_run_again_runs_last_and_alone() -> None:
    """Its result must be its own doing."""
    cells = [cell("a"), cell("b"), cell("c")]
    packing = Packing(Budgets(2, 9.0), cells)
    assert taken(packing) == ["a", "b"]
    packing.end(cells[0])
    packing.again_alone(cells[0])
    assert taken(packing) == ["c"]
    packing.end(cells[1])
    assert taken(packing) == []
    packing.end(cells[2])
    assert taken(packing) == ["a"]


@pytest.mark.parametrize(
    "large",
    [
        cell("z", cpu=2.0),
        cell("z", memory=10),
        cell("z", measures=True),
        cell("z", cpu=7.0),
        cell("z", exclusive=("x", "y")),
    ],
    ids=["cpu", "memory", "alone", "larger than all", "tokens"],
)
def test_a_cell_that_does_not_fit_is_not_overtaken_for_ever(large: Cell) -> None:
    """Small ones that come again and again must leave it room some time."""
    small = [cell(f"s{number}", memory=1, exclusive=("xy"[number % 2],)) for number in range(200)]
    packing = Packing(Budgets(3, 2.0, 10), [small[0], large, *small[1:]])
    running, before = deque[Cell](), 0
    while packing.waiting or running:
        while each := packing.take():
            running.append(each)
        if large in running:
            break
        packing.end(running.popleft())
        before += 1
    assert large in running
    assert before < 30


@pytest.mark.parametrize("seed", range(20))
def test_no_budget_is_ever_exceeded_and_every_cell_runs(seed: int) -> None:
    """Whatever cells there are, and in whatever order they end."""
    order = random.Random(seed)  # noqa: S311 - no secret
    budgets = Budgets(order.randint(1, 5), order.choice((1.0, 2.0, 4.0)), order.choice((0, 10)), order.choice((0, 3)))
    cells = [
        cell(
            f"t{number}",
            cpu=order.choice((0.5, 0.1, 1.0, 5.0)),
            memory=order.randint(0, 12),
            exclusive=tuple(order.sample("xyz", order.randint(0, 2))),
            measures=order.random() < 0.1,
        )
        for number in range(60)
    ]
    packing, running, seen = Packing(budgets, cells), list[Cell](), list[str]()
    while packing.waiting or running:
        while each := packing.take(pressed=order.random() < 0.2):
            running.append(each)
            seen.append(each.id)
        check(running, budgets, packing)
        packing.end(running.pop(order.randrange(len(running))))
    assert sorted(seen) == sorted(each.id for each in cells)


def check(running: list[Cell], budgets: Budgets, packing: Packing) -> None:
    """Assert that what runs may run at the same time; at least one does."""
    assert 1 <= len(running) <= budgets.at_once
    tokens = [token for each in running for token in each.resources.exclusive]
    assert len(tokens) == len(set(tokens))
    if len(running) > 1:
        assert not any(packing.is_alone(each) for each in running)
        assert sum(each.resources.cpu for each in running) <= budgets.cpu + 1e-6
        assert not budgets.memory or sum(each.resources.memory for each in running) <= budgets.memory
