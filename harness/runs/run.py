"""The order of stages, written once: read, plan, start, settle, seed, tests, diagnose, stop, verify.

Everything that can leave something behind happens inside the guarded block of ``running``.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import file_size, full_disk_told, last_lines
from harness.clock import add_guard, lift_deadlines, remove_guard
from harness.engine.compose.launch import BUILD_BUDGET
from harness.engine.driver import PortTaken
from harness.engine.fingerprint import parts_of, started_otherwise
from harness.engine.identity import Identity
from harness.engine.known import Known
from harness.engine.layout import Layout, endpoints, find_strangers, free_port_of, needs, refuse_remote
from harness.errors import BrokenStack, ConfigError, HarnessError, refuse_leftovers
from harness.keeper.client import KeeperToBe
from harness.ownership.removal import WORK
from harness.ownership.sweep import sweep
from harness.runs.choice import Choice, choose
from harness.runs.debugging import Debugger, find_terminal
from harness.runs.evidence import died, note_failure
from harness.runs.images import images_of
from harness.runs.known import all_kept, checkout_of
from harness.runs.opening import attach, create, join, new_environment
from harness.runs.planned import Planned
from harness.runs.settling import Settling
from harness.runs.stack import Stack
from harness.seeding import Surroundings
from harness.stack import broker_of, by_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.engine import Image, StackPlan
    from harness.engine.driver import Launch
    from harness.engine.layout import Stranger
    from harness.keeper.networks import Network
    from harness.runs.environment import Environment
    from harness.runs.share import Share
    from harness.stack import Stack as Declared
    from harness.stack import Tree

PORTS_TRIED = 5  # for one service, when others take them between their lease and the service's start
ANSWER_BUDGET = 3.0  # for the probes of what was left up, before it is used
KEPT = "kept"  # the hold that ``up`` adds (``keeper.keeper``)
ACQUIRE_BUDGET = BUILD_BUDGET + 600.0  # somebody else may be building, pulling and starting it


@dataclass
class _Brought:
    """What was brought up for one request: stacks in their order, and those that were started for it."""

    stacks: list[str] = field(default_factory=list)
    settlings: list[Settling] = field(default_factory=list)


class Run:
    """One run: an environment that is opened when the first stack is wanted, and the stacks brought up in it.

    Args:
        choice: what was asked for, and the engine; see ``choose``.
        say: takes lines for the user.
        new_run: whether a kept environment is used with a run folder of its own (a test run) or as it is (``up``).
        share: what this run has in common with others that work for the same process, None when it is alone.
    """

    def __init__(
        self, choice: Choice, say: Callable[[str], None], *, new_run: bool = True, share: Share | None = None
    ) -> None:
        self.choice = choice
        self.settings = settings = choice.settings
        self.say = say
        self._share = share
        self.debugger = Debugger(find_terminal(), self.say) if settings.wait_to_attach_debugger else None
        if self.debugger:
            lift_deadlines(lifted=True)
        if self.choice.engine.daemon and not self.choice.is_up:
            # The SDK takes a quarter of a second to load; meanwhile Compose parses and the keeper starts.
            threading.Thread(target=import_module, args=("docker",), name="harness-load-sdk", daemon=True).start()
        self.environment: Environment | None = None
        self._keeper: KeeperToBe | None = None
        self.left: list[str] = []
        self.changed: list[str] = []
        self._new_run = new_run
        self._said: set[str] = set()
        self._asked: set[str] = set()  # stacks that were up and were looked at
        self._unusable: HarnessError | None = None
        self.settled: dict[str, Settling] = {}  # stack -> how it settled, or would have

    def plan(self, tree: Tree) -> dict[tuple[int, str], Stranger]:
        """Check a tree as ``Choice.check`` does; return who is in the way of its ports."""
        strangers, planned = self.choice.check(tree)
        has_subject = any(service.settings.subject for stack in tree.stacks for service in stack.services)
        others = len(tree.stacks) == 1 and not has_subject and bool(self.settings.systems)  # such as a broker's stack
        held = any(service.can_be_held for service in planned)
        if self.debugger and not held and not others:
            self._say_once(
                f"warning: --wait-to-attach-debugger holds nothing: no subject of stack {tree.root.name!r} runs as a "
                f"local process on engine {self.choice.engine.name}; --local-build or --local makes it one"
            )
        return strangers

    # -- bring a stack up ---------------------------------------------------------------------------------------

    def bring(self, name: str, *, keep_includes: bool = True, alone: bool = False) -> Stack:
        """Bring up a stack and what it stands on; return it settled and seeded.

        Args:
            name: stack name or file.
            keep_includes: whether the stacks that it includes stay until the end of the run, for the next user.
            alone: whether runs that share the environment shall not use it meanwhile, nor find it as it was left.

        Raises:
            ConfigError: something written is wrong; nothing was created.
            BrokenStack: it did not settle; what was started for it is gone.
        """
        if self.environment is None and self._share is None and not self.choice.is_up:
            # It loads while files are read; nothing is created before they are right.
            self._keeper = KeeperToBe(new_environment(self.settings, self.choice.engine))
        try:
            tree = self.choice.read(name)
            strangers, engine = self.plan(tree), self.choice.engine
            environment = self.open()
        finally:
            if self._keeper:
                self._keeper.dismiss()
                self._keeper = None
        if self.choice.engine is not engine:
            strangers = self.plan(tree)
        brought = _Brought()
        try:
            with full_disk_told(environment.folder):
                known = self._bring_all(environment, tree, strangers, brought, alone=alone)
        except BaseException:
            for one in reversed(brought.stacks):
                self._release(environment, one)
            raise
        if not keep_includes:
            for included in tree.stacks[:-1]:
                self._release(environment, included.name)
        add_guard(environment.check)
        return Stack(tree.root.name, known, environment, lambda: self._release(environment, tree.root.name))

    def open(self) -> Environment:
        """Return the environment of this run: the kept one of this checkout, else a new one."""
        if self.environment is None and self._share:
            return self._join(self._share)
        if self.environment is None:
            self.check_engine()
            self._say_sources()
            self._sweep()
            kept = all_kept(self.settings).get(self.choice.engine.name)
            if kept:
                self._say_once(f"engine: {self.choice.engine.name} (the environment that `up` left, {kept.env})")
                self.environment = attach(self.settings, kept, self.choice.why, new_run=self._new_run)
            else:
                self._say_once(f"engine: {self.choice.engine.name} ({self.choice.why})")
                self.environment = create(self.settings, self.choice.engine, self.choice.why, self._keeper)
            self.environment.debugger = self.debugger
        return self.environment

    def _join(self, share: Share) -> Environment:
        """Return the environment that this run shares with others."""
        if share.record(self.settings) is None:
            self.check_engine()
            self._sweep()
            self._say_once(f"engine: {self.choice.engine.name} ({self.choice.why})")
        self.environment = join(self.settings, self.choice.engine, self.choice.why, share)
        if self.environment.engine != self.choice.engine.name:
            self.choice = choose(self.settings, share)  # ``auto``, and the worker that was first saw it otherwise
        return self.environment

    def _sweep(self) -> None:
        """Clear what dead runs left."""
        if self.settings.state.is_dir():
            swept = sweep(self.settings.state, daemon=self.choice.engine.daemon, keys=self.settings.keys)
            for line in swept.news(checkout_of(self.settings)):
                self.say(line)

    def check_engine(self) -> None:
        """See once whether the engine can be used; whoever asks again gets the same answer at once."""
        if self._unusable is None:
            try:
                self.choice.engine.check()
            except HarnessError as error:
                self._unusable = error
        if self._unusable is not None:
            raise self._unusable

    def _say_sources(self) -> None:
        """Say what Compose's own variables decide, since they are easily forgotten."""
        settings = self.settings
        if settings.origins["logs"].startswith("default, "):
            self._say_once(f"run folders are in {settings.logs} ({settings.origins['logs']})")
        if settings.environ.get("COMPOSE_PROJECT_NAME"):
            where = settings.origins.get("COMPOSE_PROJECT_NAME", "COMPOSE_PROJECT_NAME")
            self._say_once(f"{where} is ignored: each environment has project names of its own")
        if settings.profiles and settings.origins["profile"] != "command line":
            self._say_once(f"profiles: {', '.join(settings.profiles)} ({settings.origins['profile']})")
        if not settings.stack and not settings.system and settings.environ.get("COMPOSE_FILE"):
            self._say_once("stack: {} ({})".format(*settings.choose_stack()))

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self.say(line)

    def _bring_all(
        self,
        environment: Environment,
        tree: Tree,
        strangers: dict[tuple[int, str], Stranger],
        brought: _Brought,
        *,
        alone: bool,
    ) -> dict[str, Known]:
        """Bring up every stack of ``tree``, each as soon as those that it includes are settled.

        Returns the services that the last of them sees, included ones first.
        """
        layout = self._layout(environment, tree, strangers)
        results: dict[str, Future[dict[str, Known]]] = {}
        with ThreadPoolExecutor(max_workers=len(tree.stacks), thread_name_prefix="harness-stack") as pool:

            def one(stack: Declared) -> dict[str, Known]:
                add_guard(environment.check_kept)
                add_guard(environment.check_wanted)
                below = [known for name in stack.includes for known in results[name].result().values()]
                settled = {f"{known.stack}/{known.service}": known.endpoints for known in below}
                own = alone and stack is tree.root
                where = replace(layout, settled=settled)
                mine = self._bring_where_it_can_be(environment, tree, stack, where, brought, alone=own)
                return {**{known.service: known for known in below}, **mine}

            for stack in tree.stacks:
                results[stack.name] = pool.submit(one, stack)
            try:
                wait_for_futures(results.values())
            except BaseException:
                environment.give_up()  # the pool waits for what they are at
                raise
        # The stack at the bottom of the tree is the cause; those above it only pass its error on.
        known = [future.result() for future in results.values()]
        for settling in brought.settlings:
            settling.await_steady()
        return known[-1]

    def _bring_where_it_can_be(
        self,
        environment: Environment,
        tree: Tree,
        stack: Declared,
        layout: Layout,
        brought: _Brought,
        *,
        alone: bool,
    ) -> dict[str, Known]:
        """Bring up one stack; with another free port for each that somebody took before its service had bound it."""
        for _ in range(PORTS_TRIED - 1):
            try:
                return self._bring_stack(environment, tree, stack, layout, brought, alone=alone)
            except PortTaken as error:
                name = free_port_of(stack.name, error.service, error.endpoint, layout)
                if not name:
                    raise
                self._say_once(f"{error.summary}; another one is tried")
                brought.stacks.remove(stack.name)
                self._release(environment, stack.name)
                again = environment.link.ask("lease", services=[], ports=[name], anew=True)
                layout = replace(layout, ports={**layout.ports, **again["ports"]})
        return self._bring_stack(environment, tree, stack, layout, brought, alone=alone)

    def _layout(self, environment: Environment, tree: Tree, strangers: dict[tuple[int, str], Stranger]) -> Layout:
        wanted = needs(tree, strangers, environment.engine, self.choice.local)
        leased = environment.link.ask("lease", services=list(wanted.addresses), ports=list(wanted.ports))
        return Layout(
            engine=environment.engine,
            work=environment.folder / WORK,
            logs=environment.folder / "services",
            environ=self.settings.environ,
            addresses=leased["addresses"],
            ports=leased["ports"],
            strangers=strangers,
            local=self.choice.local,
            located=self.choice.engine.locate(tree),
            container_addresses=self.settings.addresses == "container",
        )

    def _bring_stack(
        self,
        environment: Environment,
        tree: Tree,
        stack: Declared,
        layout: Layout,
        brought: _Brought,
        *,
        alone: bool,
    ) -> dict[str, Known]:
        """Bring up one stack, or use the one that is there."""
        answer = environment.link.ask(
            "acquire", timeout=ACQUIRE_BUDGET, stack=stack.name, includes=list(stack.includes), alone=alone
        )
        for name in answer.get("record", {}).get("oneshots", ()):
            environment.lives.expect_end(stack.name, name)
        if answer["build"]:
            for service in stack.services:
                environment.lives.forget(stack.name, service.name)
        brought.stacks.append(stack.name)
        environment.brought[stack.name] += 1
        images = images_of(tree, stack, self.settings.environ, None)
        if environment.daemon:
            with ThreadPoolExecutor(max_workers=1) as pool:
                asked = pool.submit(self._network, environment, stack)
                if answer["build"]:
                    images = images_of(tree, stack, self.settings.environ, environment.client)
            network = asked.result()
            layout = replace(layout, network=network)
            if layout.local or layout.container_addresses:
                refuse_remote(network.gateway)
        plan = self._plan(environment, tree, stack, layout, images)
        parts = parts_of(stack, plan, self.choice.local)
        if not answer["build"]:
            if self.debugger and any(service.can_be_held for service in plan.services):
                self._say_once(f"warning: stack {stack.name!r} is up already, so its subject is not held; `down` first")
            self._settling(environment, tree, stack, plan, layout)
            return self._use(environment, stack.name, answer["record"], parts)
        for note in plan.notes:
            self._say_once(note)
        environment.report.event("plan", stack=stack.name, plan=str(plan))
        launch = self.choice.engine.launch(plan, environment)
        if launch:
            plan = launch.prepare(self._say_once)
        known = self._build(environment, tree, stack, plan, layout, launch, brought)
        record = {
            "services": {name: one.as_dict() for name, one in known.items()},
            "seeds": [seed.key for seed in stack.settings.seed],
            "oneshots": environment.lives.oneshots_of(stack.name),
            "parts": parts,
            "files": [str(file) for file in stack.files],
            "profiles": list(self.settings.profiles),
        }
        environment.link.ask("settled", stack=stack.name, record=record)
        return known

    def _network(self, environment: Environment, stack: Declared) -> Network:
        """Return the network that a stack's containers join, made if need be."""
        names = [service.name for service in stack.services]
        return environment.network(stack.name, names)

    def _plan(
        self, environment: Environment, tree: Tree, stack: Declared, layout: Layout, images: dict[str, Image]
    ) -> StackPlan:
        facts = environment.link.facts
        identity = Identity(checkout_of(self.settings), environment.env, facts["labels"], facts["key"])
        return self.choice.engine.plan(tree, stack.name, layout, identity, images)

    def plan_in(self, environment: Environment, tree: Tree, stack: Declared) -> StackPlan:
        """Return what a stack of ``tree`` that is up would be now, with the addresses that it has there."""
        layout = self._layout(environment, tree, find_strangers(tree))
        below = _settled_below(environment, tree, stack).values()
        layout = replace(layout, settled={f"{known.stack}/{known.service}": known.endpoints for known in below})
        images = images_of(tree, stack, self.settings.environ, None)
        if environment.daemon:
            layout = replace(layout, network=self._network(environment, stack))
        return self._plan(environment, tree, stack, layout, images)

    def _build(  # noqa: PLR0913, PLR0917 - a stack, and what surrounds it
        self,
        environment: Environment,
        tree: Tree,
        stack: Declared,
        plan: StackPlan,
        layout: Layout,
        launch: Launch | None,
        brought: _Brought,
    ) -> dict[str, Known]:
        """Start, settle and seed a stack."""
        ended = environment.report.timed("stack", stack.name)

        address = partial(_address_in, tree, stack, layout)

        def known() -> dict[str, Known]:
            return {
                one.service: Known.of(one, settling.facts.get(one.service, {}).get("container", ""))
                for one in plan.services
            }

        settling = self._settling(environment, tree, stack, plan, layout, launch)
        brought.settlings.append(settling)

        def around() -> Surroundings:
            visible = {**_settled_below(environment, tree, stack), **known()}
            return Surroundings(
                folder=stack.folder,
                broker=lambda written: "{}:{}".format(*address(*broker_of(written, None, tree, stack.name))),
                address=address,
                execute=lambda service, argv, timeout: environment.execute(visible[service], argv, timeout),
                stack=Stack(stack.name, visible, environment, list),
            )

        held = settling.planned.held_back
        settling.settle(one.service for one in plan.services if one.service not in held)
        early = [seed for seed in plan.seeds if seed.before]
        for seed in early:
            settling.plant(seed, around())
        settling.settle(one.service for one in plan.services if one.service in held)
        for seed in plan.seeds:
            if seed not in early:
                settling.plant(seed, around())
        settling.await_seeded_topics()
        if launch:
            self._refuse_exposed(environment)
        ended()
        return known()

    def _settling(
        self,
        environment: Environment,
        tree: Tree,
        stack: Declared,
        plan: StackPlan,
        layout: Layout,
        launch: Launch | None = None,
    ) -> Settling:
        planned = Planned(
            environment,
            tree,
            stack,
            {service.service: service for service in plan.services},
            lambda service, port: "{}:{}".format(*_address_in(tree, stack, layout, service, port)),
            launch,
        )
        settling = self.settled[stack.name] = Settling(planned, self._say_once)
        settling.probing.ask_later()
        return settling

    def _refuse_exposed(self, environment: Environment) -> None:
        """Do nothing when the engine has published everything on loopback. Raises BrokenStack."""
        exposed = environment.link.ask("exposed")["exposed"]
        if exposed:
            raise BrokenStack(f"Ports are published beyond loopback: {', '.join(exposed)}")

    def _use(
        self, environment: Environment, stack: str, record: dict[str, Any], parts: dict[str, str]
    ) -> dict[str, Known]:
        """Use a stack that is there already."""
        known = {name: Known.from_dict(table) for name, table in record["services"].items()}
        if self._new_run and (other := started_otherwise(record["parts"], parts)):
            raise ConfigError(
                f"Stack {stack!r} is up and was started otherwise: {', '.join(other)}",
                hint="`harness down` first, or `harness up` with the same option, which starts it anew",
            )
        changed = record["parts"] != parts
        if changed:
            self.changed.append(stack)
            if not self._new_run:
                return known  # whatever became of it, it is started anew
            self._say_once(f"stack {stack!r} was changed after it was started; it is used as it was")
        answer = environment.link.ask("services")
        listed = [
            facts
            for facts in answer["services"]
            if facts["service"] in known and known[facts["service"]].stack == facts["stack"]
        ]
        for facts in listed:
            environment.lives.learn(facts)
            environment.report.log_range(
                f"{facts['stack']}/{facts['service']}",
                environment.folder / "services" / facts["log"].rpartition("/")[2],
                file_size(Path(facts["log"])),
            )
        self._refuse_dead(environment, listed)
        if stack not in self._asked and _is_alone(answer["stacks"][stack]["holders"]):
            self._refuse_deaf(environment, listed)
        self._asked.add(stack)  # from now on it is as this run makes it
        return known

    def _refuse_dead(self, environment: Environment, listed: list[dict[str, Any]]) -> None:
        """Do nothing when no service has ended by itself. Raises BrokenStack."""
        for facts in listed:
            if facts["state"] == "exited" and not facts["expected"] and not environment.lives.may_have_ended(facts):
                raise _with_way_out(self._died_before(environment, facts), facts)

    def _died_before(self, environment: Environment, facts: dict[str, Any]) -> BrokenStack:
        """Return the error for a service that had ended when its stack was asked for."""
        seen = environment.lives.exit_of(facts["stack"], facts["service"])
        under = facts.get("under", "")
        if under and (seen or self._share):
            return died(environment, facts, under)
        if seen:
            return died(environment, seen)
        if self._share:
            return died(environment, facts, "under a test of another worker")
        return died(environment, facts, f"{under} before this run came".lstrip())

    def _refuse_deaf(self, environment: Environment, listed: list[dict[str, Any]]) -> None:
        """Do nothing when every service runs and answers its probes. Raises BrokenStack."""
        for facts in listed:
            if facts["state"] in ("exited", "paused") and not environment.lives.may_have_ended(facts):
                state = "stopped" if facts["state"] == "exited" else facts["state"]
                error = BrokenStack(f"Service {facts['service']!r} was left {state}", service=facts["service"])
                raise _with_way_out(error, facts)
        running = {f"{facts['stack']}/{facts['service']}": facts for facts in listed if facts["state"] == "running"}
        for name, answer in environment.ask_once(running, ANSWER_BUDGET).items():
            if answer:
                facts = running[name]
                seen = f"Service {facts['service']!r} is up and does not answer its probe: {answer}"
                error = BrokenStack(
                    f"{seen} ({environment.show(Path(facts['log']))})",
                    service=facts["service"],
                    details=[f"  {line}" for line in last_lines(Path(facts["log"]), start=facts["log_start"])],
                )
                raise _with_way_out(error, facts)

    # -- give it back -------------------------------------------------------------------------------------------

    def _release(self, environment: Environment, name: str) -> list[str]:
        # Several fixtures may use one stack: the keeper knows the run, the run knows how often.
        environment.brought[name] -= 1
        if environment.brought[name] > 0:
            return []
        del environment.brought[name]
        with contextlib.suppress(BrokenStack):
            left: list[str] = environment.link.ask_to_remove("release", stack=name)["left"]
            self.left += left
            return left
        return []

    def close(self, *, hurried: bool = False) -> list[str]:
        """Give everything back; return what should be gone and is not. Safe to call twice.

        With ``hurried``, because of a signal, services get no more grace than that leaves them.
        """
        environment = self.environment
        if environment is not None:
            remove_guard(environment.check)
            ended = environment.report.timed("stop", environment.env)
            self.left += environment.close(hurried=hurried)
            ended()
            environment.report.note("left", self.left)
            if unwritten := environment.report.unwritten():
                self.say(unwritten)
        if self.debugger:
            lift_deadlines(lifted=False)
        return self.left


