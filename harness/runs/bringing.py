"""Bringing up a stack with what it stands on, each as soon as those that it includes are settled."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from harness.artifacts import full_disk_told
from harness.clock import Aside, add_guard
from harness.daemon import ask
from harness.engine.compose.building import BUILD_BUDGET
from harness.engine.driver import PortTaken, act_by_keeper
from harness.engine.fingerprint import part_of_addresses, parts_of
from harness.engine.known import Known
from harness.engine.layout import endpoints, free_port_of, refuse_remote
from harness.errors import BrokenStack, ConfigError, HarnessError, relative
from harness.keeper.messages import Acquire, AskExposed, Lease, Settled
from harness.runs.changes import remember, remembered, seed_files, seeds_told, take
from harness.runs.data import folders_of
from harness.runs.files import Files
from harness.runs.images import images_of
from harness.runs.planning import Planned, only, store_for
from harness.runs.relaying import connect, find_relay, listen
from harness.runs.resetting import Resetting
from harness.runs.settling import Settling
from harness.runs.stack import Stack
from harness.runs.turns import give_back, ports_of, take_ports
from harness.seeding import Surroundings
from harness.stack import broker_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.engine import Image, StackPlan
    from harness.engine.layout import Layout, Stranger
    from harness.keeper.messages import Acquired
    from harness.runs.planning import Site
    from harness.runs.reuse import Reuse
    from harness.stack import Stack as Declared

PORTS_TRIED = 5  # for one service, when others take them between their lease and the service's start
CONTENTS_BUDGET = 10.0  # for the contents of sources to be noted, which began before anything was started
ACQUIRE_BUDGET = BUILD_BUDGET + 600.0  # somebody else may be building, pulling and starting it


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


class Bringing:
    """One request of a run for a stack.

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
        self._alone = alone
        self._held: list[str] = []  # in the order in which they were acquired
        self._recorded: set[str] = set()  # those that are settled
        self._started: list[Settling] = []
        self._since = time.time()
        self._failed_first = ""
        self._seed_files: dict[str, dict[str, list[str]]] = {}  # stack -> what its seeds were planted from

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
                    self._take_ports(stack, layout)
                known = self._bring_tree(layout)
                for settling in self._started:
                    settling.await_steady()
                return known
        except BaseException as error:
            for settling in self._started:
                settling.endings.close()
            if self._run.keeps_failed and isinstance(error, BrokenStack) and self._leave_failed(error):
                raise
            for name in reversed(self._held):
                self._run.release(name)
            for stack in self._site.tree.stacks if self._site.choice.is_localhost else ():
                with contextlib.suppress(HarnessError):  # with its keeper all are given back
                    give_back(self._environment, stack.name)
            raise

    def _take_ports(self, stack: Declared, layout: Layout) -> None:
        """Claim the ports of a stack that are on localhost. Raises ConfigError: one is somebody else's."""
        if self._site.choice.is_localhost:
            ends = {service.name: endpoints(stack.name, service, layout) for service in stack.services}
            take_ports(self._environment, stack.name, ports_of(ends), self._say)

    def _leave_failed(self, error: BrokenStack) -> bool:
        """Leave what did not settle as it is, for a look; return False when nothing of it runs or did."""
        environment, settings = self._environment, self._site.choice.settings
        begun = {settling.stack.name: settling.services(started=True) for settling in self._started}
        if not any(begun.values()):
            return False
        where = part_of_addresses(localhost=self._site.choice.is_localhost)
        for stack in self._site.tree.stacks:
            if stack.name in self._held:
                # Of one that has settled before, its builder's word stands: this is its own and adds nothing.
                record = self._record_of(stack, begun.get(stack.name, {}), where)
                failed = {**record, "seeds": [], "seed_files": {}, "failed": error.summary}
                if stack.name not in self._recorded:
                    environment.link.ask(Settled(stack=stack.name, record=failed))
        environment.keep(settings.ttl, self._held)
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
                if self._comes_first(stack):
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

    def _comes_first(self, stack: Declared) -> bool:
        """Return whether a stack comes up beside those that it sees, since they are reached by way of it only."""
        return stack.waits and self._environment.relay is not None

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
                return self._bring_stack(stack, layout)
            except PortTaken as error:
                name = free_port_of(stack.name, error.service, error.endpoint, layout)
                if not name:
                    raise
                self._say(f"{error.summary}; another one is tried")
                self._held.remove(stack.name)
                self._run.release(stack.name)
                again = self._environment.link.ask(Lease(services=[], ports=[name], anew=True))
                layout = replace(layout, ports={**layout.ports, **again["ports"]})
        return self._bring_stack(stack, layout)

    def _bring_stack(self, stack: Declared, layout: Layout) -> dict[str, Known]:
        """Bring up one stack, or use the one that is there."""
        answer = self._acquire(stack)
        if stack.waits and not answer["build"]:
            raise ConfigError(
                f"Service {stack.services[0].name!r} is used by another run with --inside in this checkout now",
                hint="wait for its end, or `harness down` first, so that each run has an environment of its own",
            )
        layout, images = self._get_network_and_images(stack, layout, builds=answer["build"])
        plan = self._site.plan(stack, layout, images)
        choice = self._site.choice
        if relay := self._environment.relay:
            listen(relay, plan, self._say)
        parts = parts_of(stack, plan, choice.local, localhost=choice.is_localhost)
        if not answer["build"]:
            self._recorded.add(stack.name)
            if relay:
                relay.wait(ACQUIRE_BUDGET)  # who asks a stack that is up does so at once, and only once
            record = self._replace(stack, plan, layout, answer["record"], parts)
            planned = replace(self._planned(stack, plan, layout), seeds=plan.seeds)
            return self._use(planned, record, parts, layout)
        snapshot = take(self._site.choice.settings, stack, plan)
        self._seed_files[stack.name] = seed_files(stack)
        contents = Aside(snapshot.digest)
        self._take_ports(stack, layout)  # those of before are gone with another worker's stack, maybe
        planned = self._prepare(stack, plan, layout)
        known = self._build(planned, layout)
        contents.is_over(within=CONTENTS_BUDGET)
        remember(self._environment.folder, stack.name, snapshot)
        self._record(stack, known, parts)
        if stack.waits:
            waiting = known[stack.services[0].name]
            if relay:
                connect(relay, self._environment, waiting)
            self._environment.inside.set_result(waiting)
        return known

    def _acquire(self, stack: Declared) -> Acquired:
        """Hold a stack; return the keeper's word whether it is to be built, and else what was recorded of it."""
        environment = self._environment
        alone = self._alone and stack is self._site.tree.root
        includes = [] if self._comes_first(stack) else list(stack.includes)
        answer = environment.link.ask(Acquire(stack=stack.name, includes=includes, alone=alone), timeout=ACQUIRE_BUDGET)
        for name in answer.get("record", {}).get("oneshots", ()):
            environment.lives.expect_end(stack.name, name)
        if answer["build"]:
            for service in stack.services:
                environment.lives.forget(stack.name, service.name)
        self._held.append(stack.name)
        environment.brought[stack.name] += 1
        return answer

    def _get_network_and_images(
        self, stack: Declared, layout: Layout, *, builds: bool
    ) -> tuple[Layout, dict[str, Image]]:
        """Return the layout with the containers' network, and what is decided about images, meanwhile."""
        environment, tree, environ = self._environment, self._site.tree, self._site.choice.settings.environ
        images = images_of(tree, stack, environ, None)
        if not environment.daemon:
            return layout, images
        with ThreadPoolExecutor(max_workers=1) as pool:
            asked = pool.submit(self._site.network, stack)
            if builds:
                images = images_of(tree, stack, environ, environment.client)
        network = asked.result()
        # The bridge of Podman's comes with the first container: nothing can be told by it yet.
        if (layout.local or layout.container_addresses) and not ask(environment.daemon).is_podman:
            refuse_remote(network.gateway)
        return replace(layout, network=network), images

    def _planned(self, stack: Declared, plan: StackPlan, layout: Layout) -> Planned:
        return Planned(
            self._environment,
            self._site.tree,
            stack,
            {service.service: service for service in plan.services},
            lambda service, port: "{}:{}".format(*self._site.address(stack, layout, service, port)),
        )

    def _use(self, planned: Planned, record: dict[str, Any], parts: dict[str, str], layout: Layout) -> dict[str, Known]:
        """Use a stack that is there already."""
        name = planned.stack.name
        if self._environment.debugger and any(service.can_be_held for service in planned.plans.values()):
            self._say(f"warning: stack {name!r} is up already, so its subject is not held; `down` first")
        settling = self._settling(planned)
        known = self._run.reuse.use(self._environment, name, record, parts)
        for line in seeds_told(record.get("seed_files", {})) if name not in self._run.reuse.changed else ():
            self._say(line)
        self._register(planned, self._surroundings(settling.stack, layout, known))
        return known

    def _prepare(self, stack: Declared, plan: StackPlan, layout: Layout) -> Planned:
        """Say what is planned, and build and get what is needed. Raises BrokenStack."""
        for note in plan.notes:
            self._say(relative(note))
        self._environment.report.event("plan", stack=stack.name, plan=str(plan))
        launch = self._site.choice.engine.launch(plan, self._environment)
        if launch:
            plan = launch.prepare(self._say)
        return replace(self._planned(stack, plan, layout), launch=launch, seeds=plan.seeds)

    def _replace(
        self, stack: Declared, plan: StackPlan, layout: Layout, record: dict[str, Any], parts: dict[str, str]
    ) -> dict[str, Any]:
        """Make those services of a stack that is up again that changed, if that is wanted; return its new record."""
        reuse, environment = self._run.reuse, self._environment
        declared = {service.service: service for service in plan.services}
        replacement = reuse.to_replace(environment, self._site.tree, stack, declared, (record, parts))
        if not replacement.names:
            return record
        with reuse.alone_at_it(environment.settings):
            for line in replacement.lines():
                self._say(line)
            snapshot = take(environment.settings, stack, plan)
            files = {key: file for key, file in seed_files(stack).items() if key in replacement.seeds}
            planned = self._prepare(stack, only(plan, replacement.names), layout)
            planned = replace(planned, seeds=tuple(seed for seed in planned.seeds if seed.key in replacement.seeds))
            old = remembered(environment.folder, stack.name)
            snapshot.digest()
            snapshot = old.replaced(snapshot, replacement.names) if old else snapshot
            # Before it is tried: when it fails, what was tried is what an undo is a change of.
            remember(environment.folder, stack.name, snapshot, begun=replacement.names)
            for name in reversed(replacement.names):
                self._stop(planned, name)
            settling = self._settling(planned)
            settling.takes_as_there(declared.keys() - set(replacement.names))
            known = {name: Known.from_dict(table) for name, table in record["services"].items()}
            self._bring_up(settling, layout, replacement.names, known)
            settling.await_steady()  # until then it may still fail, and is recorded as begun
            known |= {name: one for name, one in settling.services().items() if name in replacement.names}
            resetting = self._register(replace(planned, seeds=plan.seeds), self._surroundings(stack, layout, known))
            resetting.prepare(replacement.emptied)
            tables = {name: service.as_dict() for name, service in known.items()}
            files = {**record.get("seed_files", {}), **files}
            record = {**record, "services": tables, "parts": parts, "seed_files": files}
            environment.link.ask(Settled(stack=stack.name, record=record))
            remember(environment.folder, stack.name, snapshot)
            reuse.replaced |= set(replacement.names)
        return record

    def _stop(self, planned: Planned, name: str) -> None:
        """End a service that is replaced. Raises HarnessError."""
        plan = planned.plans[name]
        act_by_keeper(plan, "stop", plan.grace, self._environment)

    def _build(self, planned: Planned, layout: Layout) -> dict[str, Known]:
        """Start, settle and seed a stack."""
        ended = self._environment.report.timed("stack", planned.stack.name)
        settling = self._settling(planned)
        self._bring_up(settling, layout, planned.plans, {})
        self._register(planned, self._surroundings(planned.stack, layout, settling.services())).prepare()
        if planned.stack is not self._site.tree.root:  # those above are brought up now, and see to their own services
            if settling.endings.outlasts_settling():
                settling.await_steady()
            settling.endings.close()
        if planned.launch:
            self._refuse_exposed()
        ended()
        return settling.services()

    def _bring_up(self, settling: Settling, layout: Layout, names: Collection[str], there: Mapping[str, Known]) -> None:
        """Start and settle some services of a stack, and plant its seeds when each is due; others are ``there``."""
        planned = settling.planned
        self._started.append(settling)
        held = planned.held_back
        early = [seed for seed in planned.seeds if seed.before]
        wanted = [name for name in planned.plans if name in names]
        settling.settle(name for name in wanted if name not in held)
        for seed in early:
            settling.plant(seed, self._surroundings(planned.stack, layout, _own(settling, there)))
        settling.settle(name for name in wanted if name in held)
        for seed in planned.seeds:
            if seed not in early:
                settling.plant(seed, self._surroundings(planned.stack, layout, _own(settling, there)))
        settling.await_seeded()

    def _settling(self, planned: Planned) -> Settling:
        settling = self._run.settled[planned.stack.name] = Settling(planned, self._say)
        settling.probing.ask_later()
        return settling

    def _register(self, planned: Planned, around: Surroundings) -> Resetting:
        """Have the environment know how services of a stack are reset; return who does it."""
        environment, stack = self._environment, planned.stack
        alone = not environment.is_worker or (self._alone and stack is self._site.tree.root)
        files = Files(self._run.settled, self._say)
        resetting = Resetting(planned.tree, stack, planned.seeds, around, files, alone, self._say)
        environment.resets[stack.name] = resetting
        return resetting

    def _surroundings(self, stack: Declared, layout: Layout, own: Mapping[str, Known]) -> Surroundings:
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

    def _refuse_exposed(self) -> None:
        """Do nothing when the engine has published everything on loopback. Raises BrokenStack."""
        exposed = self._environment.link.ask(AskExposed())["exposed"]
        if exposed:
            raise BrokenStack(f"Ports are published beyond loopback: {', '.join(exposed)}")

    def _record(self, stack: Declared, known: Mapping[str, Known], parts: dict[str, str]) -> None:
        """Have the keeper remember what has settled, for whoever uses it later."""
        self._recorded.add(stack.name)
        self._environment.link.ask(Settled(stack=stack.name, record=self._record_of(stack, known, parts)))

    def _record_of(self, stack: Declared, known: Mapping[str, Known], parts: dict[str, str]) -> dict[str, Any]:
        return {
            "services": {name: service.as_dict() for name, service in known.items()},
            "seeds": [seed.key for seed in stack.settings.seed],
            "seed_files": self._seed_files.get(stack.name, {}),
            "oneshots": self._environment.lives.oneshots_of(stack.name),
            "parts": parts,
            "files": [str(file) for file in stack.files],
            "profiles": list(self._site.choice.settings.profiles),
            "data": [str(folder) for folder in folders_of(stack, self._site.choice.settings.root)],
            "since": self._since,
        }


def _own(settling: Settling, there: Mapping[str, Known]) -> dict[str, Known]:
    """Return what is known of a stack's services while some of them are brought up and others are ``there``."""
    known = {name: there.get(name, one) for name, one in settling.services().items()}
    return {**known, **settling.services(started=True)}
