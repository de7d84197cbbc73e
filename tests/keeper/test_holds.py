"""Who gets a stack, who waits, and what goes: without any process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harness.keeper.holds import KEPT, Answer, Holds, Outcome, Request, State

if TYPE_CHECKING:
    from collections.abc import Iterable

A, B, C = "run-1", "run-2", "run-3"
SPONSOR = "sponsor-1"


class Desk:
    """Holds, and what came of each request; removals wait until a test says that they are done."""

    def __init__(self) -> None:
        self.holds = Holds()
        self.answers: dict[int, Answer] = {}
        self.removing: list[str] = []
        self._tickets = 0

    def take(self, outcome: Outcome) -> None:
        """Note what came of something."""
        for answer in outcome.answers:
            assert answer.ticket not in self.answers, "answered twice"
            self.answers[answer.ticket] = answer
        for name in outcome.removals:
            assert name not in self.removing, "removed twice"
            self.removing.append(name)

    def acquire(self, client: str, stack: str, *includes: str, alone: bool = False, sponsor: str = "") -> Answer | None:
        """Ask for a stack; return the answer, None when the client waits."""
        self._tickets += 1
        self.take(self.holds.acquire(Request(self._tickets, client, stack, includes, alone, sponsor)))
        return self.answers.get(self._tickets)

    def up(self, client: str, stack: str, *includes: str, alone: bool = False, sponsor: str = "") -> None:
        """Have a client build a stack."""
        answer = self.acquire(client, stack, *includes, alone=alone, sponsor=sponsor)
        assert answer is not None
        assert answer.build
        self.take(self.holds.settled(client, stack))
        assert self.holds.stacks[stack].state is State.SETTLED

    def gone(self, stack: str) -> None:
        """Say that a removal is done."""
        self.removing.remove(stack)
        self.take(self.holds.removed(stack))

    def leave(self, *holders: str) -> None:
        """Have holders leave."""
        for holder in holders:
            self.take(self.holds.leave(holder))


@pytest.fixture
def desk() -> Desk:
    """An environment without stacks."""
    return Desk()


def test_the_first_builds_and_others_wait_until_it_is_settled(desk: Desk) -> None:
    """The first to ask must be told to build, and the second get the stack when the builder says that it is settled."""
    assert desk.acquire(A, "s") == Answer(1, "s", build=True)
    assert desk.acquire(B, "s") is None
    desk.take(desk.holds.settled(B, "s"))  # not its word to give
    assert 2 not in desk.answers
    desk.take(desk.holds.settled(A, "s"))
    assert desk.answers[2] == Answer(2, "s")
    desk.leave(A)
    assert desk.removing == []
    desk.leave(B)
    assert desk.removing == ["s"]


def test_a_build_that_is_given_up_is_undone_and_done_again_by_the_next(desk: Desk) -> None:
    """When the builder leaves, the stack must go although it is to be kept, and the next in line build it anew."""
    desk.acquire(A, "s")
    desk.take(desk.holds.keep(["s"]))
    assert (desk.acquire(B, "s"), desk.acquire(C, "s")) == (None, None)
    desk.leave(A)
    assert desk.removing == ["s"]
    desk.gone("s")
    assert desk.answers[2].build
    assert 3 not in desk.answers


def test_a_stack_goes_before_what_it_stands_on(desk: Desk) -> None:
    """What a stack includes must stay until that stack is gone, and go then when nobody else needs it."""
    desk.up(A, "base")
    desk.up(A, "top", "base")
    assert desk.holds.holders_of("base") == [A, "stack-top"]
    assert desk.holds.below("top") == {"base"}
    desk.leave(A)
    assert desk.removing == ["top"]
    desk.gone("top")
    assert desk.removing == ["base"]
    desk.gone("base")
    assert desk.holds.stacks == {}


def test_a_stack_that_stands_on_one_whose_build_was_given_up_goes_as_well(desk: Desk) -> None:
    """Whatever was built on a stack that is never settled must go first."""
    desk.acquire(A, "base")
    desk.acquire(A, "top", "base")
    desk.take(desk.holds.keep(["top"]))
    desk.take(desk.holds.release(A, "base"))
    assert desk.removing == ["top"]
    assert not desk.holds.is_needed("base")
    desk.gone("top")
    assert desk.removing == ["base"]


def test_a_stack_that_stands_on_nothing_is_refused(desk: Desk) -> None:
    """A client that asks for a stack whose included ones are not there must be told so, and hold nothing."""
    answer = desk.acquire(A, "top", "base")
    assert answer
    assert "base" in answer.refusal
    assert desk.holds.stacks == {}


def test_an_owner_has_it_alone_until_it_lets_go(desk: Desk) -> None:
    """Another client of the sponsor must wait while one has a stack alone, and then get it afresh."""
    desk.up(A, "m", alone=True, sponsor=SPONSOR)
    assert desk.acquire(B, "m", alone=True, sponsor=SPONSOR) is None
    desk.take(desk.holds.release(A, "m"))
    assert desk.removing == ["m"]
    desk.gone("m")
    assert desk.answers[2].build


def test_what_is_kept_is_nobodys_alone(desk: Desk) -> None:
    """When an owner keeps its stack, whoever waits must get it as it is."""
    desk.up(A, "m", alone=True, sponsor=SPONSOR)
    assert desk.acquire(B, "m", alone=True, sponsor=SPONSOR) is None
    desk.take(desk.holds.keep(["m"]))
    assert desk.answers[2] == Answer(2, "m")
    desk.leave(A, B)
    assert desk.removing == []
    desk.take(desk.holds.release(KEPT, "m"))
    assert desk.removing == ["m"]


def test_what_is_shared_is_held_for_the_sponsor(desk: Desk) -> None:
    """A shared stack must outlive the client that built it, and go when the sponsor leaves; a failed build must not."""
    desk.acquire(A, "s", sponsor=SPONSOR)
    assert desk.holds.stacks["s"].holders == {A}
    desk.take(desk.holds.settled(A, "s"))
    desk.leave(A)
    assert desk.removing == []
    desk.leave(SPONSOR)
    assert desk.removing == ["s"]


def test_a_sponsor_that_has_left_holds_nothing_later(desk: Desk) -> None:
    """A stack that is settled after its sponsor had left must be its builder's only, and no client of it wait on."""
    desk.acquire(A, "s", sponsor=SPONSOR)
    assert desk.acquire(B, "s", sponsor=SPONSOR) is None
    desk.leave(SPONSOR)
    assert desk.answers[2].refusal
    desk.take(desk.holds.settled(A, "s"))
    assert desk.holds.stacks["s"].holders == {A}


