"""Tests that fail now and then: run again, told as flaky, kept in the ledger, and put into quarantine."""

from __future__ import annotations

import importlib.util
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from junitparser import JUnitXml
from projects import Project, run_in, run_json, web

if TYPE_CHECKING:
    from harness import procs

CONFTEST = "import harness\nweb = harness.stack_fixture('s', scope='session')\n"
HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
TODAY = "2026-11-30"
FLAKY = "tries = []\ndef test_flaky(web):\n    tries.append(1)\n    assert len(tries) == 3, 'too early'\n"
WORKERS = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])


def suite(project: Project, tests: str, **words: str) -> None:
    """Write a suite on the stack ``s``, and its settings."""
    project.stack("s", {"web": web()})
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(tests)
    lines = "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in words.items())
    (project.root / "pyproject.toml").write_text(f"[tool.harness]\n{lines}")


def pytest_in(project: Project, *argv: str) -> procs.Finished:
    """Run the suite on the day."""
    project.environ["HARNESS_TODAY"] = TODAY
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", "suite", *argv)


def quarantine(
    project: Project, test: str, *, days: int = 5, owner: str = "anna", name: str = "quarantine.toml"
) -> None:
    """Put a test into quarantine."""
    expires = date.fromisoformat(TODAY) + timedelta(days=days)
    with (project.root / name).open("a") as file:
        entry = f'test = "{test}"\nowner = "{owner}"\nreason = "see #12"\nexpires = {expires}\n'
        file.write(f"[[quarantine]]\n{entry}")


def listed(project: Project, *words: str) -> list[dict[str, Any]]:
    """Return what ``harness flakes`` has."""
    done = run_in(project, *HARNESS, "flakes", *words, "--json")
    assert done.code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["schema"], document["kind"]) == (1, "flakes")
    tests: list[dict[str, Any]] = document["tests"]
    return tests


reruns = pytest.mark.skipif(
    not importlib.util.find_spec("pytest_rerunfailures"), reason="pytest-rerunfailures is not installed"
)


@reruns
@WORKERS
def test_a_test_that_passes_when_run_again_is_flaky(project: Project, workers: tuple[str, ...]) -> None:
    """It must be told by name with its first error and its tries everywhere, and never as one that passed."""
    suite(project, FLAKY + "def test_good(web): pass\ndef test_bad(web): assert 1 == 2\n", reruns="2")
    project.environ["GITHUB_ACTIONS"] = "true"
    project.environ["GITHUB_STEP_SUMMARY"] = str(project.root / "summary.md")
    done = pytest_in(project, *workers)
    assert done.code == 1, done.stdout
    assert "1 failed, 1 passed, " in done.stdout
    assert "1 flaky" in done.stdout
    assert (
        "flaky, and was not before: suite/test_it.py::test_flaky passed at try 3; at first: AssertionError: too early"
        in done.stdout
    )
    facts = run_json(project)
    assert facts["outcomes"] == {"flaky": 1, "succeeded": 1, "failed": 1}
    (flaky,) = facts["flaky"]
    assert (flaky["test"], flaky["tries"], flaky["new"]) == ("suite/test_it.py::test_flaky", 3, True)
    assert flaky["line"] == "AssertionError: too early"
    junit = (project.latest / "junit.xml").read_text()
    assert '<flakyFailure message="AssertionError: too early" type="Failed">' in junit
    assert '<property name="status" value="flaky" />' in junit.replace('"/>', '" />')
    cases = [case for suite in JUnitXml.fromfile(str(project.latest / "junit.xml")) for case in suite]
    assert [case.name for case in cases if case.result] == ["test_bad"]
    report = run_in(project, *HARNESS, "report").stdout
    told = "flaky (passed at try 3, and was not before): suite/test_it.py::test_flaky\n    AssertionError: too early"
    assert told in report
    assert "Flaky tests" in (project.root / "summary.md").read_text()


@reruns
def test_reruns_may_come_from_the_environment_or_the_plugins_own_option(project: Project) -> None:
    """The variable must come before the table, and the plugin's own option before both."""
    suite(project, FLAKY, reruns="2")
    project.environ["HARNESS_RERUNS"] = "1"
    assert pytest_in(project).code == 1
    assert pytest_in(project, "--reruns=2").code == 0
    project.environ["HARNESS_RERUNS"] = "0"
    assert "RERUN" not in pytest_in(project, "-v").stdout


