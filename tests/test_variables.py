"""Variables for tests and commands: there before anything is imported, the caller's before the project's, put back."""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, run_json, web

from harness import clock, procs
from harness.engine.plan import Endpoint
from harness.errors import ConfigError
from harness.pytest_environ import Variables
from harness.runs import variables

if TYPE_CHECKING:
    from pathlib import Path

WEB = (Endpoint("web", 8080, 80, "127.16.0.2", 8080),)
TWO = (*WEB, Endpoint("web", 8443, 443, "127.0.0.1", 15001))
TABLE = 'WEB_HOST = "{host:web}"\nWEB_URL = "http://{endpoint:web:8080}/"\n'
# What reads its environment when it is imported, as settings of many projects do.
APP = "import os\nHOST, URL = os.environ['WEB_HOST'], os.environ['WEB_URL']\n"
TEST = """
import os, app, urllib.request
def test_it():
    assert app.URL == f"http://{os.environ['HARNESS_ENDPOINT_WEB_8080']}/"
    assert app.HOST in app.URL
    assert urllib.request.build_opener(urllib.request.ProxyHandler({})).open(app.URL, timeout=5).status == 200
"""


def suite(project: Project, table: str = TABLE, **files: str) -> None:
    """Write a project whose tests get at a service by variables only, without a fixture."""
    project.stack("s", {"web": web(words=("say:hello",))})
    (project.root / "pyproject.toml").write_text(f"[tool.harness.env]\n{table}")
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text("import app\n")
    (folder / "app.py").write_text(APP)
    for name, text in (files or {"it": TEST}).items():
        (folder / f"test_{name}.py").write_text(text)


def pytest_in(project: Project, *argv: str) -> procs.Finished:
    """Run pytest on the suite."""
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "suite", *argv)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{host:web}", "127.16.0.2"),
        ("{port:web}", "8080"),
        ("http://{endpoint:web:8080}/x", "http://127.16.0.2:8080/x"),
        ("{endpoint:web:80}", "127.16.0.2:8080"),
        ('{"a": {"b": 1}} $HOME', '{"a": {"b": 1}} $HOME'),
        ("{host:web}{host:web:8080}", "127.16.0.2127.16.0.2"),
    ],
)
def test_a_placeholder_is_an_endpoint(text: str, value: str) -> None:
    """A placeholder must become what it names, by the left number or the right one, and all else must stay."""
    assert variables.resolve({"X": text}, "s", {"web": WEB}) == {"X": value}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{host:wbe}", "stack 's' has no service 'wbe'; it has: web, db; did you mean 'web'?"),
        ("{endpoint:web:81}", "service 'web' of stack 's' publishes no port 81; it publishes: 8080, 8443"),
        ("{endpoint:web:http}", "service 'web' of stack 's' publishes no port http; it publishes: 8080, 8443"),
        ("{port:web}", "one published port was needed, or its number; service 'web' publishes: 8080, 8443"),
        ("{host:db}", "one published port was needed, or its number; service 'db' publishes: none"),
        ("{hots:web:8080}", "'hots' is not known; valid: host, port, endpoint; did you mean 'host'?"),
    ],
)
def test_a_placeholder_that_stands_for_nothing_is_told(text: str, problem: str) -> None:
    """What is wrong with a placeholder must be told with the variable, and with what there is."""
    with pytest.raises(ConfigError) as caught:
        variables.resolve({"X": text}, "stack 's'", {"web": TWO, "db": ()})
    assert caught.value.summary == f"[tool.harness.env] X: {text}: {problem}"


def test_all_problems_of_a_table_are_told_together() -> None:
    """A second bad placeholder must not wait for the first to be mended."""
    with pytest.raises(ConfigError) as caught:
        variables.resolve({"X": "{host:a}{host:b}", "Y": "{host:c}"}, "s", {})
    assert len(caught.value.problems) == 3


def test_variables_are_put_back_as_they_were() -> None:
    """What was set must get its old value, what was not must be gone, however often it was given."""
    environ = {"A": "old"}
    given = Variables(environ)
    given.give({"A": "1", "B": "1"})
    given.give({"A": "2"})
    assert environ == {"A": "2", "B": "1"}
    given.put_back(["B", "C"])
    assert environ == {"A": "2"}
    given.put_back()
    assert environ == {"A": "old"}


