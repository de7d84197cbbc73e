"""Images by themselves: built without starting anything, and compared with what is up."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.daemon import connect, find_daemon, in_words
from harness.engine.compose.launch import Launch
from harness.engine.compose.plan import NAME
from harness.engine.identity import Identity
from harness.engine.layout import dry_layout
from harness.errors import BrokenStack, ConfigError, nearest
from harness.images import image_id
from harness.keeper.messages import Acquire
from harness.ownership.objects import IMAGE
from harness.runs.convergence import ACQUIRE_BUDGET
from harness.runs.images import fetch_sources, images_of, refuse_skipped
from harness.runs.known import all_kept, checkout_of, services_of
from harness.runs.locking import hold_to_lock
from harness.runs.looking import Looking
from harness.runs.opening import create
from harness.runs.run import Run, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.config import Settings
    from harness.docker_sdk import APIClient
    from harness.engine.compose.standing import Standing
    from harness.runs.choice import Choice
    from harness.stack import Tree


def build_images(choice: Choice, say: Callable[[str], None], *, subject: str = "") -> dict[str, str]:
    """Build the images of the chosen stack and of those that it includes; return service -> image.

    Args:
        choice: what was asked for, and the engine.
        say: takes lines for the user.
        subject: only the services with this subject, or this name; "" for all.

    Raises:
        ConfigError: the engine has no images, or nothing of that name is built.
        BrokenStack: a build failed; its last lines are in the error.
    """
    settings = choice.settings
    run = Run(choice, say)
    tree = _tree_of_images(choice)
    run.plan(tree)
    hold_to_lock(choice, tree)
    wanted = _wanted(tree, subject)
    built: dict[str, str] = {}
    layout = dry_layout(tree, settings.environ, {}, NAME, local=choice.local)
    with running(run):
        run.check_engine()
        # Always an environment of its own: the generated files of one that is kept stay as they are.
        environment = run.environment = create(settings, choice.engine, choice.why)
        facts = environment.link.facts
        identity = Identity(checkout_of(settings), environment.env, facts["labels"], facts["key"])
        for stack in tree.stacks:
            environment.link.ask(Acquire(stack.name, list(stack.includes)), timeout=ACQUIRE_BUDGET)
            images = images_of(tree, stack, settings.environ, environment.client)
            plan = choice.engine.plan(tree, stack.name, layout, identity, images)
            containers = plan.containers
            names = tuple(name for name in containers.build if name in wanted) if containers else ()
            if containers and names:
                launch = Launch(environment, replace(plan, containers=replace(containers, build=names)))
                for name in launch.build(say):
                    say(f"{name}: unchanged, no build")
                built |= {name: identity.image(stack.name, name) for name in names}
    return built


def _tree_of_images(choice: Choice) -> Tree:
    """Return the chosen stack with what it includes, on an engine that has images. Raises ConfigError."""
    if choice.engine.name != NAME:
        raise ConfigError(
            f"Engine {choice.engine.name!r} builds no images ({choice.why}); {NAME!r} was needed",
            hint=f"give --engine {NAME}",
        )
    tree = choice.read(choice.settings.default_stack())
    refuse_skipped(tree, choice.settings.environ)
    return tree


def builds_any(choice: Choice) -> bool:
    """Return whether an image of the chosen stack is built. Raises ConfigError: the engine has no images."""
    return any(service.compose.get("build") for stack in _tree_of_images(choice).stacks for service in stack.services)


def _wanted(tree: Tree, subject: str) -> set[str]:
    """Return the services whose images are built, with this subject or name. Raises ConfigError where there is none."""
    have = [service for stack in tree.stacks for service in stack.services if service.compose.get("build")]
    wanted = {service.name for service in have if subject in ("", service.name, service.settings.subject)}
    if not wanted:
        names = sorted({service.name for service in have})
        raise ConfigError(
            f"No image of {subject or tree.root.name!r} is built; built are: {', '.join(names) or 'none'}"
            f"{nearest(subject, names)}"
        )
    return wanted


def explain_images(choice: Choice, say: Callable[[str], None], *, subject: str = "") -> list[Standing]:
    """Return how the images of the chosen stack stand, in the order in which they would be built.

    Nothing is done but that commits are fetched which images are built from.

    Args:
        choice: what was asked for, and the engine.
        say: takes lines for the user.
        subject: only the services with this subject, or this name; "" for all.

    Raises:
        ConfigError: the engine has no images, nothing of that name is built, or a commit cannot be had.
    """
    settings = choice.settings
    tree = _tree_of_images(choice)
    fetch_sources(tree, settings, choice.local, say)
    choice.check(tree)
    wanted = _wanted(tree, subject)
    choice.engine.check()
    with closing(connect(find_daemon(settings.environ))) as client:
        looked = Looking(choice, tree, client)
        return [standing for stack in tree.stacks for standing in looked.at(stack, wanted)[1].values()]


def outdated(settings: Settings) -> list[str]:
    """Return the services that are up in containers whose image's name stands for another image now."""
    record = all_kept(settings).get(NAME)
    if record is None or record.daemon is None:
        return []
    services = services_of(record)["services"]
    with closing(connect(record.daemon)) as client, in_words("looking at images"):
        return [
            facts["service"] for facts in services if facts["container"] and _is_outdated(client, facts["container"])
        ]


def _is_outdated(client: APIClient, container: str) -> bool:
    facts = client.inspect_container(container)
    try:
        config = facts["Config"]
        now = image_id(client, (config.get("Labels") or {}).get(IMAGE) or config["Image"])
    except BrokenStack:
        return False
    return now is not None and now != facts["Image"]