def test_clients_that_would_wait_for_each_other_are_refused(desk: Desk) -> None:
    """The request that closes a circle must be refused as circular, and the other be answered in the end."""
    desk.up(A, "a", alone=True, sponsor=SPONSOR)
    desk.up(B, "b", alone=True, sponsor=SPONSOR)
    assert desk.acquire(A, "b", alone=True, sponsor=SPONSOR) is None
    answer = desk.acquire(B, "a", alone=True, sponsor=SPONSOR)
    assert answer
    assert answer.circular
    desk.leave(B)
    desk.gone("b")
    assert desk.answers[3].build


def test_a_circle_that_closes_while_clients_wait_is_broken(desk: Desk) -> None:
    """When a removal makes one of those who wait a builder, a circle that this closes must be refused too."""
    desk.up(A, "x", alone=True, sponsor=SPONSOR)
    desk.up(B, "y", alone=True, sponsor=SPONSOR)
    assert desk.acquire(B, "x", alone=True, sponsor=SPONSOR) is None  # 3, from one thread
    desk.up(C, "z", alone=True, sponsor=SPONSOR)  # 4
    assert desk.acquire(A, "z", alone=True, sponsor=SPONSOR) is None  # 5
    assert desk.acquire(B, "z", alone=True, sponsor=SPONSOR) is None  # 6
    desk.leave(C)
    desk.gone("z")
    assert desk.answers[5].build  # A has z now, B waits for x of A and z of A, and A for nobody
    assert {3, 6}.isdisjoint(desk.answers)
    answer = desk.acquire(A, "y", alone=True, sponsor=SPONSOR)
    assert answer
    assert answer.circular


def test_an_end_while_one_owns_and_another_waits_refuses_and_removes_at_once(desk: Desk) -> None:
    """When the environment ends, whoever waits must be refused, everything be removed, and no one be served later."""
    desk.up(A, "base", sponsor=SPONSOR)
    desk.up(A, "m", "base", alone=True, sponsor=SPONSOR)
    assert desk.acquire(B, "m", alone=True, sponsor=SPONSOR) is None
    desk.take(desk.holds.end())
    assert desk.answers[3].refusal == "the environment is ending"
    assert desk.removing == ["base", "m"]
    late = desk.acquire(C, "other")
    assert late
    assert late.refusal
    desk.gone("base")
    desk.gone("m")
    assert (desk.holds.stacks, desk.holds.waiting) == ({}, [])


