"""Images that are built from images of other services of their Compose files: which stand for what in a Dockerfile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.images.dockerfiles import Reference, familiar, references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.stack import Service, Stack, Tree

_SERVICE, _IMAGE = "service:", "docker-image://"


@dataclass(frozen=True)
class Basis:
    """What the image of a service is built from.

    Attributes:
        text: its Dockerfile, None where that is not on this machine.
        ignored: what a list of files that it has for itself (``NAME.dockerignore``) says, None without one.
        services: where it names the image of another service -> that service.
        images: where it names an additional context -> the image that this is.
        contexts: its other additional contexts.
    """

    text: str | None = None
    ignored: str | None = None
    services: Mapping[Reference, str] = field(default_factory=dict)
    images: Mapping[Reference, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)


def dockerfile_of(service: Service) -> Path | None:
    """Return the Dockerfile of ``service``; None when it is not built, or not from a file on this machine."""
    section = service.compose.get("build")
    if not section or "dockerfile_inline" in section:
        return None
    path = Path(section.get("context", "."), section.get("dockerfile") or "Dockerfile")
    return path if path.is_file() else None


def text_of(dockerfile: Path) -> str:
    """Return a Dockerfile as builders read it: the ends of its lines count, in here-documents. Raises OSError."""
    return dockerfile.read_bytes().decode(errors="surrogateescape").removeprefix("\ufeff")


def bases_of(
    tree: Tree, stack: Stack, names: Iterable[str], environ: Mapping[str, str], builds: Callable[[Service], bool]
) -> dict[str, Basis]:
    """Return what images of a stack are built from, and those that are built only for these.

    Args:
        tree: the stack and what it includes.
        stack: whose services are built.
        names: which of them.
        environ: gives values of build arguments that the file leaves to it.
        builds: whether a service is built, and does not run another image.
    """
    declared = {**_declared(tree, stack), **{service.name: service for service in stack.services}}
    images: dict[str, str] = {}
    for service in declared.values():
        if service.image and service.compose.get("build"):
            images.setdefault(familiar(service.image), service.name)
    ready = {name for name, (owner, _) in tree.visible(stack.name).items() if owner is not stack}
    found: dict[str, Basis] = {}
    todo = list(names)
    while todo:
        name = todo.pop(0)
        if name not in found:
            basis = found[name] = _basis(declared[name], images, environ)
            wanted = dict.fromkeys(basis.services.values())
            todo += [one for one in wanted if one in declared and one not in ready and builds(declared[one])]
    return found


def _declared(tree: Tree, stack: Stack) -> dict[str, Service]:
    """Return the services that names mean in a file of a stack, also those that are not started."""
    below = tree.below(stack.name)
    idle = {service.name: service for owner in below for service in owner.idle}
    return idle | {name: service for name, (_, service) in tree.visible(stack.name).items()}


def idle_of(tree: Tree, stack: Stack) -> dict[str, Service]:
    """Return the services of a stack's files that are not started, and can be built for others."""
    declared, visible = _declared(tree, stack), tree.visible(stack.name)
    return {name: service for name, service in declared.items() if name not in visible}


def _basis(service: Service, images: Mapping[str, str], environ: Mapping[str, str]) -> Basis:
    section = service.compose["build"]
    path = dockerfile_of(service)
    text = text_of(path) if path else section.get("dockerfile_inline")
    ignore = path.with_name(f"{path.name}.dockerignore") if path else None
    ignored = ignore.read_text(encoding="utf-8", errors="replace") if ignore and ignore.is_file() else None
    written = dict(section.get("additional_contexts") or {})
    if text is None:
        return Basis(contexts=written)
    arguments = {
        name: environ.get(name) if value is None else str(value) for name, value in (section.get("args") or {}).items()
    }
    given = {name: value for name, value in arguments.items() if value is not None}
    own = familiar(service.image) if service.image else ""
    services: dict[Reference, str] = {}
    others: dict[Reference, str] = {}
    contexts = {familiar(name): str(value) for name, value in written.items()}
    for reference in references(text, given, str(section.get("target") or "")):
        name = familiar(reference.name)
        meant = contexts.get(name, "")
        if meant.startswith(_SERVICE):
            services[reference] = meant.removeprefix(_SERVICE)
            continue
        if meant.startswith(_IMAGE):
            others[reference] = meant.removeprefix(_IMAGE)
            name = familiar(others[reference])
        elif meant or reference.is_stage:
            continue
        # A service may build on the image whose name it takes: that is the one that it would otherwise run.
        if name in images and name != own:
            services[reference] = images[name]
    left = {name: value for name, value in written.items() if not str(value).startswith((_SERVICE, _IMAGE))}
    return Basis(text, ignored, services, {one: image for one, image in others.items() if one not in services}, left)
