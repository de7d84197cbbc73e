"""Who holds which stack of an environment, who waits for one, and what is to be removed: a state machine.

It knows no process, clock or loop. Each method takes something that happened, and returns an ``Outcome``: which
requests are answered by that, and which stacks are to be removed now. Whoever asks carries that out, and says
``removed`` once a stack is gone.

A stack is *held* by clients, by sponsors (a process for which several clients work) and by ``kept``. It is *needed*
while it is held, or while a stack that includes it is there. While it has an *owner*, only that client uses it.

| what happens       | absent            | building              | settled                   | removing             |
|--------------------|-------------------|-----------------------|---------------------------|----------------------|
| acquire            | building, by this | waits                 | used; waits while another | waits                |
|                    | client; refused   |                       | client owns it            |                      |
|                    | without what it   |                       |                           |                      |
|                    | includes          |                       |                           |                      |
| settled, by its    |                   | settled, and held by  |                           |                      |
| builder            |                   | the sponsor if shared |                           |                      |
| keep               |                   | held by kept, and has | held by kept, and has no  |                      |
|                    |                   | no owner              | owner                     |                      |
| its owner lets go  |                   | (is its builder)      | has no owner              |                      |
| its builder lets   |                   | removing, after what  | stays while it is needed  |                      |
| go                 |                   | includes it           |                           |                      |
| not needed         |                   | removing              | removing                  |                      |
| removed            |                   |                       |                           | absent: the next who |
|                    |                   |                       |                           | waits builds it      |
| end                |                   | removing              | removing                  |                      |

A request that waits is answered as soon as it can be, the oldest first. It is refused when its client or the sponsor of
that leaves, when the environment ends, and when it would wait for a client that waits for its own. So it always waits
for a client that lives and has something to do, or for a removal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

KEPT = "kept"


class State(Enum):
    """How far a stack has come; one that is not there has none."""

    BUILDING = "building"
    SETTLED = "settled"
    REMOVING = "removing"


@dataclass(frozen=True)
class Request:
    """A client's wish to hold a stack.

    Attributes:
        ticket: the number by which it is answered.
        includes: those that it stands on, should this client be the one to build it.
        alone: whether other clients of the sponsor shall not use it until it is given back.
        sponsor: for whom the client works, "" for itself.
    """

    ticket: int
    client: str
    stack: str
    includes: tuple[str, ...] = ()
    alone: bool = False
    sponsor: str = ""


@dataclass(frozen=True)
class Answer:
    """What becomes of a request.

    Attributes:
        build: whether its client is to build the stack; else it is there.
        refusal: why the client does not get it, "" when it does.
        circular: whether that is because clients wait for each other.
    """

    ticket: int
    stack: str
    build: bool = False
    refusal: str = ""
    circular: bool = False


@dataclass(frozen=True)
class Outcome:
    """What follows from something that happened: requests that are answered, and stacks that are to be removed now."""

    answers: tuple[Answer, ...] = ()
    removals: tuple[str, ...] = ()


@dataclass
class Held:
    """A stack that is there. Changed by ``Holds`` only.

    Attributes:
        builder: the client that builds, or has built, it.
        owner: the client that has it alone, "" for none; it is one of the holders.
        sponsor: of the builder, "" for none or one that has left.
        holders: clients, sponsors and ``kept``.
    """

    name: str
    includes: tuple[str, ...]
    builder: str
    owner: str
    sponsor: str
    state: State = State.BUILDING
    holders: set[str] = field(default_factory=set)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody finishes building it."""
        return self.state is State.BUILDING and self.builder not in self.holders

    def share(self, sponsor: str) -> None:
        """Let everybody use it, and ``sponsor`` hold it as well."""
        self.owner = ""
        if sponsor:
            self.holders.add(sponsor)

    def let_go(self, holder: str) -> None:
        """Take a holder off it."""
        self.holders.discard(holder)
        if self.owner == holder:
            self.owner = ""


