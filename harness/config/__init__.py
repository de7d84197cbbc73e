"""Where settings come from, and what they are."""

from harness.config.settings import (
    ADDRESSES,
    BUILD,
    ENGINES,
    KEEP,
    PULL,
    SYSTEM_KEYS,
    TOP_KEYS,
    Settings,
    System,
    load_settings,
)
from harness.config.sources import Sources, read_sources

__all__ = [
    "ADDRESSES",
    "BUILD",
    "ENGINES",
    "KEEP",
    "PULL",
    "SYSTEM_KEYS",
    "TOP_KEYS",
    "Settings",
    "Sources",
    "System",
    "load_settings",
    "read_sources",
]
