"""Which engines there are, and which one a run gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.engine import embedded

if TYPE_CHECKING:
    from harness.config import Settings


def choose_engine(settings: Settings) -> tuple[str, str]:
    """Return the engine of a run and, in a few words, why it is that one."""
    if settings.engine == "auto":
        return embedded.NAME, "auto: it is the only engine of this version, no Docker engine is looked for"
    return settings.engine, f"asked for by {settings.origins['engine']}"