def test_modules_find_their_variables_when_they_are_imported(project: Project) -> None:
    """Plain pytest must bring the default stack up before conftest files are imported, say so, and leave nothing."""
    suite(project)
    done = pytest_in(project)
    assert done.code == 0, done.stdout + done.stderr
    assert "harness: stack 's' is brought up before tests are collected, for [tool.harness.env]" in done.stdout
    assert run_json(project)["outcomes"] == {"succeeded": 1}
    assert run_json(project)["exit_code"] == 0
    assert len([span for span in run_json(project)["spans"] if span["stage"] == "stop"]) == 1
    assert project.processes() == {}


def test_workers_have_the_variables_of_one_stack(project: Project) -> None:
    """With workers the stack must be brought up once, and each must find the same values when it imports."""
    note = "    import pathlib; pathlib.Path(f'seen-{os.environ[\"PYTEST_XDIST_WORKER\"]}').write_text(app.URL)\n"
    suite(project, **{f"f{number}": TEST + note for number in range(4)})
    done = pytest_in(project, "-n2")
    assert done.code == 0, done.stdout + done.stderr
    assert done.stdout.count("is brought up before tests are collected") == 1
    assert done.stdout.count("harness: engine: embedded") == 1
    seen = [path.read_text() for path in project.root.glob("seen-*")]
    assert len(seen) == 2
    assert len(set(seen)) == 1
    assert sorted(span["of"] for span in run_json(project)["spans"] if span["stage"] == "stack") == ["s"]
    assert run_json(project)["outcomes"] == {"succeeded": 4}
    assert (run_json(project)["exit_code"], run_json(project)["left"]) == (0, [])
    assert project.processes() == {}


def test_a_fixture_gives_the_stack_that_the_variables_name(project: Project) -> None:
    """A suite that uses variables and fixtures must have one stack, with workers and without."""
    suite(project, it=TEST.replace("test_it():", "test_it(stack):\n    assert stack.url('web', 8080) == app.URL"))
    for words in ((), ("-n1",)):
        done = pytest_in(project, *words)
        assert done.code == 0, done.stdout + done.stderr
        assert [span["of"] for span in run_json(project)["spans"] if span["stage"] == "stack"] == ["s"]


@pytest.mark.parametrize("words", [(), ("-n1",)], ids=["alone", "worker"])
def test_a_dead_service_breaks_a_test_that_knows_it_by_a_variable(project: Project, words: tuple[str, ...]) -> None:
    """A test without any fixture of ours must be broken, not failed, by the end of a service, and have its log."""
    dies = "    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(app.URL + 'die', timeout=5)\n"
    suite(project, it=TEST.replace("    assert", dies + "    assert", 1))
    done = pytest_in(project, *words)
    assert done.code == 12, done.stdout + done.stderr
    assert "Service 'web' ended with exit code 3 under test_it" in done.stdout
    assert run_json(project)["outcomes"] == {"broken": 1}
    assert project.processes() == {}


def test_what_the_caller_has_set_goes_first(project: Project) -> None:
    """A variable that is set already must keep its value, which is said once, by name only."""
    read = "import app\ndef test_it(): assert app.HOST == 'my-secret'\n"
    suite(project, it=read)
    project.environ["WEB_HOST"] = "my-secret"
    for words in ((), ("-n2",)):
        done = pytest_in(project, *words)
        assert done.code == 0, done.stdout + done.stderr
        line = "harness: WEB_HOST keeps its value: set already, which goes before [tool.harness.env]"
        assert done.stdout.count(line) == 1
        assert "my-secret" not in done.stdout


def test_nothing_is_brought_up_where_the_caller_has_set_everything(project: Project) -> None:
    """Tests that are pointed at something else must not wait for a stack of ours."""
    suite(project, it="import app\ndef test_it(): assert app.HOST == 'a'\n")
    project.environ |= {"WEB_HOST": "a", "WEB_URL": "b"}
    for words in ((), ("-n2",)):
        done = pytest_in(project, *words)
        assert done.code == 0, done.stdout + done.stderr
        assert done.stdout.count("all of its variables are set already") == 1
        assert not (project.root / "logs").exists()


