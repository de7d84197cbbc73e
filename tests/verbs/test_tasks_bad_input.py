"""What cannot work is told in one line with the right exit code, and nothing is created."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from projects import Project, run_in, web

from harness import procs

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
TASK_CODE = 10


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("up --stack", "A value of --stack was not given"),
        ("up --stack ./nope.yaml", "nope.yaml does not exist"),
        ("up --frsh", "No idea what '--frsh' is!"),
        ("nosuch", "No idea what 'nosuch' is!"),
        ("up --engine", "A value of --engine was not given"),
        ("up --ttl 0s", "--ttl '0s' (command line) is no time"),
        ("up --wait-timeout x", "--wait-timeout 'x': a duration such as 90s or 1m30s was needed"),
        ("up --pull always", "Value of --pull 'always' (command line) is not known; valid: missing, never"),
        ("up --build --no-build", "--build and --no-build exclude each other"),
        ("up --local-build nope", "nope (command line) does not exist; a folder was needed"),
        ("test --local-build nope", "nope (command line) does not exist; a folder was needed"),
        ("up --local-build .", "no service of stack 's' has x-harness.local"),
        ("config --rendered --local-build .", "no service of stack 's' has x-harness.local"),
        ("up --local wbe=true", "there is no service 'wbe'; there are: web; did you mean 'web'?"),
        ("run", "No command was given; words after -- were needed"),
        ("run -- nosuchprogram", "Command 'nosuchprogram' was not found in PATH"),
        ("run --keep sometimes -- true", "Value of --keep 'sometimes' (command line) is not known"),
        ("test --system nope", "System 'nope' (command line) is not known"),
        ("test --system all", "There is no system"),
        ("down --all --stack s", "--all and --stack exclude each other"),
        ("logs --since x", "--since 'x': a duration"),
        ("exec -- ls", "--service NAME was not given"),
        ("exec --service web", "-- COMMAND was not given"),
        ("exec --service web -- ls", "Nothing is up here"),
        ("restart", "--service NAME was not given"),
        ("restart --service web", "Nothing is up here"),
        ("seed", "Nothing is up here"),
        ("build", "Engine 'embedded' builds no images"),
        ("config --schema x", "Schema 'x' is not known; there are: x-harness, tool-harness"),
        ("config --stack nope", "Stack 'nope' is not known; there are: s"),
        ("report", "No run has a folder in"),
        ("gc --json", "--json goes with --dry-run"),
        ("new", "--stack NAME, or --ci github, gitlab or circleci, was not given"),
        ("new --stack A/b", "Stack name 'A/b' is none"),
        ("new --stack x --image {", "Image '{' is no name of an image"),
        ("new --stack s", "compose/s.yaml is there already"),
    ],
)
def test_wrong_words(project: Project, words: str, says: str) -> None:
    """Every wrong option, value or combination must be told with 10, without a traceback, and create nothing."""
    project.stack("s", {"web": web()})
    before = sorted(project.root.rglob("*"))
    done = run_in(project, *HARNESS, *words.split())
    assert (done.code, says in done.stderr) == (TASK_CODE, True), done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(project.root.rglob("*")) == before


def test_a_file_for_containers_on_the_engine_without_them(project: Project) -> None:
    """A file of which no service is a process must be told with what it needs, in one line, and both ways out."""
    project.stack("s", {"web": {"image": "x"}, "db": {"image": "y", "volumes": ["./data:/data"]}})
    done = run_in(project, *HARNESS, "up", "--engine", "embedded")
    assert done.code == TASK_CODE
    first, step = done.stderr.splitlines()
    assert first.startswith("Stack 's' needs a Docker engine (")
    assert step == "next: take engine compose; or say under x-harness.embedded how its services run without"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.harness", "pyproject.toml cannot be read"),
        ("[tool]\nharness = 3\n", "[tool.harness] is a int, a table was needed"),
        ('[tool.harness]\nengin = "auto"\n', "key 'engin' is not known; did you mean 'engine'?"),
        ("[tool.harness]\npull = 3\n", "pull is int 3, a str was needed"),
        ('[tool.harness]\nttl = "soon"\n', "--ttl 'soon' ("),
        ('[tool.harness]\nbuild = "no"\n', "valid: changed, always, never"),
        ("[tool.harness.systems.a]\ntest = 1\n", "key 'test' is not known; did you mean 'tests'?"),
    ],
)
def test_a_broken_project_file(project: Project, text: str, says: str) -> None:
    """What is wrong in pyproject.toml must be told with the file's name and 10 by every task."""
    (project.root / "pyproject.toml").write_text(text)
    for task in (("up",), ("ps", "--json"), ("doctor",)):
        done = run_in(project, *HARNESS, *task)
        assert (done.code, says in done.stderr, "pyproject.toml" in done.stderr) == (TASK_CODE, True, True), done.stderr
        assert str(project.root) not in done.stderr  # it is the checkout


