"""What each checkout built last, kept in the cache folder, and under which names an engine has it.

An image that is built has two names. ``harness-build/STACK/SERVICE:CHECKOUT`` is what a checkout uses now; it moves
with each build. ``harness-build/STACK/SERVICE:FINGERPRINT`` is what an image is made of; it never moves, and every
checkout whose service is made of the same takes the image by it, without a build. While it is built it has a third one,
of that build alone, so that whatever else is built or named meanwhile, these two are given to what came out of it.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.artifacts import read_regular, write_atomically
from harness.errors import BrokenStack, HarnessError
from harness.images import own
from harness.images.making import image_facts, image_id
from harness.ownership.objects import BUILT
from harness.stack.cache import folder_of, keep, recall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.docker_sdk import APIClient

KEPT = 4  # images of a service by what they are made of, for whoever goes back to what was before
_LARGEST = 8192
_OF_CHECKOUT = 8


def short(checkout: str) -> str:
    """Return what stands for a checkout in names: its real path is the argument."""
    return hashlib.sha256(checkout.encode()).hexdigest()[:_OF_CHECKOUT]


def is_of_checkout(tag: str) -> bool:
    """Return whether a tag stands for a checkout, and not for what an image is made of."""
    return len(tag) == _OF_CHECKOUT


def by_content(image: str, fingerprint: str) -> str:
    """Return the name of an image by what it is made of, from its checkout's name for it."""
    return f"{image.rpartition(':')[0]}:{fingerprint}"


@dataclass(frozen=True)
class Records:
    """What a checkout has built.

    Attributes:
        checkout: its real path.
        environ: tells where the cache folder is.
    """

    checkout: str
    environ: Mapping[str, str]

    def _key(self, image: str) -> str:
        return hashlib.sha256(f"built\0{self.checkout}\0{image}".encode()).hexdigest()

    def last(self, image: str) -> dict[str, Any] | None:
        """Return what was noted of the last image of a name of this checkout, None for nothing.

        It has ``ingredients``, ``fingerprint``, ``id``, and in ``kept`` the fingerprints of those before.
        """
        found = recall(self._key(image), self.environ)
        return found if isinstance(found, dict) else None

    def note(self, image: str, ingredients: dict[str, Any], fingerprint: str, identity: str) -> list[str]:
        """Note what an image is made of; return the fingerprints that are too many now."""
        before = (self.last(image) or {}).get("kept") or []
        kept = list(dict.fromkeys([fingerprint, *before] if fingerprint else before))
        record = {"ingredients": ingredients, "fingerprint": fingerprint, "id": identity, "kept": kept[:KEPT]}
        keep(self._key(image), record, self.environ)
        self._register()
        return kept[KEPT:]

    def _register(self) -> None:
        """Note which path this checkout's names stand for: an image that another one has built does not tell."""
        folder = folder_of(self.environ)
        with suppress(OSError, HarnessError):
            if folder and checkout_named(short(self.checkout), self.environ) != self.checkout:
                write_atomically(folder / f"{short(self.checkout)}.checkout", f"{own.machine()} {self.checkout}")


def checkout_named(tag: str, environ: Mapping[str, str]) -> str:
    """Return the path of the checkout of this machine whose names have a tag, "" when it cannot be told."""
    folder = folder_of(environ)
    if folder is None:
        return ""
    try:
        where, _, path = read_regular(folder / f"{tag}.checkout", _LARGEST).decode().partition(" ")
    except (OSError, ValueError, HarnessError):
        return ""
    return path if short(path) == tag and where == own.machine() else ""


def id_made_of(client: APIClient, image: str, fingerprint: str) -> str | None:
    """Return the id of the image that is made of what ``fingerprint`` says, None where the engine has none.

    Whoever gives its name to another image does not make that one of it: an image says itself which it was built as.
    Raises what the SDK raises.
    """
    facts = image_facts(client, by_content(image, fingerprint)) if fingerprint else None
    return str(facts["Id"]) if facts and is_built_as(image, facts) else None


def is_built_as(image: str, facts: Mapping[str, Any]) -> bool:
    """Return whether an image was built under a name, of any tag; ``facts`` is what the engine says of it."""
    labels = (facts.get("Config") or {}).get("Labels") or {}
    return bool(labels.get(BUILT) == image.rpartition(":")[0])


def take(client: APIClient, image: str, fingerprint: str) -> str | None:
    """Have a checkout's name stand for the image that is made of what ``fingerprint`` says; return its id.

    None is returned when the engine has none, or there are doubts. Raises what the SDK raises.
    """
    if (there := id_made_of(client, image, fingerprint)) is None:
        return None
    if image_id(client, image) != there:
        repository, _, tag = image.rpartition(":")
        client.tag(there, repository, tag)
    return there


def forget(client: APIClient, image: str, fingerprints: list[str]) -> None:
    """Take away names by which nobody will look: of images that no checkout uses now."""
    from harness.docker_sdk import APIError, ImageNotFound  # noqa: PLC0415 - a quarter of a second, only with an engine

    for fingerprint in fingerprints:
        name = by_content(image, fingerprint)
        with suppress(APIError, ImageNotFound, BrokenStack):  # such as a container that runs it
            tags = client.inspect_image(name).get("RepoTags") or ()  # type: ignore[no-untyped-call]
            if not any(is_of_checkout(tag.rpartition(":")[2]) for tag in tags):
                client.remove_image(name)