@pytest.mark.parametrize(
    "words", [("--collect-only",), ("--help",), ("--version",), ("--fixtures",), ("--collect-only", "-n2")], ids=str
)
def test_a_list_of_tests_brings_nothing_up(project: Project, words: tuple[str, ...]) -> None:
    """Where no test is run nothing must be started, and modules must be importable all the same."""
    suite(project)
    done = pytest_in(project, *words)
    assert done.code == 0, done.stdout + done.stderr
    assert "KeyError" not in done.stdout + done.stderr
    assert not (project.root / "logs").exists()
    assert not (project.state / "harness").exists()


def test_a_bad_placeholder_ends_pytest_before_anything_starts(project: Project) -> None:
    """A mistake in the table must be exit code 10 with one error, without a run."""
    suite(project, table='WEB_HOST = "{host:wbe}"\n')
    for words in ((), ("-n2",)):
        done = pytest_in(project, *words)
        assert done.code == 10, done.stdout + done.stderr
        problem = "[tool.harness.env] WEB_HOST: {host:wbe}: stack 's' has no service 'wbe'; it has: web; did you mean"
        assert problem in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert not (project.root / "logs").exists()


def test_a_stack_that_does_not_come_up_ends_pytest(project: Project) -> None:
    """What cannot settle must be exit code 12 with its cause, before modules trip over what they lack."""
    suite(project)
    project.stack("s", {"web": web(ready=[{"http": {"port": 8080, "path": "/", "status": [418]}}])})
    project.environ["HARNESS_WAIT_TIMEOUT"] = "1s"
    for words in ((), ("-n2",)):
        done = pytest_in(project, *words)
        assert done.code == 12, done.stdout + done.stderr
        assert "Service 'web' did not settle in 1.0 s" in done.stderr
        assert "KeyError" not in done.stdout + done.stderr
        assert project.processes() == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_tests_are_collected_ends_pytest(
    project: Project, tmp_path: Path, number: signal.Signals
) -> None:
    """A signal while the stack comes up must end pytest by that signal, with everything given back and told."""
    suite(project)
    project.stack("s", {"web": web(60)})
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "suite"]
    with (tmp_path / "out").open("wb") as out:
        process = procs.spawn(argv, env=project.environ, cwd=project.root, output=out)
    for _ in clock.poll(clock.Deadline.after(30)):
        if project.processes() and '"started"' in _text(project.root / "logs" / "latest" / "events.jsonl"):
            break
    process.send_signal(number)
    assert process.wait(30) == -number, (tmp_path / "out").read_text()
    assert "giving everything back" in (tmp_path / "out").read_text()
    assert project.processes() == {}  # at once: nobody is left to do it later


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def test_a_module_that_cannot_be_imported_leaves_nothing(project: Project) -> None:
    """A session that ends before it has begun must give its stack back all the same."""
    suite(project)
    (project.root / "suite" / "conftest.py").write_text("import nonsense\n")
    done = pytest_in(project)
    assert done.code == 4, done.stdout + done.stderr
    assert project.processes() == {}


def test_variables_are_those_of_before_when_pytest_is_over(project: Project) -> None:
    """Who calls pytest in its own process must find its environment unchanged."""
    suite(project)
    project.starter = None
    code = (
        "import os, pytest\nbefore = dict(os.environ)\nassert pytest.main(['suite', '-q']) == 0\n"
        "added = {name for name in {**os.environ, **before} if os.environ.get(name) != before.get(name)}\n"
        "assert not added - {'PYTEST_VERSION', 'PYTEST_CURRENT_TEST'}, added\n"
    )
    done = run_in(project, "-c", code)
    assert done.code == 0, done.stdout + done.stderr


