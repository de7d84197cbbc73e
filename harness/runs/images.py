"""What is decided about the images of a stack, before an engine is asked for any."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engine import Image
from harness.engine.compose.plan import NAME
from harness.engine.layout import process_of
from harness.errors import ConfigError, SkippedStack
from harness.images import (
    Choice,
    bases_of,
    build_arguments,
    check_out,
    choose,
    choose_base,
    dockerfile_of,
    git_folder,
    idle_of,
)
from harness.images.making import base_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.config import Settings
    from harness.config.subjects import Subject
    from harness.docker_sdk import APIClient
    from harness.engine.layout import Local
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


def fetch_sources(tree: Tree, settings: Settings, local: Local, say: Callable[[str], None]) -> None:
    """Have the commits that images of a tree's containers are built from in folders; each is fetched once.

    Raises:
        ConfigError: there is no git, no such repository or commit, or no such folder in it; or an archive is none.
    """
    folder = git_folder(settings.environ, settings.state)
    for stack in tree.stacks:
        for service in (*stack.services, *stack.idle):
            if process_of(service, NAME, local):
                continue
            choice, subject = choose(service, settings.environ), service.source
            if choice.archive:
                from harness.images.archives import archived_id  # noqa: PLC0415 - where there is one

                try:
                    archived_id(choice.archive)
                except ConfigError as error:
                    told_by = subject.where if subject and choice.variable not in settings.environ else choice.variable
                    error.hint = error.hint or f"that service {service.name!r} runs its image is said by {told_by}"
                    raise
            elif subject and subject.git and choice.kind == "build":
                place = check_out(subject, folder, settings.environ, say)
                _refuse_wrong(subject, service.compose["build"], place)


def _refuse_wrong(subject: Subject, section: Mapping[str, Any], place: Path) -> None:
    """Do nothing when the commit at ``place`` has what is built. Raises ConfigError: not, or elsewhere than in it."""
    context = Path(section["context"])
    dockerfile = context / section["dockerfile"]
    named = [("context", context), ("dockerfile", dockerfile)]
    lists = [("its", context / ".dockerignore"), ("its", Path(f"{dockerfile}.dockerignore"))]
    for what, path in (*named, *lists):
        # Links within a context are copied as links by every builder; these paths are followed by whoever reads them.
        if link := _link_out(path, place):
            name = repr(subject.section[what]) if what in subject.section else path.name
            raise ConfigError(
                f"{subject.where}: {what} {name} leads out of commit {subject.commit}: "
                f"{link.relative_to(place)} is a symbolic link to {link.readlink()}",
                hint=f"{subject.repository} is checked out at {place}",
            )
    for what, path in named:
        if not (path.is_dir() if what == "context" else path.is_file()):
            raise ConfigError(
                f"{subject.where}: {what} {subject.section[what]!r} does not exist in commit {subject.commit}",
                hint=f"{subject.repository} is checked out at {context if what == 'dockerfile' else path.parent}",
            )


def _link_out(path: Path, place: Path) -> Path | None:
    """Return the symbolic link of a folder by which a path leaves it, None for none."""
    folder = place.resolve()
    for part in reversed((path, *path.parents)):
        if part.is_relative_to(place) and part.is_symlink() and not part.resolve().is_relative_to(folder):
            return part
    return None


def images_of(tree: Tree, stack: Stack, environ: Mapping[str, str], client: APIClient | None) -> dict[str, Image]:
    """Return what is decided about the image of each service of a stack and of those that it includes.

    Without a client, and of included ones, as far as nothing must be asked.
    """
    images = {}
    choices = {service.name: choose(service, environ) for _, service in tree.visible(stack.name).values()}

    def builds(service: Service) -> bool:
        chosen = choices.get(service.name)
        return bool(service.compose.get("build")) and not (chosen and chosen.kind in ("prebuilt", "archive"))

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
        name = _archived(choice.archive, client) if choice.archive else choice.image
        about = service.source.about if service.source else {}
        images[service.name] = Image(
            name or service.image, builds(service), arguments, choice.variable, choice.kind, choice.commit, about
        )
    return images


def _archived(archive: Path, client: APIClient | None) -> str:
    """Return the id of an archive's image, which the engine then has; without one as far as the archive tells."""
    from harness.images.archives import archived_id, load_one  # noqa: PLC0415 - where there is one

    if client:
        return load_one(client, archive)
    with contextlib.suppress(ConfigError):  # where it matters it is told before
        return archived_id(archive)
    return ""
