"""How the images of a stack stand: which of them would be built, and why. Nothing is built, named or pulled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.daemon import in_words
from harness.engine.compose.ingredients import ingredients_of
from harness.engine.compose.recipes import steps_of
from harness.errors import relative
from harness.images import image_id
from harness.images.built import PREFIX
from harness.images.fingerprint import Ingredients, differences
from harness.images.records import by_content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
        images: base image as its Dockerfile names it -> the name that it has on the engine; without what is built here.
    """

    service: str
    image: str
    id: str = ""
    ingredients: Ingredients = field(default_factory=Ingredients, repr=False)
    reasons: tuple[str, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict, repr=False)

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


class Made:
    """What images that are built here are made of: what stands for them in what is built from them.

    So that is known before they are built, and is the same on every machine, as their ids are not.

    Args:
        records: what the checkout has built.
        client: returns a client of the engine.
    """

    def __init__(self, records: Records, client: Callable[[], APIClient]) -> None:
        self._records, self._client = records, client
        self._known: dict[str, str | None] = {}

    def note(self, image: str, made_of: Ingredients) -> None:
        """Note what an image is made of now."""
        self._known[image] = f"made of {made_of.fingerprint}" if made_of.fingerprint else ""

    def doubt(self, image: str) -> None:
        """Note that an image will be another one, and nothing tells which."""
        self._known[image] = None

    def of(self, image: str) -> str | None:
        """Return what stands for an image, "" for its id, None where it is not known. Raises what the SDK raises."""
        if image in self._known or not image.startswith(PREFIX):
            return self._known.get(image, "")
        last = self._records.last(image)  # of a stack that this one includes
        is_last = last and last["fingerprint"] and last["id"] == image_id(self._client(), image)
        return f"made of {last['fingerprint']}" if last and is_last else ""


def standings_of(
    containers: Containers, client: APIClient, environ: Mapping[str, str], records: Records, made: Made
) -> dict[str, Standing]:
    """Return service -> how its image stands, of those that are built, and of what they are built from before them.

    Args:
        containers: what is to be built.
        client: of the engine.
        environ: variables of the builds.
        records: what the checkout has built.
        made: what is known of the images of stacks that this one includes; those of this one are added.

    Raises:
        HarnessError: the engine does not answer.
    """
    found: dict[str, Standing] = {}
    for step in steps_of(containers.recipes, containers.build):
        for name in step:
            recipe = containers.recipes[name]
            made_of = ingredients_of(recipe, client, environ, made.of)
            with in_words(f"Image {recipe.image!r}"):
                found[name] = replace(_standing(name, recipe, made_of, client, records), images=_bases(recipe, made_of))
            if made_of.doubts:
                made.doubt(recipe.image)
            else:
                made.note(recipe.image, made_of)
    return found


def _bases(recipe: Recipe, made_of: Ingredients) -> dict[str, str]:
    names = {name: recipe.stands.get(name, name) for name in made_of.bases}
    return {name: meant for name, meant in names.items() if not meant.startswith(PREFIX)}


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
