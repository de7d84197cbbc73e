"""What a run says when it is over: its exit code, its folder, its JUnit file."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from harness.errors import EXIT_MEANING
from harness.reporting import SCHEMA, RunFolder, write_junit
from harness.results import Outcome, exit_code

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CAUSES = [("configuration", 10), ("unreachable", 11), ("failed", 1), ("broken", 12), ("leftover", 14)]


@pytest.mark.parametrize("pytest_code", range(7))
def test_without_a_cause_the_code_is_that_of_pytest(pytest_code: int) -> None:
    """A run without a cause of its own must end with what pytest says."""
    assert exit_code(pytest_code=pytest_code) == pytest_code


@pytest.mark.parametrize(("cause", "code"), CAUSES)
@pytest.mark.parametrize("pytest_code", [0, 1, 2, 5])
def test_a_cause_has_its_code(cause: str, code: int, pytest_code: int) -> None:
    """Each cause must give its documented code, whatever pytest says, and the code have a meaning."""
    assert exit_code(pytest_code=pytest_code, **{cause: True}) == code
    assert EXIT_MEANING[code]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(CAUSES, 2)))
def test_of_two_causes_the_first_in_the_table_counts(first: tuple[str, int], second: tuple[str, int]) -> None:
    """Where two causes apply the one that is documented first must decide."""
    causes: dict[str, Any] = {second[0]: True, first[0]: True}
    assert exit_code(pytest_code=1, **causes) == first[1]


@pytest.mark.parametrize(("number", "code"), [(1, 129), (2, 130), (3, 131), (15, 143)])
def test_a_signal_comes_before_everything(number: int, code: int) -> None:
    """A run that a signal ended must end with 128 and its number, whatever else applies."""
    causes: dict[str, Any] = {name: True for name, _ in CAUSES}
    assert exit_code(pytest_code=1, signal_number=number) == code
    assert exit_code(pytest_code=1, signal_number=number, **causes) == code


def junit(folder: Path, outcomes: Sequence[Outcome]) -> ET.Element:
    """Write ``outcomes`` and return the suite, parsed from bytes as a strict reader would."""
    path = folder / "junit.xml"
    write_junit(path, outcomes)
    assert [entry.name for entry in folder.iterdir()] == ["junit.xml"]
    root = ET.fromstring(path.read_bytes())  # noqa: S314 - we wrote it
    suite = root.find("testsuite")
    assert suite is not None
    return suite


def test_outcomes_are_told_apart(tmp_path: Path) -> None:
    """Failed tests must be failures, broken ones errors with the type of the fault, and both be counted apart."""
    suite = junit(
        tmp_path,
        [
            Outcome("tests/test_a.py::test_good", "succeeded", 1.25),
            Outcome("tests/test_a.py::TestX::test_bad[1]", "failed", 0.5, "AssertionError", "1 != 2", "the report"),
            Outcome("tests/sub/test_b.py::test_broken", "broken", 2.0, "BrokenStack", "kafka died", "its log"),
            Outcome("tests/sub/test_b.py::test_skipped", "skipped", 0.0, "", "needs compose"),
            Outcome("tests/sub/test_b.py::test_known", "xfailed", 0.0, "xfail", "no compaction"),
        ],
    )
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped")} == {
        "name": "harness",
        "tests": "5",
        "failures": "1",
        "errors": "1",
        "skipped": "2",
    }
    good, bad, broken, skipped, known = suite.findall("testcase")
    assert (good.get("classname"), good.get("name"), good.get("time")) == ("tests.test_a", "test_good", "1.25")
    assert list(good) == []
    assert (bad.get("classname"), bad.get("name")) == ("tests.test_a", "TestX::test_bad[1]")
    assert [(element.tag, element.get("type"), element.get("message"), element.text) for element in bad] == [
        ("failure", "AssertionError", "1 != 2", "the report")
    ]
    assert broken.get("classname") == "tests.sub.test_b"
    assert [(element.tag, element.get("type"), element.get("message"), element.text) for element in broken] == [
        ("error", "BrokenStack", "kafka died", "its log")
    ]
    assert [(element.tag, element.get("message")) for element in skipped] == [("skipped", "needs compose")]
    assert [(element.tag, element.get("type"), element.get("message")) for element in known] == [
        ("skipped", "xfail", "no compaction")
    ]


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\x08", "\x0b", "\udcff", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_replaced_everywhere(tmp_path: Path, bad: str) -> None:
    """Control characters and bytes that were no UTF-8 must become question marks, in every field."""
    text = f"a{bad}b"
    outcome = Outcome(f"f{bad}.py::t[{bad}]", "failed", 0.1, text, text, text, ((text, text),))
    (case,) = junit(tmp_path, [outcome]).findall("testcase")
    (failure,) = case.findall("failure")
    assert (case.get("classname"), case.get("name")) == ("f?", "t[?]")
    assert (failure.get("type"), failure.get("message"), failure.text) == ("a?b", "a?b", "a?b")
    assert case.findtext("system-out") == "--- a?b ---\na?b"


@pytest.mark.parametrize("text", ["<tag> & \"quotes\" 'too'", "tab\tand\nline", "ä € 漢字 \U0001f600", "]]>"])
def test_what_xml_can_hold_stays(tmp_path: Path, text: str) -> None:
    """Text of any language, and what XML itself uses, must come back unchanged."""
    outcome = Outcome("f.py::t", "failed", 0.1, "Error", "short", text, (("log", text), ("captured", "more")))
    (case,) = junit(tmp_path, [outcome]).findall("testcase")
    assert case.findtext("failure") == text
    assert case.findtext("system-out") == f"--- log ---\n{text}\n--- captured ---\nmore"


def test_a_run_without_tests_has_a_valid_file(tmp_path: Path) -> None:
    """No outcome at all must give a suite of no tests."""
    assert junit(tmp_path, []).get("tests") == "0"


def test_an_older_file_is_replaced_whole(tmp_path: Path) -> None:
    """A second writing must leave the second content only."""
    junit(tmp_path, [Outcome(f"f.py::t{number}", "succeeded") for number in range(20)])
    assert len(junit(tmp_path, [Outcome("f.py::only", "succeeded")]).findall("testcase")) == 1


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a run that has just begun."""
    (tmp_path / "services").mkdir()
    return RunFolder(tmp_path, {"run": "r1", "engine": "embedded"})