class Holds:
    """The stacks of an environment, and the requests that wait for them."""

    def __init__(self) -> None:
        self.stacks: dict[str, Held] = {}
        self.waiting: list[Request] = []
        self.ending = False

    # -- what is asked ------------------------------------------------------------------------------------------

    def is_needed(self, name: str) -> bool:
        """Return whether a stack is there and not about to go, so that something of it may be started."""
        stack = self.stacks.get(name)
        return stack is not None and stack.state is not State.REMOVING and not stack.is_abandoned

    def below(self, name: str) -> set[str]:
        """Return the stacks that a stack includes, directly or not, as far as they are there."""
        below: set[str] = set()
        todo = list(self.stacks[name].includes)
        while todo:
            if (included := todo.pop()) in self.stacks and included not in below:
                below.add(included)
                todo += self.stacks[included].includes
        return below

    def holders_of(self, name: str) -> list[str]:
        """Return who holds a stack, and ``stack-NAME`` for each that stands on it."""
        return sorted([*self.stacks[name].holders, *(f"stack-{user.name}" for user in _users(self.stacks, name))])

    # -- what happens -------------------------------------------------------------------------------------------

    def acquire(self, request: Request) -> Outcome:
        """Take a request. Its answer is in this outcome, or in a later one."""
        if self.ending:
            return Outcome((_refused(request, "the environment is ending"),))
        self.waiting.append(request)
        return self._advance()

    def settled(self, client: str, name: str) -> Outcome:
        """Take the word of a stack's builder that it can be used; that of others, and for one that goes, is nothing."""
        stack = self.stacks.get(name)
        if stack is None or not self.is_needed(name) or stack.builder != client or stack.state is State.SETTLED:
            return Outcome()
        stack.state = State.SETTLED
        if not stack.owner:
            stack.share(stack.sponsor)  # not before: a build that fails is over with its builder's hold
        return self._advance()

    def keep(self, names: Iterable[str]) -> Outcome:
        """Hold stacks for nobody, until ``leave(KEPT)`` or ``release(KEPT, ...)``. What goes is passed over."""
        for name in names:
            if self.is_needed(name):
                self.stacks[name].share(KEPT)
        return self._advance()

    def release(self, holder: str, name: str) -> Outcome:
        """Take a holder off one stack."""
        if name in self.stacks:
            self.stacks[name].let_go(holder)
        return self._advance()

    def leave(self, holder: str) -> Outcome:
        """Take a holder off everything, because it is gone or wants nothing more; so it waits for nothing either."""
        for stack in self.stacks.values():
            stack.let_go(holder)
            if stack.sponsor == holder:
                stack.sponsor = ""
        refused = self._refuse(
            [request for request in self.waiting if holder in (request.client, request.sponsor)], f"{holder} has left"
        )
        outcome = self._advance()
        return Outcome((*refused, *outcome.answers), outcome.removals)

    def removed(self, name: str) -> Outcome:
        """Forget a stack: it was removed, as an outcome had asked for."""
        del self.stacks[name]
        return self._advance()

    def end(self) -> Outcome:
        """Have everything removed at once, in no order, and refuse whoever waits now or asks later."""
        self.ending = True
        going = [stack for stack in self.stacks.values() if stack.state is not State.REMOVING]
        for stack in self.stacks.values():
            stack.holders.clear()
            stack.owner, stack.state = "", State.REMOVING
        return Outcome(
            self._refuse(list(self.waiting), "the environment is ending"), tuple(stack.name for stack in going)
        )

    # -- what follows -------------------------------------------------------------------------------------------

    def _advance(self) -> Outcome:
        """Bring on whatever can be, until nothing changes any more. Each turn answers a request or ends a stack."""
        answers: list[Answer] = []
        removals: list[str] = []
        while True:
            going = self._end_unneeded()
            answered = self._answer_waiting() or self._refuse_newest_in_circle()
            removals += going
            answers += answered
            if not going and not answered:
                return Outcome(tuple(answers), tuple(removals))

    def _end_unneeded(self) -> list[str]:
        """Have the stacks that nobody needs go; return their names."""
        for stack in list(self.stacks.values()):
            if stack.is_abandoned:
                for fallen in (stack, *_above(self.stacks, stack.name)):
                    fallen.holders.clear()
                    fallen.owner = ""
        going = [
            stack
            for stack in self.stacks.values()
            if stack.state is not State.REMOVING and not stack.holders and not _users(self.stacks, stack.name)
        ]
        for stack in going:
            stack.state = State.REMOVING
        return [stack.name for stack in going]

    def _answer_waiting(self) -> list[Answer]:
        answers = []
        for request in list(self.waiting):
            if answer := self._answer(request):
                self.waiting.remove(request)
                answers.append(answer)
        return answers

    def _answer(self, request: Request) -> Answer | None:
        """Give a client what it asks for, None while it must wait."""
        stack = self.stacks.get(request.stack)
        if stack is None:
            return self._begin(request)
        if stack.state is not State.SETTLED or stack.owner not in ("", request.client):
            return None
        stack.holders.add(request.client)
        if not request.alone:
            stack.share(request.sponsor)
        return Answer(request.ticket, request.stack)

    def _begin(self, request: Request) -> Answer:
        """Have a client build a stack."""
        for name in request.includes:
            included = self.stacks.get(name)
            usable = included and (included.state is State.SETTLED or included.builder == request.client)
            if not usable or not self.is_needed(name):
                return _refused(request, f"stack {name!r}, which it includes, is gone")
        owner = request.client if request.alone and request.sponsor else ""
        stack = Held(request.stack, request.includes, request.client, owner, request.sponsor)
        stack.holders.add(request.client)
        self.stacks[stack.name] = stack
        return Answer(request.ticket, request.stack, build=True)

    def _refuse_newest_in_circle(self) -> list[Answer]:
        """Refuse the newest request that waits, by way of others, for its own client."""
        for request in reversed(self.waiting):
            if request.client in self.ahead_of(request.stack):
                self.waiting.remove(request)
                return [
                    Answer(
                        request.ticket,
                        request.stack,
                        refusal="it is with a client that waits for one of this client's",
                        circular=True,
                    )
                ]
        return []

    def ahead_of(self, name: str) -> set[str]:
        """Return the clients that must do something before a stack can be used by others."""
        ahead: set[str] = set()
        passed, todo = set[str](), [name]
        while todo:
            name = todo.pop()
            stack = self.stacks.get(name)
            if name in passed or stack is None or not self.is_needed(name):
                continue  # one that goes needs no client for that
            passed.add(name)
            first = {stack.owner, stack.builder if stack.state is State.BUILDING else ""} - {""}
            ahead |= first
            todo += [request.stack for request in self.waiting if request.client in first]
        return ahead

    def _refuse(self, requests: Iterable[Request], why: str) -> tuple[Answer, ...]:
        refused = tuple(_refused(request, why) for request in requests)
        tickets = {answer.ticket for answer in refused}
        self.waiting = [request for request in self.waiting if request.ticket not in tickets]
        return refused


def _users(stacks: Mapping[str, Held], name: str) -> list[Held]:
    """Return the stacks that include a stack, those that are being removed as well."""
    return [stack for stack in stacks.values() if name in stack.includes]


def _above(stacks: Mapping[str, Held], name: str) -> Iterator[Held]:
    """Yield the stacks that stand on a stack, directly or not."""
    for user in _users(stacks, name):
        yield user
        yield from _above(stacks, user.name)


def _refused(request: Request, why: str) -> Answer:
    return Answer(request.ticket, request.stack, refusal=why)
