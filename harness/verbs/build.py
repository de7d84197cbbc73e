"""The images of a stack, built without starting anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.runs.building import build_images
from harness.runs.choice import choose

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.config import Settings


def build(settings: Settings, say: Callable[[str], None], *, subject: str = "") -> dict[str, str]:
    """Build the images of the chosen stack, as ``build_images`` does; return service -> image."""
    return build_images(choose(settings), say, subject=subject)
