"""What a run hands to the deployer of a stack, so that it can do for its environment what the run could."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from harness import procs
from harness.engine.compose.building import BUILD_BUDGET
from harness.engine.layout import LOCALHOST
from harness.engine.plan import ProcessPlan
from harness.keeper.messages import Acquire, Release
from harness.runs.images import images_of
from harness.runs.planning import Site
from harness.stack import DEPLOYER, copy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.config import Settings
    from harness.engine import ServicePlan, StackPlan
    from harness.engine.layout import Layout
    from harness.stack import Stack

ORDER = "HARNESS_DEPLOYER_ORDER"
ACQUIRE_BUDGET = BUILD_BUDGET + 60.0  # another worker may be building


@dataclass(frozen=True)
class Order:
    """What a deployer is to serve: the environment and the stack that it is of, and how its run was asked for these.

    Attributes:
        env: the environment.
        files: the stack's files, as they are named to a run.
        root: the project's folder.
        options: settings by their names, as text.
        began: the monotonic time at which its run began.
    """

    env: str
    files: str
    root: str
    options: Mapping[str, str]
    began: float

    def as_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Order:
        """Return it from JSON."""
        return cls(**json.loads(text))


def equipped(plan: StackPlan, stack: Stack, site: Site, layout: Layout, say: Callable[[str], None]) -> StackPlan:
    """Return a plan whose deployer, if it has one, knows its order and has its caller's environment.

    The images of its templates are built by then, or got. Raises as ``Launch.prepare`` does.
    """
    if stack.settings.deployer is None:
        return plan
    settings, environment = site.choice.settings, site.environment
    images = _prepare_images(stack, site, layout, say)
    order = Order(
        env=environment.env,
        files=os.pathsep.join(map(str, stack.files)),
        root=str(settings.root),
        options=_options(settings, environment.engine),
        began=environment.report.began,
    )
    return replace(
        plan, services=tuple(_with_order(service, {**settings.environ, **images}, order) for service in plan.services)
    )


def _prepare_images(stack: Stack, site: Site, layout: Layout, say: Callable[[str], None]) -> dict[str, str]:
    """Have the images of a stack's templates; return the variables that choose those that were built for copies."""
    environment, choice = site.environment, site.choice
    variables: dict[str, str] = {}
    for name, template in choice.templates_of(stack).items() if environment.daemon else ():
        tree = copy_of(template, name, {}, stack.name)
        images = images_of(tree, tree.root, choice.settings.environ, environment.client)
        dry = replace(choice.dry_layout(tree, {}), network=layout.network)
        plan = Site(choice, environment, tree).plan(tree.root, dry, images)
        if launch := choice.engine.launch(plan, environment):
            # Compose is run for a stack that somebody holds.
            answer = environment.link.ask(Acquire(name, []), timeout=ACQUIRE_BUDGET)
            try:
                if answer["build"]:
                    launch.prepare(say)
            finally:
                environment.link.ask(Release(name))
            variables |= {
                container.variable: f"prebuilt={container.image}"
                for container in plan.in_containers
                if container.variable and images[container.service].builds
            }
    return variables


def _with_order(plan: ServicePlan, environ: Mapping[str, str], order: Order) -> ServicePlan:
    if plan.service != DEPLOYER or not isinstance(plan, ProcessPlan):
        return plan
    caller = {name: value for name, value in environ.items() if name != procs.PARENT}  # it ends with its stack instead
    return replace(plan, env={**caller, **plan.env, ORDER: order.as_text()})


def _options(settings: Settings, engine: str) -> dict[str, str]:
    """Return what was asked for that matters to copies. On localhost two of them would have one address."""
    wanted = {
        "engine": engine,
        "addresses": "published" if settings.addresses == LOCALHOST else settings.addresses,
        "pull": settings.pull,
        "build": settings.build,
        "networks": settings.networks,
        "profile": ",".join(settings.profiles),
        "logs": str(settings.logs),
        "wait_timeout": f"{settings.wait_timeout:g}s" if settings.wait_timeout else "",
    }
    return {name: value for name, value in wanted.items() if value}
