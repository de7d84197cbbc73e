"""The images of a stack, built without starting anything; and the base image that others are built on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.daemon import connect, find_daemon
from harness.images import make_base
from harness.runs.building import build_images, builds_any, explain_images
from harness.runs.choice import choose
from harness.runs.locking import write_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.config import Settings
    from harness.engine.compose.standing import Standing
    from harness.images.lock import LockedImage


def build(settings: Settings, say: Callable[[str], None], *, subject: str = "") -> dict[str, str]:
    """Build the images of the chosen stack, as ``build_images`` does; return service -> image."""
    return build_images(choose(settings), say, subject=subject)


def explain(settings: Settings, say: Callable[[str], None], *, subject: str = "") -> list[Standing]:
    """Return which images would be built and why, as ``explain_images`` does; nothing is built."""
    return explain_images(choose(settings), say, subject=subject)


def lock(settings: Settings, say: Callable[[str], None]) -> list[LockedImage]:
    """Build what is built of the chosen stack, and write its images into ``images.lock``; return them.

    Raises:
        ConfigError: the engine has no images, or of one it cannot be told what it is made of.
        BrokenStack: a build failed, or an image is nowhere to be had.
    """
    choice = choose(replace(settings, locked=False))
    if builds_any(choice):
        build_images(choice, say)
    return write_lock(choice, say)


def base(settings: Settings, say: Callable[[str], None], *, suite: str) -> str:
    """Make a base image of a release of Debian, as ``make_base`` does; return its tag."""
    return make_base(connect(find_daemon(settings.environ)), say, environ=settings.environ, suite=suite)
