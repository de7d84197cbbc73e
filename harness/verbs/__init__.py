"""One module for each command, by its name; each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.verbs import (
        act,
        adopt,
        build,
        doctor,
        explain,
        flakes,
        gc,
        images,
        interop,
        interop_evidence,
        interop_words,
        logs,
        new,
        notices,
        pins,
        report,
        run,
        schema,
        test,
        up_down,
        watch,
    )

__all__ = [
    "act",
    "adopt",
    "build",
    "doctor",
    "explain",
    "flakes",
    "gc",
    "images",
    "interop",
    "interop_evidence",
    "interop_words",
    "logs",
    "new",
    "notices",
    "pins",
    "report",
    "run",
    "schema",
    "test",
    "up_down",
    "watch",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f"harness.verbs.{name}")
    raise AttributeError(f"module 'harness.verbs' has no attribute {name!r}")