def test_neither_project_nor_compose_file(project: Project, tmp_path: Path) -> None:
    """In a folder with nothing the error must say how to go on."""
    done = procs.run([sys.executable, *HARNESS, "up"], timeout=30, env=project.environ, cwd=tmp_path)
    assert (done.code, "harness new --stack NAME" in done.stderr) == (TASK_CODE, True)


@pytest.mark.parametrize(
    "environ",
    [{}, {"LC_ALL": "C"}, {"HOME": "/nonexistent"}, {"TMPDIR": "/nonexistent"}, {"NO_COLOR": "1", "CI": "1"}],
    ids=lambda environ: " ".join(environ) or "nothing",
)
def test_with_hardly_any_environment(project: Project, tmp_path: Path, environ: dict[str, str]) -> None:
    """Without HOME, locale, terminal or standard input, in a folder with odd letters, a command must run as ever."""
    root = tmp_path / "a b'$é\N{SLIGHTLY SMILING FACE}"
    project.root.rename(root)
    project.root = root
    project.stack("s", {"web": web()})
    env = {"XDG_RUNTIME_DIR": str(project.state), "HARNESS_ENGINE": "embedded", **environ}
    if path := os.environ.get("PYTHONPATH"):
        env["PYTHONPATH"] = path
    done = procs.run([sys.executable, *HARNESS, "run", "--", "/bin/true"], timeout=60, env=env, cwd=root)
    assert done.code == 0, done.stderr
    closed = "import os,sys; os.close(0); " + HARNESS[1]
    done = procs.run([sys.executable, "-c", closed, "config"], timeout=60, env=env, cwd=root)
    assert done.code == 0, done.stderr


def test_a_checkout_that_cannot_be_written(project: Project) -> None:
    """In a read-only checkout a command must run, with its run folder below the state folder, and that said."""
    project.stack("s", {"web": web()})
    without = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", "--inh-caps", "-all"]
    argv = [*(without if os.getuid() == 0 else ()), sys.executable, *HARNESS, "run", "--", "/bin/true"]
    project.root.chmod(0o555)
    try:
        done = procs.run(argv, timeout=60, env=project.environ, cwd=project.root)
    finally:
        project.root.chmod(0o755)
    assert done.code == 0, done.stderr
    assert "cannot be written" in done.stderr
    assert list((project.state / "harness" / "logs").glob("*/latest/run.json"))
    assert not (project.root / "logs").exists()


def test_compose_settings_are_honoured_and_said(project: Project) -> None:
    """COMPOSE_FILE and COMPOSE_PROFILES, also of .env, must decide and be said; COMPOSE_PROJECT_NAME only be said."""
    project.stack("s", {"web": web(), "more": web(compose={"profiles": ["debug"]})})
    (project.root / ".env").write_text("COMPOSE_PROFILES=debug\n")
    project.environ |= {"COMPOSE_FILE": "compose/s.yaml", "COMPOSE_PROJECT_NAME": "mine"}
    project.stack("other", {"web": web()})
    done = run_in(project, *HARNESS, "run", "--", "env")
    assert done.code == 0, done.stderr
    assert "HARNESS_ENDPOINT_MORE_8080=127." in done.stdout
    assert f"profiles: debug (COMPOSE_PROFILES in {project.root / '.env'})" in done.stderr
    assert "stack: compose/s.yaml (COMPOSE_FILE)" in done.stderr
    assert done.stderr.count("COMPOSE_PROJECT_NAME is ignored") == 1


def test_ledgers_that_cannot_be_read_are_set_aside_once(project: Project) -> None:
    """A corrupt ledger must be kept under another name and be told of once; a link must be left alone."""
    project.stack("s", {"web": web()})
    state = project.state / "harness"
    state.mkdir(mode=0o700)
    for number, data in enumerate((b"", b"\xff\x00garbage", b"[1]\n{}\n", b'{"kind": "header", "schema": 1}\n')):
        path = state / f"{number}.ledger"
        path.write_bytes(data)
        os.utime(path, (1, 1))
    newer = state / "newer.ledger"
    newer.write_text('{"kind": "header", "schema": 99}\n')
    os.utime(newer, (1, 1))
    (state / "link.ledger").symlink_to("/etc/passwd")
    first = run_in(project, *HARNESS, "run", "--", "true")
    assert (first.code, first.stderr.count("was set aside as")) == (0, 4), first.stderr
    assert "set aside" not in run_in(project, *HARNESS, "run", "--", "true").stderr
    assert sorted(path.name for path in state.glob("*.ledger")) == ["link.ledger", "newer.ledger"]
    assert len(list(state.glob("*.unreadable"))) == 4
    for path in state.glob("*.ledger"):
        path.unlink()
