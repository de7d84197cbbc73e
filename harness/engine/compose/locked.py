"""Images of a stack as its lock would hold them: those that are built by what they are made of, others by their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.images import lock
from harness.images.lock import LockedImage
from harness.images.names import plain
from harness.images.records import by_content, is_built_as

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.engine import ContainerPlan
    from harness.images.fingerprint import Found, Ingredients


def built(plan: ContainerPlan, made_of: Ingredients, identity: str) -> LockedImage:
    """Return the image of a service that is built, ``identity`` "" where it is not there."""
    return LockedImage(
        plan.stack,
        plan.service,
        plan.strategy,
        id=identity,
        fingerprint=made_of.fingerprint,
        bases=made_of.bases,
        doubts=made_of.doubts,
    )


def as_it_is(plan: ContainerPlan, facts: Mapping[str, Any]) -> LockedImage:
    """Return the image of a service that is not built, by what the engine says of it: nothing where it is not there."""
    digests = tuple(sorted(facts.get("RepoDigests") or ()))
    return LockedImage(plan.stack, plan.service, plan.strategy, plan.image, facts.get("Id", ""), digests)


def refuse_others(
    path: Path,
    plans: Iterable[ContainerPlan],
    found: Mapping[str, Found],
    facts: Mapping[str, Mapping[str, Any]],
) -> None:
    """Do nothing when what containers are about to run is what the project's lock holds.

    Args:
        path: of the lock.
        plans: the containers.
        found: name -> image, of what was built or found built.
        facts: name -> what the engine says of an image that is run.

    Raises:
        ConfigError: one is another: it was pulled, or its sources were changed, since the lock was looked at.
    """
    held = lock.read(path)
    images = []
    for plan in plans:
        if plan.image in found:
            images.append(built(plan, found[plan.image].made_of, found[plan.image].id))
        elif plan.strategy == "build":
            images.append(_named(plan, held.get((plan.stack, plan.service)), facts[plan.image]))
        else:
            images.append(as_it_is(plan, facts[plan.image]))
    lock.refuse_drift(path, held, images)


def _named(plan: ContainerPlan, held: LockedImage | None, facts: Mapping[str, Any]) -> LockedImage:
    """Return an image that was built by another run, as its names tell it: one of them is what it is made of."""
    names = set(map(plain, facts.get("RepoTags") or ()))
    is_named = held is not None and held.fingerprint and by_content(plan.image, held.fingerprint) in names
    is_held = is_named and is_built_as(plan.image, facts)
    fingerprint = held.fingerprint if held and is_held else ""
    return LockedImage(plan.stack, plan.service, plan.strategy, id=str(facts["Id"]), fingerprint=fingerprint)
