"""Tests of `harness.residue.judging`: whose a thing is that is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.config.residue import Allowed
from harness.errors import HarnessError
from harness.residue.allowing import Allowing, is_of
from harness.residue.judging import Watch
from harness.residue.watching import Left

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping


class Shelf:
    """Things that tests put down and take away."""

    kind = "things"

    def __init__(self, *, counts_removed: bool = True, is_shared: bool = False) -> None:
        self.counts_removed = counts_removed
        self.is_shared = is_shared
        self.things: dict[str, str] = {"old": "1"}
        self.looks = 0
        self.goes_after = 10**6  # looks
        self.error: Exception | None = None

    def glance(self) -> Hashable:
        if self.error:
            raise self.error
        return tuple(sorted(self.things.items()))

    def look(self) -> Mapping[str, str]:
        self.looks += 1
        return self.things


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def watch(shelf: Shelf, said: list[str]) -> Watch:
    """A watch over the shelf, which waits for nothing."""
    watch = Watch(Allowing(()), said.append, patience=0.0)
    watch.add([shelf])
    return watch


def told(watch: Watch) -> list[str]:
    """End the test, and return what is told of it."""
    return [str(found) for found in watch.end_test()]


def test_what_was_there_before_is_nobodys_and_what_was_told_once_is_not_told_again(watch: Watch, shelf: Shelf) -> None:
    watch.begin_test()
    shelf.things |= {"new": "2", "old": "3"}
    assert told(watch) == ["things: new: 2", "things: old (changed): 3"]
    watch.begin_test()
    assert told(watch) == []


def test_nothing_is_looked_at_where_a_glance_sees_no_difference(watch: Watch, shelf: Shelf) -> None:
    for _ in range(3):
        watch.begin_test()
        assert told(watch) == []
    assert shelf.looks == 1


def test_what_comes_between_two_tests_is_of_neither(watch: Watch, shelf: Shelf) -> None:
    watch.begin_test()
    assert told(watch) == []
    shelf.things["between"] = ""
    watch.begin_test()
    assert told(watch) == []


def test_what_is_gone_is_residue_of_kinds_where_that_counts(said: list[str]) -> None:
    counting, other = Shelf(), Shelf(counts_removed=False)
    watch = Watch(Allowing(()), said.append, patience=0.0)
    watch.add([counting, other])
    watch.begin_test()
    counting.things, other.things = {}, {}
    assert told(watch) == ["things: old (removed): 1"]


def test_what_ends_while_it_is_judged_is_no_residue(said: list[str]) -> None:
    class Ending(Shelf):
        def glance(self) -> Hashable:
            self.looks += 1
            if self.looks > 20:
                self.things = {}
            return tuple(self.things)

    shelf = Ending(counts_removed=False)
    watch = Watch(Allowing(()), said.append, patience=2.0)
    watch.add([shelf])
    watch.begin_test()
    shelf.things = {"new": ""}
    assert told(watch) == []


def test_a_fixtures_things_are_its_own_until_it_is_torn_down(watch: Watch, shelf: Shelf) -> None:
    watch.begin_test()
    before = watch.begin_set_up()
    shelf.things |= {"a": "", "b": "", "old": "2"}
    watch.end_set_up(before, "fixture", "fixture 'f'")
    shelf.things["own"] = ""
    assert told(watch) == ["things: own"]
    watch.begin_test()
    del shelf.things["a"]
    watch.end_tear_down("fixture")
    assert told(watch) == ["things: b [left by fixture 'f']", "things: old (changed): 2 [left by fixture 'f']"]


def test_what_a_fixture_puts_back_is_not_left(watch: Watch, shelf: Shelf) -> None:
    watch.begin_test()
    before = watch.begin_set_up()
    shelf.things = {"old": "2", "a": ""}
    watch.end_set_up(before, "fixture", "fixture 'f'")
    assert told(watch) == []
    watch.begin_test()
    shelf.things = {"old": "1"}
    watch.end_tear_down("fixture")
    assert told(watch) == []


def test_what_a_test_does_to_a_fixtures_things_is_the_tests(watch: Watch, shelf: Shelf) -> None:
    watch.begin_test()
    before = watch.begin_set_up()
    shelf.things["a"] = "1"
    watch.end_set_up(before, "fixture", "fixture 'f'")
    shelf.things["a"] = "2"
    assert told(watch) == ["things: a (changed): 2"]


def test_a_fixture_within_another_has_its_own_things(watch: Watch, shelf: Shelf) -> None:
    watch.begin_test()
    outer = watch.begin_set_up()
    inner = watch.begin_set_up()
    shelf.things["inner"] = ""
    watch.end_set_up(inner, "inner", "inner")
    shelf.things["outer"] = ""
    watch.end_set_up(outer, "outer", "outer")
    watch.end_tear_down("outer")
    assert told(watch) == ["things: outer [left by outer]"]
    watch.begin_test()
    watch.end_tear_down("inner")
    assert told(watch) == ["things: inner [left by inner]"]


def test_what_cannot_be_looked_at_is_said_once_and_is_no_verdict(watch: Watch, shelf: Shelf, said: list[str]) -> None:
    watch.begin_test()
    shelf.error = HarnessError("It does not answer")
    shelf.things["new"] = ""
    assert told(watch) == []
    shelf.error = None
    watch.begin_test()
    shelf.things["newer"] = ""
    assert told(watch) == []
    assert said == ["things cannot be watched for what tests leave: It does not answer"]


def test_what_is_watched_for_a_stack_is_forgotten_with_it(watch: Watch) -> None:
    store = Shelf()
    watch.begin_test()
    watch.add([store], "stack")
    store.things["new"] = ""
    watch.drop("stack")
    assert told(watch) == []
    watch.begin_test()
    watch.add([store], "stack")
    store.things["newer"] = ""
    assert told(watch) == ["things: newer"]


def test_things_in_a_place_that_workers_share_are_told_by_their_namespace(said: list[str]) -> None:
    shelf = Shelf(is_shared=True)
    watch = Watch(Allowing(()), said.append, worker="1", alone=False, patience=0.0)
    watch.add([shelf])
    watch.begin_test()
    shelf.things |= dict.fromkeys(("w1_mine", "w3_another", "nobodys", "db.public.w1_table"), "")
    assert told(watch) == ["things: db.public.w1_table", "things: w1_mine"]


@pytest.mark.parametrize(
    ("name", "alone", "whole"),
    [("w0_x", True, True), ("w3_x", True, False), ("x", True, True), ("x", False, False), ("app-w0-x", False, True)],
)
def test_whose_a_thing_is_stands_in_its_name(name: str, *, alone: bool, whole: bool) -> None:
    assert is_of("0", name, alone=alone) == whole


def test_what_is_allowed_is_known_by_kind_and_name() -> None:
    entry, other = Allowed("things", "pool-*", "it stays"), Allowed("threads", "*", "all")
    allowing = Allowing((entry, other))
    things = [Left("things", "pool-1"), Left("things", "other")]
    assert allowing.without_allowed(things) == [Left("things", "other")]
    assert allowing.matched == {entry}


class Busy(Shelf):
    """A shelf where somebody else goes on working: each look sees another thing of theirs, most glances none."""

    def glance(self) -> Hashable:
        self.looks += 1
        return self.looks == 3

    def look(self) -> Mapping[str, str]:
        return {f"passing {self.looks}": "", **self.things}


def test_what_is_another_thing_at_each_look_is_no_residue(said: list[str]) -> None:
    """A stranger's work that passes must not be told, and what stays beside it must be."""
    busy = Busy(counts_removed=False)
    watch = Watch(Allowing(()), said.append, patience=0.2)
    watch.add([busy])
    watch.begin_test()
    assert told(watch) == []
    busy.looks = 1
    watch.begin_test()
    busy.things["stays"] = "1"
    assert told(watch) == ["things: stays: 1"]


def test_a_machine_that_stood_still_is_no_reason_to_tell_what_was_seen_once(said: list[str]) -> None:
    busy = Busy(counts_removed=False)
    watch = Watch(Allowing(()), said.append, patience=1e-9)
    watch.add([busy])
    watch.begin_test()
    busy.looks = 2
    busy.things["stays"] = "1"
    assert told(watch) == ["things: stays: 1"]


def test_what_takes_the_place_of_another_thing_at_once_is_told(said: list[str]) -> None:
    class Forking(Shelf):
        def look(self) -> Mapping[str, str]:
            things = super().look()
            if "parent" in things:  # the next look sees what it has left instead of itself
                self.things = {"daemon": ""}
            return things

    shelf = Forking(counts_removed=False)
    watch = Watch(Allowing(()), said.append, patience=0.5)
    watch.add([shelf])
    watch.begin_test()
    shelf.things = {"parent": ""}
    assert told(watch) == ["things: daemon"]
