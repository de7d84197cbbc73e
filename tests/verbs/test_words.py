"""What users type and what they are told: small promises of the command line and of stacks in tests."""

from __future__ import annotations

import os
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, service, web

from harness import procs
from harness.config import load_settings, read_sources
from harness.durations import parse_duration
from harness.errors import FIRST_LINE_LIMIT, HarnessError
from harness.ownership.sweep import Cleared, Swept
from harness.runs import running

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("test -k x", "go after --: harness test -- -k"),
        ("up --stak s", "Did you mean '--stack'?"),
        ("tset", "Did you mean 'test'?"),
        ("--stack s up", "goes after the task's name"),
        ("-k x test", "go after --: harness test -- -k"),
        ("ps --stack s", "It is a flag of up, test"),
        ("--lst", "Did you mean '--list'?"),
        ("up --wait-timeout", "A value of --wait-timeout was not given"),
        ("up -- web", "Words after -- are for test, watch, run, exec; up takes none"),
        ("--engine=embedded up", "goes after the task's name"),
        ("up --stack=", "A value of --stack was not given"),
        ("up --local", "A value of --local was not given"),
        ("config --stack s --stack s", "cannot be laid over another: only Compose files can"),
    ],
)
def test_words_that_cannot_be_understood(project: Project, words: str, says: str) -> None:
    """What was meant must be said, with 10."""
    project.stack("s", {"web": web()})
    done = run_in(project, *HARNESS, *words.split())
    assert (done.code, says in done.stderr) == (10, True), done.stderr
    assert len(done.stderr.splitlines()[0]) <= FIRST_LINE_LIMIT


def test_two_tasks_in_one_call(project: Project) -> None:
    """Each task must have the words that follow it, and no others."""
    project.stack("s", {"web": web()})
    done = run_in(project, *HARNESS, "config", "--stack", "s", "config")
    assert (done.code, done.stdout.count("# stack s:")) == (0, 2), done.stderr


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams(project: Project, closed: tuple[int, ...]) -> None:
    """A command whose standard streams are closed must do its work, and so must the command that it runs."""
    project.stack("s", {"web": web()})
    script = f"import os; [os.close(n) for n in {closed}]; {HARNESS[1]}"
    done = run_in(project, "-c", script, "run", "--", "echo", "hi")
    assert (done.code, "Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize(("words", "code"), [("config", 0), ("--list", 0), ("up --stack nope", 10)])
def test_a_reader_that_has_gone(project: Project, words: str, code: int) -> None:
    """A pipe that nobody reads, for output and errors alike, must not change the exit code."""
    project.stack("s", {"web": web()})
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, *HARNESS, *words.split()]
    started = procs.spawn(argv, env=project.environ, cwd=project.root, output=writing)
    os.close(writing)
    assert started.wait(60) == code


@pytest.mark.parametrize(("text", "seconds"), [("8", 8.0), ("1.5", 1.5), ("1m30s", 90.0), (8, 8.0)])
def test_plain_numbers_are_seconds(text: object, seconds: float) -> None:
    """A duration without a unit must be seconds, also as text."""
    assert parse_duration(text) == seconds


def test_a_name_with_a_file_over_it(project: Project) -> None:
    """A stack may be named and have a file laid over it; a command that was merged then is said."""
    project.stack("s", {"web": web()})
    over = "services: {web: {x-harness: {embedded: {command: [python, other.py]}}}}\n"
    (project.root / "over.yaml").write_text(over)
    words = ("config", "--rendered", "--stack", "s", "--stack", "over.yaml")
    assert "`command: !override [...]` replaces it" in run_in(project, *HARNESS, *words).stdout
    (project.root / "over.yaml").write_text(over.replace("command: ", "command: !override "))
    done = run_in(project, *HARNESS, *words)
    assert (done.code, "replaces it" in done.stdout, "other.py" in done.stdout) == (0, False, True), done.stderr


def test_a_one_shot_that_does_not_say_so(project: Project) -> None:
    """A service that ended with 0 before it was ready must be told of ``role: oneshot``."""
    project.stack("s", {"job": service("say:done", "exit:0:0", ready=[{"log": "never"}])})
    done = run_in(project, *HARNESS, "run", "--", "true")
    assert (done.code, "role: oneshot" in done.stderr) == (12, True), done.stderr


def test_a_service_after_its_stack_was_released(project: Project) -> None:
    """A service that was given back must still be shown; what needs it must be refused in words."""
    project.stack("s", {"web": web()})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        released = stack.service("web")
        stack.release()
        assert (released.state, repr(released)) == ("removed", "<Service s/web removed>")
        with pytest.raises(HarnessError, match="was removed"):
            _ = released.pid
    assert (released.state, repr(released)) == ("released", "<Service s/web released>")


