"""What is decided about the images of a stack, before an engine is asked for any."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine import Image
from harness.errors import SkippedStack
from harness.images import build_arguments, choose, choose_base

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker import APIClient

    from harness.stack import Stack, Tree


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
    for owner, service in tree.visible(stack.name).values():
        choice = choose(service, environ)
        builds = bool(service.compose.get("build")) and choice.kind != "prebuilt"
        base = None
        if builds and client and owner is stack:
            build = service.compose["build"]
            dockerfile = Path(build.get("context", "."), build.get("dockerfile") or "Dockerfile")
            base = choose_base(client, environ, dockerfile=dockerfile) if dockerfile.is_file() else None
        arguments = build_arguments(service, environ, base) if builds else {}
        images[service.name] = Image(choice.image or service.image, builds, arguments, choice.variable)
    return images