def _settled_below(environment: Environment, tree: Tree, stack: Declared) -> dict[str, Known]:
    """Return service -> what is known of it, of the stacks that a stack includes and that are settled, as they are."""
    stacks = environment.link.ask("services")["stacks"]
    records = [stacks[one.name]["record"] for one in tree.below(stack.name) if one is not stack and one.name in stacks]
    return {name: Known.from_dict(table) for one in records for name, table in one.get("services", {}).items()}


def _is_alone(holders: Sequence[str]) -> bool:
    """Return whether a stack that was left up is used by nobody but the one run that asks."""
    return KEPT in holders and sum(holder.startswith("run-") for holder in holders) == 1


def _with_way_out(error: BrokenStack, facts: dict[str, Any]) -> BrokenStack:
    error.hint = f"`harness restart --service {facts['service']}` starts it again"
    return error


def _address_in(tree: Tree, stack: Declared, layout: Layout, service: str, port: int) -> tuple[str, int]:
    """Return where a port of a service that a stack sees is. Raises BrokenStack when it publishes no such port."""
    owner, declared = tree.visible(stack.name)[service]
    end = by_number(endpoints(owner.name, declared, layout)).get(port)
    if end is None:
        raise BrokenStack(f"Service {service!r} publishes no port {port}")
    return end.host, end.port


@contextlib.contextmanager
def running(run: Run) -> Iterator[Run]:
    """Guard a run: whatever happens in the block, everything is given back and verified after it.

    Raises:
        LeftoverError: the block succeeded, and something of ours could not be removed.
    """
    try:
        yield run
    except BaseException as error:
        if run.environment:
            note_failure(run.environment.report, error)
        run.close(hurried=not isinstance(error, Exception))
        raise
    refuse_leftovers(run.close())
