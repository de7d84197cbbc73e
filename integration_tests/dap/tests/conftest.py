"""Fixtures of DAP's suite: the parties, and a moment in which all reports of a test are made."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from harness.helpers.dap import copy_logs
from integration_tests.dap.tests.suite import (
    PARTIES,
    Dap,
    deployment_of,
    implementing,
    in_containers,
    lack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import harness
    from harness.helpers.dap import Deployment, Task
    from integration_tests.dap.tests.suite import Aggregator


def pytest_configure() -> None:
    """Refuse an implementation that nothing is known of, before anything is started."""
    for role in ("leader", "helper"):
        implementing(role)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Of a test that failed, copy out the logs that all four parties keep; those of processes are in the run folder."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack is not None and in_containers(stack):
        folder = stack.run_dir / "dap" / re.sub(r"[^\w.-]+", "-", item.name) / report.when
        missing = copy_logs([stack.service(name) for name in PARTIES], folder)
        report.sections.append(("logs of the parties", "\n".join([f"in {folder}", *missing])))
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect the failures that the chosen implementations are known for."""
    for item in items:
        if lacking := lack(item.nodeid):
            item.add_marker(pytest.mark.xfail(reason=lacking.why, strict=lacking.always))


@pytest.fixture
def deployment(stack: harness.Stack) -> Deployment:
    """The four parties."""
    return deployment_of(stack)


@pytest.fixture
def leads() -> Aggregator:
    """What is known of the leader's implementation."""
    return implementing("leader")


@pytest.fixture
def now() -> int:
    """When this test's reports are made: all of them in one window, however long the test takes."""
    return int(time.time())


@pytest.fixture
def dap() -> Callable[[Task], Dap]:
    """DAP's own endpoints of the leader of a task."""
    return lambda task: Dap(task, "leader")
