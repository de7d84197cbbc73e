"""The images that harness has built on an engine, of all checkouts of this machine, and which of them nobody needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.artifacts import is_missing
from harness.daemon import in_words
from harness.images import own
from harness.images.names import plain
from harness.images.records import checkout_named, is_of_checkout, short
from harness.ownership.objects import CHECKOUT, CHECKOUT_PATH

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.docker_sdk import APIClient

PREFIX = "harness-build/"


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built for a checkout.

    Attributes:
        name: its name and tag.
        size: its bytes, with those of layers that others have too.
        checkout: real path of its checkout, "" where that cannot be told; where several use it, one that is there.
        id: of the image, which has a name by its checkout and one by what it is made of.
        is_ours: whether it is proven that this user has built it on this machine, or given it this name. An engine may
            be that of several machines, users and containers: the label's path says nothing of whose it is.
    """

    name: str
    size: int
    checkout: str
    id: str = ""
    is_ours: bool = True

    @property
    def is_of_checkout(self) -> bool:
        """Whether its name is a checkout's, and not that of what it is made of."""
        return is_of_checkout(self.name.rpartition(":")[2])

    @property
    def is_orphan(self) -> bool:
        """Whether its checkout was on this machine, and is certainly gone."""
        return self.is_ours and bool(self.checkout) and is_missing(self.checkout)

    def __str__(self) -> str:
        whose = f" of {self.checkout}, which is gone" if self.is_orphan else f" of {self.checkout or 'some checkout'}"
        return f"image {self.name}{whose} ({self.size >> 20} MiB)"


def built_images(client: APIClient, environ: Mapping[str, str] | None = None) -> list[BuiltImage]:
    """Return the images that were built for checkouts, by each of their names.

    Args:
        client: of the engine.
        environ: tells where the cache folder is, which knows more checkouts than the images do.

    Raises:
        HarnessError: as ``daemon.in_words`` does.
    """
    with in_words("Images that were built"):
        listed: list[dict[str, Any]] = client.images(filters={"label": CHECKOUT})
    environ = environ or {}
    here = own.built_here(environ)
    return sorted((name for image in listed for name in names_of(image, environ, here)), key=lambda image: image.name)


def names_of(image: dict[str, Any], environ: Mapping[str, str], here: Collection[str]) -> list[BuiltImage]:
    """Return names that harness gave an image, with whose each is; ``here`` are ids of what was built here."""
    names = [name for name in map(plain, image.get("RepoTags") or ()) if name.startswith(PREFIX)]
    size, digest = int(image.get("Size") or 0), str(image.get("Id"))
    builder = (image.get("Labels") or {}).get(CHECKOUT_PATH, "")
    users: dict[str, str] = {}
    ours: set[str] = set(names) if digest in here else set()
    for name in names:
        tag = name.rpartition(":")[2]
        if not is_of_checkout(tag):
            continue
        known = checkout_named(tag, environ)  # of this user and machine, which has built it or taken it
        users[name] = known or (builder if short(builder) == tag else "")
        if known:
            ours.add(name)
    # By what it is made of it belongs to all who use it now: to the builder when nobody does.
    shared = next(
        (user for name, user in users.items() if not user or name not in ours or not is_missing(user)), builder
    )
    return [BuiltImage(name, size, users.get(name, shared), digest, name in ours) for name in names]
