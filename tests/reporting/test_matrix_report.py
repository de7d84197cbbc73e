"""The report of a matrix: what its files say, and who may read them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import jsonschema
import matrix_sample
import pytest

from harness.errors import ConfigError
from harness.matrix.verdicts import Verdict
from harness.reporting.interop.junit import write_junit
from harness.reporting.interop.report import Bounds, CellReport, Expectation, Report, parse_report, read_report, summed

if TYPE_CHECKING:
    from harness.matrix.verdicts import Status

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "interop-report.json"


def report_of(*cells: CellReport) -> Report:
    """Return the report of a run of some cells."""
    return summed(Report("m", "run-1", "embedded", cells))


def test_a_report_holds_to_the_schema_that_is_shipped() -> None:
    """Every report must be what docs/schemas/interop-report.json says, whatever became of its cells."""
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    waiting = CellReport("a/b/c", "a", "b", "c")
    for report in (matrix_sample.report(7, 9, 9), report_of(waiting), report_of()):
        jsonschema.validate(json.loads(report.as_json()), schema)
    assert all("description" in entry for entry in schema["$defs"]["CellReport"]["properties"].values())


@pytest.mark.parametrize("change", [{"colour": 1}, {"cells": [{"id": "a"}]}, {"schema_version": 2}, {"engine": None}])
def test_the_schema_refuses_what_is_no_report(change: dict[str, object]) -> None:
    """A key too many, a cell without its facts and another version must not pass the schema."""
    facts = {**json.loads(report_of().as_json()), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(facts, json.loads(SCHEMA.read_text()))


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What is read must equal what was written, and each cell be a line of the file."""
    report = matrix_sample.report()
    (tmp_path / "report.json").write_text(report.as_json())
    assert read_report(tmp_path) == report
    lines = [line for line in report.as_json().splitlines() if line.startswith('{"id": ')]
    assert [json.loads(line.rstrip(","))["id"] for line in lines] == [cell.id for cell in report.cells]


def test_text_that_no_file_can_hold_does_not_lose_the_report() -> None:
    """A reason with half a character must not keep the report from being written."""
    cell = replace(matrix_sample.cell("t", "a", "b", "failed"), verdict=Verdict("failed", reason="bad \ud800 text"))
    read = parse_report(report_of(cell).as_json().encode(), "r")
    assert read.cells[0].verdict == Verdict("failed", reason="bad ? text")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "schema_version 1 was needed"),
        ("{}", "schema_version 1 was needed"),
        ('{"schema_version": true}', "schema_version 1 was needed"),
        ('{"schema_version": 2}', "schema_version 2; 1 was needed"),
        ('{"schema_version": 1, "matrix": "m", "run": "r", "engine": "e"}', "cells: "),
        ('{"schema_version": 1, "matrix": "m", "run": "r", "engine": "e", "cells": [{}]}', "cells.0.id: "),
    ],
)
def test_what_is_no_report_of_this_version_is_refused(text: str, says: str) -> None:
    """Another version, and what is no report at all, must be a clear error of exit 10 that names the file."""
    with pytest.raises(ConfigError, match=r"old/report\.json") as caught:
        parse_report(text, "old/report.json")
    assert (says in caught.value.summary, caught.value.exit_code) == (True, 10), caught.value


def test_a_folder_without_a_report_is_refused(tmp_path: Path) -> None:
    """That a run has no report must be said with its path."""
    with pytest.raises(ConfigError, match=r"report\.json cannot be read: No such file"):
        read_report(tmp_path)


def test_cells_are_counted() -> None:
    """Totals must count each cell once by its status, also those that were not run, and say what is unexpected."""
    statuses: list[Status] = ["succeeded", "failed", "failed"]
    cells = [matrix_sample.cell("t", "a", str(i), status) for i, status in enumerate(statuses)]
    report = report_of(*cells, CellReport("t/a/9", "t", "a", "9"))
    assert (report.totals, report.unexpected) == ({"succeeded": 1, "failed": 2, "not run": 1}, 2)
    assert report.is_partial


