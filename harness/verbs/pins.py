"""One pin, one place: whether every file that mentions a pinned commit, tag or version says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.images.pins import find_mentions, read_texts

if TYPE_CHECKING:
    from harness.config import Settings
    from harness.images.pins import Mention


def check(settings: Settings) -> list[Mention]:
    """Return every mention of what the project's subjects and pins say, those that do not agree first."""
    texts = read_texts(settings.root, settings.pins, besides=settings.logs)
    found = find_mentions(settings.subjects.values(), settings.pins, texts)
    return sorted(found, key=lambda mention: mention.agrees)
