"""A run of a matrix whose files are damaged, or of another version: told, and nothing is made of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from toy_matrix import Toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from projects import Project

JOURNAL, PLAN, REPORT = "journal.jsonl", "plan.json", "report.json"
RESUME, SINCE, JUDGE = ("run", "--resume", "latest"), ("run", "--since", "latest"), ("judge",)
MERGE, INSPECT = ("merge", "--part", "latest", "--into", "merged"), ("inspect", "--run", "latest")


def a_pipe(path: Path) -> None:
    """Have a pipe in place of a file: who opened it would wait for ever."""
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    """Have a folder in place of a file."""
    path.unlink()
    path.mkdir()


def text(content: str) -> Callable[[Path], None]:
    """Return what writes another text."""

    def write(path: Path) -> None:
        path.write_text(content)

    return write


def other(old: str, new: str) -> Callable[[Path], None]:
    """Return what changes a text."""

    def change(path: Path) -> None:
        was = path.read_text()
        assert old in was
        path.write_text(was.replace(old, new))

    return change


def with_line(number: int, line: str) -> Callable[[Path], None]:
    """Return what adds a line, "" for the last one again."""

    def change(path: Path) -> None:
        lines = path.read_text().splitlines(keepends=True)
        lines.insert(number % (len(lines) + 1), f"{line}\n" if line else lines[-1])
        path.write_text("".join(lines))

    return change


def foreign(path: Path) -> None:
    """Have the header of another plan."""
    head, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps({**json.loads(head), "plan": "f" * 64}) + "\n" + rest)


DAMAGED: dict[str, tuple[str, Callable[[Path], None], tuple[str, ...]]] = {
    "journal: garbage amid": (
        JOURNAL,
        with_line(2, "garbage"),
        (f"{JOURNAL}, line 3 is damaged", "next: only its last"),
    ),
    "journal: empty": (
        JOURNAL,
        text(""),
        (f"{JOURNAL} has no first line, so it tells nothing", "next: run the matrix"),
    ),
    "journal: a cell twice": (JOURNAL, with_line(-1, ""), ("is there twice, once was needed", "next: run the matrix")),
    "journal: of another plan": (JOURNAL, foreign, ("is of plan ffffffffffff, ", "next: ")),
    "journal: of another shard": (
        JOURNAL,
        other('"shard":"1/1"', '"shard":"1/2"'),
        ("is of shard 1/2, 1/1 was needed",),
    ),
    "journal: a foreign cell": (JOURNAL, other('"cell":"plain/', '"cell":"other/'), (" is no cell of its plan",)),
    "journal: newer": (
        JOURNAL,
        other('"journal":1', '"journal":7'),
        (f"{JOURNAL} has schema version 7, 1 was needed",),
    ),
    "journal: a pipe": (JOURNAL, a_pipe, ("it is a named pipe, a regular file was needed",)),
    "journal: a folder": (JOURNAL, a_folder, ("it is a folder, a regular file was needed",)),
    "plan: garbage": (PLAN, text("garbage"), (f"{PLAN} cannot be read: Expecting value",)),
    "plan: a list": (
        PLAN,
        text("[]"),
        (f"{PLAN} cannot be read: it is none; an object of JSON with cells was needed",),
    ),
    "plan: deep": (PLAN, text("[" * 100_000), (f"{PLAN} cannot be read: ",)),
    "plan: without cells": (PLAN, text('{"schema_version": 1}'), (f"{PLAN} cannot be read: 'cells' is missing",)),
    "plan: newer": (
        PLAN,
        other('"schema_version": 1', '"schema_version": 7'),
        (f"{PLAN} has schema version 7, 1 was needed",),
    ),
    "plan: another": (PLAN, other('"timeout": 20.0', '"timeout": 21.0'), (f"{PLAN} is not what it was: its cells",)),
}

BY_ALL = ("journal: garbage amid", "journal: of another plan", "journal: a pipe", "plan: newer")
"""What each command is tried on; what else there is, is read by the same reader."""


@pytest.fixture(name="toy")
def toy_with_a_run(project: Project) -> Toy:
    """A matrix that was run once."""
    toy = Toy(project)
    assert toy("run", "-q").code == 0
    return toy


def contents(root: Path) -> dict[str, bytes]:
    """Return the files of a project."""
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_gone_on_with_by_nothing(toy: Toy, name: str) -> None:
    """Neither resumed, taken over, judged nor merged: 10, the file and why; all stays as it is, and no run begins."""
    file, damage, says = DAMAGED[name]
    damage(toy.root / "logs/latest" / file)
    before, latest = contents(toy.root), (toy.root / "logs/latest").readlink()
    for command in (RESUME, SINCE, JUDGE, MERGE) if name in BY_ALL else (RESUME, JUDGE):
        told = " ".join(toy.refused(*command).split())
        assert [sentence for sentence in says if sentence not in told] == [], (command, told)
        assert "problems:" not in told, "of what cannot be read it is not known what is missing"
    assert contents(toy.root) == before
    assert (toy.root / "logs/latest").readlink() == latest
    assert toy.project.processes() == {}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (other('"schema_version": 1', '"schema_version": 7'), f"{REPORT} has schema_version 7; 1 was needed"),
        (text("garbage"), f"{REPORT} is no report of a matrix: no JSON"),
        (text("[" * 100_000), f"{REPORT} is no report of a matrix"),
        (text('{"schema_version": 1}'), f"{REPORT} is no report of a matrix: "),
        (a_pipe, f"{REPORT} cannot be read: it is a named pipe"),
    ],
)
def test_a_report_that_is_none_is_not_shown(toy: Toy, damage: Callable[[Path], None], says: str) -> None:
    """By name or by its path, nor compared with; the run itself can still be judged, by what it has stored."""
    path = toy.root / "logs/latest" / REPORT
    damage(path)
    before = contents(toy.root)
    assert says in toy.refused(*INSPECT)
    assert says in toy.refused("inspect", "--against", "latest")
    assert "judged again: 4 cells" in toy("judge").stdout
    assert contents(toy.root) == before


def test_a_torn_last_line_is_no_damage(toy: Toy) -> None:
    """It is how a kill leaves a journal: its cell alone is run again."""
    journal = toy.root / "logs/latest" / JOURNAL
    journal.write_text(journal.read_text()[:-30])
    done = toy("run", "--resume", "latest")
    assert (done.code, "3 of 4 cells are done" in done.stderr) == (0, True)
    assert len(journal.read_text().splitlines()) == 5


def test_a_run_of_another_matrix_or_another_plan_does_not_go_on(toy: Toy) -> None:
    """It is said of what it is, what changed, and how to take over what did not; a run of the tests is no matrix's."""
    run = (toy.root / "logs/latest").resolve().name
    toy.write("tests/plain.md", '{"timeout": "30s"}')
    told = toy.refused("run", "--resume", run)
    assert f"Run {run} has plan " in told
    assert f"run it anew; --since {run} takes over what did not change" in told
    toy.write("interop.toml", (toy.root / "interop.toml").read_text().replace('"toy"', '"train"'))
    assert f"Run {run} is of toy on embedded, one of train on embedded was needed" in toy.refused("run", "--since", run)
    (toy.root / "logs/other").mkdir()
    for word in ("--resume", "--since"):
        assert "logs/other is none of a matrix: plan.json: No such file" in toy.refused("run", word, "other")