def test_up_and_its_explanation_agree_about_a_dead_service(project: Project) -> None:
    """What ``up`` refuses because a service died must be explained as that."""
    project.stack("s", {"dies": service("say:up", "exit:3:3", ready=[{"log": "up"}])})
    assert run_in(project, *HARNESS, "up").code == 0
    try:
        run_in(project, "-c", "import threading; threading.Event().wait(4)")
        explained = run_in(project, *HARNESS, "up", "--explain").stdout
        assert "stack s: refuse\n  service 'dies' ended with exit code 3" in explained
        assert run_in(project, *HARNESS, "up").code == 12
    finally:
        run_in(project, *HARNESS, "down")


def test_a_silent_engine_is_asked_once(project: Project, tmp_path: Path) -> None:
    """``up`` must wait for an engine that does not answer once only."""
    project.stack("s", {"web": web()})
    asked: list[socket.socket] = []
    path = tmp_path / "e.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        engine.listen(20)

        def accept() -> None:
            while True:
                try:
                    asked.append(engine.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        # Where CI is set, a silent engine is an error: nothing else is chosen.
        project.environ |= {"DOCKER_HOST": f"unix://{path}", "HARNESS_ENGINE": "auto", "CI": ""}
        assert run_in(project, *HARNESS, "up").code == 0
        engine.shutdown(socket.SHUT_RDWR)
    assert len(asked) == 1
    for connection in asked:
        connection.close()
    run_in(project, *HARNESS, "down")


def test_workers_without_their_plugin(project: Project) -> None:
    """``-n 2`` without pytest-xdist must say what to install."""
    project.stack("s", {"web": web()})
    script = "import importlib.util as u; f=u.find_spec; u.find_spec=lambda n,*a: None if n=='xdist' else f(n,*a); "
    done = run_in(project, "-c", script + HARNESS[1], "test", "--", "-n", "2")
    assert (done.code, "pip install pytest-xdist" in done.stderr) == (10, True), done.stderr


def test_the_usual_file_of_pytest_docker(project: Project) -> None:
    """``docker_services`` must be those of tests/docker-compose.yml where a suite names no file of its own."""
    path = project.stack("docker-compose", {"web": web()})
    (project.root / "tests").mkdir()
    path.rename(project.root / "tests" / "docker-compose.yml")
    test = "def test_it(docker_services):\n    assert docker_services.port_for('web', 8080)\n"
    (project.root / "tests" / "test_it.py").write_text(test)
    done = run_in(project, "-m", "pytest", "-p", "no:docker", "tests")
    assert done.code == 0, done.stdout


def test_an_image_that_another_service_is_built_as(dock: Dock) -> None:
    """A service may run the image that another is built as, by the name that is written."""
    (dock.root / "image").mkdir()
    (dock.root / "image" / "Dockerfile").write_text(f"FROM {dock.image}\nRUN echo hello > /etc/built\n")
    first = dock.up(build="../image") | {"image": "mine"}
    second = dock.box("cat:/etc/built", "wait", harness={"ready": [{"log": "hello"}]}) | {"image": "mine:latest"}
    dock.stack("s", {"first": first, "second": second})
    done = run_in(dock, *HARNESS, "run", "--", "true", timeout=120)
    assert done.code == 0, done.stderr


def test_settings_take_a_file_with_a_colon(project: Project) -> None:
    """A file whose path has a colon is one file."""
    path = project.stack("a:b", {"web": web()})
    settings = load_settings(read_sources(project.root, project.environ))
    assert settings.stack_files("compose/a:b.yaml") == (path,)


def test_a_typo_in_a_test_shows_only_that(project: Project) -> None:
    """A service that a test misspells must be told as that, without logs and without code of ours."""
    project.stack("s", {"web": web(words=("say:a line of its log",))})
    (project.root / "test_s.py").write_text("def test_it(stack):\n    stack.service('wbe')\n")
    done = run_in(project, "-m", "pytest", "test_s.py")
    assert (done.code, "has no service 'wbe'" in done.stdout) == (1, True), done.stdout
    assert "a line of its log" not in done.stdout
    assert "def _service" not in done.stdout


@pytest.mark.parametrize(
    ("old", "says"), [(5, "begun 5 min ago"), (60 * 5, "begun 5 h ago"), (60 * 24 * 3, "begun 3 days ago")]
)
def test_what_another_checkout_left_is_named(old: int, says: str) -> None:
    """An environment that a start clears must be named with its checkout and age, but for one of this checkout."""
    begun = datetime.now(UTC).astimezone() - timedelta(minutes=old, seconds=5)
    cleared = Cleared(f"{begun:%Y%m%d-%H%M%S}-1a2b3c4d", "/there")
    assert str(cleared) == cleared.seen_from("/there")
    assert cleared.seen_from("/here") == f"{cleared} (of /there, {says})"
    assert Swept((cleared,)).news("/here") == [cleared.seen_from("/here")]
    assert Cleared("odd", "/there").seen_from("/here").endswith("was cleared (of /there)")
