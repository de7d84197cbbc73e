"""The images of a stack held to ``images.lock``, before anything is created; and the lock as it is written."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from harness.daemon import connect, find_daemon, in_words
from harness.engine.compose.plan import NAME
from harness.errors import ConfigError
from harness.images import ensure_image, lock
from harness.images.lock import LockedImage
from harness.runs.looking import Looking

if TYPE_CHECKING:
    from docker import APIClient

    from harness.engine import ContainerPlan
    from harness.engine.compose.standing import Standing
    from harness.runs.choice import Choice
    from harness.stack import Tree


def images_now(choice: Choice, tree: Tree, client: APIClient, *, pulls: bool) -> list[LockedImage]:
    """Return the image of each container of a tree as it is now, or would be built.

    Args:
        choice: what was asked for, and the engine.
        tree: the stacks.
        client: of the engine.
        pulls: whether images are got that are missing, also those that others are built from.

    Raises:
        BrokenStack: one is nowhere to be had.
    """
    pulls = pulls and choice.settings.pull != "never"
    looking, found = Looking(choice, tree, client), []
    for stack in tree.stacks:
        plan, standings = looking.at(stack)
        bases = [(one.service, image) for one in standings.values() for name, image in one.images.items()
                 if pulls and not one.ingredients.bases[name]]  # fmt: skip
        for service, name in bases:
            with in_words(f"Image {name!r}"):
                ensure_image(client, name, service=service, variable="")
        if bases:
            plan, standings = looking.at(stack)
        for container in plan.in_containers:
            if standing := standings.get(container.service):
                found.append(_built(container, standing))
            else:
                with in_words(f"Image {container.image!r}"):
                    if pulls and container.is_pulled:
                        ensure_image(client, container.image, service=container.service, variable=container.variable)
                found.append(_as_it_is(container, client))
    return found


def _built(plan: ContainerPlan, standing: Standing) -> LockedImage:
    made_of = standing.ingredients
    return LockedImage(
        plan.stack,
        plan.service,
        plan.strategy,
        id=standing.id,
        fingerprint=made_of.fingerprint,
        bases=made_of.bases,
        doubts=made_of.doubts,
    )


def _as_it_is(plan: ContainerPlan, client: Any) -> LockedImage:  # noqa: ANN401 - its stubs leave out much
    from docker.errors import ImageNotFound  # noqa: PLC0415 - a quarter of a second, only with an engine

    facts: dict[str, Any] = {}
    with in_words(f"Image {plan.image!r}"), suppress(ImageNotFound):
        facts = client.inspect_image(plan.image)
    digests = tuple(sorted(facts.get("RepoDigests") or ()))
    return LockedImage(plan.stack, plan.service, plan.strategy, plan.image, facts.get("Id", ""), digests)


def hold_to_lock(choice: Choice, tree: Tree) -> None:
    """Do nothing when the images of a tree are those of the project's lock, or need not be (``locked``).

    Raises:
        ConfigError: one is another, or there is no lock.
        BrokenStack: one is nowhere to be had.
    """
    settings = choice.settings
    if not settings.locked or choice.engine.name != NAME:
        return
    path = settings.root / lock.FILE
    held = lock.read(path)
    if not held:
        raise ConfigError(f"--locked: {path} does not exist or holds no image", hint="`harness build --lock` writes it")
    choice.engine.check()
    with closing(connect(find_daemon(settings.environ))) as client:
        lock.refuse_drift(path, held, images_now(choice, tree, client, pulls=True))


def write_lock(choice: Choice) -> list[LockedImage]:
    """Write the images of the chosen stack, which are built, and of what it includes into the project's lock.

    Raises:
        ConfigError: of an image it cannot be told what it is made of.
        BrokenStack: one is nowhere to be had.
    """
    settings = choice.settings
    tree = choice.read(settings.default_stack())
    with closing(connect(find_daemon(settings.environ))) as client:
        images = images_now(choice, tree, client, pulls=True)
    doubted = [
        f"Image of service {image.service!r} of stack {image.stack!r} cannot be locked: {image.doubts[0]}"
        for image in images
        if image.doubts
    ]
    if doubted:
        raise ConfigError.of(doubted)
    lock.write(settings.root / lock.FILE, images)
    return images
