"""The images that harness has built on an engine, of all checkouts of this machine, and which of them nobody needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.artifacts import is_missing
from harness.daemon import in_words
from harness.errors import BrokenStack
from harness.images.names import plain
from harness.ownership.objects import CHECKOUT, CHECKOUT_PATH

if TYPE_CHECKING:
    from docker import APIClient

PREFIX = "harness-build/"


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built for a checkout.

    Attributes:
        name: its name and tag.
        size: its bytes, with those of layers that others have too.
        checkout: real path of its checkout, "" of one that an earlier version built.
    """

    name: str
    size: int
    checkout: str

    @property
    def is_orphan(self) -> bool:
        """Whether its checkout is certainly gone."""
        return bool(self.checkout) and is_missing(self.checkout)

    def __str__(self) -> str:
        whose = f" of {self.checkout}, which is gone" if self.is_orphan else f" of {self.checkout or 'some checkout'}"
        return f"image {self.name}{whose} ({self.size >> 20} MiB)"


def built_images(client: APIClient) -> list[BuiltImage]:
    """Return the images that were built for checkouts. Raises HarnessError as ``daemon.in_words`` does."""
    with in_words("Images that were built"):
        listed: list[dict[str, Any]] = client.images(filters={"label": CHECKOUT})
    return sorted(
        (
            BuiltImage(name, int(image.get("Size") or 0), (image.get("Labels") or {}).get(CHECKOUT_PATH, ""))
            for image in listed
            for name in map(plain, image.get("RepoTags") or ())
            if name.startswith(PREFIX)
        ),
        key=lambda image: image.name,
    )


def remove_orphans(client: APIClient) -> dict[str, str]:
    """Remove the images of checkouts that are gone; return image in words -> why it is still there, "" where it is not.

    Only their own names are removed: an image that has another one, or a container, stays under that.

    Raises HarnessError as ``daemon.in_words`` does.
    """
    reasons = {}
    for image in built_images(client):
        if image.is_orphan:
            reasons[str(image)] = ""
            try:
                with in_words(image.name):
                    client.remove_image(image.name)
            except BrokenStack as error:  # such as a container that uses it
                reasons[str(image)] = error.summary
    return reasons