@reruns
def test_only_a_tests_own_failure_is_run_again(project: Project) -> None:
    """A test that its stack let down must not be run again, and be broken; what its module set up goes at its end."""
    suite(
        project,
        "import os, pytest\n@pytest.fixture(scope='module')\ndef thing():\n    yield 1\n    print('THING GONE')\n"
        "def test_killed(web, thing):\n    os.kill(web.service('web').pid, 9)\n    web.check()\n    import threading\n"
        "    threading.Event().wait(5)\n    web.check()\n",
        reruns="2",
    )
    done = pytest_in(project, "-s")
    assert done.code == 12, done.stdout
    assert "rerun" not in done.stdout.lower().replace("rerunfailures", "")
    assert done.stdout.count("THING GONE") == 1
    assert run_json(project)["outcomes"] == {"broken": 1}


@reruns
def test_a_failure_in_quarantine_is_not_run_again(project: Project) -> None:
    """It must be run once, and what its module set up be torn down at the module's end, once."""
    suite(
        project,
        "import pytest\n@pytest.fixture(scope='module')\ndef thing():\n    yield 1\n    print('THING GONE')\n"
        "def test_bad(web, thing):\n    print('TRIED')\n    assert 0\n",
        reruns="2",
    )
    quarantine(project, "suite/test_it.py::test_bad")
    done = pytest_in(project, "-s")
    assert done.code == 0, done.stdout
    assert (done.stdout.count("TRIED"), done.stdout.count("THING GONE")) == (1, 1)


def test_reruns_without_the_plugin_name_the_extra(project: Project) -> None:
    """Where pytest-rerunfailures is not installed, that must be said with the extra that has it, before any test."""
    suite(project, "def test_good(web): pass\n", reruns="2")
    hide = "import importlib.metadata as m\nm.Distribution.discover\n"
    (project.root / "hide.py").write_text(
        hide + "def pytest_load_initial_conftests(early_config):\n"
        "    early_config.pluginmanager.unregister(name='rerunfailures')\n"
    )
    done = pytest_in(project, "-p", "hide")
    assert done.code == 10, done.stdout + done.stderr
    assert "2 reruns" in done.stdout + done.stderr
    assert "integration-harness[flakes]" in done.stdout + done.stderr
    assert not (project.root / "logs").exists()


@pytest.mark.parametrize("value", ["-1", "many", "1.5"])
def test_a_wrong_number_of_reruns_is_refused(project: Project, value: str) -> None:
    """What is no number from 0 on must be told with where it came from."""
    suite(project, "def test_good(web): pass\n")
    project.environ["HARNESS_RERUNS"] = value
    done = pytest_in(project)
    assert done.code == 10, done.stdout
    assert f"Number of reruns '{value}' (HARNESS_RERUNS) is no whole number from 0 on" in done.stdout + done.stderr


# -- quarantine ------------------------------------------------------------------------------------------------------

BAD = (
    "import pytest\ndef test_bad(web):\n"
    "    web.service('web').exec(['sh', '-c', 'echo during >> ' + str(web.service('web').log)])\n"
    "    assert 1 == 2\ndef test_good(web): pass\n"
    "@pytest.fixture\ndef broken_setup(): raise ValueError('no')\ndef test_setup(web, broken_setup): pass\n"
    "@pytest.fixture\ndef broken_end():\n    yield\n    raise ValueError('end')\ndef test_end(web, broken_end): pass\n"
)


