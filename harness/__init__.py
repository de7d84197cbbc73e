"""harness: a stack of services is built, started, really ready, seeded, tested, explained, and gone afterwards.

Nothing heavy is imported here: names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.engine.plan import Endpoint
    from harness.errors import BrokenStack, ConfigError, HarnessError, Unsupported, WaitTimeout
    from harness.pytest_plugin import stack_fixture
    from harness.pytest_resets import reset_hook
    from harness.runs import Service, Stack, stack_up

__version__ = "0.1.0"

_WHERE = {
    "BrokenStack": "harness.errors",
    "ConfigError": "harness.errors",
    "Endpoint": "harness.engine.plan",
    "HarnessError": "harness.errors",
    "Unsupported": "harness.errors",
    "WaitTimeout": "harness.errors",
    "Service": "harness.runs",
    "Stack": "harness.runs",
    "reset_hook": "harness.pytest_resets",
    "stack_fixture": "harness.pytest_plugin",
    "stack_up": "harness.runs",
}

__all__ = [
    "BrokenStack",
    "ConfigError",
    "Endpoint",
    "HarnessError",
    "Service",
    "Stack",
    "Unsupported",
    "WaitTimeout",
    "__version__",
    "reset_hook",
    "stack_fixture",
    "stack_up",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
