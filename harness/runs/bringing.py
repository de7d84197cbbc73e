"""Bringing up a stack with what it stands on, each as soon as those that it includes are settled."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.artifacts import full_disk_told
from harness.clock import add_guard
from harness.engine.driver import PortTaken
from harness.engine.fingerprint import part_of_addresses
from harness.engine.layout import free_port_of
from harness.errors import BrokenStack, HarnessError
from harness.keeper.messages import Lease, Settled
from harness.runs.convergence import Convergence
from harness.runs.relaying import find_relay
from harness.runs.turns import give_back

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine.known import Known
    from harness.engine.layout import Layout, Stranger
    from harness.runs.planning import Site
    from harness.runs.wiring import Holder
    from harness.stack import Stack as Declared

PORTS_TRIED = 5  # for one service, when others take them between their lease and the service's start


class Bringing:
    """One request of a run for a stack, and so for all that it stands on: their order, and what becomes of a failure.

    Args:
        run: whose.
        site: where it comes up.
        alone: whether runs that share the environment shall not use it meanwhile, nor find it as it was left.
    """

    def __init__(self, run: Holder, site: Site, *, alone: bool) -> None:
        self._run = run
        self._say = run.say_once
        self._site = site
        self._environment = site.environment
        self._convergence = Convergence(run, site, alone=alone)
        self._failed_first = ""

    def bring(self, strangers: Mapping[tuple[int, str], Stranger]) -> dict[str, Known]:
        """Bring up every stack of the tree.

        Args:
            strangers: who is in the way of their ports.

        Returns:
            The services that the last of them sees, included ones first.

        Raises:
            ConfigError: something written is wrong.
            BrokenStack: one did not settle; all were given back.
        """
        try:
            with full_disk_told(self._environment.folder):
                find_relay(self._site.choice, self._environment)
                layout = self._site.lay_out(strangers)
                for stack in self._site.tree.stacks:  # all of them before anything is started
                    self._convergence.take_ports(stack, layout)
                known = self._bring_tree(layout)
                for settling in self._convergence.started:
                    settling.await_steady()
                return known
        except BaseException as error:
            for settling in self._convergence.started:
                settling.endings.close()
            if self._run.keeps_failed and isinstance(error, BrokenStack) and self._leave_failed(error):
                raise
            for name in reversed(self._convergence.held):
                self._run.release(name)
            for stack in filter(self._site.choice.at_localhost, self._site.tree.stacks):
                with contextlib.suppress(HarnessError):  # with its keeper all are given back
                    give_back(self._environment, stack.name)
            raise

    def _leave_failed(self, error: BrokenStack) -> bool:
        """Leave what did not settle as it is, for a look; return False when nothing of it runs or did."""
        environment, settings = self._environment, self._site.choice.settings
        begun = {settling.stack.name: settling.services(started=True) for settling in self._convergence.started}
        if not any(begun.values()):
            return False
        where = part_of_addresses(localhost=self._site.choice.is_localhost)
        for stack in self._site.tree.stacks:
            if stack.name in self._convergence.held:
                # Of one that has settled before, its builder's word stands: this is its own and adds nothing.
                record = self._convergence.record_of(stack, begun.get(stack.name, {}), where)
                failed = {**record, "seeds": [], "seed_files": {}, "failed": error.summary}
                if stack.name not in self._convergence.recorded:
                    environment.link.ask(Settled(stack=stack.name, record=failed))
        environment.keep(settings.ttl, self._convergence.held)
        self._say(
            f"{environment.env} is left as it is for a look: `harness ps`, `harness logs`; `harness down` removes it"
        )
        return True

    def _bring_tree(self, layout: Layout) -> dict[str, Known]:
        """Bring up each stack in a thread of its own; return the services that the last of them sees."""
        environment = self._environment
        results: dict[str, Future[dict[str, Known]]] = {}
        stacks = self._site.tree.stacks
        with ThreadPoolExecutor(max_workers=len(stacks), thread_name_prefix="harness-stack") as pool:

            def bring(stack: Declared) -> dict[str, Known]:
                add_guard(environment.check_kept)
                add_guard(environment.check_wanted)
                if self._convergence.comes_first(stack):
                    own = self._bring_first(stack, layout)
                    return {**{known.service: known for known in settled_below(stack)}, **own}
                below = settled_below(stack)
                settled = {f"{known.stack}/{known.service}": known.endpoints for known in below}
                own = self._bring_where_it_can_be(stack, replace(layout, settled=settled))
                return {**{known.service: known for known in below}, **own}

            def settled_below(stack: Declared) -> list[Known]:
                return [known for name in stack.includes for known in results[name].result().values()]

            for stack in stacks:
                results[stack.name] = pool.submit(bring, stack)
            try:
                wait_for_futures(results.values())
            except BaseException:
                environment.give_up()  # the pool waits for what they are at
                raise
        # The stack at the bottom of the tree is the cause; those above it only pass its error on.
        return [future.result() for future in self._by_cause(results)][-1]

    def _by_cause(self, results: Mapping[str, Future[dict[str, Known]]]) -> list[Future[dict[str, Known]]]:
        """Return the stacks with the one first that failed by itself, if one without which no other can settle did."""
        first = [future for name, future in results.items() if name == self._failed_first]
        return [*first, *results.values()]

    def _bring_first(self, stack: Declared, layout: Layout) -> dict[str, Known]:
        """Bring up the stack by way of which others are reached; when that fails, those are given up."""
        try:
            return self._bring_where_it_can_be(stack, layout)
        except BaseException:
            if not self._environment.news.stopped:
                self._failed_first = stack.name
                self._environment.give_up()
            raise

    def _bring_where_it_can_be(self, stack: Declared, layout: Layout) -> dict[str, Known]:
        """Bring up one stack; with another free port for each that somebody took before its service had bound it."""
        for _ in range(PORTS_TRIED - 1):
            try:
                return self._convergence.bring(stack, layout)
            except PortTaken as error:
                name = free_port_of(stack.name, error.service, error.endpoint, layout)
                if not name:
                    raise
                self._say(f"{error.summary}; another one is tried")
                self._convergence.held.remove(stack.name)
                self._run.release(stack.name)
                again = self._environment.link.ask(Lease(services=[], ports=[name], anew=True))
                layout = replace(layout, ports={**layout.ports, **again["ports"]})
        return self._convergence.bring(stack, layout)
