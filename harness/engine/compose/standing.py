"""How the images of a stack stand: which of them would be built, and why. Nothing is built, named or pulled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.daemon import in_words
from harness.engine.compose.ingredients import ingredients_of
from harness.engine.compose.recipes import steps_of
from harness.errors import relative
from harness.images import image_id
from harness.images.fingerprint import Ingredients, differences
from harness.images.records import by_content

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker import APIClient

    from harness.engine.plan import Containers, Recipe
    from harness.images.records import Records


@dataclass(frozen=True)
class Standing:
    """How the image of a service stands that is built.

    Attributes:
        service: whose it is.
        image: its name.
        id: of what the service would run without a build, "" when there must be one.
        ingredients: what it is made of now.
        reasons: why it would be built, or why not.
    """

    service: str
    image: str
    id: str = ""
    ingredients: Ingredients = field(default_factory=Ingredients, repr=False)
    reasons: tuple[str, ...] = ()

    @property
    def is_built(self) -> bool:
        """Whether it would be built."""
        return not self.id

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "service": self.service,
            "image": self.image,
            "builds": self.is_built,
            "id": self.id,
            "fingerprint": self.ingredients.fingerprint,
            "reasons": list(self.reasons),
        }


def standings_of(
    containers: Containers, client: APIClient, environ: Mapping[str, str], records: Records
) -> dict[str, Standing]:
    """Return service -> how its image stands, of those that are built, and of what they are built from before them.

    Args:
        containers: what is to be built.
        client: of the engine.
        environ: variables of the builds.
        records: what the checkout has built.

    Raises:
        HarnessError: the engine does not answer.
    """
    found: dict[str, Standing] = {}
    ids: dict[str, str | None] = {}  # of images of services, as they will be
    for step in steps_of(containers.recipes, containers.build):
        for name in step:
            recipe = containers.recipes[name]
            made_of = ingredients_of(recipe, client, environ, ids)
            with in_words(f"Image {recipe.image!r}"):
                found[name] = _standing(name, recipe, made_of, client, records)
            anew = [f"its base, the image of service {base!r}, is built" for base in sorted(recipe.bases)
                    if base in found and found[base].is_built]  # fmt: skip
            if anew:
                found[name] = Standing(name, recipe.image, "", made_of, tuple(anew))
            ids[recipe.image] = found[name].id or None
    return found


def _standing(service: str, recipe: Recipe, made_of: Ingredients, client: APIClient, records: Records) -> Standing:
    image, last = recipe.image, records.last(recipe.image)
    changes = differences(last["ingredients"], made_of, relative(recipe.source)) if last else []
    if made_of.doubts:
        reasons = (*(f"always asked: {doubt}" for doubt in made_of.doubts), *changes)
        return Standing(service, image, "", made_of, reasons)
    there = image_id(client, by_content(image, made_of.fingerprint))
    if there is None:
        absent = "it is not on the engine" if last else "it was not built here"
        return Standing(service, image, "", made_of, tuple(changes) or (absent,))
    if image_id(client, image) == there:
        return Standing(service, image, there, made_of, ("unchanged, no build",))
    taken = ("the engine has an image that is made of the same, no build",)
    return Standing(service, image, there, made_of, (*taken, *changes))