@WORKERS
def test_a_test_in_quarantine_does_not_fail_the_run(project: Project, workers: tuple[str, ...]) -> None:
    """Its failure, in whichever phase, must be shown with owner and reason and leave the exit code alone."""
    suite(project, BAD)
    for name in ("bad", "setup", "e*"):
        quarantine(project, f"suite/test_it.py::test_{name}")
    done = pytest_in(project, *workers)
    assert done.code == 0, done.stdout
    assert "3 quarantined" in done.stdout
    held = "in quarantine (anna, until 2026-12-05: see #12): suite/test_it.py::test_"
    assert f"{held}bad failed: assert 1 == 2" in done.stdout
    assert f"{held}setup failed: ValueError: no" in done.stdout
    assert f"{held}end failed: ValueError: end" in done.stdout
    facts = run_json(project)
    assert (facts["exit_code"], facts["outcomes"]) == (0, {"quarantined": 3, "succeeded": 1})
    by_test = {test["test"].rpartition("::")[2]: test for test in facts["quarantined"]}
    assert by_test["test_bad"]["quarantine"] == {
        "test": "suite/test_it.py::test_bad",
        "owner": "anna",
        "reason": "see #12",
        "expires": "2026-12-05",
    }
    junit = (project.latest / "junit.xml").read_text()
    assert "in quarantine (anna, until 2026-12-05: see #12): assert 1 == 2" in junit
    assert 'failures="0"' in junit
    assert (project.latest / "failures" / "suite.test_it.py.test_bad" / "web.log").read_text() == "during\n"
    assert "quarantined (anna, until 2026-12-05: see #12)" in run_in(project, *HARNESS, "report").stdout
    assert {test["test"]: test["failed"] for test in listed(project)} == {
        f"suite/test_it.py::test_{name}": 1 for name in ("bad", "setup", "end")
    }


def test_an_entry_that_lapsed_counts_again_and_is_told(project: Project) -> None:
    """From the day after its last one a failure must count, and the run say so."""
    suite(project, BAD)
    quarantine(project, "suite/test_it.py::*", days=-1)
    done = pytest_in(project)
    assert done.code == 1, done.stdout
    assert "quarantine lapsed on 2026-11-29, it counts again: suite/test_it.py::* (anna: see #12)" in done.stdout
    assert run_json(project)["lapsed"][0]["owner"] == "anna"
    assert "quarantine lapsed: suite/test_it.py::* (anna)" in run_in(project, *HARNESS, "report").stdout
    assert listed(project)[0]["quarantine"]["lapsed"] is True


@WORKERS
def test_an_entry_that_means_no_test_is_told_when_all_was_collected(project: Project, workers: tuple[str, ...]) -> None:
    """Of a whole suite it must be said; not where tests were left out, and it never changes the exit code."""
    suite(project, BAD)
    quarantine(project, "suite/test_it.py::test_gone")
    quarantine(project, "suite/test_it.py::test_[bes]*")
    quarantine(project, "other/test_it.py::test_gone")
    done = pytest_in(project, *workers)
    assert done.code == 0, done.stdout
    assert "quarantine: suite/test_it.py::test_gone (anna) is no test of this suite" in done.stdout
    assert "other/test_it.py" not in done.stdout
    assert "is no test" not in pytest_in(project, *workers, "-k", "good").stdout


def test_a_broken_test_is_broken_in_quarantine_too(project: Project) -> None:
    """A quarantine is about tests: the end of a service must break the run."""
    kill = "    os.kill(web.service('web').pid, 9)\n    web.check()\n"
    suite(project, f"import os\ndef test_bad(web):\n{kill}    assert 0\n")
    quarantine(project, "suite/test_it.py::test_bad")
    assert pytest_in(project).code == 12


@pytest.mark.parametrize(("days", "owner", "says"), [(31, "anna", "more than 30 days ahead"), (5, "", "has no owner")])
def test_a_wrong_quarantine_is_refused_before_anything(project: Project, days: int, owner: str, says: str) -> None:
    """The session must end with 10 and one clear error, and start nothing; so must ``harness flakes``."""
    suite(project, BAD)
    quarantine(project, "suite/test_it.py::test_bad", days=days, owner=owner)
    for done in (pytest_in(project), run_in(project, *HARNESS, "flakes")):
        assert done.code == 10, done.stdout
        text = done.stdout + done.stderr
        assert says in text.replace("\n  ... ", " ").replace(" ...", "")
        assert "Traceback" not in text
    assert not (project.root / "logs").exists()


def test_the_file_of_the_quarantine_can_be_chosen(project: Project) -> None:
    """The table or the variable may name it; one that is named and not there is an error."""
    suite(project, BAD, quarantine='"ci/held.toml"')
    (project.root / "ci").mkdir()
    quarantine(project, "suite/test_it.py::*", name="ci/held.toml")
    assert pytest_in(project).code == 0
    project.environ["HARNESS_QUARANTINE"] = "nowhere.toml"
    done = pytest_in(project)
    assert (done.code, "nowhere.toml does not exist" in done.stdout + done.stderr) == (10, True)


