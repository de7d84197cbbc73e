"""Which images of a stack are built, what they are built from, and which names stand for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.engine.compose import lint
from harness.engine.compose.recipes import recipe_of, steps_of
from harness.engine.layout import process_of
from harness.engine.plan import Image, Recipe
from harness.errors import ConfigError
from harness.images import BASE_ARGUMENT, bases_of, familiar, idle_of
from harness.images.dockerfiles import miswritten
from harness.ownership.objects import BUILT, CHECKOUT, CHECKOUT_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine.identity import Identity
    from harness.engine.layout import Layout
    from harness.stack import Service, Stack, Tree

NAME = "compose"
"""Of this engine: services that are local processes on it are not built."""


def image_of(service: Service, images: Mapping[str, Image] | None) -> Image:
    """Return what was decided about a service's image, else what its file says."""
    return (images or {}).get(service.name) or Image(service.image, builds=bool(service.compose.get("build")))


def built_names(
    tree: Tree, stack: Stack, images: Mapping[str, Image] | None, layout: Layout, identity: Identity
) -> dict[str, str]:
    """Return image as written -> what stands for it here, of services that are built: others may use it so."""
    names = {}
    for owner, service in tree.visible(stack.name).values():
        if service.image and service.compose.get("build") and not process_of(service, NAME, layout.local):
            image = image_of(service, images)
            names[familiar(service.image)] = identity.image(owner.name, service.name) if image.builds else image.name
    return names


def recipes_of(
    tree: Tree,
    stack: Stack,
    built: list[str],
    images: Mapping[str, Image] | None,
    layout: Layout,
    identity: Identity,
) -> dict[str, Recipe]:
    """Return how the images of a stack are built, and those that are built for these only.

    Raises:
        ConfigError: with what one of the latter may not have, or is wrong in a Dockerfile; or images are built
            from each other.
    """
    idle = idle_of(tree, stack)
    visible = tree.visible(stack.name)
    declared = idle | {name: service for name, (_, service) in visible.items()}
    names = built_names(tree, stack, images, layout, identity)

    def builds(service: Service) -> bool:
        return image_of(service, images).builds

    def stands(name: str) -> str:
        image = image_of(declared[name], images)
        owner = visible[name][0] if name in visible else stack
        return identity.image(owner.name, name) if image.builds else names.get(familiar(image.name), image.name)

    recipes: dict[str, Recipe] = {}
    problems: list[str] = []
    for name, basis in bases_of(tree, stack, built, layout.environ, builds).items():
        service = declared[name]
        recipe = recipe_of(service, basis, identity.image(stack.name, name), stands)
        image = image_of(service, images)
        labels = identity.labels_of("container", identity.container(stack.name, name), stack.name)
        added = added_keys(image, labels, identity, recipe.image)
        recipe = replace(
            recipe,
            uses_engine=recipe.uses_engine or BASE_ARGUMENT in image.arguments,
            section=with_added(service.compose["build"], added),
        )
        if name not in built:
            only = service.model_copy(update={"compose": {"build": service.compose["build"]}, "mounts": ()})
            problems += lint.refused(stack, only)
            recipe = replace(recipe, alone={"image": recipe.image, "pull_policy": "never", "build": added})
        if wrong := miswritten(recipe.written) if recipe.written is not None else None:
            line, what = wrong
            problems.append(f"The image of service {name!r} could not be built: {recipe.source}:{line}: {what}")
        recipes[name] = recipe
    if problems:
        raise ConfigError.of(problems)
    steps_of(recipes, built)
    return recipes


def build_arguments(recipes: Mapping[str, Recipe], images: Mapping[str, Image] | None) -> dict[str, str]:
    """Return the values of build arguments that no file gives."""
    added: dict[str, str] = {}
    for name in recipes.keys() & (images or {}).keys():
        added |= (images or {})[name].arguments
    return added


def with_added(section: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section ``build`` with what is added to its tables."""
    return {**section, **{key: {**(section.get(key) or {}), **table} for key, table in added.items()}}


def added_keys(image: Image, labels: Mapping[str, str], identity: Identity, name: str) -> dict[str, Any]:
    """Return what is added to the build of an image, ``name`` in this checkout."""
    of = {CHECKOUT: labels.get(CHECKOUT, ""), CHECKOUT_PATH: identity.checkout, BUILT: name.rpartition(":")[0]}
    build: dict[str, Any] = {"labels": of}
    # Only the names: Compose takes the values, such as a proxy with its password, from its environment.
    return build | ({"args": dict.fromkeys(image.arguments)} if image.arguments else {})
