"""Unit tests that a build runs: their report comes out, also when they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from projects import run_in

from harness.engine.compose.unit_tests import Results, read

if TYPE_CHECKING:
    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
REPORT = """<?xml version="1.0"?>
<testsuites><testsuite name="a">
  <testcase name="test_good" classname="x"/>
  <testcase name="test_left_out" classname="x"><skipped/></testcase>
  <testcase name="test_bad" classname="x"><failure message="1 is not 2&#10;at all">long</failure></testcase>
  <testcase name="test_worse" classname="x"><error message="no such thing"/></testcase>
</testsuite></testsuites>
"""
GOOD = '<testsuite name="a"><testcase name="test_good"/></testsuite>'
DOCKERFILE = """\
FROM {image} AS test
COPY junit.xml code /
RUN echo these are unit tests && ln -s junit.xml /latest.xml && mkdir /reports && cp /junit.xml /reports
FROM {image}
COPY --from=test /code /code
RUN exit $(cat /code)
"""


def test_a_report_is_read() -> None:
    """Failed tests must be counted and the first be named with its reason's first line; skipped ones do not count."""
    results = read(REPORT.encode())
    assert results == Results(3, (("test_bad", "1 is not 2"), ("test_worse", "no such thing")))
    assert str(results) == "2 of 3 unit tests failed: test_bad, 1 is not 2"
    assert str(read(GOOD.encode())) == "1 unit test passed"
    assert [read(text) for text in (b"", b"<html/>", b"{}", b"<a>")] == [None] * 4


def test_a_suite_in_a_suite_is_counted_once() -> None:
    """Tests of a suite within another must be counted as often as they ran."""
    inner = '<testsuite name="b"><testcase name="test_bad"><failure message="no"/></testcase></testsuite>'
    text = f'<testsuites><testsuite name="a">{inner}<testcase name="test_good"/></testsuite></testsuites>'
    assert str(read(text.encode())) == "1 of 2 unit tests failed: test_bad, no"


def project(dock: Dock, report: str, code: int, stage: str = "test", path: str = "/junit.xml") -> None:
    (dock.root / "junit.xml").write_text(report)
    (dock.root / "code").write_text(f"{code}\n")
    (dock.root / "Dockerfile").write_text(DOCKERFILE.format(image=dock.image))
    (dock.root / ".dockerignore").write_text("*\n!junit.xml\n!code\n")
    harness = {"unit-tests": {"stage": stage, "report": path}}
    dock.stack("s", {"web": dock.up(build={"context": ".."}, image="web-of-test", harness=harness)})


def test_a_report_comes_out_of_a_build(dock: Dock) -> None:
    """The report must be in the run's folder whether tests failed or not, and be the error when they did."""
    project(dock, REPORT, 1)
    done = run_in(dock, *HARNESS, "build", timeout=120)
    assert done.code == 12, done.stderr
    assert "could not be built: 2 of 3 unit tests failed: test_bad, 1 is not 2" in done.stderr
    assert "  test_worse: no such thing" in done.stderr
    assert [path.read_text() for path in dock.root.glob("logs/*/unit-tests/web.xml")][:1] == [REPORT]
    assert dock.left() == []
    project(dock, GOOD, 0)
    done = run_in(dock, *HARNESS, "build", timeout=120)
    assert (done.code, "web: 1 unit test passed (" in done.stderr) == (0, True), done.stderr
    assert dock.left() == []


def test_a_report_that_is_a_link_or_a_folder(dock: Dock) -> None:
    """A link to a report must be followed; a folder is none, which must be said and hide nothing."""
    project(dock, REPORT, 1, path="/latest.xml")
    done = run_in(dock, *HARNESS, "build", timeout=120)
    assert "could not be built: 2 of 3 unit tests failed: test_bad, 1 is not 2" in done.stderr
    project(dock, GOOD, 0, path="/reports")
    done = run_in(dock, *HARNESS, "build", timeout=120)
    assert done.code == 0, done.stderr
    assert "warning: web: no JUnit report /reports was left in stage 'test'" in done.stderr
    project(dock, REPORT, 1, path="/reports")
    done = run_in(dock, *HARNESS, "build", timeout=120)
    assert (done.code, "could not be built: " in done.stderr, "Traceback" in done.stderr) == (12, True, False)
    assert dock.left() == []


def test_a_stage_that_is_not_there_is_refused(dock: Dock) -> None:
    """A stage that the Dockerfile does not have must be exit code 10, with those that it has."""
    project(dock, GOOD, 0, stage="tests")
    done = run_in(dock, *HARNESS, "up", timeout=60)
    assert (done.code, dock.left()) == (10, []), done.stderr
    assert "no such stage; it has: test; did you" in done.stderr
