"""A stack as it is planned in an environment: what bringing it up, asking it and explaining a failure start from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.engine import ServicePlan
    from harness.engine.driver import Launch
    from harness.runs.environment import Environment
    from harness.stack import Seed, Service, Stack, Tree


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
    def held_back(self) -> set[str]:
        """The services that a seed must precede, with their dependents."""
        held = {seed.before for seed in self.stack.settings.seed if seed.before}
        more = True
        while more:
            users = {service.name for service in self.stack.services if held & set(service.depends_on)} - held
            held |= users
            more = bool(users)
        return {name for name in held if name}
