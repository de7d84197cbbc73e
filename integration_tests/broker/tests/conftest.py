"""Fixtures of the contract: the broker, and what is known of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration_tests.broker.candidates import NOTES, known_failures, name_of, processes_of
from integration_tests.broker.client import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import harness


@pytest.fixture(scope="session")
def broker_name(stack: harness.Stack, run_dir: Path) -> Iterator[str]:
    """The broker's name, as the table of known failures has it."""
    processes = processes_of(stack)
    name = name_of(processes)
    yield name
    memory = sum(one.memory_info().rss for one in processes_of(stack))
    (run_dir / NOTES).write_text(json.dumps({"broker": name, "megabytes": round(memory / 1e6)}), encoding="utf-8")


@pytest.fixture(autouse=True)
def _known(request: pytest.FixtureRequest, broker_name: str) -> None:
    """Expect a failure, strictly, where one is known of this broker."""
    reason = known_failures()[broker_name].get(f"{request.node.path.name}::{request.node.name}")
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture
def broker(stack: harness.Stack) -> Iterator[Broker]:
    """Clients of the broker that are closed after the test."""
    with Broker(stack.endpoint("kafka", 9092)) as broker:
        yield broker
