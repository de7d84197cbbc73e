"""What a run of a matrix has left: judged again, a cell of it looked at, and as the older tool wrote it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from two_echoes import Echoes

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

EXPECT = '[[expect]]\ntest = "fails"\nstatus = ["failed"]\nreason = "a known fault"\n'
OLD: dict[str, Any] = {
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
                        {"id": 1, "ty": "ready", "ti": 1420167841500, "ro": "driver", "in": None},
                        {"id": 0, "ty": "exited", "ti": 1420167842000, "ro": "driver", "in": {"exit_code": 0}},
                        {"id": 0, "ty": "status", "ti": 1420167842000, "in": {"success": True}},
                    ],
                }
            },
        }
    },
}


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_is_judged_again(project: Project) -> None:
    """By its events and the expectations of now: what changed is told with its reason, and nothing is written."""
    echoes = Echoes(project, "works", "fails")
    echoes("interop.run", "-q", code=1)
    before = files_of(project.latest)
    same = echoes("interop.judge", code=1)
    assert "judged again: 8 cells" in same.stdout
    assert "none changed" in same.stdout
    echoes.write("expect.toml", EXPECT)
    again = echoes("interop.judge")
    told = (
        "fails/one/two: was \u2717 failed (unexpected), is \u2717 failed (as expected): failed: expected: a known fault"
    )
    assert told in again.stdout
    assert "4 changed" in again.stdout
    events = project.latest / "cells/works/one/two/events.jsonl"
    events.write_text(events.read_text().replace('"exit_code": 0', '"exit_code": 9'))
    worse = echoes("interop.judge", code=1)
    first = worse.stdout.splitlines()[0]
    assert first.startswith("works/one/two: was \u2713 succeeded (as expected), is \u2717 failed (unexpected): failed:")
    assert "exited with 9" in first
    report = json.loads(echoes("interop.judge", "--json", code=1).stdout)
    assert (report["totals"], report["unexpected"]) == ({"succeeded": 3, "failed": 5}, 1)
    events.write_text("{torn\n")
    damaged = echoes("interop.judge")
    assert "works/one/two is as it was:" in damaged.stderr
    assert "line 1 is no event" in damaged.stderr
    events.write_bytes(before[str(events)])
    assert files_of(project.latest) == before


def test_a_killed_run_is_judged(project: Project) -> None:
    """What its journal has: a run without a report is judged, and the cells that were not run are told."""
    echoes = Echoes(project, "works")
    echoes("interop.run", "-q")
    (project.latest / "report.json").unlink()
    journal = project.latest / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    done = echoes("interop.judge")
    assert "judged again: 3 cells" in done.stdout
    assert "cells: 4 (3 succeeded, 1 not run); none unexpected" in done.stdout


def test_a_cell_is_looked_at(project: Project) -> None:
    """Its verdict, whose fault it is, the event that decided it among its neighbours, and where its logs are."""
    echoes = Echoes(project, "fails", "differs")
    echoes("interop.run", "-q", code=1)
    lines = echoes("interop.inspect", "--cell", "fails/one/two").stdout.splitlines()
    assert lines[0] == "\u2717 fails/one/two: failed (unexpected)"
    assert "  why: failed: driver (two) exited with 3" in lines
    assert "  blame: role driver (two)" in lines
    assert len([line for line in lines if line.startswith("  ->") and '"exit_code": 3' in line]) == 1
    logs = next(line for line in lines if line.startswith("  logs: ")).removeprefix("  logs: ")
    assert (project.root / logs / "driver.log").is_file()
    value = json.loads(echoes("interop.inspect", "--cell", "differs/one/two", "--json").stdout)
    deciding = [event for event in value["events"] if event["place"] == value["cell"]["verdict"]["event"]]
    assert [event["ty"] for event in deciding] == ["assert-failed"]
    near = echoes("interop.inspect", "--cell", "fails/one/tow", code=10)
    assert "did you mean 'fails/one/two'?" in near.stderr
    both = echoes("interop.inspect", "--cell", "fails/one/two", "--against", "latest", code=10)
    assert "--against and --cell exclude each other" in both.stderr


def test_a_run_is_written_as_the_older_tool_did(project: Project) -> None:
    """With a file for each worker, named in the report, whose cells are judged as those of the run."""
    echoes = Echoes(project, "works", "differs")
    line = echoes("interop.run", "-q", code=1)
    assert line.stdout.startswith("cells: 8 (4 succeeded, 4 failed); 4 unexpected; logs/")
    assert (line.stdout.count("\n"), line.stderr) == (1, "")
    report = json.loads((project.latest / "report.json").read_text())
    assert report["dumps"] == ["one.dump", "two.dump"]
    dump = json.loads((project.latest / "two.dump").read_text())
    assert (dump["worker"], list(dump["tests"]), list(dump["tests"]["works"]["runs"])) == (
        "two",
        ["differs", "works"],
        ["one", "two"],
    )
    log = dump["tests"]["works"]["runs"]["one"]["log"]
    assert (log[0]["ty"], log[-1]["ty"], log[-1]["in"]["success"]) == ("exec", "status", True)
    assert dump["tests"]["works"]["desc"]["timeout"] == "20s"
    looked = json.loads(echoes("interop.inspect", "--run", str(project.latest / "two.dump"), "--json").stdout)
    stored = {cell["id"]: cell["verdict"] for cell in report["cells"] if cell["worker"] == "two"}
    assert {cell["id"]: cell["verdict"] for cell in looked["cells"]} == stored


def test_a_report_of_the_older_tool_is_judged(project: Project) -> None:
    """By the strict rules: its driver was never done, which that tool called a success."""
    echoes = Echoes(project)
    echoes.write("old.dump", json.dumps(OLD))
    judged = echoes("interop.judge", "--run", "old.dump", code=1)
    assert echoes("interop", "judge", "old.dump", code=1).stdout == judged.stdout
    assert judged.stdout.startswith(
        "net-link/local/go: was \u2713 succeeded (as expected), is \u2717 failed (unexpected)"
    )
    assert "exited with 0 without being done" in judged.stdout
    shown = echoes("interop.inspect", "--run", "old.dump", "--cell", "net-link/local/go")
    assert '->     3    +2.000 s  driver  exited {"exit_code": 0}' in shown.stdout
    echoes.write("expect.toml", EXPECT.replace("fails", "net-link"))
    echoes("interop.judge", "--run", "old.dump", "--matrix", "./interop.toml")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("interop.judge --run nope", "Run 'nope' is not known"),
        ("interop.judge --run nope.dump", "Report 'nope.dump' is not known"),
        ("interop.judge --run empty.dump", "empty.dump: is no report: no JSON"),
        ("interop.judge --run list.dump", "list.dump: is no report"),
        ("interop.judge --run tests", "is none of a matrix: plan.json"),
        ("interop.inspect --run nope", "Run 'nope' is not known"),
        ("interop.inspect --run bytes.dump", "bytes.dump is no report: no UTF-8: byte 0"),
        ("interop.inspect --run newer.json", "newer.json has schema_version 99; 1 was needed"),
        ("interop.inspect --run list.json", "list.json is no report of a matrix"),
        ("interop.inspect --run tests", "report.json cannot be read"),
    ],
)
def test_what_cannot_be_judged_or_shown(project: Project, words: str, says: str) -> None:
    """One clear error must tell what was seen, with 10."""
    echoes = Echoes(project)
    for name, text in (("empty.dump", ""), ("list.dump", "[]"), ("list.json", "[]")):
        echoes.write(name, text)
    echoes.write("newer.json", '{"schema_version": 99}')
    (project.root / "bytes.dump").write_bytes(b"\xff\xfe")
    assert says in echoes(*words.split(), code=10).stderr


def test_a_run_of_another_matrix_is_refused(project: Project) -> None:
    """Its expectations are not this one's; the latest is that of this matrix, whatever was run since."""
    echoes = Echoes(project)
    echoes("interop.run", "-q")
    first = project.latest
    toml = (project.root / "interop.toml").read_text()
    echoes.write("interop.toml", toml.replace("echoes", "others"))
    assert "is of matrix 'echoes', and this is 'others'" in echoes("interop.judge", "--run", first.name, code=10).stderr
    assert "There is no run of matrix others in" in echoes("interop.judge", code=10).stderr
    echoes("interop.run", "-q")
    echoes.write("interop.toml", toml)
    (project.root / "logs/20991231-000000-00000000").mkdir()  # a run of tests
    (project.root / "logs/latest").unlink()
    (project.root / "logs/latest").symlink_to("20991231-000000-00000000")
    assert f"judged again: 4 cells of {first.name}, none changed" in echoes("interop.judge").stdout
    assert json.loads(echoes("interop.inspect", "--json").stdout)["matrix"] == "others"
    mine = echoes("interop.inspect", "--json", "--matrix", "./interop.toml", "latest").stdout
    assert json.loads(mine)["run"] == first.name
    shown = echoes("interop.inspect", "--run", f"logs/{first.name}", "--json").stdout
    assert json.loads(shown)["matrix"] == "echoes"
