"""How the images of a stack stand: which of them would be built, and why. Nothing is built, named or pulled."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness.daemon import in_words
from harness.engine.compose.ingredients import ingredients_of, remembered
from harness.engine.compose.recipes import steps_of
from harness.errors import HarnessError, relative
from harness.images import image_id
from harness.images.built import PREFIX
from harness.images.fingerprint import Ingredients, differences
from harness.images.lock import read as read_lock
from harness.images.records import id_made_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from harness.docker_sdk import APIClient
    from harness.engine.plan import Containers, Recipe
    from harness.images.fingerprint import Found
    from harness.images.records import Records

MADE = "made of "  # before the fingerprint of an image that is built here, in the place of its id


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

    @property
    def bases_from_elsewhere(self) -> list[str]:
        """The images that it stands on, as its Dockerfile names them, but for those that are built here."""
        bases = self.ingredients.bases
        return [name for name, stands in bases.items() if not stands.startswith(MADE)]

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
        lock: the project's ``images.lock``, which need not be there.
        found: name -> image, of what is built or found built meanwhile.
    """

    def __init__(
        self,
        records: Records,
        client: Callable[[], APIClient],
        lock: Path,
        found: Mapping[str, Found] = MappingProxyType({}),
    ) -> None:
        self.records, self._client, self._lock, self._found = records, client, lock, found
        self._known: dict[str, str | None] = {}

    def as_known(self, stack: str, service: str, recipe: Recipe, made_of: Ingredients) -> Iterator[Ingredients]:
        """Give what the image of a service may be made of: as it is, then with absent bases as they were known.

        Such as they were at the last build here, then as the project's lock has them.
        """
        yield made_of
        if not all(made_of.bases.values()):
            known = [((self.records.last(recipe.image) or {}).get("ingredients") or {}).get("bases") or {}]
            with suppress(HarnessError):  # a lock that is spoilt is told where it counts
                known += [image.bases for key, image in read_lock(self._lock).items() if key == (stack, service)]
            yield from filter(None, (remembered(made_of, recipe, bases) for bases in known))

    def note(self, image: str, made_of: Ingredients) -> None:
        """Note what an image is made of now."""
        self._known[image] = f"{MADE}{made_of.fingerprint}" if made_of.fingerprint else ""

    def doubt(self, image: str) -> None:
        """Note that an image will be another one, and nothing tells which."""
        self._known[image] = None

    def of(self, image: str) -> str | None:
        """Return what stands for an image, "" for its id, None where it is not known. Raises what the SDK raises."""
        known = self._known.get(image, "")
        if known != "" or not image.startswith(PREFIX):
            return known
        if found := self._found.get(image):  # by its name another run may have another one by now
            return f"{MADE}{found.made_of.fingerprint}" if found.made_of.fingerprint else found.id
        if image in self._known:
            return ""
        last = self.records.last(image)  # of a stack that this one includes
        is_last = last and last["fingerprint"] and last["id"] == image_id(self._client(), image)
        return f"{MADE}{last['fingerprint']}" if last and is_last else ""


def standings_of(
    stack: str, containers: Containers, client: APIClient, environ: Mapping[str, str], made: Made
) -> dict[str, Standing]:
    """Return service -> how its image stands, of those that are built, and of what they are built from before them.

    Args:
        stack: whose they are.
        containers: what is to be built.
        client: of the engine.
        environ: variables of the builds.
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
                either = [
                    _standing(name, recipe, known, client, made.records)
                    for known in made.as_known(stack, name, recipe, made_of)
                ]
            found[name] = next((standing for standing in either if not standing.is_built), either[0])
            made_of = found[name].ingredients
            if made_of.doubts:
                made.doubt(recipe.image)
            else:
                made.note(recipe.image, made_of)
    return found


def _standing(service: str, recipe: Recipe, made_of: Ingredients, client: APIClient, records: Records) -> Standing:
    image, last = recipe.image, records.last(recipe.image)
    changes = differences(last["ingredients"], made_of, relative(recipe.source)) if last else []
    if made_of.doubts:
        reasons = (*(f"always asked: {doubt}" for doubt in made_of.doubts), *changes)
        return Standing(service, image, "", made_of, reasons)
    there = id_made_of(client, image, made_of.fingerprint)
    if there is None:
        absent = "it is not on the engine" if last else "it was not built here"
        return Standing(service, image, "", made_of, tuple(changes) or (absent,))
    if image_id(client, image) == there:
        return Standing(service, image, there, made_of, ("unchanged, no build",))
    taken = ("the engine has an image that is made of the same, no build",)
    return Standing(service, image, there, made_of, (*taken, *changes))
