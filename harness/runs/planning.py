"""What the stacks of a tree are in an environment, before and while they are up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from harness.engine.fingerprint import is_on_localhost
from harness.engine.identity import Identity
from harness.engine.known import Known
from harness.engine.layout import CONTAINER, Layout, endpoints, find_strangers, needs
from harness.engine.users import place_for
from harness.errors import BrokenStack
from harness.keeper.messages import Lease, Services
from harness.ownership.removal import WORK
from harness.runs.images import images_of
from harness.runs.known import checkout_of, record_in
from harness.stack import Store, by_number, login_of, store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from harness.engine import Image, ServicePlan, StackPlan
    from harness.engine.driver import Launch
    from harness.engine.layout import Stranger
    from harness.keeper.networks import Network
    from harness.runs.choice import Choice
    from harness.runs.environment import Environment
    from harness.stack import Seed, Service, Stack, Tree


def store_for(
    kind: str, written: str | None, tree: Tree, stack: str, address: Callable[[str, int], tuple[str, int]]
) -> Store:
    """Return the database or store that a seed of a stack means.

    Args:
        kind: ``postgres``, ``redis`` or ``search``.
        written: the service that the seed names, None for the only one.
        tree: the stacks.
        stack: whose seed it is.
        address: (service, port) -> (host, port).

    Raises:
        ConfigError: there is none.
        BrokenStack: it is not up.
    """
    name, port = store_of(kind, written, tree, stack)
    login = login_of(tree.visible(stack)[name][1], kind)
    assert login is not None  # it has a port
    return Store(name, login, *address(name, port))


@dataclass(frozen=True)
class Site:
    """Where the stacks of a tree are, or come up.

    Attributes:
        choice: what was asked for, and the engine.
        environment: where they are.
        tree: the stacks.
    """

    choice: Choice
    environment: Environment
    tree: Tree

    def lay_out(self, strangers: Mapping[tuple[int, str], Stranger]) -> Layout:
        """Return where things are, with addresses and ports that are leased for all stacks of the tree."""
        choice, environment = self.choice, self.environment
        wanted = needs(self.tree, strangers, environment.engine, choice.local)
        leased = environment.link.ask(Lease(services=list(wanted.addresses), ports=list(wanted.ports)))
        return Layout(
            engine=environment.engine,
            work=environment.folder / WORK,
            logs=environment.folder / "services",
            environ=choice.settings.environ,
            addresses=leased["addresses"],
            ports=leased["ports"],
            strangers=strangers,
            local=choice.local,
            located=choice.engine.locate(self.tree),
            container_addresses=choice.settings.addresses == CONTAINER,
            place=place_for(environment.env),
            localhost=choice.is_localhost,
        )

    def network(self, stack: Stack) -> Network:
        """Return the network that a stack's containers join, made if need be."""
        return self.environment.network(stack.name, [service.name for service in stack.services])

    def plan(self, stack: Stack, layout: Layout, images: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is with these addresses and images."""
        facts = self.environment.link.facts
        identity = Identity(checkout_of(self.choice.settings), self.environment.env, facts["labels"], facts["key"])
        return self.choice.engine.plan(self.tree, stack.name, layout, identity, images)

    def plan_again(self, stack: Stack) -> StackPlan:
        """Return what a stack that is up would be now, with the addresses that it has there."""
        below = self.settled_below(stack).values()
        settled = {f"{known.stack}/{known.service}": known.endpoints for known in below}
        there = record_in(self.environment.link.ask(Services())["stacks"], stack.name)
        localhost = is_on_localhost(there.get("parts", {}))
        strangers = {} if localhost else find_strangers(self.tree)
        layout = replace(self.lay_out(strangers), settled=settled, localhost=localhost)
        if self.environment.daemon:
            layout = replace(layout, network=self.network(stack))
        return self.plan(stack, layout, images_of(self.tree, stack, self.choice.settings.environ, None))

    def settled_below(self, stack: Stack) -> dict[str, Known]:
        """Return service -> what is known of it, of the stacks that a stack includes and that are settled."""
        stacks = self.environment.link.ask(Services())["stacks"]
        below = [other for other in self.tree.below(stack.name) if other is not stack and other.name in stacks]
        tables = [stacks[other.name]["record"].get("services", {}) for other in below]
        return {name: Known.from_dict(facts) for table in tables for name, facts in table.items()}

    def address(self, stack: Stack, layout: Layout, service: str, port: int) -> tuple[str, int]:
        """Return where a port of a service that a stack sees is. Raises BrokenStack when it publishes no such port."""
        owner, declared = self.tree.visible(stack.name)[service]
        end = by_number(endpoints(owner.name, declared, layout)).get(port)
        if end is None:
            raise BrokenStack(f"Service {service!r} publishes no port {port}")
        return end.host, end.port


@dataclass(frozen=True)
class Planned:
    """A stack in an environment.

    Attributes:
        environment: where it is, or will be.
        tree: the stack and what it includes.
        stack: which of these it is.
        plans: its services, by name.
        bootstrap: tells ``host:port`` of a port of a service that it sees. Raises BrokenStack.
        launch: what starts those of them that are started together, None where each is started by its host.
        seeds: as planned.
    """

    environment: Environment
    tree: Tree
    stack: Stack
    plans: Mapping[str, ServicePlan]
    bootstrap: Callable[[str, int], str]
    launch: Launch | None = None
    seeds: tuple[Seed, ...] = ()

    def service(self, name: str) -> Service:
        """Return what its file says of a service."""
        service = self.stack.service(name)
        assert service is not None  # names come from this stack
        return service

    @cached_property
    def oneshots(self) -> set[str]:
        """The services that are done when they have ended: by their role, or since another one waits for that."""
        adopted = {
            name
            for service in self.stack.services
            for name, condition in service.depends_on.items()
            if condition == "service_completed_successfully"
        }
        return {service.name for service in self.stack.services if service.settings.role == "oneshot"} | adopted

    @cached_property
    def seeded_topics(self) -> set[str]:
        """The topics that its seeds make."""
        return {topic for seed in self.stack.settings.seed for topic in seed.topics or ()}

    @cached_property
    def seeded_indices(self) -> set[str]:
        """The indices that its seeds fill."""
        return {seed.search.index for seed in self.stack.settings.seed if seed.search}

    @cached_property
    def held_back(self) -> set[str]:
        """The services that a seed must precede, with their dependents."""
        held = {seed.before for seed in self.stack.settings.seed if seed.before}
        more = True
        while more:
            users = {service.name for service in self.stack.services if held & set(service.depends_on)} - held
            held |= users
            more = bool(users)
        return {name for name in held if name}


def only(plan: StackPlan, names: Collection[str]) -> StackPlan:
    """Return a plan of a stack that is up, of which only some services are made, again; nothing else is built."""
    if not plan.containers:
        return plan
    build = tuple(name for name in plan.containers.build if name in names)
    return replace(plan, containers=replace(plan.containers, build=build, subnets={}, again=True))