def test_a_table_without_variables_asks_for_endpoints(project: Project) -> None:
    """With an empty table tests must have ``HARNESS_ENDPOINT_...`` when they are imported."""
    suite(project, table="", it="import os\nURL = os.environ['HARNESS_ENDPOINT_WEB_8080']\ndef test_it(): pass\n")
    (project.root / "suite" / "conftest.py").write_text("")
    done = pytest_in(project)
    assert done.code == 0, done.stdout + done.stderr


def test_tests_have_the_endpoints_of_their_fixture(project: Project) -> None:
    """Without a table ``HARNESS_ENDPOINT_...`` must be set while a stack is used, and not after it."""
    project.stack("s", {"web": web()})
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text("import harness\nweb = harness.stack_fixture('s', scope='module')\n")
    name = "'HARNESS_ENDPOINT_WEB_8080'"
    used = f"import os\ndef test_it(web): assert os.environ[{name}] == web.endpoint('web', 8080)\n"
    (folder / "test_a.py").write_text(used)
    (folder / "test_b.py").write_text(f"import os\ndef test_it(): assert {name} not in os.environ\n")
    done = pytest_in(project)
    assert done.code == 0, done.stdout + done.stderr


def test_a_command_gets_the_variables(project: Project) -> None:
    """``run`` must set the variables, leave those of its caller, and refuse a bad table before anything starts."""
    suite(project)
    harness = ("-c", "from harness.invoke_tasks import main; main()")
    show = "import os; print(os.environ['WEB_HOST'], os.environ['WEB_URL'], os.environ['HARNESS_ENDPOINT_WEB_8080'])"
    done = run_in(project, *harness, "run", "--", sys.executable, "-c", show)
    host, url, endpoint = done.stdout.split()
    assert (url, host) == (f"http://{endpoint}/", endpoint.partition(":")[0])
    project.environ["WEB_HOST"] = "mine"
    done = run_in(project, *harness, "run", "--", sys.executable, "-c", show)
    assert done.stdout.split()[0] == "mine"
    assert "WEB_HOST keeps its value" in done.stderr
    (project.root / "pyproject.toml").write_text('[tool.harness.env]\nX = "{port:web:81}"\n')
    done = run_in(project, *harness, "run", "--", "true")
    assert done.code == 10
    assert "publishes no port 81; it publishes: 8080" in done.stderr


def test_endpoints_prints_the_variables(project: Project) -> None:
    """``endpoints --env`` and ``--shell`` must print the same, the second so that a shell takes each value as it is."""
    suite(project, table="ODD = \"it's {host:web} $HOME\"\nBAD = '{host:db}'\n")
    harness = ("-c", "from harness.invoke_tasks import main; main()")
    up = run_in(project, *harness, "up")
    assert up.code == 0, up.stderr
    address = up.stdout.split()[1]
    host = address.partition(":")[0]
    done = run_in(project, *harness, "endpoints", "--env")
    assert done.stdout.splitlines() == [f"HARNESS_ENDPOINT_WEB_8080={address}", f"ODD=it's {host} $HOME"]
    assert "left out: [tool.harness.env] BAD: {host:db}" in done.stderr
    done = run_in(project, *harness, "endpoints", "--shell")
    shown = run_in(project, "-c", f"import subprocess; subprocess.run(['sh', '-c', {done.stdout + 'echo $ODD'!r}])")
    assert shown.stdout == f"it's {host} $HOME\n"
    done = run_in(project, *harness, "endpoints", "--env", "--json")
    assert json.loads(done.stdout)["endpoints"]["ODD"] == f"it's {host} $HOME"
    run_in(project, *harness, "down")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("env = 3", "env is int 3, a dict was needed"),
        ("env.PORT = 3", "[tool.harness.env]: PORT is int 3, a str was needed"),
        ('env."A B" = "x"', "[tool.harness.env]: 'A B' is no name of a variable"),
    ],
)
def test_a_table_that_is_none_is_refused(project: Project, table: str, problem: str) -> None:
    """What is wrong with the table itself must be told with its file."""
    (project.root / "pyproject.toml").write_text(f"[tool.harness]\n{table}\n")
    with pytest.raises(ConfigError, match=re.escape(problem)):
        project.settings()
