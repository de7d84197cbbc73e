"""The stacks of an environment: who holds which is decided by ``holds``; here that is carried out."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

from harness import clock
from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.keeper.holds import Answer, Holds, Outcome, Request
from harness.keeper.own_log import say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from harness.keeper.messages import Acquired

STOP_BUDGET = 7.0


class Stack:
    """What is known of a stack beside who holds it, from when its builder is told to build it until it is removed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.record: dict[str, Any] = {}
        self.unsure = False
        self.stopped = False  # nothing more of it is to be started


class Stacks:
    """The stacks that are there, the clients that wait for one, and the removals that are under way.

    ``remove`` removes the services of a stack in no more grace than a deadline leaves, and returns what is left.
    """

    def __init__(self, remove: Callable[[Stack, clock.Deadline], Awaitable[list[str]]]) -> None:
        self.holds = Holds()
        self.known: dict[str, Stack] = {}
        self._remove = remove
        self._tickets = 0
        self._requests: dict[int, asyncio.Future[Acquired]] = {}
        self._removals: set[asyncio.Task[list[str]]] = set()

    async def acquire(
        self, client: str, stack: str, includes: tuple[str, ...], *, alone: bool, sponsor: str
    ) -> Acquired:
        """Have a client hold a stack; return whether it is to build it, else its record, once that is known.

        Raises:
            ConfigError: it would wait for a client that waits for its own.
            BrokenStack: the stack is not to be had.
        """
        self._tickets += 1
        request = Request(self._tickets, client, stack, includes, alone, sponsor)
        waiting: asyncio.Future[Acquired] = asyncio.get_running_loop().create_future()
        self._requests[request.ticket] = waiting
        self.follow(self.holds.acquire(request))
        return await waiting

    def follow(self, outcome: Outcome, budget: clock.Deadline | None = None) -> list[asyncio.Task[list[str]]]:
        """Answer who is to be answered, and begin the removals; each returns what is left.

        With a ``budget`` services get no more grace than what is left of it; by default, all that their files say.
        """
        for answer in outcome.answers:
            if answer.build:
                self.known[answer.stack] = Stack(answer.stack)
            waiting = self._requests.pop(answer.ticket)
            if waiting.done():
                continue
            if answer.refusal:
                waiting.set_exception(_refusal(answer))
            else:
                acquired: Acquired = {"build": answer.build}
                if not answer.build:
                    acquired["record"] = self.known[answer.stack].record
                waiting.set_result(acquired)
        removals = [asyncio.create_task(self._remove_and_follow(self.known[name], budget)) for name in outcome.removals]
        for task in removals:
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)
        return removals

    async def carry_out(self, outcome: Outcome, budget: clock.Deadline | None = None) -> list[str]:
        """Do what follows; return what could not be removed."""
        return [line for lines in await asyncio.gather(*self.follow(outcome, budget)) for line in lines]

    async def _remove_and_follow(self, stack: Stack, budget: clock.Deadline | None) -> list[str]:
        try:
            left = await self._remove(stack, budget or clock.Deadline.after(clock.LIFTED))
        except Exception as error:  # noqa: BLE001 - whoever waits for its end must not wait for ever
            say(traceback.format_exc())
            left = [f"stack {stack.name}: {type(error).__name__}: {error}"]
        del self.known[stack.name]
        say(f"stack {stack.name}: removed" + (f", left: {left}" if left else ""))
        return left + await self.carry_out(self.holds.removed(stack.name), budget)

    async def removals_over(self) -> None:
        """Wait until nothing is being removed."""
        while self._removals:
            await asyncio.wait(set(self._removals))

    def refuse_what_goes(self, stack: str, undone: str) -> None:
        """Do nothing when something of a stack may be started. Raises HarnessError."""
        if not self.holds.is_needed(stack):
            raise HarnessError(f"Stack {stack!r} is gone, {undone}")


def _refusal(answer: Answer) -> HarnessError:
    """Return the error for a client that does not get a stack."""
    if answer.circular:
        return ConfigError(
            f"Stack {answer.stack!r} is with another worker, which waits for one of this worker's: "
            "use stacks in the same order everywhere, or with scope='session'"
        )
    return BrokenStack(f"Stack {answer.stack!r} is not to be had: {answer.refusal}")


def hurry() -> clock.Deadline:
    """Return the time in which services may end by themselves after a signal, or when nobody waits for them."""
    return clock.Deadline.after(STOP_BUDGET)
