"""Old reports, read and written; what rows and columns say together; and several attempts at one cell."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import ConfigError
from harness.matrix.cases import read_case
from harness.matrix.cells import Cell
from harness.matrix.dumps import Dump, DumpedTest, described, dump_name, read_dump, write_dump
from harness.matrix.events import Event
from harness.matrix.findings import findings
from harness.matrix.judging import combined
from harness.matrix.verdicts import Result, Verdict

if TYPE_CHECKING:
    from harness.matrix.verdicts import Status

FILE = Path("/r/local-20150102-0304.dump")
OLD = {
    "sut": "local",
    "tests": {
        "net-link": {
            "desc": {"name": "net-link", "timeout": 180000000000, "containers": None, "description": "# net-link"},
            "runs": {
                "go": {
                    "driver": "go",
                    "log": [
                        {"id": 0, "ty": "exec", "ti": 1420167840000, "in": {"worker": "local", "driver": "go"}},
                        {"id": 1, "ty": "ready", "ti": 1420167841000, "ro": "worker", "in": None},
                        {"id": 0, "ty": "status", "ti": 1420167842000, "in": {"success": True}},
                    ],
                }
            },
        }
    },
}


@pytest.mark.parametrize("key", ["sut", "worker"])
def test_an_old_report_is_read(key: str) -> None:
    """By either name of its worker; what events lack is empty."""
    data = {key: "local", "tests": OLD["tests"]}
    dump = read_dump(FILE, json.dumps(data))
    assert dump.worker == "local"
    test = dump.tests["net-link"]
    assert test.desc["timeout"] == 180000000000
    assert [(event.ty, event.ro) for event in test.runs["go"]] == [("exec", ""), ("ready", "worker"), ("status", "")]


def test_a_report_is_read_as_it_was_written() -> None:
    """With a run for each driver, and for each value of a parameter."""
    case = read_case("t", '{"timeout": "3m", "containers": {"worker": {"command": "x"}}}\n# Words')
    log = (Event("exec", "", 5, 0, {"worker": "w", "driver": "d"}), Event("log", "worker", 6, 1, {"line": "\ud800ü"}))
    dump = Dump("w", {"t": DumpedTest(described(case), {"d": log, "d/size=1": ()})})
    text = write_dump(dump)
    assert read_dump(FILE, text) == dump
    written = json.loads(text)["tests"]["t"]
    assert written["desc"] == {
        "name": "t",
        "timeout": "3m",
        "containers": {"worker": {"command": "x"}},
        "description": "# Words",
    }
    assert written["runs"]["d/size=1"]["driver"] == "d"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no report: no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "is no report: [], a JSON object was needed"),
        ("{}", "worker (or sut) is missing; the name of an implementation was needed"),
        ('{"sut": "a", "tests": {"t": 3}}', "tests.t is 3, an object was needed"),
        ('{"sut": "a", "tests": {"t": {"runs": {"d": {"log": 3}}}}}', "t: d: log is 3, a list of events was needed"),
        (
            '{"sut": "a", "tests": {"t": {"runs": {"d": {"log": [{"ty": 3}]}}}}}',
            "t: d: log[0]: ty of an event is 3, a str was needed",
        ),
    ],
)
def test_what_is_no_report_is_told(text: str, sentence: str) -> None:
    """With the file and the place in it."""
    with pytest.raises(ConfigError) as caught:
        read_dump(FILE, text)
    assert [problem.removeprefix(f"{FILE}: ") for problem in caught.value.problems] == [sentence]


def test_two_reports_of_one_minute_have_two_names() -> None:
    """Nothing is overwritten."""
    at = dt.datetime(2026, 11, 29, 20, 3, tzinfo=dt.UTC)
    assert dump_name("node", at) == "node-20261129-2003.dump"
    assert dump_name("node", at, ["node-20261129-2003.dump"]) == "node-20261129-2003-2.dump"
    taken = ["node-20261129-2003.dump", "node-20261129-2003-2.dump"]
    assert dump_name("node", at, taken) == "node-20261129-2003-3.dump"


def said(table: str) -> list[tuple[str, str]]:
    """Return (kind, sentence) of the findings of a table with a row for each worker."""
    words: dict[str, Status] = {"+": "succeeded", "-": "failed", "t": "timeout", "?": "unsupported", "b": "broken"}
    cells, verdicts = [], {}
    for worker, row in enumerate(table.split()):
        for driver, sign in enumerate(row):
            cell = Cell(f"t/w{worker}/d{driver}", "t", f"w{worker}", f"d{driver}")
            cells.append(cell)
            if sign in words:
                verdicts[cell.id] = Verdict(words[sign])
    return [(finding.kind, finding.sentence) for finding in findings(cells, verdicts)]


@pytest.mark.parametrize(
    ("table", "sentences"),
    [
        ("+++ +++ +++", []),
        ("++- +++ +++", []),
        (
            "--t +++ +++",
            [("alone", "worker w0 fails t in all 3 cells, with every driver; nothing else fails it")],
        ),
        (
            "-+- ++- -+-",
            [("fails", "driver d2 fails t in all 3 cells, with every worker")],
        ),
        (
            "-+- -+- ++-",
            [("fails", "driver d2 fails t in all 3 cells, with every worker")],
        ),
        ("-- --", [("fails", "t fails in all of its 4 cells")]),
        ("-?b +++", []),  # one that was tried says nothing about a row
        ("b+ b+", []),  # the engine's faults are nobody's
        (".- .+", []),
    ],
)
def test_rows_and_columns_say_who_fails_with_everybody(table: str, sentences: list[tuple[str, str]]) -> None:
    """Only of cells that were tried, and never of a single one."""
    assert said(table) == sentences


def test_findings_are_told_in_the_order_of_names_however_cells_were_planned() -> None:
    """What was run first is otherwise in each run, and two runs that found the same must say the same."""
    cells = [Cell(f"{test}/w/{driver}", test, "w", driver) for test in "ut" for driver in "db"]
    verdicts = {cell.id: Verdict("failed") for cell in cells}
    found = findings(cells, verdicts)
    assert [finding.cells for finding in found] == [("t/w/b", "t/w/d"), ("u/w/b", "u/w/d")]
    assert findings(cells[::-1], verdicts) == found


def attempts(*statuses: Status) -> Result:
    return combined([Result("t/w/d", "", Verdict(status, reason=f"it {status}", event=3)) for status in statuses])


def test_a_retry_that_changes_the_verdict_makes_it_flaky() -> None:
    """All attempts are kept, and the sentence says what they came to."""
    result = attempts("failed", "timeout", "succeeded")
    assert result.verdict.status == "flaky"
    assert result.verdict.reason == "failed, timeout, succeeded: it failed"
    assert [verdict.status for verdict in result.attempts] == ["failed", "timeout", "succeeded"]
    assert attempts("failed", "failed").verdict == Verdict("failed", reason="it failed", event=3)
    assert attempts("succeeded").verdict.status == "succeeded"
