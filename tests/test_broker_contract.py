"""The broker contract's table: every test is a row in the documentation, every known failure has a reason there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkout import ROOT

from harness.errors import ConfigError
from harness.reporting import write_junit
from harness.results import Outcome
from integration_tests.broker.candidates import EMBEDDED, REFERENCE, known_failures, name_of
from integration_tests.broker.table import Column, Promise, contract, limits, main, promises, put, read

if TYPE_CHECKING:
    from harness.results import Status

DOCUMENT = ROOT / "docs" / "brokers.md"
ROWS = [
    Promise("test_a.py::test_one", "First", "One holds."),
    Promise("test_a.py::test_two", "First", "Two holds."),
    Promise("test_b.py::test_three", "Second", "Three holds."),
]


def block(name: str) -> list[str]:
    """Return the lines of a generated block of docs/brokers.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text.partition(f"<!-- {name}: generated -->")[2].partition(f"<!-- {name}: end -->")[0].strip().splitlines()


def test_every_test_is_a_row() -> None:
    """docs/brokers.md must have the promises of the contract, each with its cells, and no others."""
    lines = [line for line in block("contract") if line.startswith("| ")]
    first = next(number for number, line in enumerate(lines) if line.startswith("| the broker's promise"))
    cells = [line.strip("| ").split(" | ") for line in lines[first + 2 :] if not line.startswith("| **")]
    assert [row[0] for row in cells] == [promise.text for promise in promises()]
    assert {word for row in cells for word in row[1:]} <= {"yes", "no"}
    # The reference is what the promises are taken from.
    assert {row[1] for row in cells} == {"yes"}


def test_what_the_embedded_broker_does_instead_is_told() -> None:
    """The known failures of the embedded broker must be those that docs/brokers.md lists, with their reasons."""
    known = known_failures()[EMBEDDED]
    assert block("limits") == [
        f"- {promise.text} *{known[promise.test]}*" for promise in promises() if promise.test in known
    ]


def test_known_failures_are_of_the_contract() -> None:
    """Each known failure must name a test of the contract and say what the broker does; the reference has none."""
    known = known_failures()
    tests = {promise.test for promise in promises()}
    for table in known.values():
        assert set(table) <= tests
        assert all(reason.endswith(".") and "|" not in reason for reason in table.values())
    assert known[REFERENCE] == {}


def test_promises_are_sentences() -> None:
    """Each test of the contract must have a docstring of one sentence, and no two the same."""
    texts = [promise.text for promise in promises()]
    assert len(texts) == len(set(texts)) > 60
    assert [text for text in texts if not text.endswith(".") or "|" in text] == []


def test_an_embedded_broker_is_what_the_stack_starts() -> None:
    """The broker that is held to the embedded one's known failures must be the one in compose/kafka.yaml."""
    assert f"command: [{EMBEDDED}," in (ROOT / "compose" / "kafka.yaml").read_text(encoding="utf-8")


class Process:
    """A process as psutil shows it."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def cmdline(self) -> list[str]:
        return list(self._words)


@pytest.mark.parametrize(
    ("processes", "name"),
    [
        ([Process("python3", "/venv/bin/noida-db", "start"), Process("/lib/noida_db/noida-db", "start")], "noida-db"),
        ([Process("/opt/tansu", "broker")], "tansu"),
        ([Process("sh", "/opt/start"), Process("java", "-cp", "x", "kafka.Kafka", "p")], "apache-kafka"),
        ([Process("other", "/data/noida-db-0")], "apache-kafka"),
        ([], "apache-kafka"),
    ],
)
def test_a_broker_is_told_by_its_command(processes: list[Any], name: str) -> None:
    """A broker must be known by a whole word of its command; one that is not known is held to the reference."""
    assert name_of(processes) == name


def made(folder: Path, statuses: dict[str, tuple[Status, str]]) -> Path:
    """Write the folder of a run of the contract."""
    folder.mkdir()
    spans = [{"stage": "build", "seconds": 9.0}, {"stage": "settle", "seconds": 1.25}]
    (folder / "run.json").write_text(json.dumps({"engine": "embedded", "spans": spans}))
    (folder / "broker.json").write_text(json.dumps({"broker": "noida-db", "megabytes": 12}))
    outcomes = [
        Outcome(f"tests/{test}", status, 0.1, "xfail" if status == "xfailed" else "Error", why)
        for test, (status, why) in statuses.items()
    ]
    write_junit(folder / "junit.xml", outcomes)
    return folder


GOOD: dict[str, tuple[Status, str]] = {
    "test_a.py::test_one": ("succeeded", ""),
    "test_a.py::test_two": ("xfailed", "It does not."),
    "test_b.py::test_three": ("skipped", "no reason"),
}


def test_a_run_is_a_column(tmp_path: Path) -> None:
    """What succeeded, what is known to fail and what was not run must be told apart, with the figures of the run."""
    (tmp_path / "logs").mkdir()
    made(tmp_path / "logs" / "1", GOOD)
    (tmp_path / "logs" / "latest").symlink_to("1")
    column = read(tmp_path / "logs")
    assert column == read(tmp_path / "logs" / "1")
    assert column == Column(
        "noida-db", "embedded", 1.25, 12, frozenset({"test_a.py::test_one"}), {"test_a.py::test_two": "It does not."}
    )
    assert contract(ROWS, [column]).splitlines() == [
        "|  | noida-db, embedded |",
        "| --- | --- |",
        "| promises kept | 1 of 3 |",
        "| ready after | 1.2 s |",
        "| memory after the suite | 12 MB |",
        "",
        "| the broker's promise | noida-db, embedded |",
        "| --- | --- |",
        "| **First** |  |",
        "| One holds. | yes |",
        "| Two holds. | no |",
        "| **Second** |  |",
        "| Three holds. | not run |",
        "",
        "What noida-db does instead:",
        "",
        "- Two holds. *It does not.*",
    ]
    assert limits(ROWS, [column]) == "- Two holds. *It does not.*"


@pytest.mark.parametrize("status", ["failed", "broken"])
def test_a_run_that_failed_is_no_column(tmp_path: Path, status: Status) -> None:
    """A failure that nobody knows must not become a quiet cell."""
    with pytest.raises(ConfigError, match=r"not known to fail: test_a.py::test_one"):
        read(made(tmp_path / "run", {**GOOD, "test_a.py::test_one": (status, "")}))


def test_a_block_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what stands between the comments may change; a document without them, and no run, must be errors."""
    text = "before\n<!-- limits: generated -->\nold\n<!-- limits: end -->\nafter\n"
    assert put(text, "limits", "new") == text.replace("old", "\nnew\n")
    assert put(text.replace("old\n", ""), "limits", "new") == put(text, "limits", "new")
    assert put(put(text, "limits", "older"), "limits", "new") == put(text, "limits", "new")
    with pytest.raises(ConfigError, match="'contract' is there 0 times"):
        put(text, "contract", "new")
    assert main([str(tmp_path)]) == 10
    assert "cannot be read" in capsys.readouterr().err
