"""What the end of a service means while its stack settles: it is done, it is started again, or it is a death.

Compose's ``restart`` is heeded until a stack has settled. Afterwards a service that ends is news, whatever its file
says ("restart" and "deploy.restart_policy" in the Compose specification).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import ServicePlan
    from harness.stack import Service

FIRST_PAUSE = 0.1  # seconds before a service is started again; doubled each time
LONGEST_PAUSE = 5.0
TRIES_ALONE = 3
"""Starts of a service, when all others have proven to be ready, after which it waits for nobody any more."""
_CONDITIONS = {"none": "no", "any": "always", "unless-stopped": "always"}


class End(Enum):
    """What an end means."""

    DONE = "done"
    AGAIN = "started again"
    DEATH = "a death"


class Policy(NamedTuple):
    """``restart`` of a service: "" (nothing is written), no, on-failure or always; and how often at most."""

    condition: str
    most: int | None = None


def policy_of(compose: Mapping[str, object]) -> Policy:
    """Return the restart policy of a service's table; what ``deploy`` says goes before."""
    deploy = compose.get("deploy")
    written = deploy.get("restart_policy") if isinstance(deploy, dict) else None
    if isinstance(written, dict) and written:
        condition = str(written.get("condition") or "any")
        most = written.get("max_attempts")
        return Policy(_CONDITIONS.get(condition, condition), int(most) if most is not None else None)
    condition, _, most = str(compose.get("restart") or "").partition(":")
    return Policy(_CONDITIONS.get(condition, condition), int(most) if most else None)


@dataclass(frozen=True)
class Life:
    """A service that has ended while its stack settles.

    Attributes:
        service: what its file says.
        plan: what it is here.
        again: how often it was started again already.
        alone: how often it was started when all others had proven to be ready.
        is_awaited: whether another service waits until it is healthy.
    """

    service: Service
    plan: ServicePlan
    again: int = 0
    alone: int = 0
    is_awaited: bool = False


def meaning(life: Life, code: int | None) -> End:
    """Return what the end of a service with this exit code means."""
    policy = policy_of(life.service.compose)
    if code == 0 and policy.condition != "always":
        asked = life.service.settings.ready or life.plan.has_health or life.is_awaited
        meant = policy.condition in ("no", "on-failure") or not life.service.ports
        return End.DONE if meant and not asked else End.DEATH
    allowed = policy.condition in ("always", "on-failure") and life.plan.ours
    left = policy.most is None or life.again < policy.most
    return End.AGAIN if allowed and left and life.alone < TRIES_ALONE else End.DEATH


def pause_before(again: int) -> float:
    """Return the seconds before a service is started for the ``again``-th time."""
    return min(FIRST_PAUSE * 2**again, LONGEST_PAUSE)
