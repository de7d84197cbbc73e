"""``--local NAME=COMMAND``: one service of a stack runs as a local process, the others as they are."""

from __future__ import annotations

import json
import shlex
import sys
import venv
from typing import TYPE_CHECKING

import pytest
from containers import ask, fetch
from projects import ACTOR, Project, run_in, web

from harness import procs
from harness.config import load_settings, read_sources
from harness.errors import ConfigError
from harness.runs import Run, running
from harness.runs.choice import choose

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
SERVING = ("serve:{address}:{port:8080}:0", "wait")
SERVE = f"{sys.executable} {ACTOR} 'say:it is me' serve:{{address}}:{{port:8080}}:0 wait"


def run_with(project: Project, *local: str) -> Run:
    """Return a run with services of its user's."""
    run = Run(choose(load_settings(read_sources(project.root, project.environ), local=local)), project.said.append)
    project.runs.append(run)
    return run


def test_a_service_runs_with_the_command_line_of_its_user(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service must run with that command line, split as a shell does, in this folder, with names as addresses."""
    (project.root / "app.ini").write_text("peer = other:8080\n")
    compose = {"environment": {"PEER": "other:8080"}, "volumes": ["../app.ini:/etc/app.ini:ro"]}
    project.stack("s", {"web": web(words=("exit:9",), compose=compose), "other": web()})
    monkeypatch.chdir(tmp_path)
    run = run_with(project, f"web={SERVE} cat:{{mount:/etc/app.ini}}".replace(" wait cat", " cat") + " wait")
    with running(run):
        stack = run.bring("s")
        assert ask(stack, "web")["env"]["PEER"] == stack.endpoint("other", 8080)
        assert stack.service("web").logs() == f"it is me\npeer = {stack.endpoint('other', 8080)}\n\n"
        assert stack.service("web").exec(["pwd"]).stdout.strip() == str(tmp_path)


def test_a_service_without_an_embedded_part_can_run_so(project: Project) -> None:
    """What has no ``embedded`` must run on the embedded engine once its user says how."""
    plain = {"image": "web", "ports": ["8080:80"]}
    project.stack("s", {"web": plain})
    run = run_with(project, f"web={SERVE}")
    with running(run):
        assert ask(run.bring("s"), "web")["status"] == "green"


def test_a_name_that_is_no_service_is_refused(project: Project) -> None:
    """A name that no stack has must be exit 10 with the services there are; one of another stack is no mistake."""
    project.stack("s", {"web": web(), "kafka": web()})
    project.stack("t", {"elsewhere": web()})
    with pytest.raises(ConfigError) as caught:
        run_with(project, "kafak=sleep 1").bring("s")
    assert str(caught.value) == (
        "--local kafak=...: there is no service 'kafak'; there are: elsewhere, kafka, web; did you mean 'kafka'?"
    )
    run = run_with(project, "elsewhere=sleep 1")
    with running(run):
        assert run.bring("s").service("web").state == "running"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["web"], "--local 'web' is no NAME=COMMAND LINE"),
        (["web="], "--local 'web=' is no NAME=COMMAND LINE"),
        (["=x"], "--local '=x' is no NAME=COMMAND LINE"),
        (["web='x"], '--local "web=\'x": the command line cannot be split: No closing quotation'),
        (["web=x", "web=y"], "--local gives service 'web' twice"),
    ],
)
def test_a_value_that_is_none_is_refused(project: Project, lines: list[str], says: str) -> None:
    """A value that is no NAME=COMMAND LINE must be refused before anything is read."""
    with pytest.raises(ConfigError) as caught:
        load_settings(read_sources(project.root, project.environ), local=lines)
    assert says in str(caught.value)


def test_pytest_and_tasks_take_it(project: Project) -> None:
    """`pytest --local` and `harness up --local` must both swap the service; another command line is a change."""
    project.stack("s", {"web": web(words=("exit:9",)), "more": web(words=("exit:9",))})
    (project.root / "test_it.py").write_text("def test_it(stack):\n    assert 'me' in stack.service('more').logs()\n")
    options = [f"--local=web={SERVE}", f"--local=more={SERVE}", "--stack=s"]
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", *options)
    assert done.code == 0, done.stdout
    main = "from harness.invoke_tasks import main; main()"
    try:
        done = run_in(project, "-c", main, "up", *options)
        assert done.code == 0, done.stderr
        again = run_in(project, "-c", main, "up", *options)
        assert "changed" not in again.stderr
        other = run_in(project, "-c", main, "up", *options, f"--local=web={SERVE}")
        assert other.code == 10
        other = run_in(project, "-c", main, "up", f"--local=web={SERVE} ", f"--local=more=env {SERVE}", "--stack=s")
        assert "s: changed since it was started; everything is started anew" in other.stderr
    finally:
        assert run_in(project, "-c", main, "down").code == 0


def test_a_service_swapped_beside_containers_is_found_by_its_name(dock: Dock) -> None:
    """A local process must be reached by containers under its service's name, and reach them; it gets no container."""
    dock.stack(
        "s",
        {
            "api": dock.box("exit:9", ports=["8080:8080"], environment={"DB": "db:8090"}),
            "db": dock.web(port=8090),
            "user": dock.up(),
        },
    )
    run = run_with(dock, f"api={SERVE}")
    with running(run):
        stack = run.bring("s")
        assert json.loads(stack.service("user").exec(fetch("http://api:8080")).stdout)["status"] == "green"
        assert ask(stack, "api")["env"]["DB"] == stack.endpoint("db", 8090)
        assert sorted(dock.containers()) == ["db", "user"]


def test_shlex_is_how_a_command_line_is_read(project: Project) -> None:
    """Quotes and escapes must be read as a shell reads them."""
    line = shlex.join(["a b", 'c"d', "$e"])
    made = load_settings(read_sources(project.root, project.environ), local=[f"web={line}"])
    assert made.local["web"] == ("a b", 'c"d', "$e")


TESTS = "def test_uses_it(stack):\n    assert stack.endpoint('web', 8080)\n"


def _started(project: Project, *words: str, **environ: str) -> tuple[int | None, str]:
    """Run something in the project; return its exit code and all that it said."""
    done = procs.run([sys.executable, *words], timeout=60, env={**project.environ, **environ}, cwd=project.root)
    return done.code, done.stdout + done.stderr


@pytest.mark.parametrize(
    "entry", [("-m", "pytest"), (*HARNESS, "test"), (*HARNESS, "run")], ids=lambda words: words[-1]
)
@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_local_build_that_nothing_uses_is_refused(project: Project, entry: tuple[str, ...], how: str) -> None:
    """A folder that is not there, or of which nothing would run, must be exit 10 with one line that names it."""
    project.stack("s", {"web": web(subject="web")})
    (project.root / "test_s.py").write_text(TESTS)
    build = project.root / "build"
    after = ("--", "true") if entry[-1] == "run" else ()
    given = ("--local-build", str(build)) if how == "option" else ()
    environ = {} if given else {"HARNESS_LOCAL_BUILD": str(build)}
    code, said = _started(project, *entry, *given, *after, **environ)
    assert (code, f"Local build {build.name} (" in said, "does not exist" in said) == (10, True, True), said
    build.mkdir()
    code, said = _started(project, *entry, *given, *after, **environ)
    assert (code, "subject 'web' of stack 's' has no x-harness.local" in said) == (10, True), said
    assert ("HARNESS_LOCAL_BUILD" in said) == (how == "variable")


def test_a_local_build_outside_of_the_checkout(project: Project, tmp_path: Path) -> None:
    """Pytest must find the project when ``--local-build`` names a folder elsewhere, which pytest takes for its own."""
    build = tmp_path / "elsewhere" / "build"
    build.mkdir(parents=True)
    (build / "web.py").write_text(ACTOR.read_text())
    local = {"command": ["python", "{build}/web.py", "say:built", "serve:{address}:{port:8080}:0", "wait"]}
    project.stack("s", {"web": web(subject="web", local=local)})
    (project.root / "test_s.py").write_text(
        "def test_built(stack):\n    assert 'built' in stack.service('web').logs()\n"
    )
    code, said = _started(project, "-m", "pytest", "--local-build", str(build), "test_s.py")
    assert code == 0, said


def test_a_local_build_runs_with_an_interpreter_of_its_own(project: Project) -> None:
    """A subject must be able to run in the virtual environment of its folder, with that one's packages."""
    build = project.root / "build"
    venv.create(build / ".venv", symlinks=True)
    future = "from __future__ import annotations\n"
    (build / "web.py").write_text(ACTOR.read_text().replace(future, f"{future}import only_there\n"))
    local = {"command": ["{build}/.venv/bin/python", "{build}/web.py", "say:built", *SERVING], "cwd": "{build}"}
    project.stack("s", {"web": web(subject="web", local=local)})
    (project.root / "test_s.py").write_text(
        "def test_built(stack):\n    assert 'built' in stack.service('web').logs()\n"
    )
    code, said = _started(project, "-m", "pytest", "--local-build", str(build), "test_s.py")
    assert (code, "No module named 'only_there'" in said) == (12, True), said
    (packages,) = (build / ".venv" / "lib").glob("python*/site-packages")
    (packages / "only_there.py").write_text("")
    code, said = _started(project, "-m", "pytest", "--local-build", str(build), "test_s.py")
    assert code == 0, said


def test_an_interpreter_that_is_not_there_is_told(project: Project) -> None:
    """A virtual environment that was not made yet must be exit 10 with the path that was looked for."""
    build = project.root / "build"
    build.mkdir()
    local = {"command": ["{build}/.venv/bin/python", str(ACTOR), *SERVING]}
    project.stack("s", {"web": web(subject="web", local=local)})
    (project.root / "test_s.py").write_text(TESTS)
    code, said = _started(project, "-m", "pytest", "--local-build", str(build), "test_s.py")
    assert (code, ".venv/bin/python' was not found" in said) == (10, True), said


@pytest.mark.parametrize("option", ["--local", "--local-build"])
def test_a_kept_stack_that_was_started_otherwise_is_not_used(project: Project, option: str) -> None:
    """What a user wants to run as a local process must not be another one that was left up; ``up`` starts it anew."""
    build = project.root / "build"
    build.mkdir()
    local = {"command": ["python", str(ACTOR), "serve:{address}:{port:8080}:0", "wait"]}
    project.stack("s", {"web": web(subject="web", local=local)})
    (project.root / "test_s.py").write_text(TESTS)
    given = (option, f"web={SERVE}" if option == "--local" else str(build))
    assert _started(project, *HARNESS, "up")[0] == 0
    try:
        for words in (("-m", "pytest"), (*HARNESS, "test")):
            code, said = _started(project, *words, *given)
            assert (code, f"started otherwise: service web: {option}" in said) == (10, True), said
        code, said = _started(project, *HARNESS, "up", *given)
        assert (code, "everything is started anew" in said) == (0, True), said
        for words in (("-m", "pytest"), (*HARNESS, "test")):
            code, said = _started(project, *words, *given)
            assert code == 0, said
    finally:
        _started(project, *HARNESS, "down")
