"""Where settings come from, and what they are. Names are loaded when they are first used: a list of tasks needs few."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.config.settings import SYSTEM_KEYS, TOP_KEYS, Settings, System, load_settings
    from harness.config.sources import Sources, read_sources

__all__ = ["SYSTEM_KEYS", "TOP_KEYS", "Settings", "Sources", "System", "load_settings", "read_sources"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in __all__:
        module = "sources" if name in {"Sources", "read_sources"} else "settings"
        return getattr(import_module(f"harness.config.{module}"), name)
    raise AttributeError(f"module 'harness.config' has no attribute {name!r}")
