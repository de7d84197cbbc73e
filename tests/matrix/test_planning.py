"""What is run in which order, and when two plans are one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from matrix_cells import cell, many

from harness import clock
from harness.errors import ConfigError
from harness.matrix.budgets import Budgets
from harness.matrix.cases import Resources
from harness.matrix.past import History, Past
from harness.matrix.planning import differences, plan, read_plan, spent, write_plan
from harness.matrix.shards import Shard
from harness.matrix.verdicts import Result, Verdict

BUDGETS = Budgets(4, 2.0, cores=2.0)
SLOW = History(
    [Past("b/a/b", "succeeded", 9.0, 3.0), Past("c/a/b", "succeeded", 2.0), Past("m/a/b", "succeeded", 99.0)]
)


def test_the_longest_expected_starts_first_and_what_measures_last() -> None:
    """Of cells that nothing is known of the order must be that of their ids."""
    cells = [cell("m", measures=True), cell("d"), cell("a"), cell("c"), cell("b")]
    planned = plan(cells, SLOW, BUDGETS, "embedded")
    assert [each.test for each in planned.cells] == ["b", "c", "a", "d", "m"]
    assert planned.seconds["a/a/b"] == 1.0
    assert planned.cpu == {"b/a/b": 3.0}
    assert planned.busy == {"b/a/b": pytest.approx(1 / 3)}


def test_a_plan_is_the_same_whatever_the_order_of_cells_and_the_history_are() -> None:
    """What decides only when a cell runs must not make it another plan."""
    cells = [cell("a"), cell("b"), cell("c")]
    first = plan(cells, SLOW, BUDGETS, "embedded", "m")
    second = plan(cells[::-1], History(), Budgets(1, 1.0), "embedded", "m")
    assert first.hash == second.hash == first.sharded(Shard(1, 2)).hash
    assert differences(first, second) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"digest": "other"}, "its content is another (test, commands, images, parameters or variables)"),
        ({"seed": 5}, "seed was 0, it is 5"),
        ({"timeout": 5.0}, "timeout was 600.0, it is 5.0"),
        ({"retries": 1}, "retries was 0, it is 1"),
        ({"measures": True}, "measures was False, it is True"),
        ({"skipped": "why"}, "skipped was '', it is 'why'"),
        ({"resources": Resources(exclusive=("x",))}, "tokens was [], it is ['x']"),
    ],
)
def test_what_decides_how_a_cell_ends_makes_another_plan(change: dict[str, object], told: str) -> None:
    """And it must be told what changed."""
    before = plan([cell("a"), cell("b")], History(), BUDGETS, "embedded", "m")
    now = plan([cell("a"), replace(cell("b"), **change)], History(), BUDGETS, "embedded", "m")  # type: ignore[arg-type]
    assert before.hash != now.hash
    assert differences(before, now) == [f"cell b/a/b: {told}"]


def test_another_engine_matrix_or_cell_makes_another_plan() -> None:
    """Each must be told."""
    before = plan([cell("a"), cell("b")], History(), BUDGETS, "embedded", "m")
    now = plan([cell("a"), cell("c")], History(), BUDGETS, "compose", "n")
    assert differences(before, now) == [
        "the matrix was m, it is n",
        "the engine was embedded, it is compose",
        "cell c/a/b is new",
        "cell b/a/b is no more",
    ]


def test_a_cell_that_is_there_twice_is_refused() -> None:
    """A result could not be told to be its."""
    with pytest.raises(ConfigError, match="Cell a/a/b is there 2 times"):
        plan([cell("a"), cell("b"), cell("a")], History(), BUDGETS, "embedded")


def test_a_plan_that_was_written_is_read_as_it_was() -> None:
    """With order, expectations, budgets and shard."""
    odd = cell("p/a/b/x=ü,y=2", params={"x": "ü", "y": "2"}, exclusive=("t",), memory=7, skipped="because", seed=9)
    planned = plan([odd, cell("b")], SLOW, BUDGETS, "compose", "m").sharded(Shard(2, 3))
    assert read_plan(write_plan(planned), "plan.json") == planned


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[:-9], "Plan p cannot be read"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 7'), "has schema version 7, 1 was needed"),
        (lambda text: text.replace("of-b/a/b", "of-x"), "Plan p is not what it was"),
        (lambda text: text.replace('"slots"', '"slats"'), "Plan p cannot be read"),
        (lambda _: "[]", "Plan p cannot be read"),
    ],
)
def test_a_plan_that_was_not_written_so_is_refused(damage: object, told: str) -> None:
    """A file that was cut off, changed, or is of another version must not decide what runs."""
    text = write_plan(plan([cell("a"), cell("b")], History(), BUDGETS, "embedded", "m"))
    with pytest.raises(ConfigError, match=told):
        read_plan(damage(text), "p")  # type: ignore[operator]


def test_a_plan_can_be_read_by_people() -> None:
    """In its order, with what is expected and what is skipped."""
    planned = plan([cell("a", skipped="no"), cell("b")], SLOW, BUDGETS, "embedded", "m")
    assert str(planned).splitlines() == [
        f"m on embedded: 2 cells, 1 skipped; plan {planned.hash[:12]}",
        "  b/a/b  9.0 s",
        "  a/a/b  skipped: no",
    ]


def test_what_cells_have_taken_is_bounded_by_what_they_are() -> None:
    """Those that measure are run alone, so their seconds must count in full."""
    planned = plan([cell("a"), cell("m", measures=True)], History(), BUDGETS, "embedded")
    results = [Result(f"{name}/a/b", "", Verdict("succeeded"), seconds=4.0) for name in "am"]
    assert spent(results, planned).seconds["slots"] == 4.0 / 4 + 4.0


def test_ten_thousand_cells_are_planned_and_written_in_little_more_than_it_takes_to_describe_them() -> None:
    """Twenty times a walk over them that makes JSON and a digest of each must do, whatever the machine is busy with."""
    cells = many(10_000)
    history = History([Past(each.id, "succeeded", float(number % 97)) for number, each in enumerate(cells)])

    def floor() -> None:
        for each in cells:
            hashlib.sha256(json.dumps([each.id, each.digest, each.seed, each.timeout]).encode()).hexdigest()

    def ours() -> None:
        write_plan(plan(cells, history, BUDGETS, "embedded", "m"))

    assert min(_timed(ours) for _ in range(3)) < 20 * min(_timed(floor) for _ in range(3))


def _timed(act: object) -> float:
    began = clock.now()
    act()  # type: ignore[operator]
    return clock.now() - began
