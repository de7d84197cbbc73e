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
RUN echo these are unit tests
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


def project(dock: Dock, report: str, code: int, stage: str = "test") -> None:
    (dock.root / "junit.xml").write_text(report)
    (dock.root / "code").write_text(f"{code}\n")
    (dock.root / "Dockerfile").write_text(DOCKERFILE.format(image=dock.image))
    (dock.root / ".dockerignore").write_text("*\n!junit.xml\n!code\n")
    harness = {"unit-tests": {"stage": stage, "report": "/junit.xml"}}
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


def test_a_stage_that_is_not_there_is_refused(dock: Dock) -> None:
    """A stage that the Dockerfile does not have must be exit code 10, with those that it has."""
    project(dock, GOOD, 0, stage="tests")
    done = run_in(dock, *HARNESS, "up", timeout=60)
    assert (done.code, dock.left()) == (10, []), done.stderr
    assert "no such stage; it has: test; did you" in done.stderr
