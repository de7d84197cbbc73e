"""What is decided about the images of a stack, before an engine is asked for any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.engine import Image
from harness.errors import SkippedStack
from harness.images import Choice, bases_of, build_arguments, choose, choose_base, dockerfile_of, idle_of
from harness.images.making import base_argument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker import APIClient

    from harness.stack import Service, Stack, Tree


def refuse_skipped(tree: Tree, environ: Mapping[str, str]) -> None:
    """Do nothing when every subject of ``tree`` is wanted.

    Raises:
        SkippedStack: a variable says that one is to be left out.
        ConfigError: a variable says something that it cannot.
    """
    for stack in tree.stacks:
        for service in stack.services:
            choice = choose(service, environ)
            if choice.kind == "skip":
                raise SkippedStack(
                    f"Stack {tree.root.name!r} is skipped: {choice.variable}=skip leaves out service {service.name!r}"
                )


def images_of(tree: Tree, stack: Stack, environ: Mapping[str, str], client: APIClient | None) -> dict[str, Image]:
    """Return what is decided about the image of each service of a stack and of those that it includes.

    Without a client, and of included ones, as far as nothing must be asked.

    Raises:
        BrokenStack: a Dockerfile's base is nowhere to be had.
    """
    images = {}
    choices = {service.name: choose(service, environ) for _, service in tree.visible(stack.name).values()}

    def builds(service: Service) -> bool:
        chosen = choices.get(service.name)
        return bool(service.compose.get("build")) and not (chosen and chosen.kind == "prebuilt")

    names = [service.name for service in stack.services if builds(service)]
    bases = bases_of(tree, stack, names, environ, builds) if client else {}
    idle = [service for name, service in idle_of(tree, stack).items() if name in bases]
    for service in (*(service for _, service in tree.visible(stack.name).values()), *idle):
        choice = choices.get(service.name, Choice("declared"))
        base = None
        dockerfile = dockerfile_of(service)
        if client and dockerfile and service.name in bases:
            default = base_argument(dockerfile)
            own = {reference.name for reference in bases[service.name].services}
            base = choose_base(client, environ, dockerfile=dockerfile) if default not in own else None
        arguments = build_arguments(service, environ, base) if builds(service) else {}
        images[service.name] = Image(
            choice.image or service.image, builds(service), arguments, choice.variable, choice.kind
        )
    return images
