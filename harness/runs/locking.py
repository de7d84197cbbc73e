"""The images of a stack held to ``images.lock``, before anything is created; and the lock as it is written."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from harness.daemon import connect, find_daemon, in_words
from harness.engine.compose.locked import as_it_is, built
from harness.engine.compose.plan import NAME
from harness.errors import ConfigError
from harness.images import ensure_image, lock
from harness.runs.images import fetch_sources
from harness.runs.looking import Looking

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.docker_sdk import APIClient
    from harness.images.lock import LockedImage
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
        bases = [(one.service, name) for one in standings.values() for name, base in one.ingredients.bases.items()
                 if not base and pulls and name not in looking.built]  # fmt: skip
        for service, name in bases:
            with in_words(f"Image {name!r}"):
                ensure_image(client, name, service=service, variable="")
        if bases:
            plan, standings = looking.at(stack)
        for container in plan.in_containers:
            if standing := standings.get(container.service):
                found.append(built(container, standing.ingredients, standing.id))
            else:
                with in_words(f"Image {container.image!r}"):
                    if pulls and container.is_pulled:
                        ensure_image(client, container.image, service=container.service, variable=container.variable)
                found.append(as_it_is(container, _facts_of(container.image, client)))
    return found


def _facts_of(image: str, client: Any) -> dict[str, Any]:  # noqa: ANN401 - its stubs leave out much
    """Return what the engine says of an image, {} where it is not there."""
    from harness.docker_sdk import ImageNotFound  # noqa: PLC0415 - a quarter of a second, only with an engine

    facts: dict[str, Any] = {}
    with in_words(f"Image {image!r}"), suppress(ImageNotFound):
        facts = client.inspect_image(image)
    return facts


def hold_to_lock(choice: Choice, tree: Tree) -> None:
    """Do nothing when the images of a tree are those of the project's lock, or need not be (``locked``).

    What containers are about to run is compared once more when it is there (``engine/compose/locked.py``).

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


def write_lock(choice: Choice, say: Callable[[str], None]) -> list[LockedImage]:
    """Write the images of the chosen stack, which are built, and of what it includes into the project's lock.

    Raises:
        ConfigError: of an image it cannot be told what it is made of, or a commit cannot be had.
        BrokenStack: one is nowhere to be had.
    """
    settings = choice.settings
    tree = choice.read(settings.default_stack())
    fetch_sources(tree, settings, choice.local, say)
    with closing(connect(find_daemon(settings.environ))) as client:
        images = images_now(choice, tree, client, pulls=True)
    doubted = [
        f"Image of service {image.service!r} of stack {image.stack!r} cannot be locked: {image.doubts[0]}"
        for image in images
        if image.doubts
    ]
    if doubted:
        raise ConfigError.of(doubted)
    if spoilt := lock.write(settings.root / lock.FILE, images):
        say(f"{spoilt}; it was written anew, with the images of this stack alone")
    return images
