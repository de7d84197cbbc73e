"""Fixtures of the contract: the engine, and what is known of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration_tests.search_engine.candidates import NOTES, known_failures, name_of, processes_of
from integration_tests.search_engine.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import harness


@pytest.fixture(scope="session")
def engine_name(stack: harness.Stack, run_dir: Path) -> Iterator[str]:
    """The engine's name, as the table of known failures has it."""
    name = name_of(processes_of(stack))
    yield name
    memory = sum(process.memory_info().rss for process in processes_of(stack))
    (run_dir / NOTES).write_text(json.dumps({"engine": name, "megabytes": round(memory / 1e6)}), encoding="utf-8")


@pytest.fixture(autouse=True)
def _known(request: pytest.FixtureRequest, engine_name: str) -> None:
    """Expect a failure, strictly, where one is known of this engine."""
    reason = known_failures()[engine_name].get(f"{request.node.path.name}::{request.node.name}")
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture
def client(stack: harness.Stack, ns: str) -> Iterator[Client]:
    """A client whose indices begin with a name of the test's own, and are deleted after it."""
    client = Client(stack.endpoint("search", 9200), ns.lower())
    yield client
    for line in client.must("GET", f"/_cat/indices/{client.name}*?h=index&format=json"):
        client.send("PUT", f"/{line['index']}/_settings", {"index.blocks.read_only": None})
        client.send("DELETE", f"/{line['index']}")
