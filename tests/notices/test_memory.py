"""What is remembered of suites, and what waits to be sent."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from harness.notices import memory
from harness.notices.memory import FORGOTTEN, MOST_FLAKES, MOST_SUITES, MOST_WAITING, Memory, Suite
from harness.notices.message import Message
from harness.notices.standing import Change, Standing

SUITE = Suite("main", "shop", "auto")
GREEN, RED, BROKEN = Standing("green"), Standing("red"), Standing("broken")


def message(change: Change) -> Message:
    """Return a message that says what changed."""
    return Message(change.sentence)


def after(
    state: Memory, now: Standing, places: tuple[str, ...] = ("MAIL",), *, suite: Suite = SUITE, when: int = 1
) -> Memory:
    """Return what is remembered after a run whose messages could not be sent."""
    change = state.change(suite, now, when)
    return state.with_news(suite, change, places, message, when).with_run(suite, now, when)


def waiting(state: Memory) -> list[tuple[str, str]]:
    """Return to whom what is yet to be said."""
    return [(entry.to, entry.message.title) for entry in state.outbox]


def test_the_first_run_tells_red_and_not_green() -> None:
    """Nobody must hear that all is well at the beginning; that it is not must be heard."""
    assert waiting(after(Memory(), GREEN)) == []
    assert waiting(after(Memory(), RED)) == [("MAIL", "green -> red")]


def test_each_change_waits_once_for_each_place() -> None:
    """What was not sent must wait as it is while nothing changes, for those only who have not got it."""
    state = after(Memory(), RED, ("MAIL", "SLACK"))
    state = state.without([entry for entry in state.outbox if entry.to == "MAIL"])
    state = after(state, RED, ("MAIL", "SLACK"), when=2)
    assert waiting(state) == [("SLACK", "green -> red")]
    state = after(state, BROKEN, ("MAIL", "SLACK"), when=3)
    assert sorted(waiting(state)) == [("MAIL", "red -> broken"), ("SLACK", "green -> broken")]


def test_what_flipped_back_is_dropped() -> None:
    """Who has not heard of a red run must not hear that it is green again."""
    state = after(after(Memory(), RED), GREEN)
    assert waiting(state) == []
    assert waiting(after(state, RED)) == [("MAIL", "green -> red")]


def test_a_new_flake_is_told_although_a_later_run_has_none() -> None:
    """A flake that could not be told must be told with the next news, and be known from then on."""
    state = after(Memory(), Standing("green", flakes=frozenset({"t"})))
    assert waiting(state) == [("MAIL", "1 new flake")]
    state = after(state, RED, when=2)
    assert waiting(state) == [("MAIL", "green -> red, 1 new flake")]
    state = state.without(state.outbox)
    assert waiting(after(state, Standing("red", flakes=frozenset({"t"})), when=3)) == []
    old = after(state, RED, when=3 + FORGOTTEN)
    assert waiting(after(old, Standing("red", flakes=frozenset({"t"})), when=4 + FORGOTTEN)) == [
        ("MAIL", "1 new flake")
    ]


def test_a_broken_run_forgets_no_lapsed_quarantine() -> None:
    """A run that was broken before it read the quarantine must not have the next one tell everything again."""
    lapsed = Standing("red", lapsed=frozenset({"t"}))
    state = after(Memory(), lapsed)
    state = after(state.without(state.outbox), BROKEN)
    assert waiting(after(state.without(state.outbox), lapsed)) == [("MAIL", "broken -> red")]
    green = after(state.without(state.outbox), GREEN)
    assert waiting(after(green.without(green.outbox), Standing("green", lapsed=frozenset({"t"})))) == [
        ("MAIL", "1 lapsed quarantine")
    ]


@pytest.mark.parametrize(
    "other", [Suite("topic", "shop", "auto"), Suite("main", "x", "auto"), Suite("main", "shop", "compose"),
              Suite("main", "shop", "auto", "-k x")]
)  # fmt: skip
def test_suites_are_told_apart(other: Suite) -> None:
    """Another branch, system, engine or part of the suite must have a standing of its own."""
    state = after(after(Memory(), RED), GREEN, suite=other)
    assert waiting(state) == [("MAIL", "green -> red")]


@pytest.mark.parametrize(
    "other", [Suite("main", "x", "auto"), Suite("main", "shop", "compose"), Suite("main", "shop", "auto", "-k x")]
)
def test_a_flake_and_a_lapsed_quarantine_are_told_once_on_a_branch(other: Suite) -> None:
    """All suites share one quarantine, and a test is in several: the second to see the same must tell nothing."""
    seen = Standing("green", flakes=frozenset({"f"}), lapsed=frozenset({"q"}))
    state = after(Memory(), seen)
    assert waiting(state) == [("MAIL", "1 new flake, 1 lapsed quarantine")]
    state = after(state.without(state.outbox), seen, suite=other, when=2)
    assert waiting(state) == []
    assert waiting(after(state, seen, suite=replace(other, branch="topic"), when=3)) == [
        ("MAIL", "1 new flake, 1 lapsed quarantine")
    ]


def test_a_part_that_never_ran_before_is_compared_with_the_whole() -> None:
    """Who knows that a suite is red must not be told of it by each part that is run; of a green one it is news."""
    part = replace(SUITE, words="-k x")
    state = after(Memory(), RED)
    state = state.without(state.outbox)
    assert waiting(after(state, RED, suite=part)) == []
    assert waiting(after(state, GREEN, suite=part)) == []
    assert waiting(after(state, BROKEN, suite=part)) == [("MAIL", "red -> broken")]
    assert waiting(after(after(Memory(), GREEN), RED, suite=part)) == [("MAIL", "green -> red")]


def test_all_of_it_is_bounded() -> None:
    """However many branches, flakes and failures there are, the newest must be kept and no more than so many."""
    state = Memory()
    for number in range(MOST_SUITES + 10):
        state = after(state, RED, suite=Suite(f"b{number}", "", "auto"), when=number)
    assert len(state.suites) == MOST_SUITES
    assert len(state.outbox) == MOST_WAITING
    assert state.outbox[-1].suite == Suite(f"b{MOST_SUITES + 9}", "", "auto").key
    many = frozenset(f"t{number}" for number in range(MOST_FLAKES + 100))
    state = after(Memory(), Standing("green", flakes=many))
    assert len(next(iter(state.suites.values())).flakes) == MOST_FLAKES


def test_who_is_no_longer_named_gets_nothing() -> None:
    """A place that was taken out of the configuration must leave nothing behind that waits for ever."""
    state = after(Memory(), RED, ("MAIL", "MAIL#2", "SLACK")).for_places(["MAIL"])
    assert [entry.to for entry in state.outbox] == ["MAIL", "MAIL#2"]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """The file must hold all of it, and be read by nobody else where its folder is ours."""
    path = tmp_path / "notices.json"
    state = after(Memory(), Standing("red", ("t",), frozenset({"f"}), frozenset({"q"})), ("MAIL", "SLACK"))
    memory.write(path, state)
    assert memory.read(path) == state
    assert memory.read(tmp_path / "none.json") == Memory()


DAMAGE = [
    b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"schema": 2}', b'{"schema": 1}', b"[" * 100_000,
    b'{"schema": 1, "suites": {"x": {"verdict": "mauve", "failed": [], "flakes": {}, "lapsed": [], "when": 1}}, "outbox": []}',  # noqa: E501
    b'{"schema": 1, "suites": {"x": {"verdict": "red", "failed": [], "flakes": {}, "lapsed": [], "when": 1}}, "outbox": []}',  # noqa: E501
    b'{"schema": 1, "suites": {"x": 3}, "outbox": []}', b'{"schema": 1, "suites": {}, "outbox": [{}]}',
]  # fmt: skip


@pytest.mark.parametrize("data", DAMAGE)
def test_a_damaged_file_is_kept_aside_and_told(data: bytes, tmp_path: Path) -> None:
    """Whatever is in the file, it must be kept as it is under another name, and a new one begin."""
    path = tmp_path / "notices.json"
    path.write_bytes(data)
    state, told = memory.read_or_begin(path)
    assert state == Memory()
    (aside,) = tmp_path.iterdir()
    assert aside.name.startswith("notices.json.damaged-")
    assert aside.read_bytes() == data
    assert told.startswith(f"{path} cannot be read: ")
    assert told.endswith(f"; it is kept as {aside.name}, a new one was begun")
    assert "\n" not in told


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """A link must be moved aside and what it points to stay."""
    (tmp_path / "other").write_text("mine")
    path = tmp_path / "notices.json"
    path.symlink_to("other")
    assert memory.read_or_begin(path)[0] == Memory()
    assert (tmp_path / "other").read_text() == "mine"
    memory.write(path, Memory())
    assert stat.S_ISREG(path.lstat().st_mode)
    assert json.loads(path.read_text())["schema"] == memory.SCHEMA
