"""Whose the containers of a stack are, and the names that follow from it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.images.built import PREFIX
from harness.images.records import short
from harness.ownership.objects import STACK, sealed

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Identity:
    """Whose a stack's containers are.

    Attributes:
        checkout: real path of the project.
        env: the environment's id.
        labels: labels of everything that is made.
        key: what seals them, "" where nothing is made.
    """

    checkout: str
    env: str
    labels: Mapping[str, str]
    key: str = field(default="", repr=False)

    def labels_of(self, kind: str, name: str, stack: str) -> dict[str, str]:
        """Return the labels of one container, network or volume of a stack."""
        labels = {**self.labels, STACK: stack}
        return sealed(labels, self.key, kind, name) if self.key else labels

    def container(self, stack: str, service: str) -> str:
        """Return the name that Compose gives to the container of a service."""
        return f"{self.project(stack)}-{service}-1"

    def project(self, stack: str) -> str:
        """Return the Compose project name of a stack."""
        slug = re.sub(r"[^a-z0-9]+", "-", Path(self.checkout).name.lower()).strip("-")[:20] or "project"
        run, stack = self.env.rpartition("-")[2], re.sub(r"[^a-z0-9_-]+", "-", stack.lower())
        return f"{slug}-{short(self.checkout)}-{run}-{stack}"

    def image(self, stack: str, service: str) -> str:
        """Return the name of the image that this checkout builds for a service of a stack.

        Another checkout has another, and so has any other service, however alike they are called.
        """
        return f"{PREFIX}{_part(stack)}/{_part(service)}:{short(self.checkout)}"


def _part(name: str) -> str:
    """Return a part of an image's name that stands for ``name`` alone."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if plain == name:
        return plain
    return "-".join(filter(None, [plain, hashlib.sha256(name.encode()).hexdigest()[:6]]))
