"""Deadlines, the one poll loop, and errors as people read them."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING

import pytest

from harness import clock
from harness.clock import Deadline, poll
from harness.errors import (
    EXIT_MEANING,
    FIRST_LINE_LIMIT,
    BrokenStack,
    ConfigError,
    EngineUnreachableError,
    HarnessError,
    LeftoverError,
    Unsupported,
    WaitTimeout,
    lay_out,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("spent", "left", "expired"), [(0.0, 100.0, False), (40.0, 60.0, False), (100.0, 0.0, True), (250.0, 0.0, True)]
)
def test_a_deadline_counts_down(spent: float, left: float, expired: bool) -> None:
    """A deadline must know what is left and spent of its budget, and whether it has passed."""
    deadline = Deadline(at=clock.now() + 100.0 - spent, budget=100.0)
    assert deadline.expired() is expired
    assert deadline.remaining() == pytest.approx(left, abs=2)
    assert deadline.remaining() >= 0
    assert deadline.elapsed() == pytest.approx(spent, abs=2)


def test_a_deadline_is_that_far_from_now() -> None:
    """A new deadline must have its whole budget and pass when that is spent."""
    before = clock.now()
    deadline = Deadline.after(30)
    assert before + 30 <= deadline.at <= clock.now() + 30
    assert deadline.budget == 30


@pytest.mark.parametrize(("seconds", "is_new"), [(5.0, True), (60.0, False)])
def test_the_sooner_of_two_deadlines_counts(seconds: float, is_new: bool) -> None:
    """A nested wait must never be longer than the one around it."""
    outer = Deadline.after(30)
    inner = outer.sooner(seconds)
    assert inner.at <= outer.at
    assert (inner is not outer) is is_new
    assert inner.budget == (seconds if is_new else 30)


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_one_turn_always_happens(seconds: float) -> None:
    """A deadline that has passed already must still give exactly one turn."""
    assert list(poll(Deadline.after(seconds))) == [0]


def test_the_last_turn_begins_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polling must go on to the deadline, number its turns, and end with one turn after it."""
    deadline = Deadline.after(0.5)
    turns = [(turn, deadline.expired()) for turn in poll(deadline)]
    assert [turn for turn, _ in turns] == list(range(len(turns)))
    assert len(turns) >= 5
    assert [expired for _, expired in turns] == [False] * (len(turns) - 1) + [True]
    monkeypatch.setattr(clock, "DENSE", 60.0)
    assert list(poll(Deadline.after(0.1), longest=60.0)) == [0, 1]
    assert deadline.elapsed() < 30


def test_a_turn_that_takes_too_long_is_followed_by_the_last() -> None:
    """A body that is still busy when the time is up must have one more turn, to see what is true at the end."""
    turns = []
    for turn in poll(Deadline.after(0.3)):
        turns.append(turn)
        if turn == 0:
            threading.Event().wait(0.4)
    assert turns == [0, 1]


def test_a_turn_can_end_the_wait() -> None:
    """Who has seen enough must be able to leave at once, long before the deadline."""
    deadline = Deadline.after(60)
    for turn in poll(deadline):
        if turn == 2:
            break
    assert deadline.elapsed() < 30


def test_an_event_ends_the_pause_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake event must begin the next turn without the rest of the pause, and be cleared for the one after."""
    monkeypatch.setattr(clock, "DENSE", 1.0)
    wake = threading.Event()
    wake.set()
    deadline = Deadline.after(60)
    for turn in poll(deadline, wake=wake):
        if turn:
            assert not wake.is_set()
        if turn == 200:
            break
        wake.set()
    assert deadline.elapsed() < 30


def test_another_thread_can_wake_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that another thread sets must be seen in the turn after it."""
    monkeypatch.setattr(clock, "DENSE", 60.0)
    wake = threading.Event()
    seen = threading.Event()

    def tell() -> None:
        seen.set()
        wake.set()

    teller = threading.Thread(target=tell)
    deadline = Deadline.after(60)
    for turn in poll(deadline, wake=wake, longest=60.0):
        if turn == 0:
            teller.start()
        elif seen.is_set():
            break
    teller.join()
    assert seen.is_set()
    assert deadline.elapsed() < 30


