"""What a suite is told that runs within its stack's network, and what is read of its reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from projects import run_in, web

from harness.engine import Endpoint
from harness.engine.known import Known
from harness.errors import ConfigError
from harness.nox_sessions import split_words
from harness.reporting.inner import outcomes_of
from harness.runs.inside import addresses_inside, command_of, environment_of
from harness.stack import read_tree, set_apart

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def known(service: str, *ends: Endpoint, container: str = "id", **env: str) -> Known:
    return Known("s", service, ends, env, "", {}, 0.0, container)


def declare(project: Project, lines: str) -> None:
    (project.root / "pyproject.toml").write_text(f'[tool.harness.systems.s]\ntests = "suite"\ndefault = "s"\n{lines}\n')


def test_services_are_reached_by_their_names() -> None:
    """A container must be reached at its inner port, a local process at the one that it listens on."""
    box = known("app", Endpoint("app", 8080, 80, "127.9.0.1", 8080))
    process = known("db", Endpoint("db", 5432, 5432, "10.213.0.1", 5433), container="")
    ends = addresses_inside([box, process])
    assert {name: [str(end) for end in listed] for name, listed in ends.items()} == {
        "app": ["app:80"],
        "db": ["db:5433"],
    }


def test_a_suite_is_told_where_services_are(project: Project) -> None:
    """It must have the variables of attach and of the project, but for those that its own service sets."""
    declare(project, 'inside = "tests"\n[tool.harness.env]\nURL = "http://{endpoint:app}/"\nOWN = "ours"')
    services = addresses_inside([known("app", Endpoint("app", 8080, 80, "127.9.0.1", 8080))])
    told = environment_of(project.settings(system="s"), services, known("tests", OWN="its", PYTEST_ADDOPTS="-x"))
    assert told == {
        "URL": "http://app:80/",
        "HARNESS_ENDPOINT_APP_8080": "app:80",
        "HARNESS_SYSTEM": "s",
        "HARNESS_ENGINE": "attach",
        "HARNESS_INSIDE": "1",
        "HARNESS_LOGS": "/harness-inside/logs",
        "PYTEST_ADDOPTS": "-x --junitxml=/harness-inside/junit.xml",
    }


def test_the_command_of_a_suite(project: Project) -> None:
    """It must be pytest with the suite's folder, or what is declared, and the words of the command line come last."""
    declare(project, 'inside = "tests"')
    assert command_of(project.settings(), ["-k", "a b"]) == ["pytest", "suite", "-k", "a b"]
    declare(project, 'inside = "tests"\ninside-command = ["cargo", "test"]')
    assert command_of(project.settings(), ["x"]) == ["cargo", "test", "x"]
    declare(project, "")
    with pytest.raises(ConfigError, match="--inside needs a service in which the suite runs, and system 's' declares"):
        command_of(project.settings(), [])


def test_what_is_declared_wrongly_is_told(project: Project) -> None:
    """All that is wrong with how a suite runs inside must be told at once."""
    declare(project, 'inside-command = [1]\ninside-reports = "out"')
    with pytest.raises(ConfigError) as caught:
        project.settings()
    assert [problem.partition("systems.s]: ")[2] for problem in caught.value.problems] == [
        "inside-command is [1], a list of words was needed",
        "inside-reports is 'out', the absolute path of a file or folder there was needed",
        "inside-command says nothing without `inside`, the service in which the suite runs",
    ]


def test_a_service_is_set_apart(project: Project) -> None:
    """It must be a stack of its own above all others, without ports, probes or what it depends on; others stay."""
    waits = {"image": "i", "profiles": ["test"], "depends_on": ["web"], "ports": ["80:80"]}
    path = project.stack("s", {"web": web(), "tests": waits, "more": {"image": "i", "profiles": ["test"]}})
    tree = set_apart(read_tree([path], {}, wanted="tests"), "tests")
    below, root = tree.stacks
    assert [service.name for service in below.services] == ["web"]
    assert (root.name, root.includes, root.waits) == ("s-inside", ("s",), True)
    (service,) = root.services
    assert (service.ports, service.depends_on, service.settings.ready) == ((), {}, ())


