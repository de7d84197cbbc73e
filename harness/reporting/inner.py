"""The outcomes of tests that ran elsewhere, from the reports that were copied from there."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args

from harness.results import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EVENTS = "events.jsonl"
JUNIT = "junit.xml"
LOGS = "logs"


def outcomes_of(folder: Path) -> list[Outcome]:
    """Return how tests ended.

    Those of a run with our plugin are in its events, which are there however it ended; what a JUnit report tells of
    them is added. Where there is no such run, they are those of the JUnit report.

    Args:
        folder: with ``junit.xml``, and run folders in ``logs``. What is not there, or cannot be read, tells of nothing.
    """
    runs = sorted(path for path in folder.glob(f"{LOGS}/*") if not path.is_symlink())  # ``latest`` is one of them
    reports = [folder / JUNIT, *(run / JUNIT for run in runs)]
    cases = {outcome.test: outcome for report in reports for outcome in _of_junit(report)}
    events = [outcome for run in runs for outcome in _of_events(run / EVENTS, cases)]
    return events or list(cases.values())


def _of_events(path: Path, cases: Mapping[str, Outcome]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # it had not begun
        return outcomes
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, AttributeError):  # the last may be cut short
            fact = json.loads(line)
            if fact["event"] == "test" and fact["status"] in get_args(Status):
                case = cases.get(_as_in_junit(str(fact["test"])))
                outcomes.append(
                    Outcome(
                        str(fact["test"]),
                        fact["status"],
                        float(fact["seconds"]),
                        case.kind if case else "",
                        str(fact.get("reason", case.message if case else "")),
                        case.text if case else "",
                        tries=int(fact.get("tries", 1)),
                        quarantine=dict(fact.get("quarantine", {})),
                    )
                )
    return outcomes


def _as_in_junit(test: str) -> str:
    """Return a node id as it is in a JUnit report: folders and classes before the name, with dots."""
    file, _, name = test.partition("::")
    return f"{file.removesuffix('.py').replace('/', '.')}::{name or file}"


def _of_junit(path: Path) -> list[Outcome]:
    from junitparser import JUnitXml, JUnitXmlError, TestSuite  # noqa: PLC0415 - at the end of a run only

    try:
        document: Any = JUnitXml.fromfile(str(path))
    except (OSError, SyntaxError, JUnitXmlError):  # it is not there, or was cut short: a ParseError is a SyntaxError
        return []
    suites = [document] if isinstance(document, TestSuite) else document
    return [_of_case(case) for suite in suites for case in suite]


def _of_case(case: Any) -> Outcome:  # noqa: ANN401 - the library has no types
    found = {type(result).__name__: result for result in case.result}
    status: Status = "succeeded"
    kinds: tuple[tuple[str, Status], ...] = (("Error", "broken"), ("Failure", "failed"), ("Skipped", "skipped"))
    for kind, meant in kinds:
        if result := found.get(kind):
            status = meant
            return Outcome(
                f"{case.classname or ''}::{case.name or ''}",
                "xfailed" if result.type == "pytest.xfail" else status,
                float(case.time or 0.0),
                str(result.type or ""),
                str(result.message or ""),
                str(result.text or ""),
            )
    return Outcome(f"{case.classname or ''}::{case.name or ''}", status, float(case.time or 0.0))