def test_a_body_that_blocks_needs_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pauses the turns must follow each other as fast as the body allows."""
    monkeypatch.setattr(clock, "DENSE", 1.0)
    deadline = Deadline.after(60)
    for turn in poll(deadline, pause=False):
        if turn == 2000:
            break
    assert deadline.elapsed() < 30


class Guard:
    """Counts its calls and raises on the last one that it allows."""

    def __init__(self, allowed: int = 1_000_000) -> None:
        self.calls = 0
        self.allowed = allowed

    def __call__(self) -> None:
        self.calls += 1
        if self.calls > self.allowed:
            raise BrokenStack("Service 'kafka' ended with exit code 1", service="kafka", exit_code_seen=1)


def in_own_context(test: object) -> None:
    """Run ``test`` where no guard of anybody else is, and where its own ones stay."""
    assert callable(test)
    contextvars.Context().run(test)


def test_a_guard_ends_every_wait() -> None:
    """A guard must be asked before every turn, and what it raises end the wait at once, before the turn."""

    def check() -> None:
        guard = Guard(allowed=3)
        clock.add_guard(guard)
        turns = poll(Deadline.after(60))
        assert [next(turns), next(turns), next(turns)] == [0, 1, 2]
        with pytest.raises(BrokenStack, match=r"^Service 'kafka' ended with exit code 1$"):
            next(turns)
        assert guard.calls == 4

    in_own_context(check)


def test_a_guard_is_asked_even_when_the_time_is_up() -> None:
    """A service that is dead must be told rather than that the time is up."""

    def check() -> None:
        clock.add_guard(Guard(allowed=0))
        with pytest.raises(BrokenStack):
            list(poll(Deadline.after(0)))

    in_own_context(check)


def test_guards_come_and_go() -> None:
    """A guard must be asked once a turn however often it is added, with the others, and no more when removed."""

    def check() -> None:
        first, second = Guard(), Guard()
        clock.add_guard(first)
        clock.add_guard(first)
        clock.add_guard(second)
        clock.check_guards()
        assert (first.calls, second.calls) == (1, 1)
        clock.remove_guard(first)
        clock.remove_guard(first)
        clock.remove_guard(Guard())
        clock.check_guards()
        assert (first.calls, second.calls) == (1, 2)

    in_own_context(check)


def test_guards_belong_to_their_context() -> None:
    """A guard of one context must not be asked in another."""
    guard = Guard()
    in_own_context(lambda: clock.add_guard(guard))
    clock.check_guards()
    assert guard.calls == 0


DEEP = "/".join(["quite-a-long-folder"] * 5)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("short", ["short"]),
        ("two\n  lines\tand  tabs ", ["two lines and tabs"]),
        ("x" * 120, ["x" * 120]),
        (f"short ({DEEP}/a.log)", [f"short ({DEEP}/a.log)"]),
        (f"{'cause ' * 10}end ({DEEP}/a.log)", [f"{'cause ' * 10}end", f"  see {DEEP}/a.log"]),
        (f"{DEEP}/s.yaml:12: {'cause ' * 10}end", [f"{'cause ' * 10}end", f"  in {DEEP}/s.yaml:12"]),
        (
            f"2 problems: {DEEP}/s.yaml:12: {'cause ' * 10}end",
            [f"2 problems: {'cause ' * 10}end", f"  in {DEEP}/s.yaml:12"],
        ),
        (
            f"Service 'a' ({DEEP}/s.yaml): cause and end",
            ["Service 'a' (.../s.yaml): cause and end", f"  {DEEP}/s.yaml"],
        ),
        (
            f"/{DEEP}/a.yaml:1: as {DEEP}/b.yaml {'has ' * 10}",
            [f"as .../b.yaml {'has ' * 9}has", f"  {DEEP}/b.yaml", f"  in /{DEEP}/a.yaml:1"],
        ),
        ("word " * 30 + "end", ["word " * 23 + "...", "  ... " + "word " * 7 + "end"]),
        ("a" * 200, ["a" * 116 + " ...", "  ... " + "a" * 84]),
    ],
)
def test_a_sentence_has_its_cause_in_the_first_line(text: str, lines: list[str]) -> None:
    """The first line must have at most 120 characters; places leave it first, and nothing is lost or said twice."""
    assert lay_out(text) == lines
    assert len(lines[0]) <= FIRST_LINE_LIMIT


def test_paths_are_relative_to_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in the checkout must be shown from its top, also to who stands below it; others, and logs, as they are."""
    inside, outside = f"{tmp_path}/top/compose/s.yaml", f"{tmp_path}/topper/s.yaml"
    (tmp_path / "top" / "sub").mkdir(parents=True)
    (tmp_path / "top" / "pyproject.toml").touch()
    for folder in ("top", "top/sub"):
        monkeypatch.chdir(tmp_path / folder)
        error = HarnessError(f"{inside}:3: wrong", details=[f"  {inside}"], hint=f"see {inside}")
        assert str(error) == f"compose/s.yaml:3: wrong\n  {inside}\nnext: see compose/s.yaml"
        assert str(HarnessError("wrong", hint=f"see {outside}")) == f"wrong\nnext: see {outside}"
        several = ConfigError.of(["a", f"{inside}: b"])
        assert str(several) == "2 problems: a\n  compose/s.yaml: b"
        assert several.problems == ("a", f"{inside}: b")


