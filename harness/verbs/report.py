"""A run, shown from its folder: what was tested, what broke or failed and why, how long what took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import ConfigError, nearest
from harness.reporting.markdown import markdown
from harness.reporting.shown import RunShown, read_run

if TYPE_CHECKING:
    from pathlib import Path

    from harness.config import Settings

__all__ = ["RunShown", "markdown", "show_run"]


def show_run(settings: Settings, run: str = "") -> RunShown:
    """Return a run by its id, or any unambiguous part of it; the newest by default.

    Raises:
        ConfigError: there is no such run, or there are several.
    """
    known = sorted(path.parent.name for path in settings.logs.glob("*/run.json") if _is_run(path.parent))
    if not known:
        raise ConfigError(f"No run has a folder in {settings.logs}", hint="`harness test` or `harness up` makes one")
    if run in ("", "latest"):
        latest = settings.logs / "latest"
        name = latest.resolve().name if latest.exists() else known[-1]
    else:
        matching = [run] if run in known else [one for one in known if run in one]
        if len(matching) != 1:
            seen = "is not known" if not matching else f"could be any of {', '.join(matching[-5:])}"
            raise ConfigError(f"Run {run!r} {seen}; the newest are: {', '.join(known[-5:])}{nearest(run, known)}")
        name = matching[0]
    return read_run(settings.logs / name)


def _is_run(folder: Path) -> bool:
    return not folder.is_symlink() and not folder.name.startswith(".")  # one that is just being removed
