"""A stack wired to what is around it: what its seeds see, how it settles and is reset, and where its services are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from harness.runs.files import Files
from harness.runs.planning import Planned, store_for
from harness.runs.resetting import Resetting
from harness.runs.settling import Settling
from harness.runs.stack import Stack
from harness.seeding import Surroundings
from harness.stack import broker_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import StackPlan
    from harness.engine.known import Known
    from harness.engine.layout import Layout
    from harness.runs.planning import Site
    from harness.runs.reuse import Reuse
    from harness.stack import Stack as Declared


class Holder(Protocol):
    """Who has stacks brought up: a run.

    Attributes:
        reuse: what it uses of what is up.
        settled: stack -> how it settled, or would have.
        keeps_failed: whether what does not settle is left as it is, for a look.
    """

    reuse: Reuse
    keeps_failed: bool
    settled: dict[str, Settling]

    def say_once(self, line: str) -> None:
        """Tell the user, once."""
        ...

    def release(self, name: str) -> list[str]:
        """Give a stack back; return what could not be removed."""
        ...


class Wiring:
    """What the stacks of one request are given of each other.

    Args:
        run: whose.
        site: where they come up.
        alone: whether runs that share the environment shall not use the last of them meanwhile.
    """

    def __init__(self, run: Holder, site: Site, *, alone: bool) -> None:
        self._run, self._site, self._alone = run, site, alone
        self._say, self._environment = run.say_once, site.environment

    def planned(self, stack: Declared, plan: StackPlan, layout: Layout) -> Planned:
        """Return a stack as it comes up, with all that it may ask of those around it."""
        return Planned(
            self._environment,
            self._site.tree,
            stack,
            {service.service: service for service in plan.services},
            lambda service, port: "{}:{}".format(*self._site.address(stack, layout, service, port)),
        )

    def settling(self, planned: Planned) -> Settling:
        """Return how a stack settles, which its run knows by then."""
        settling = self._run.settled[planned.stack.name] = Settling(planned, self._say)
        settling.probing.ask_later()
        return settling

    def register(self, planned: Planned, around: Surroundings) -> Resetting:
        """Have the environment know how services of a stack are reset; return who does it."""
        environment, stack = self._environment, planned.stack
        alone = not environment.is_worker or (self._alone and stack is self._site.tree.root)
        files = Files(self._run.settled, self._say)
        resetting = Resetting(planned.tree, stack, planned.seeds, around, files, alone, self._say)
        environment.resets[stack.name] = resetting
        return resetting

    def surroundings(self, stack: Declared, layout: Layout, own: Mapping[str, Known]) -> Surroundings:
        """Return what a seed of a stack sees; ``own`` are its services."""
        environment, site = self._environment, self._site
        visible = {**site.settled_below(stack), **own}

        def address(service: str, port: int) -> tuple[str, int]:
            return site.address(stack, layout, service, port)

        return Surroundings(
            folder=stack.folder,
            broker=lambda written: "{}:{}".format(*address(*broker_of(written, None, site.tree, stack.name))),
            address=address,
            store=lambda kind, written: store_for(kind, written, site.tree, stack.name, address),
            execute=lambda service, argv, timeout: environment.execute(visible[service], argv, timeout),
            stack=Stack(stack.name, visible, environment, list),
        )
