"""Whoever is killed while cells run, and whenever: nothing of them is left, on either engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import containers
import pytest

from harness import clock, procs

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

# A run with one cell, which stops at a stage: what has been said is a line of its output.
RUN = """
import queue, signal, sys
from pathlib import Path
from harness.config import load_settings, read_sources
from harness.engine.choice import DRIVERS
from harness.matrix.site import Part
from harness.runs.opening import create
root, engine, image, stage = sys.argv[1:]
settings = load_settings(read_sources(Path(root)))
driver = DRIVERS[engine](settings, None)
environment = create(settings, driver, "of a test")
heard = queue.SimpleQueue()
folder = environment.folder / "cells" / "t"
folder.mkdir(parents=True)
site = driver.cells(environment).site("t", folder, heard.put)
script = '''
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(os.environ["INTEROP_SHARED"] + "/file", "w").write("mine")
if os.fork() == 0:
    os.setsid()
    signal.pause()
print("up")
signal.pause()
'''
python = "python3" if image else sys.executable
def reached(now):
    if now == stage:
        print("AT", environment.link.facts["pid"], environment.link.facts["start"], flush=True)
        signal.pause()
def until_up(role):
    while heard.get(timeout=20).role != role:
        pass
reached("opened")
site.create([Part(role, "x", (python, "-uc", script), image=image) for role in ("worker", "driver")])
reached("created")
site.start("worker")
until_up("worker")
reached("started")
site.start("driver")
until_up("driver")
reached("running")
site.terminate(["worker"])
reached("ending")
site.kill(["worker", "driver"])
reached("killed")
"""
STAGES = ["opened", "created", "started", "running", "ending", "killed"]


def _run_to(project: Project, engine: str, image: str, stage: str, output: Path) -> tuple[procs.Popen[bytes], int, int]:
    """Start a run that has come to a stage; return it, and the pid and start time of its keeper."""
    with output.open("wb") as file:
        words = [sys.executable, "-c", RUN, str(project.root), engine, image, stage]
        process = procs.spawn(words, env=project.environ, cwd=project.root, output=file)
    for _ in clock.poll(clock.Deadline.after(40)):
        said = [line.split() for line in output.read_text().splitlines() if line.startswith("AT ")]
        if said:
            return process, int(said[0][1]), int(said[0][2])
        assert process.poll() is None, output.read_text()
    process.kill()
    raise AssertionError(output.read_text())


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_leaves_nothing_of_its_cells(project: Project, tmp_path: Path, stage: str) -> None:
    """Whenever a run is killed, its roles, their daemons, /shared and the ledger must be gone within ten seconds."""
    process, _, _ = _run_to(project, "embedded", "", stage, tmp_path / "output")
    process.kill()
    process.wait(10)
    assert project.wait_until_gone(10) == {}
    assert project.ledgers() == []
    assert not list(project.root.glob("logs/*/work"))


def test_two_killed_runs_leave_nothing(project: Project, tmp_path: Path) -> None:
    """Two runs at once must not meet, and one's end must not touch the other's cells."""
    first, *_ = _run_to(project, "embedded", "", "running", tmp_path / "first")
    second, keeper, start = _run_to(project, "embedded", "", "running", tmp_path / "second")
    alone = len(project.processes()) // 2
    first.kill()
    first.wait(10)
    for _ in clock.poll(clock.Deadline.after(10)):
        if len(project.processes()) <= alone:
            break
    assert len(project.processes()) == alone
    assert procs.is_alive(keeper, start)
    second.kill()
    second.wait(10)
    assert project.wait_until_gone(10) == {}


@pytest.mark.parametrize("stage", ["created", "running", "ending"])
def test_a_killed_run_leaves_no_container_of_its_cells(dock: containers.Dock, tmp_path: Path, stage: str) -> None:
    """Whenever a run is killed, containers, volume and network of its cell must be gone within twenty seconds."""
    process, _, _ = _run_to(dock, "compose", containers.image_id(dock), stage, tmp_path / "output")
    assert dock.left()
    process.kill()
    process.wait(10)
    assert dock.wait_until_clear(20) == []
