"""What users type: invoke, harness, nox."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from checkout import ROOT
from projects import Project, run_in, service, web

from harness import procs

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def test_up_ps_endpoints_logs_test_down(project: Project) -> None:
    """The tasks must do in turn what they say, with the same addresses, and leave nothing."""
    project.starter = None  # each is a process that loads for itself what it needs
    project.stack("s", {"web": web(words=("say:hello",))})
    (project.root / "pyproject.toml").write_text(
        '[tool.harness.systems.it]\ntests = "suite"\nstacks = ["s"]\ndefault = "s"\n'
    )
    (project.root / "suite").mkdir()
    (project.root / "suite" / "test_it.py").write_text("def test_it(stack, endpoints): print(endpoints)\n")
    (project.root / "tasks.py").write_text("from harness.invoke_tasks import namespace\n")
    up = run_in(project, "-m", "invoke", "up")
    assert up.code == 0, up.stderr
    assert run_in(project, "-m", "invoke", "endpoints").stdout == up.stdout
    first = run_in(project, *HARNESS, "ps").stdout
    assert first.splitlines()[0].split() == ["ENGINE", "STACK", "SERVICE", "STATE", "PID", "ENDPOINTS"]
    assert first.splitlines()[1].split()[:4] == ["embedded", "s", "web", "running"]
    assert run_in(project, *HARNESS, "logs", "--service", "web").stdout == "hello\n"
    for _ in range(2):
        test = run_in(project, "-m", "invoke", "test", "--", "-s", "-k", "test_it or other thing".replace(" thing", ""))
        assert test.code == 0, test.stdout + test.stderr
        assert up.stdout.split()[1] in test.stdout
    assert run_in(project, *HARNESS, "ps").stdout == first
    down = run_in(project, "-m", "invoke", "down")
    assert (down.code, "nothing is left" in down.stderr) == (0, True)
    assert project.processes() == {}


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("up", "--stack", "nope"), 10, "Stack 'nope' is not known; there are: s, t"),
        (("up", "--engine", "warp"), 10, "Engine 'warp' (command line) is not known"),
        (("up", "--ttl", "soon"), 10, "--ttl 'soon': a duration such as 90s or 1m30s was needed"),
        (("up",), 10, "No stack was named and none is the default; there are: s, t"),
        (("ps",), 10, "Nothing is up here"),
        (("logs", "--service", "x"), 10, "Nothing is up here"),
        (("down",), 0, "nothing is up here"),
        (("up", "--stack", "s"), 12, "Service 'dies' ended with exit code 3 before it was ready"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_tasks_say_what_is_wrong(project: Project, argv: tuple[str, ...], code: int, says: str) -> None:
    """A task that cannot do its work must say why without a traceback, and end with the documented exit code."""
    project.stack("s", {"dies": service("exit:3", ready=[{"log": "never"}])})
    project.stack("t", {"web": web()})
    done = run_in(project, *HARNESS, *argv)
    assert (done.code, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert project.processes() == {}


def test_the_exit_code_of_pytest_is_that_of_the_task(project: Project) -> None:
    """``test`` must end with pytest's own code."""
    project.stack("s", {"dies": service("exit:3", ready=[{"log": "never"}])})
    (project.root / "test_it.py").write_text("def test_it(stack): pass\n")
    assert run_in(project, *HARNESS, "test", "--stack", "s", "--", "test_it.py").code == 12
    assert run_in(project, *HARNESS, "test", "--", "-k", "none", "test_it.py").code == 5


def test_a_projects_own_stacks_can_be_read() -> None:
    """Listing sessions and tasks must work from the checkout, with `nox` as with `python -m nox`."""
    for argv in (
        [str(Path(sys.executable).parent / "nox"), "--list"],
        [sys.executable, "-m", "nox", "--list"],
        [sys.executable, "-m", "invoke", "--list"],
    ):
        done = procs.run(argv, timeout=60, cwd=ROOT)
        assert done.code == 0, done.stderr
        wanted = "endpoints" if "invoke" in argv else "* integration -> A system's suite"
        assert wanted in done.stdout
