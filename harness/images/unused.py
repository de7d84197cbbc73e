"""Images of ours that nothing uses: which they are, how long they have been there, and how they go.

Ours is a name below ``harness-build/`` of an image with our label, or of a base image with its own, that this user has
built on this machine; and the name of a checkout of this user's and machine's that is gone. All else may be another
machine's, user's or container's. A container, in whatever state, uses its image; a checkout that is there, or of which
nobody knows, uses what has its name. A base image is used by every image that stands on it, and by the next build when
it is the newest of its release.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.daemon import in_words
from harness.errors import BrokenStack
from harness.images import own
from harness.images.base import LABEL, NAME
from harness.images.built import BuiltImage, names_of
from harness.images.names import plain
from harness.ownership.objects import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.docker_sdk import APIClient

FRESH = 86400.0  # seconds for which what no checkout has any more stays: somebody may go back to it
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class Unused:
    """A name of an image that nothing uses.

    Attributes:
        name: its name and tag.
        size: bytes of the image, with those of layers that others have too.
        age: seconds since it was made.
        why: nothing uses it, in a few words.
        is_orphan: whether that is because its checkout is gone.
        id: of the image, which may have several names.
    """

    name: str
    size: int
    age: float
    why: str
    is_orphan: bool = False
    id: str = ""

    def __str__(self) -> str:
        return f"image {self.name} {self.why} ({self.size >> 20} MiB, {_in_words(self.age)} old)"


@dataclass(frozen=True)
class Limits:
    """Which of the unused images are meant.

    Attributes:
        older_than: seconds since they were made; None for a day, and for those of checkouts that are gone none.
        larger_than: bytes.
    """

    older_than: float | None = None
    larger_than: int = 0

    def take(self, image: Unused) -> bool:
        """Return whether an image is meant."""
        least = (0.0 if image.is_orphan else FRESH) if self.older_than is None else self.older_than
        return image.age >= least and image.size >= self.larger_than


def find_unused(client: APIClient, environ: Mapping[str, str], *, now: float | None = None) -> list[Unused]:
    """Return the images that nothing uses, the oldest first. Raises HarnessError as ``daemon.in_words`` does."""
    engine: Any = client  # its stubs leave out much of what is asked for here
    with in_words("Images that nothing uses"):
        used = {str(container.get("ImageID")) for container in engine.containers(all=True)}
        listed: list[dict[str, Any]] = engine.images()
        now = time.time() if now is None else now
        found = unused_builds(
            [image for image in listed if CHECKOUT in (image.get("Labels") or {})], used, environ, now
        )
        here = own.built_here(environ)
        bases = [base for base in unused_bases(listed, used, now) if base.id in here]
        if bases:
            layers = {str(image["Id"]): _layers(engine, str(image["Id"])) for image in listed}
            found += [base for base in bases if not _is_stood_on(base, layers)]
    return sorted(found, key=lambda image: (-image.age, image.name))


def unused_builds(
    listed: Sequence[dict[str, Any]], used: Collection[str], environ: Mapping[str, str], now: float
) -> list[Unused]:
    """Return which of the images that were built nothing uses.

    Args:
        listed: what the engine lists.
        used: ids of the images of containers.
        environ: tells where the cache folder is, which knows more checkouts than the images do.
        now: seconds since the epoch.
    """
    found: list[Unused] = []
    here = own.built_here(environ)
    for image in listed:
        names = names_of(image, environ, here)
        if str(image.get("Id")) in used:
            continue
        held = any(name.is_of_checkout and not name.is_orphan for name in names)
        age = now - float(image.get("Created") or now)
        free = [name for name in names if name.is_ours and not (name.is_of_checkout or held)]
        found += [_unused(name, age) for name in names if name.is_orphan or name in free]
    return found


def _unused(name: BuiltImage, age: float) -> Unused:
    why = f"of {name.checkout}, which is gone" if name.is_orphan else "has no checkout any more"
    return Unused(name.name, name.size, age, why, name.is_orphan, name.id)


def unused_bases(listed: Sequence[dict[str, Any]], used: Collection[str], now: float) -> list[Unused]:
    """Return the base images of older recipes that no container uses; what stands on them is not looked at."""
    newest: dict[str, dict[str, Any]] = {}
    ours: list[tuple[str, dict[str, Any]]] = []
    for image in sorted(listed, key=lambda image: int(image.get("Created") or 0), reverse=True):
        names = [name for name in map(plain, image.get("RepoTags") or ()) if name.startswith(f"{NAME}:")]
        labels = image.get("Labels") or {}
        if LABEL not in labels or not any(name == f"{NAME}:{labels[LABEL]}" for name in names):
            continue  # an image that stands on a base has its labels too
        if newest.setdefault(str(labels.get(f"{LABEL}.suite")), image) is not image:
            ours += [(name, image) for name in names if name == f"{NAME}:{labels[LABEL]}"]
    return [
        Unused(name, int(image.get("Size") or 0), now - int(image["Created"]), "is of an older recipe", id=image["Id"])
        for name, image in ours
        if str(image["Id"]) not in used
    ]


def _layers(engine: Any, image: str) -> tuple[str, ...]:  # noqa: ANN401 - as above
    from harness.docker_sdk import ImageNotFound  # noqa: PLC0415 - with an engine only

    try:
        return tuple((engine.inspect_image(image).get("RootFS") or {}).get("Layers") or ())
    except ImageNotFound:
        return ()


def _is_stood_on(base: Unused, layers: Mapping[str, tuple[str, ...]]) -> bool:
    own = layers[base.id]
    return any(other[: len(own)] == own for image, other in layers.items() if image != base.id)


def remove(client: APIClient, images: Sequence[Unused]) -> dict[str, str]:
    """Remove these names; return image in words -> why it is still there, "" where it is not.

    Only names are removed: an image that has another one, or a container, stays under that.
    """
    reasons = {}
    for image in images:
        reasons[str(image)] = ""
        try:
            with in_words(image.name):
                client.remove_image(image.name)
        except BrokenStack as error:  # such as a container that uses it since
            reasons[str(image)] = error.summary
    return reasons


def total(images: Sequence[Unused]) -> int:
    """Return the bytes of images, each counted once; a layer that several have counts in each."""
    return sum({image.id or image.name: image.size for image in images}.values())


def parse_size(text: str) -> int:
    """Return bytes for a number with an optional unit (k, M, G, T; of 1024). Raises ValueError when it is none."""
    number, unit = text.strip().lower().removesuffix("ib").removesuffix("b"), 1
    if number[-1:] in _UNITS:
        number, unit = number[:-1], _UNITS[number[-1]]
    try:
        size = float(number)
    except ValueError as error:
        raise ValueError("a size such as 500M or 2G was needed") from error
    if not 0 <= size < float("inf"):
        raise ValueError("a size such as 500M or 2G was needed")
    return int(size * unit)


def _in_words(seconds: float) -> str:
    return f"{seconds / 86400:.0f} d" if seconds >= FRESH else f"{seconds / 3600:.0f} h"
