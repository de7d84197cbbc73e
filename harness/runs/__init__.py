"""The order of stages: what entry points call."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from harness.config import load_settings, read_sources
from harness.runs.lifecycle import Run, running
from harness.runs.stack import Service, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Run", "Service", "Stack", "running", "stack_up"]


@contextlib.contextmanager
def stack_up(stack: str = "", *, engine: str | None = None, system: str | None = None) -> Iterator[Stack]:
    """Bring up a stack for a ``with`` block; it is gone, and that verified, after it.

    Args:
        stack: its name, or a Compose file; default: the default stack of the system.
        engine: ``auto`` or an engine's name; default: what is configured.
        system: the system to take defaults from.

    Raises:
        ConfigError: something written is wrong; nothing was created.
        BrokenStack: it did not settle.
        LeftoverError: something of ours could not be removed.
    """
    settings = load_settings(read_sources(), {"engine": engine, "system": system, "stack": stack or None})
    run = Run(settings, lambda line: print(f"harness: {line}", file=sys.stderr))
    with running(run):
        yield run.bring(settings.default_stack(), keep_includes=False)
