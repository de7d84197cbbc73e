"""The order of stages: what entry points call. Names and modules are loaded when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.runs import (
        choice,
        debugging,
        evidence,
        flakes,
        hangs,
        known,
        lives,
        opening,
        share,
        variables,
        verdict,
        watched,
    )
    from harness.runs.run import Run, running, stack_up
    from harness.runs.stack import Service, Stack

_WHERE = {"Run": "run", "running": "run", "stack_up": "run", "Service": "stack", "Stack": "stack"}
__all__ = ["Run", "Service", "Stack", "running", "stack_up"]
__all__ += [
    "choice",
    "debugging",
    "evidence",
    "flakes",
    "hangs",
    "known",
    "lives",
    "opening",
    "share",
    "variables",
    "verdict",
    "watched",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in _WHERE:
        return getattr(import_module(f"harness.runs.{_WHERE[name]}"), name)
    if name in __all__:
        return import_module(f"harness.runs.{name}")
    raise AttributeError(f"module 'harness.runs' has no attribute {name!r}")