def test_a_service_that_others_need_is_not_set_apart(project: Project) -> None:
    """That another one depends on it must be told before anything is started."""
    path = project.stack("s", {"web": {"image": "i", "depends_on": ["tests"]}, "tests": {"image": "i"}})
    with pytest.raises(ConfigError, match=r"'tests' .* cannot wait for --inside: service 'web' depends on it"):
        set_apart(read_tree([path], {}, wanted="tests"), "tests")


@pytest.mark.parametrize("engine", ["embedded", "attach"])
def test_without_a_network_nothing_runs_inside(project: Project, engine: str) -> None:
    """Other engines must refuse in one line and with 10, before anything is started."""
    project.stack("s", {"web": web(), "tests": {"image": "i", "profiles": ["test"]}})
    declare(project, 'inside = "tests"')
    for words in (["test", "--inside"], ["run", "--inside", "--", "true"]):
        project.environ["HARNESS_ENGINE"] = engine
        done = run_in(project, *HARNESS, *words)
        assert done.code == 10
        assert f"--inside needs engine compose: engine {engine} (asked for by HARNESS_ENGINE)" in done.stderr
    assert not (project.root / "logs").exists()


def test_words_of_a_session_go_to_whom_they_are_for() -> None:
    """Options of the stack must go to the task, all others to pytest, in their order."""
    words = ["--inside", "-k", "a", "--engine", "compose", "--keep=always", "-x", "--inside-timeout=9s", "--engine"]
    ours = ["--inside", "--engine", "compose", "--keep=always", "--inside-timeout=9s", "--engine"]
    assert split_words(words) == (ours, ["-k", "a", "-x"])


JUNIT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.test_a" name="test_ok" time="0.5" />
<testcase classname="tests.test_a" name="test_no" time="0.25"><failure message="assert 0">the text</failure></testcase>
<testcase classname="tests.test_a" name="test_x"><skipped type="pytest.xfail" message="why" /></testcase>
</testsuite></testsuites>"""


def test_outcomes_of_a_junit_report(tmp_path: Path) -> None:
    """The cases of any JUnit report must become outcomes."""
    assert outcomes_of(tmp_path) == []
    (tmp_path / "junit.xml").write_text(JUNIT)
    ok, no, expected = outcomes_of(tmp_path)
    assert (ok.test, ok.status, ok.seconds) == ("tests.test_a::test_ok", "succeeded", 0.5)
    assert (no.status, no.message, no.text) == ("failed", "assert 0", "the text")
    assert (expected.status, expected.message) == ("xfailed", "why")


def test_outcomes_of_a_run_that_was_killed(tmp_path: Path) -> None:
    """The events of a run with our plugin must tell its tests by their ids, also where the last line is cut short."""
    (tmp_path / "junit.xml").write_text("<testsuites><testsu")
    assert outcomes_of(tmp_path) == []
    (tmp_path / "junit.xml").write_text(JUNIT)
    run = tmp_path / "logs" / "run-1"
    run.mkdir(parents=True)
    (tmp_path / "logs" / "latest").symlink_to("run-1")
    lines = [
        {"event": "test", "test": "tests/test_a.py::test_no", "status": "broken", "seconds": 1.5},
        {"event": "span"},
        {"event": "test", "test": "tests/test_a.py::test_x", "status": "xfailed", "seconds": 0, "reason": "known"},
    ]
    (run / "events.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"event": "te')
    broken, expected = outcomes_of(tmp_path)
    assert (broken.test, broken.status, broken.text) == ("tests/test_a.py::test_no", "broken", "the text")
    assert (expected.status, expected.message) == ("xfailed", "known")
