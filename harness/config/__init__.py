"""Where settings come from, and what they are."""

from harness.config.settings import ENGINES, KEEP, Settings, System, load_settings
from harness.config.sources import Sources, read_sources

__all__ = ["ENGINES", "KEEP", "Settings", "Sources", "System", "load_settings", "read_sources"]
