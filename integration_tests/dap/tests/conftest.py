"""Fixtures of DAP's suite: the parties, and a moment in which all reports of a test are made."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from integration_tests.dap.tests.suite import AGGREGATORS, Dap, deployment_of, leading

if TYPE_CHECKING:
    from collections.abc import Callable

    import harness
    from harness.helpers.dap import Deployment, Task
    from integration_tests.dap.tests.suite import Aggregator


def pytest_configure() -> None:
    """Refuse an implementation that nothing is known of, before anything is started."""
    for variable in ("DAP_LEADER", "DAP_HELPER"):
        chosen = os.environ.get(variable) or "dap-daphne"
        if chosen not in AGGREGATORS:
            raise pytest.UsageError(f"{variable}={chosen}: there are {', '.join(AGGREGATORS)}")


@pytest.fixture
def deployment(stack: harness.Stack) -> Deployment:
    """The four parties."""
    return deployment_of(stack)


@pytest.fixture
def leads() -> Aggregator:
    """What is known of the leader's implementation."""
    return leading()


@pytest.fixture
def now() -> int:
    """When this test's reports are made: all of them in one window, however long the test takes."""
    return int(time.time())


@pytest.fixture
def dap() -> Callable[[Task], Dap]:
    """DAP's own endpoints of the leader of a task."""
    return lambda task: Dap(task, "leader")