def test_doctor_tells_what_is_in_quarantine(project: Project) -> None:
    """The doctor must count entries, warn of those that lapsed, and find what is wrong in the file."""
    suite(project, BAD)
    quarantine(project, "suite/test_it.py::test_bad")
    quarantine(project, "suite/test_it.py::test_end", days=-1)
    project.environ["HARNESS_TODAY"] = TODAY
    done = run_in(project, *HARNESS, "doctor")
    assert "warning quarantine: 2 entries, 1 of them lapsed" in done.stdout, done.stdout + done.stderr
    quarantine(project, "suite/test_it.py::test_bad", owner="")
    done = run_in(project, *HARNESS, "doctor")
    assert done.code == 10
    assert "failure quarantine: " in done.stdout


def test_plain_tests_may_be_in_quarantine(project: Project) -> None:
    """Also in a session that uses no stack a failure must not count, and be told; nothing is written for it."""
    suite(project, "def test_bad(): assert 1 == 2\n")
    quarantine(project, "suite/test_it.py::test_bad")
    done = pytest_in(project)
    assert (done.code, "1 quarantined" in done.stdout) == (0, True), done.stdout
    assert "in quarantine (anna" in done.stdout
    assert not (project.root / "logs").exists()
    assert not (project.state / "flakes.json").exists()


# -- ledger ----------------------------------------------------------------------------------------------------------


def test_runs_add_up_by_test_and_stack(project: Project) -> None:
    """Ends of several runs must add up, apart for another stack, and survive the folders of the runs."""
    suite(project, "import os\ndef test_bad(web): assert os.environ.get('GOOD')\ndef test_good(web): pass\n")
    assert pytest_in(project).code == 1
    project.environ["GOOD"] = "1"
    assert pytest_in(project).code == 0
    for path in sorted((project.root / "logs").rglob("*"), reverse=True):
        path.unlink() if not path.is_dir() or path.is_symlink() else path.rmdir()
    (bad,) = listed(project)
    assert (bad["test"], bad["passed"], bad["failed"]) == ("suite/test_it.py::test_bad", 1, 1)
    assert (bad["rate"], bad["low"], bad["high"]) == (0.5, 0.0945, 0.9055)
    assert bad["stacks"].startswith("embedded-")
    assert bad["quarantine"] is None
    project.stack("s", {"web": web(words=("say:other",))})
    assert pytest_in(project).code == 0
    assert len({test["stacks"] for test in listed(project, "--every")}) == 2
    done = run_in(project, *HARNESS, "flakes", "--since", "1d")
    assert done.stdout.splitlines()[1].split()[:4] == ["50.0", "%", "9.5-90.5", "%"]
    assert done.stdout.splitlines()[1].endswith("suite/test_it.py::test_bad")


def test_a_damaged_ledger_is_told_once_and_changes_no_verdict(project: Project) -> None:
    """A run must pass all the same, keep the damaged file, and say it; the next one says nothing."""
    suite(project, "def test_good(web): pass\n")
    (project.state / "flakes.json").write_text("{")
    shown = run_in(project, *HARNESS, "flakes")
    assert (shown.code, "cannot be read" in shown.stderr) == (10, True)
    done = pytest_in(project)
    assert (done.code, "a new one was begun" in done.stdout) == (0, True), done.stdout
    assert "a new one was begun" not in pytest_in(project).stdout
    assert len(list(project.state.glob("flakes.json.damaged-*"))) == 1


def test_a_ledger_that_cannot_be_written_changes_no_verdict(project: Project) -> None:
    """It must be said, and the run end as its tests did."""
    suite(project, "def test_good(web): pass\n")
    project.environ["HARNESS_FLAKES"] = "/proc/nowhere/flakes.json"
    done = pytest_in(project)
    assert (done.code, "how tests ended is not kept for `harness flakes`" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize(
    ("words", "says"), [(["--since", "soon"], "--since 'soon': a time such as 7d or 12h was needed")]
)
def test_wrong_words_are_told(project: Project, words: list[str], says: str) -> None:
    """A time that is none must be told."""
    done = run_in(project, *HARNESS, "flakes", *words)
    assert (done.code, says in done.stderr) == (10, True)


def test_without_a_failure_nothing_is_listed(project: Project) -> None:
    """Where no test failed that must be said, and JSON be empty."""
    assert listed(project) == []
    assert "no test failed" in run_in(project, *HARNESS, "flakes").stderr
