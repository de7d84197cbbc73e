"""What a run hands to the deployer of a stack, so that it can do for its environment what the run could."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from harness.engine.layout import LOCALHOST
from harness.engine.plan import ProcessPlan
from harness.stack import DEPLOYER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config import Settings
    from harness.engine import ServicePlan, StackPlan
    from harness.runs.environment import Environment
    from harness.stack import Stack

ORDER = "HARNESS_DEPLOYER_ORDER"


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


def equipped(plan: StackPlan, stack: Stack, settings: Settings, environment: Environment) -> StackPlan:
    """Return a plan whose deployer, if it has one, knows its order and has its caller's environment."""
    if stack.settings.deployer is None:
        return plan
    order = Order(
        env=environment.env,
        files=os.pathsep.join(map(str, stack.files)),
        root=str(settings.root),
        options=_options(settings, environment.engine),
        began=environment.report.began,
    )
    return replace(plan, services=tuple(_with_order(service, settings, order) for service in plan.services))


def _with_order(plan: ServicePlan, settings: Settings, order: Order) -> ServicePlan:
    if plan.service != DEPLOYER or not isinstance(plan, ProcessPlan):
        return plan
    return replace(plan, env={**settings.environ, **plan.env, ORDER: order.as_text()})


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
