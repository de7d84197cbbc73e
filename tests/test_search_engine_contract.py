"""The search engine contract's table: every test is a row of the document, every known failure has a reason there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from checkout import ROOT
from test_broker_contract import Process

from integration_tests.broker.table import promises
from integration_tests.search_engine.candidates import EMBEDDED, REFERENCE, known_failures, name_of
from integration_tests.search_engine.table import ENGINES

if TYPE_CHECKING:
    from integration_tests.broker.table import Promise

DOCUMENT = ROOT / "docs" / "search-engines.md"


@pytest.fixture(scope="module")
def rows() -> list[Promise]:
    """The promises of the contract."""
    return promises(ENGINES.folder)


def block(name: str) -> list[str]:
    """Return the lines of a generated block of the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text.partition(f"<!-- {name}: generated -->")[2].partition(f"<!-- {name}: end -->")[0].strip().splitlines()


def test_every_test_is_a_row(rows: list[Promise]) -> None:
    """The document must have the promises of the contract, each with its cells, and no others."""
    lines = [line for line in block("contract") if line.startswith("| ")]
    first = next(number for number, line in enumerate(lines) if line.startswith("| the engine's promise"))
    cells = [line.strip("| ").split(" | ") for line in lines[first + 2 :] if not line.startswith("| **")]
    assert [row[0] for row in cells] == [promise.text for promise in rows]
    assert {word for row in cells for word in row[1:]} <= {"yes", "no"}
    # The reference is what the promises are taken from.
    assert {row[1] for row in cells} == {"yes"}


def test_what_the_embedded_engine_does_instead_is_told(rows: list[Promise]) -> None:
    """The known failures of the embedded engine must be those that the document lists, with their reasons."""
    known = known_failures()[EMBEDDED]
    assert block("limits") == [f"- {promise.text} *{known[promise.test]}*" for promise in rows if promise.test in known]


def test_known_failures_are_of_the_contract(rows: list[Promise]) -> None:
    """Each known failure must name a test of the contract and say what the engine does; the reference has none."""
    known = known_failures()
    for table in known.values():
        assert set(table) <= {promise.test for promise in rows}
        assert all(reason.endswith(".") and "|" not in reason for reason in table.values())
    assert known[REFERENCE] == {}


def test_promises_are_sentences(rows: list[Promise]) -> None:
    """Each test of the contract must have a docstring of one sentence, and no two the same."""
    texts = [promise.text for promise in rows]
    assert len(texts) == len(set(texts)) > 60
    assert [text for text in texts if not text.endswith(".") or "|" in text] == []


def test_an_embedded_engine_is_what_the_stack_starts() -> None:
    """The engine that is held to the embedded one's known failures must be the one that the stack's preset runs."""
    stack = yaml.safe_load((ROOT / "compose" / "opensearch.yaml").read_text(encoding="utf-8"))
    assert stack["services"]["search"]["x-harness"]["embedded"] == {"preset": "search"}
    assert EMBEDDED in (ROOT / "harness" / "engine" / "presets.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("processes", "name"),
    [
        ([Process("/venv/osmem_server/bin/osmem-server", "-addr", "127.0.0.1:1")], EMBEDDED),
        ([Process("java", "-cp", "x", "org.opensearch.bootstrap.OpenSearch", "-Epath.data=x")], REFERENCE),
        ([], REFERENCE),
    ],
)
def test_an_engine_is_told_by_its_command(processes: list[Any], name: str) -> None:
    """An engine must be known by a whole word of its command; one that is not known is held to the reference."""
    assert name_of(processes) == name
