"""The order of stages: what entry points call. Names are loaded when they are first used."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.runs.run import Run, running
    from harness.runs.stack import Service, Stack

__all__ = ["Run", "Service", "Stack", "running", "stack_up"]

_WHERE = {
    "Run": "harness.runs.run",
    "running": "harness.runs.run",
    "Service": "harness.runs.stack",
    "Stack": "harness.runs.stack",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'harness.runs' has no attribute {name!r}")


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
    from harness.config import load_settings, read_sources  # noqa: PLC0415 - tasks load this package for less
    from harness.runs.choice import choose  # noqa: PLC0415
    from harness.runs.run import Run, running  # noqa: PLC0415

    settings = load_settings(read_sources(), {"engine": engine, "system": system, "stack": stack or None})
    run = Run(choose(settings), lambda line: print(f"harness: {line}", file=sys.stderr))
    with running(run):
        yield run.bring(settings.default_stack(), keep_includes=False)
