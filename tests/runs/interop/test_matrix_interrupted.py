"""Runs of real cells with something else going on: Ctrl-C, another run beside them, a stack that is up."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from held_matrix import CELLS, FAST, Held
from projects import Project, web

from bench import toy_matrix
from harness import procs

SLOTS = ("--slots", "6")


@pytest.fixture
def held(project: Project) -> Held:
    """The matrix of which a test decides when its slow cells go on."""
    return Held(project)


def test_ctrl_c_ends_the_cells_that_run_and_keeps_those_that_are_done(project: Project, held: Held) -> None:
    """INT to all of its group: the code of a signal, no process left, a report of what was done; the rest goes on."""
    whole = held.undisturbed()
    begun = held.begin(*SLOTS)
    running = held.until_held(begun)
    assert running
    procs.kill_group(begun.process.pid, signal.SIGINT)
    assert begun.wait() == -signal.SIGINT, begun.said()
    assert not [pid for pid, start in running.items() if procs.is_alive(pid, start)]
    assert project.processes() == {}
    assert "Traceback" not in begun.said()
    folder = project.latest
    report = json.loads((folder / "report.json").read_text())
    done = {cell["id"]: cell["verdict"]["status"] for cell in report["cells"] if cell["verdict"]}
    assert done
    assert {cell: whole["cells"][cell]["verdict"]["status"] for cell in done} == done
    assert not [cell for cell in done if cell.startswith("held/")]
    assert len(report["cells"]) == CELLS
    assert all((folder / name).is_file() for name in ("index.html", "junit.xml"))
    assert f"--resume {folder.name}" in begun.said()
    held.go.touch()
    again = held.harness("interop.run", "--resume", folder.name, code=1)
    assert f"run {folder.name} goes on: {len(done)} of {CELLS} cells are done" in again.stderr
    assert toy_matrix.differences(whole, toy_matrix.essence(folder / "report.json")) == []


@pytest.mark.parametrize("where", ["one checkout", "two copies"])
def test_two_runs_at_once_are_both_right(held: Held, where: str) -> None:
    """Each must find what it finds alone, and know its own cells only."""
    whole = held.undisturbed()
    roots = [held.root, held.root]
    if where == "two copies":
        roots[1] = held.root.with_name("copy")
        shutil.copytree(held.root, roots[1], symlinks=True, ignore=shutil.ignore_patterns("logs"))
    begun = [held.begin(*SLOTS, root=root, out=f"out{number}") for number, root in enumerate(roots)]
    for each in begun:
        held.until_held(each, cells=3)
    held.go.touch()
    assert [each.wait() for each in begun] == [1, 1], [each.said() for each in begun]
    reports = [each.report() for each in begun]
    assert len(set(reports)) == 2
    for report in reports:
        assert toy_matrix.differences(whole, toy_matrix.essence(report)) == []
    if where == "two copies":
        assert [report.is_relative_to(root) for report, root in zip(reports, roots, strict=True)] == [True, True]


def test_a_run_beside_a_stack_that_is_up(project: Project, held: Held) -> None:
    """Neither may be disturbed by the other: `up` and `down` while cells run, and cells while a stack is up."""
    project.stack("s", {"web": web()})
    whole = held.undisturbed()
    begun = held.begin(*SLOTS)
    running = held.until_held(begun, fast=FAST)
    with held.up("s"):
        held.harness("interop.run", "--cell", "plain/one/two")
    assert all(procs.is_alive(pid, start) for pid, start in running.items())
    with held.up("s"):
        held.go.touch()
        assert begun.wait() == 1, begun.said()
        assert toy_matrix.differences(whole, toy_matrix.essence(begun.report())) == []
