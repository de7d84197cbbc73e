"""One stack made what its file says: started where it is not there, used where it is, and in part made again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.clock import Aside
from harness.daemon import ask
from harness.engine.compose.building import BUILD_BUDGET
from harness.engine.driver import act_by_keeper
from harness.engine.fingerprint import fingerprint_of, parts_of
from harness.engine.known import Known
from harness.engine.layout import endpoints, process_of, refuse_remote
from harness.errors import BrokenStack, relative
from harness.keeper.messages import Acquire, AskExposed, Settled
from harness.runs.changes import remember, remembered, seed_files, seeds_told, take
from harness.runs.data import folders_of
from harness.runs.deploying import equipped
from harness.runs.images import images_of
from harness.runs.planning import only
from harness.runs.relaying import is_used, join, listen
from harness.runs.turns import ports_of, take_ports
from harness.runs.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.engine import Image, StackPlan
    from harness.engine.layout import Layout
    from harness.keeper.messages import Acquired
    from harness.runs.planning import Planned, Site
    from harness.runs.settling import Settling
    from harness.runs.wiring import Holder
    from harness.stack import Stack as Declared

CONTENTS_BUDGET = 10.0  # for the contents of sources to be noted, which began before anything was started
ACQUIRE_BUDGET = BUILD_BUDGET + 600.0  # somebody else may be building, pulling and starting it


class Convergence:
    """The stacks of one request, each by itself.

    Args:
        run: whose.
        site: where they come up.
        alone: whether runs that share the environment shall not use it meanwhile, nor find it as it was left.
    """

    def __init__(self, run: Holder, site: Site, *, alone: bool) -> None:
        self._run = run
        self._say = run.say_once
        self._site = site
        self._environment = site.environment
        self._alone = alone
        self._wiring = Wiring(run, site, alone=alone)
        self._since = time.time()
        self._seed_files: dict[str, dict[str, list[str]]] = {}  # stack -> what its seeds were planted from
        self.held: list[str] = []  # in the order in which they were acquired
        self.recorded: set[str] = set()
        """Those that are settled."""
        self.started: list[Settling] = []

    def bring(self, stack: Declared, layout: Layout) -> dict[str, Known]:
        """Bring up one stack, or use the one that is there."""
        answer = self._acquire(stack)
        if stack.waits and not answer["build"]:
            raise is_used(stack)
        layout, images = self._get_network_and_images(stack, layout, builds=answer["build"])
        plan = self._site.plan(stack, layout, images)
        choice = self._site.choice
        if relay := self._environment.relay:
            listen(relay, plan, self._say)
        parts = parts_of(stack, plan, choice.local, localhost=choice.is_localhost)
        self._environment.fingerprints[stack.name] = fingerprint_of(parts)
        if not answer["build"]:
            self.recorded.add(stack.name)
            if relay:
                relay.wait(ACQUIRE_BUDGET)  # who asks a stack that is up does so at once, and only once
            record = self._replace(stack, plan, layout, answer["record"], parts)
            planned = replace(self._wiring.planned(stack, plan, layout), seeds=plan.seeds)
            return self._use(planned, record, parts, layout)
        snapshot = take(self._site.choice.settings, stack, plan)
        self._seed_files[stack.name] = seed_files(stack)
        contents = Aside(snapshot.digest)
        self.take_ports(stack, layout)  # those of before are gone with another worker's stack, maybe
        planned = self._prepare(stack, plan, layout)
        known = self._build(planned, layout)
        contents.is_over(within=CONTENTS_BUDGET)
        remember(self._environment.folder, stack.name, snapshot)
        self._record(stack, known, parts)
        if stack.waits:
            join(self._environment, known[stack.services[0].name])
        return known

    def comes_first(self, stack: Declared) -> bool:
        """Return whether a stack comes up beside those that it sees, since they are reached by way of it only."""
        return stack.waits and self._environment.relay is not None

    def take_ports(self, stack: Declared, layout: Layout) -> None:
        """Claim the ports of a stack that are on localhost. Raises ConfigError: one is somebody else's."""
        if services := self._site.choice.at_localhost(stack):
            ends = {service.name: endpoints(stack.name, service, layout) for service in services}
            take_ports(self._environment, stack.name, ports_of(ends), self._say)

    def _acquire(self, stack: Declared) -> Acquired:
        """Hold a stack; return the keeper's word whether it is to be built, and else what was recorded of it."""
        environment = self._environment
        alone = self._alone and stack is self._site.tree.root
        includes = [] if self.comes_first(stack) else list(stack.includes)
        answer = environment.link.ask(Acquire(stack=stack.name, includes=includes, alone=alone), timeout=ACQUIRE_BUDGET)
        for name in answer.get("record", {}).get("oneshots", ()):
            environment.lives.expect_end(stack.name, name)
        if answer["build"]:
            for service in stack.services:
                environment.lives.forget(stack.name, service.name)
        self.held.append(stack.name)
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
        engine = environment.engine
        beside = [
            one for one in stack.services if process_of(one, engine, layout.local) and not one.is_for_this_machine
        ]
        if (beside or layout.container_addresses) and not ask(environment.daemon).is_podman:
            refuse_remote(network.gateway)
        return replace(layout, network=network), images

    def _use(self, planned: Planned, record: dict[str, Any], parts: dict[str, str], layout: Layout) -> dict[str, Known]:
        """Use a stack that is there already."""
        name = planned.stack.name
        if self._environment.debugger and any(service.can_be_held for service in planned.plans.values()):
            self._say(f"warning: stack {name!r} is up already, so its subject is not held; `down` first")
        settling = self._wiring.settling(planned)
        known = self._run.reuse.use(self._environment, name, record, parts)
        for line in seeds_told(record.get("seed_files", {})) if name not in self._run.reuse.changed else ():
            self._say(line)
        self._wiring.register(planned, self._wiring.surroundings(settling.stack, layout, known))
        return known

    def _prepare(self, stack: Declared, plan: StackPlan, layout: Layout) -> Planned:
        """Say what is planned, and build and get what is needed. Raises BrokenStack."""
        for note in plan.notes:
            self._say(relative(note))
        self._environment.report.event("plan", stack=stack.name, plan=str(plan))
        plan = equipped(plan, stack, self._site, layout, self._say)
        launch = self._site.choice.engine.launch(plan, self._environment)
        if launch:
            plan = launch.prepare(self._say)
        return replace(self._wiring.planned(stack, plan, layout), launch=launch, seeds=plan.seeds)

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
            settling = self._wiring.settling(planned)
            settling.takes_as_there(declared.keys() - set(replacement.names))
            known = {name: Known.from_dict(table) for name, table in record["services"].items()}
            self._bring_up(settling, layout, replacement.names, known)
            settling.await_steady()  # until then it may still fail, and is recorded as begun
            known |= {name: one for name, one in settling.services().items() if name in replacement.names}
            around = self._wiring.surroundings(stack, layout, known)
            resetting = self._wiring.register(replace(planned, seeds=plan.seeds), around)
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
        settling = self._wiring.settling(planned)
        self._bring_up(settling, layout, planned.plans, {})
        self._wiring.register(planned, self._wiring.surroundings(planned.stack, layout, settling.services())).prepare()
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
        self.started.append(settling)
        held = planned.held_back
        early = [seed for seed in planned.seeds if seed.before]
        wanted = [name for name in planned.plans if name in names]
        settling.settle(name for name in wanted if name not in held)
        for seed in early:
            settling.plant(seed, self._wiring.surroundings(planned.stack, layout, _own(settling, there)))
        settling.settle(name for name in wanted if name in held)
        for seed in planned.seeds:
            if seed not in early:
                settling.plant(seed, self._wiring.surroundings(planned.stack, layout, _own(settling, there)))
        settling.await_seeded()

    def _refuse_exposed(self) -> None:
        """Do nothing when the engine has published everything on loopback. Raises BrokenStack."""
        exposed = self._environment.link.ask(AskExposed())["exposed"]
        if exposed:
            raise BrokenStack(f"Ports are published beyond loopback: {', '.join(exposed)}")

    def _record(self, stack: Declared, known: Mapping[str, Known], parts: dict[str, str]) -> None:
        """Have the keeper remember what has settled, for whoever uses it later."""
        self.recorded.add(stack.name)
        self._environment.link.ask(Settled(stack=stack.name, record=self.record_of(stack, known, parts)))

    def record_of(self, stack: Declared, known: Mapping[str, Known], parts: dict[str, str]) -> dict[str, Any]:
        """Return what is written down of a stack for whoever uses it later."""
        return {
            "services": {name: service.as_dict() for name, service in known.items()},
            "seeds": [seed.key for seed in stack.settings.seed],
            "seed_files": self._seed_files.get(stack.name, {}),
            "oneshots": self._environment.lives.oneshots_of(stack.name),
            "parts": parts,
            **({"maker": stack.maker} if stack.maker else {"files": [str(file) for file in stack.files]}),
            "profiles": list(self._site.choice.settings.profiles),
            "data": [str(folder) for folder in folders_of(stack, self._site.choice.settings.root)],
            "since": self._since,
        }


def _own(settling: Settling, there: Mapping[str, Known]) -> dict[str, Known]:
    """Return what is known of a stack's services while some of them are brought up and others are ``there``."""
    known = {name: there.get(name, one) for name, one in settling.services().items()}
    return {**known, **settling.services(started=True)}