def test_the_largest_bound_binds() -> None:
    """What was achieved must be told by the largest bound, and be 0 where there is none."""
    assert Bounds.of({"slots": 2.0, "longest": 4.0}, 5.0) == Bounds(
        {"slots": 2.0, "longest": 4.0}, "longest", 5.0, 1.25
    )
    assert Bounds.of({}, 5.0).ratio == Bounds.of({"slots": 0.0}, 5.0).ratio == 0.0


# -- JUnit -----------------------------------------------------------------------------------------------------------


def junit(path: Path, *cells: CellReport) -> list[ET.Element]:
    """Write the report of some cells as JUnit and return its suites."""
    write_junit(path / "junit.xml", report_of(*cells))
    assert [entry.name for entry in path.iterdir()] == ["junit.xml"]
    return list(ET.fromstring((path / "junit.xml").read_bytes()))  # noqa: S314 - we wrote it


@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [
        ("succeeded", True, None),
        ("succeeded", False, "failure"),
        ("failed", False, "failure"),
        ("failed", True, "skipped"),
        ("timeout", False, "failure"),
        ("crashed", False, "failure"),
        ("broken", False, "error"),
        ("unsupported", True, "skipped"),
        ("unsupported", False, "failure"),
        ("skipped", True, "skipped"),
        ("flaky", True, None),
        ("flaky", False, "failure"),
    ],
)
def test_junit_says_what_each_cell_is(tmp_path: Path, status: Status, expected: bool, kind: str | None) -> None:
    """Unexpected is a failure, broken an error, and what fails as expected or cannot be done is skipped."""
    (suite,) = junit(tmp_path, matrix_sample.cell("t", "a", "b", status, expected=expected))
    (case,) = suite
    assert [child.tag for child in case] == ([kind] if kind else [])


def test_junit_has_a_suite_for_each_test_and_a_case_for_each_cell(tmp_path: Path) -> None:
    """Names must tell test, worker, driver and parameters, and counts be those of the suite."""
    params = replace(matrix_sample.cell("u", "a", "b", "failed"), id="u/a/b/size=1", params={"size": "1"})
    first, second = junit(tmp_path, matrix_sample.cell("t", "a", "b", "succeeded"), params)
    assert [(case.get("classname"), case.get("name")) for case in (first[0], second[0])] == [
        ("m.t", "a x b"),
        ("m.u", "a x b [size=1]"),
    ]
    assert (first.get("name"), second.get("name"), second.get("failures")) == ("t", "u", "1")


def test_junit_tells_reason_blame_and_deciding_event(tmp_path: Path) -> None:
    """A failure must say in its message why, and in its text whose doing it was and which event decided it."""
    deciding = {"id": 2, "ty": "exited", "ti": 5, "ro": "driver", "in": {"exit_code": 3}}
    (suite,) = junit(tmp_path, replace(matrix_sample.cell("t", "a", "b", "failed"), deciding=deciding))
    (failure,) = suite[0]
    assert failure.get("message") == "failed: the driver exited with 3 before it was done"
    assert "blame: role driver b\n" in str(failure.text)
    assert f"deciding event: {json.dumps(deciding)}\n" in str(failure.text)
    assert "evidence: cells/t/a/b" in str(failure.text)


def test_junit_tells_why_a_cell_was_expected_to_fail(tmp_path: Path) -> None:
    """Of what fails as expected the reason must be told, and of an unexpected pass what was expected."""
    wanted = Expectation(("failed",), "bug 7", "2027-01-31", None, is_declared=True)
    fails = replace(matrix_sample.cell("t", "a", "b", "failed"), is_expected=True, expectation=wanted)
    passes = replace(
        matrix_sample.cell("t", "a", "c", "succeeded"), is_expected=False, is_unexpected_pass=True, expectation=wanted
    )
    (suite,) = junit(tmp_path, fails, passes)
    assert suite[0][0].get("message", "").startswith("failed: expected: bug 7; seen: the driver exited")
    assert suite[1][0].get("message") == "unexpected pass: failed was expected: bug 7"