def facts(folder: RunFolder) -> dict[str, Any]:
    """Return run.json, after checking that nothing half-written lies beside it."""
    assert [path.name for path in folder.path.glob(".*")] == []
    document: dict[str, Any] = json.loads((folder.path / "run.json").read_text())
    return document


def events(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the lines of events.jsonl."""
    return [json.loads(line) for line in (folder.path / "events.jsonl").read_text().splitlines()]


def test_a_run_can_be_read_from_its_first_moment(folder: RunFolder) -> None:
    """run.json must be there with the run's facts before anything happens."""
    assert facts(folder) == {
        "schema": SCHEMA,
        "run": "r1",
        "engine": "embedded",
        "spans": [],
        "outcomes": {},
        "services": {},
    }


def test_every_step_leaves_run_json_valid(folder: RunFolder) -> None:
    """run.json must be whole after each step and, at the end, hold all that was told."""
    steps: list[Callable[[], object]] = [
        lambda: folder.note("stack", "forwarding"),
        lambda: folder.note("left", ["a ä \udc80"]),
        folder.timed("start", "kafka"),
        lambda: folder.outcome(Outcome("f.py::a", "succeeded", 0.1)),
        lambda: folder.outcome(Outcome("f.py::b", "failed", 0.1)),
        lambda: folder.outcome(Outcome("f.py::c", "succeeded", 0.1)),
        lambda: folder.log_range("kafka", folder.path / "services" / "kafka.log", 0, 10),
        folder.save,
        lambda: folder.finish(1),
    ]
    for step in steps:
        step()
        assert facts(folder)["schema"] == SCHEMA
    final = facts(folder)
    assert final["stack"] == "forwarding"
    assert final["left"] == ["a ä \udc80"]
    assert final["outcomes"] == {"succeeded": 2, "failed": 1}
    assert [(span["stage"], span["of"]) for span in final["spans"]] == [("start", "kafka")]
    assert final["spans"][0]["seconds"] >= 0
    assert final["services"] == {"kafka": {"log": "services/kafka.log", "start": 0, "end": 10}}
    assert final["exit_code"] == 1
    assert len(ET.parse(folder.path / "junit.xml").findall(".//testcase")) == 3  # noqa: S314 - we wrote it


def test_a_reader_never_sees_half_of_run_json(folder: RunFolder) -> None:
    """Whoever reads run.json while it is written must see an older or a newer state, always a whole one."""
    value = "x" * 200_000
    done = threading.Event()

    def write() -> None:
        for number in range(20):
            folder.note("number", number)
            folder.note("value", value)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        document = json.loads((folder.path / "run.json").read_text())
        assert document.get("value", value) == value
        seen.add(document.get("number"))
    writer.join()
    assert seen
    assert facts(folder)["number"] == 19


def test_every_event_is_a_line(folder: RunFolder) -> None:
    """Every event must be one JSON line with its time, in the order in which it was told."""
    folder.event("started", service="kafka", pid=7)
    folder.event("said", text="two\nlines and ä")
    end = folder.timed("settle", "kafka")
    end()
    folder.outcome(Outcome("f.py::a", "broken", 0.25))
    told = events(folder)
    assert [event["event"] for event in told] == ["started", "said", "span", "test"]
    assert told[0] | {"t": 0} == {"t": 0, "event": "started", "service": "kafka", "pid": 7}
    assert told[1]["text"] == "two\nlines and ä"
    assert (told[2]["stage"], told[2]["of"]) == ("settle", "kafka")
    assert told[3] | {"t": 0} == {"t": 0, "event": "test", "test": "f.py::a", "status": "broken", "seconds": 0.25}
    assert [event["t"] for event in told] == sorted(event["t"] for event in told)
    assert all(event["t"] >= 0 for event in told)


def test_events_of_several_threads_do_not_mix(folder: RunFolder) -> None:
    """Lines that are told at the same time must each be whole."""

    def tell(number: int) -> None:
        for _ in range(50):
            folder.event("told", by=number, text="x" * 500)

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [event["by"] for event in events(folder)]
    assert sorted(told) == [number for number in range(4) for _ in range(50)]


def test_a_log_elsewhere_is_linked(folder: RunFolder, tmp_path: Path) -> None:
    """A service log outside the run's folder must be readable from inside, and one that is inside stay a file."""
    elsewhere = tmp_path / "kept" / "kafka.log"
    elsewhere.parent.mkdir()
    elsewhere.write_text("before\nduring\n")
    own = folder.path / "services" / "web.log"
    own.write_text("own\n")
    folder.log_range("kafka", elsewhere, 7)
    folder.log_range("web", own, 0)
    folder.log_range("kafka", elsewhere, 7, 14)
    folder.save()
    assert (folder.path / "services" / "kafka.log").read_text() == "before\nduring\n"
    assert not own.is_symlink()
    assert facts(folder)["services"] == {
        "kafka": {"log": "services/kafka.log", "start": 7, "end": 14},
        "web": {"log": "services/web.log", "start": 0, "end": None},
    }


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("tests/sub/test_a.py::test_b", "tests.sub.test_a.py.test_b"),
        ("test_a.py::TestX::test_b[one-2]", "test_a.py.TestX.test_b[one-2]"),
        ("test_a.py::test_b[a b*c?\n]", "test_a.py.test_b[a_b_c_]-c338fd"),
        ("test_a.py::" + "x" * 400, "x" * 150 + "-539f31"),
    ],
)
def test_the_evidence_of_a_test_has_a_folder_of_its_name(folder: RunFolder, test: str, name: str) -> None:
    """A failed test must have a folder that any file system can hold, the same one each time."""
    folder.evidence(test, "web.log", b"first")
    folder.evidence(test, "kafka.log", b"second")
    made = folder.path / "failures" / name
    assert {path.name: path.read_bytes() for path in made.iterdir()} == {"web.log": b"first", "kafka.log": b"second"}
