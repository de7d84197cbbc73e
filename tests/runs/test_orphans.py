"""What works for a process of ours ends with it, however that ends; what a command left is found, ended and named."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, web

from harness import clock, procs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
NOXFILE = """
import nox
from harness.nox_sessions import run

@nox.session(python=False)
def suite(session):
    run(session, "python", "-m", "pytest", *session.posargs)
"""
TASKS = "from harness.invoke_tasks import namespace\n"
# Says that it is there, has a child that left its session, and waits.
WAITS = """
import os, pathlib, signal, subprocess, sys
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}")
"""
TEST = f"""{WAITS}
import threading
def test_it(stack):
    open("running", "w").close()
    threading.Event().wait(60)
"""
SESSION = ("-p", "no:cacheprovider", "--stack=s", "test_it.py")


def _started(project: Project, argv: Sequence[str], output: Path) -> procs.Popen[bytes]:
    """Start something that brings up ``s`` and has a test or command that waits; return it when that is under way."""
    project.stack("s", {"web": web()})
    (project.root / "test_it.py").write_text(TEST)
    with output.open("wb") as file:
        process = procs.spawn([sys.executable, *argv], env=project.environ, cwd=project.root, output=file)
    for _ in clock.poll(clock.Deadline.after(150)):
        if (project.root / "running").exists():
            return process
        assert process.poll() is None, output.read_text()
    raise AssertionError(output.read_text())


def _alive(project: Project) -> dict[int, str]:
    """Return what lives of a project: its environment, and the test or command with its child."""
    alive = project.processes()
    for pid in map(int, (project.root / "pids").read_text().split()):
        if procs.is_alive(pid, procs.start_time_of(pid) or -1):
            alive[pid] = procs.command_of(pid)
    return alive


def _left_after_kill(project: Project, process: procs.Popen[bytes]) -> list[str]:
    """Kill a process; return the commands of what is left of its own after some seconds, and end that."""
    process.kill()
    process.wait(10)
    for _ in clock.poll(clock.Deadline.after(6)):
        if not _alive(project):
            break
    left = _alive(project)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return list(left.values())


@pytest.mark.parametrize(
    "argv",
    [
        (*HARNESS, "test", "--stack", "s", "--", "-p", "no:cacheprovider", "test_it.py"),
        (*HARNESS, "test", "--stack", "s", "--", "-p", "no:cacheprovider", "-n2", "test_it.py"),
        ("-m", "invoke", "test", "--stack", "s", "--", "-p", "no:cacheprovider", "test_it.py"),
        ("-m", "nox", "-s", "suite", "--", *SESSION),
        (*HARNESS, "run", "--stack", "s", "--", "sh", "-c", "python test_run.py; true"),
    ],
    ids=["harness test", "with workers", "invoke", "nox", "harness run"],
)
def test_whoever_is_killed_alone_takes_all_along(project: Project, argv: tuple[str, ...], tmp_path: Path) -> None:
    """After KILL of the process that a user started, test, command, what they detached and services must be gone soon.

    Two seconds are promised; a busy machine gets more here.
    """
    (project.root / "noxfile.py").write_text(NOXFILE)
    (project.root / "tasks.py").write_text(TASKS)
    (project.root / "test_run.py").write_text(f"{WAITS}\nopen('running', 'w').close()\nsignal.pause()\n")
    process = _started(project, argv, tmp_path / "out")
    assert len(_alive(project)) >= 4
    assert _left_after_kill(project, process) == []
    assert project.wait_until_gone(10) == {}
    assert project.ledgers() == []


# Ends as soon as it is told to, as a pytest may that has nothing to tear down.
PROMPT = f"""{WAITS}
import threading
from harness import procs
procs.end_with_parent(os.environ)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open("running", "w").close()
threading.Event().wait(60)
"""
PARENT = """
import os, sys
from harness import procs
procs.run_attached([sys.executable, "prompt.py"], env={**os.environ, **procs.as_parent()})
"""


def test_what_a_child_detached_goes_however_soon_that_child_ends(project: Project) -> None:
    """A child that ends at once when its parent was killed must not leave behind what it had detached."""
    (project.root / "prompt.py").write_text(PROMPT)
    process = procs.spawn([sys.executable, "-c", PARENT], env=project.environ, cwd=project.root)
    for _ in clock.poll(clock.Deadline.after(60)):
        if (project.root / "running").exists():
            break
    assert _left_after_kill(project, process) == []


def test_a_pytest_that_nobody_of_ours_started_watches_nobody() -> None:
    """Without the variable, or with that of another process namespace, nothing may be watched."""
    me = procs.as_parent()
    before = threading.active_count()
    for value in (None, "", "1", "x:y:z", "1:2:3", me[procs.PARENT]):
        procs.end_with_parent({procs.PARENT: value} if value is not None else {})
    assert threading.active_count() == before


LEAVES = "import subprocess, sys; subprocess.Popen(['sleep', '1000'], start_new_session=True); sys.exit({code})"


@pytest.mark.parametrize(("code", "wanted"), [(0, 13), (3, 3)])
def test_what_a_command_detached_is_ended_and_named(project: Project, code: int, wanted: int) -> None:
    """A process that a command left must be ended and named; 13 is for a command that ended well, else its own code."""
    project.stack("s", {"web": web()})
    command = ("sh", "-c", f'{sys.executable} -c "{LEAVES.format(code=code)}"')
    done = run_in(project, *HARNESS, "run", "--stack", "s", "--", *command)
    assert done.code == wanted, done.stderr
    assert "(sleep 1000) running; it was ended" in done.stderr
    assert _sleepers(project) == []


def test_what_ends_soon_after_its_command_is_not_left(project: Project) -> None:
    """What a command has started and that ends by itself in a moment is no fault."""
    project.stack("s", {"web": web()})
    done = run_in(project, *HARNESS, "run", "--stack", "s", "--", "sh", "-c", "sleep 0.3 & exit 0")
    assert done.code == 0, done.stderr
    assert "running; it was ended" not in done.stderr


def test_what_tests_detached_is_ended_and_named(project: Project) -> None:
    """``harness test`` must end and name what its tests left, and return 13 when they passed."""
    (project.root / "test_it.py").write_text(
        "import subprocess\ndef test_it(): subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    )
    done = run_in(project, *HARNESS, "test", "--", "-p", "no:cacheprovider", "test_it.py")
    assert done.code == 13, done.stderr
    assert "(sleep 1000) running; it was ended" in done.stderr
    assert _sleepers(project) == []


def test_what_is_kept_outlives_the_command_that_kept_it(project: Project) -> None:
    """A keeper must not be taken for something that a command left, not even one of a run within a run."""
    project.stack("s", {"web": web()})
    inner = f"{sys.executable} -c 'from harness.invoke_tasks import main; main()' up --stack s"
    done = run_in(project, *HARNESS, "run", "--stack", "s", "--", "sh", "-c", inner)
    assert done.code == 0, done.stderr
    assert len(project.processes()) == 2
    assert run_in(project, *HARNESS, "down").code == 0
    assert project.processes() == {}


def _sleepers(project: Project) -> list[str]:
    """Return the processes that a test of this project left."""
    found = [pid for pid in procs.all_pids() if procs.command_of(pid) == "sleep 1000"]
    return [str(pid) for pid in found if os.path.realpath(f"/proc/{pid}/cwd").startswith(str(project.root))]
