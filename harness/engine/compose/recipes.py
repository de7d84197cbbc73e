"""How the images of a stack are built: from which others, in which order, and on what Dockerfile."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import is_missing
from harness.engine.compose.override import Replaced, Reset
from harness.engine.plan import Recipe, UnitTests
from harness.errors import ConfigError, nearest
from harness.images import dockerfile_of
from harness.images.dockerfiles import needs_buildkit, stages_of, substituted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from harness.images import Basis
    from harness.stack import Service

# Keys of a build that only its client can serve, beside the engine.
_OF_CLIENT = ("secrets", "ssh", "entitlements", "privileged")


def recipe_of(service: Service, basis: Basis, image: str, stands: Callable[[str], str]) -> Recipe:
    """Return how the image of a service is built.

    Args:
        service: whose it is.
        basis: what it is built from.
        image: the name that it is given.
        stands: returns the image that a service stands for.
    """
    section = service.compose["build"]
    text = basis.text
    names = {reference: stands(name) for reference, name in basis.services.items()} | dict(basis.images)
    if text is not None:
        text = substituted(text, names)
    named = {"additional_contexts": basis.contexts} if basis.contexts else {}
    return Recipe(
        image=image,
        bases=frozenset(name for name in basis.services.values() if name != service.name),
        text=text,
        written=basis.text,
        stands={reference.name: name for reference, name in names.items()},
        unit_tests=_unit_tests(service, basis),
        platform=str(service.compose.get("platform") or ""),
        # Compose has the classic builder read a file even where there is none but what stands in the section.
        is_rewritten=text != basis.text or "dockerfile_inline" in section,
        is_inline="dockerfile_inline" in section,
        ignored=basis.ignored,
        uses_engine=bool(basis.services),
        contexts=None if (section.get("additional_contexts") or {}) == basis.contexts else basis.contexts,
        need=needs_buildkit(text) if text is not None else None,
        source=str(dockerfile_of(service) or "its dockerfile_inline"),
        of_client=tuple(key for key in (*_OF_CLIENT, *named) if section.get(key)),
    )


def _unit_tests(service: Service, basis: Basis) -> UnitTests | None:
    """Return the unit tests in the build of a service. Raises ConfigError: its Dockerfile has no such stage."""
    written = service.settings.unit_tests
    if written is None:
        return None
    if basis.text is not None and written.stage.lower() not in (stages := stages_of(basis.text)):
        raise ConfigError(
            f"Service {service.name!r}: x-harness.unit-tests.stage is {written.stage!r}, and its Dockerfile has no "
            f"such stage; it has: {', '.join(filter(None, stages)) or 'none with a name'}"
            f"{nearest(written.stage, filter(None, stages))}"
        )
    return UnitTests(written.stage, written.report)


def missing(service: Service) -> str:
    """Return what of a build is not there, "" for nothing that can be told here."""
    section = service.compose["build"]
    context = Path(str(section.get("context") or ""))
    if not context.is_absolute():
        return ""  # it is fetched by whoever builds
    if is_missing(str(context)):
        return f"Service {service.name!r}: its build context {context} does not exist"
    dockerfile = context / str(section.get("dockerfile") or "Dockerfile")
    if "dockerfile_inline" not in section and is_missing(str(dockerfile)):
        return f"Service {service.name!r}: its Dockerfile {dockerfile} does not exist"
    return ""


def steps_of(recipes: Mapping[str, Recipe], names: Iterable[str]) -> list[list[str]]:
    """Return what is built for ``names``, one list after the other, each of what can be built side by side.

    Raises:
        ConfigError: images are built from each other; it names their services.
    """
    wanted: dict[str, Collection[str]] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in recipes and name not in wanted:
            wanted[name] = [base for base in recipes[name].bases if base in recipes]
            todo += wanted[name]
    sorter = TopologicalSorter(wanted)
    try:
        sorter.prepare()
    except CycleError as error:
        # It lists each before the one that is built from it, and the first again as the last.
        circle = [repr(name) for name in reversed(error.args[1])]
        raise ConfigError(
            f"The images of services {', '.join(sorted(set(circle)))} are built from each other: "
            f"{' from '.join(circle)}; one of them must build on something else"
        ) from error
    steps = []
    while sorter.is_active():
        ready = sorter.get_ready()
        steps.append(sorted(ready))
        sorter.done(*ready)
    return steps


def build_keys(recipe: Recipe, dockerfile: Path) -> dict[str, Any]:
    """Return what differs from the file in the build of an image whose Dockerfile is written to ``dockerfile``."""
    changed: dict[str, Any] = {}
    if recipe.is_rewritten:
        changed["dockerfile"] = str(dockerfile)
        if recipe.is_inline:
            changed["dockerfile_inline"] = Reset()
    if recipe.contexts is not None:
        changed["additional_contexts"] = Replaced(dict(recipe.contexts)) if recipe.contexts else Reset()
    return changed


def in_turn(recipes: Mapping[str, Recipe], names: Iterable[str]) -> list[list[str]]:
    """Return what the classic builder is told, one list after the other, each of what is built side by side.

    It takes the steps of another build only when these are made: of builds that have their Dockerfile and folder in
    common, which begin alike, one comes after the other. BuildKit does such steps once by itself.
    """
    lists: list[list[str]] = []
    before = Counter[tuple[str, str]]()
    for name in names:
        recipe = recipes[name]
        alike = (str(recipe.section.get("context", ".")), recipe.written or name)
        if before[alike] == len(lists):
            lists.append([])
        lists[before[alike]].append(name)
        before[alike] += 1
    return lists