def test_an_error_can_be_told_where_there_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error must have its sentence also when the current folder is gone, or is the top of everything."""
    monkeypatch.chdir("/")
    assert str(HarnessError("/etc/x is wrong")) == "/etc/x is wrong"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert str(HarnessError("/etc/x is wrong")) == "/etc/x is wrong"


def test_an_error_says_first_what_and_last_what_to_do() -> None:
    """An error must print its summary, its details and the next step, in this order."""
    error = HarnessError("Who: what was seen", details=["  the cause", "  the log"], hint="do this")
    assert str(error) == "Who: what was seen\n  the cause\n  the log\nnext: do this"
    assert str(HarnessError("Only this")) == "Only this"
    assert (error.summary, error.details, error.hint) == ("Who: what was seen", ("  the cause", "  the log"), "do this")


def test_one_problem_is_its_own_error() -> None:
    """A single problem must be told as it is, also when it was found several times."""
    assert str(ConfigError.of(["a.yaml:1: wrong"])) == "a.yaml:1: wrong"
    assert str(ConfigError.of(["a.yaml:1: wrong"] * 3, hint="mend it")) == "a.yaml:1: wrong\nnext: mend it"


def test_several_problems_are_one_error() -> None:
    """Several problems must be counted and told once each, in the order in which they were found."""
    error = ConfigError.of(["a.yaml:2: one", "b.yaml:1: two", "a.yaml:2: one", "a.yaml:1: three"], hint="mend them")
    assert str(error) == ("3 problems: a.yaml:2: one\n  b.yaml:1: two\n  a.yaml:1: three\nnext: mend them")
    assert error.exit_code == 10


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (HarnessError, 1),
        (ConfigError, 10),
        (EngineUnreachableError, 11),
        (BrokenStack, 12),
        (LeftoverError, 14),
        (Unsupported, 10),
        (WaitTimeout, 1),
    ],
)
def test_every_error_has_its_exit_code(kind: type[HarnessError], code: int) -> None:
    """Every kind of error must be of one tree and have the documented exit code, which has a meaning."""
    error = kind("what happened")
    assert isinstance(error, HarnessError)
    assert (error.exit_code, str(error)) == (code, "what happened")
    assert code in EXIT_MEANING


def test_a_broken_stack_knows_who_is_to_blame() -> None:
    """The service and its exit code must be facts of the error, and unknown when nobody is to blame."""
    error = BrokenStack("Service 'a' died", service="a", exit_code_seen=-9, details=["log"], hint="look")
    assert (error.service, error.exit_code_seen, str(error)) == ("a", -9, "Service 'a' died\nlog\nnext: look")
    assert (BrokenStack("x").service, BrokenStack("x").exit_code_seen) == ("", None)


# -- calls aside ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spent", "step"),
    [(0.0, 0.005), (0.2, 0.005), (0.5, 0.01), (1.9, 0.02), (2.0, 0.04), (10.0, 0.2), (25.0, 0.5), (600.0, 0.5)],
)
def test_the_older_a_wait_the_longer_its_pauses(spent: float, step: float) -> None:
    """A young wait must look every 5-20 ms, an older one after 2 % of what it has lasted, at most half a second."""
    assert clock.step_after(spent) == pytest.approx(step)


def test_a_pause_can_be_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for something that comes again and again must be able to bound the pauses."""
    monkeypatch.setattr(clock, "DENSE", 1.0)
    deadline = Deadline.after(60)
    for turn in poll(deadline, longest=0.0):
        if turn == 200:
            break
    assert deadline.elapsed() < 30


def test_a_call_aside_gives_its_result_and_its_error() -> None:
    """What was called aside must give what it returned, or raise what it raised, and wake who waits."""
    wake = threading.Event()
    well = clock.Aside(lambda: 7, wake)
    assert wake.wait(10)
    assert well.is_over(10)
    assert well.result() == 7
    broken = clock.Aside(lambda: int("x"))
    assert broken.is_over(10)
    with pytest.raises(ValueError, match="invalid literal"):
        broken.result()


def test_a_call_aside_can_be_left() -> None:
    """A call that does not return must not keep who waits for it, and must see the guards of whoever began it."""
    over, guard = threading.Event(), Guard()
    clock.add_guard(guard)

    def hang() -> None:
        clock.check_guards()
        over.wait(20)

    try:
        hangs = clock.Aside(hang)
        assert not hangs.is_over(0.05)
        assert hangs.seconds >= 0.05
        over.set()
        assert hangs.is_over(10)
        assert guard.calls == 1
    finally:
        clock.remove_guard(guard)