STACKS = {"base": (), "left": ("base",), "right": ("base",), "top": ("left", "right")}
CLIENTS = {A: SPONSOR, B: SPONSOR, C: "", "run-4": "sponsor-2"}
client = st.sampled_from(list(CLIENTS))
stack = st.sampled_from(list(STACKS))


class AnyOrder(RuleBasedStateMachine):
    """Four clients in any order: whatever happens, nothing is held by the dead and nobody waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.dead: set[str] = set()

    def living(self, names: Iterable[str]) -> set[str]:
        """Return those of ``names`` that live."""
        return set(names) - self.dead

    @rule(client=client, stack=stack, alone=st.booleans())
    def acquire(self, client: str, stack: str, alone: bool) -> None:
        """A living client asks for a stack, as one that has what it includes, or not."""
        if client not in self.dead:
            self.desk.acquire(client, stack, *STACKS[stack], alone=alone, sponsor=CLIENTS[client])

    @rule(client=client, stack=stack)
    def settle(self, client: str, stack: str) -> None:
        """Somebody says that a stack is settled."""
        self.desk.take(self.desk.holds.settled(client, stack))

    @rule(client=client, stack=stack)
    def release(self, client: str, stack: str) -> None:
        """A client gives one stack back."""
        self.desk.take(self.desk.holds.release(client, stack))

    @rule(names=st.lists(stack, max_size=2))
    def keep(self, names: list[str]) -> None:
        """Stacks are kept."""
        self.desk.take(self.desk.holds.keep(names))

    @rule(stack=stack)
    def down(self, stack: str) -> None:
        """A stack is kept no longer."""
        self.desk.take(self.desk.holds.release(KEPT, stack))

    @rule(client=client)
    def die(self, client: str) -> None:
        """A client dies."""
        self.dead.add(client)
        self.desk.leave(client)

    @rule(sponsor=st.sampled_from([SPONSOR, "sponsor-2"]))
    def sponsor_dies(self, sponsor: str) -> None:
        """A sponsor dies, and with it those that work for it."""
        of_it = [name for name, its in CLIENTS.items() if its == sponsor]
        self.dead |= {sponsor, *of_it}
        self.desk.leave(sponsor, *of_it)

    @precondition(lambda self: self.desk.removing)
    @rule(number=st.integers(0, 3))
    def remove(self, number: int) -> None:
        """A removal is over."""
        self.desk.gone(self.desk.removing[number % len(self.desk.removing)])

    @rule()
    def end(self) -> None:
        """TERM comes: removals are all that is left to do."""
        self.desk.take(self.desk.holds.end())
        self.finish()
        assert self.desk.holds.stacks == {}
        assert self.desk.holds.waiting == []
        self.desk, self.dead = Desk(), set()

    def finish(self) -> None:
        """Have every removal done, in any order; each may ask for further ones, and no more than there are stacks."""
        for _ in range(len(STACKS) ** 2):
            if self.desk.removing:
                self.desk.gone(self.desk.removing[-1])
        assert self.desk.removing == []

    @invariant()
    def nothing_is_held_by_the_dead(self) -> None:
        """Holders and owners live, and an owner holds what it owns."""
        for held in self.desk.holds.stacks.values():
            assert self.dead.isdisjoint(held.holders)
            assert held.owner in {"", *held.holders}
            going = held.name in self.desk.removing
            assert going == (held.state is State.REMOVING)
            assert going or held.holders or self.desk.holds.holders_of(held.name)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Who waits does so for a removal, or for clients that live, and not for itself."""
        holds = self.desk.holds
        for request in holds.waiting:
            assert request.client not in self.dead
            held = holds.stacks[request.stack]
            ahead = holds.ahead_of(request.stack)
            assert request.client not in ahead
            assert self.living(ahead) or (not holds.is_needed(held.name) and self.desk.removing)

    @invariant()
    def what_is_used_is_whole(self) -> None:
        """What a settled stack stands on is there."""
        for held in self.desk.holds.stacks.values():
            if held.state is not State.REMOVING:
                assert set(held.includes) <= set(self.desk.holds.stacks)

    def teardown(self) -> None:
        """When everybody is dead and nothing is kept, nothing is left."""
        for name in CLIENTS:
            self.die(name)
        for sponsor in ("sponsor-2", SPONSOR, KEPT):
            self.desk.leave(sponsor)
        self.finish()
        assert self.desk.holds.stacks == {}
        assert self.desk.holds.waiting == []


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
