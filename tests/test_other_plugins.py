"""Beside other plugins of pytest: `nox -s plugins` installs them; without one, its test is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, run_json, web

if TYPE_CHECKING:
    from harness import procs

CONFTEST = "import harness\nweb = harness.stack_fixture('s', scope='module')\n"
ALL = "shared_by_all, web, endpoints, run_dir, ns"


def pytest_in(project: Project, tests: str, *argv: str) -> procs.Finished:
    """Run pytest on one file of tests."""
    project.stack("s", {"web": web()})
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST + "shared_by_all = harness.stack_fixture('s', scope='session')\n")
    (folder / "test_it.py").write_text(tests)
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "--stack=s", "suite", *argv)


@pytest.mark.parametrize("mode", ["auto", "strict"])
@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_pytest_asyncio(project: Project, mode: str, workers: tuple[str, ...]) -> None:
    """Async tests must be able to use every fixture, and notice a dead service within two seconds."""
    pytest.importorskip("pytest_asyncio")
    done = pytest_in(
        project,
        "import os, pytest\nfrom harness import clock\n@pytest.mark.asyncio\nasync def test_early(): pass\n"
        f"@pytest.mark.asyncio\nasync def test_a({ALL}): assert ns\n"
        "@pytest.mark.asyncio\nasync def test_dies(web):\n    os.kill(web.service('web').pid, 9)\n"
        "    for _ in clock.poll(clock.Deadline.after(30)): pass\n",
        f"--asyncio-mode={mode}",
        "-p",
        "no:randomly",  # the service dies in the last one
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        *workers,
    )
    assert (done.code, "2 passed, 1 error" in done.stdout) == (12, True), done.stdout


def test_anyio(project: Project) -> None:
    """Tests of anyio's plugin must be able to use every fixture."""
    pytest.importorskip("anyio")
    backend = "import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n"
    test = f"@pytest.mark.anyio\nasync def test_a({ALL}): assert ns\n"
    done = pytest_in(project, backend + test, "-p", "no:asyncio")
    assert done.code == 0, done.stdout


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_pytest_rerunfailures(project: Project, workers: tuple[str, ...]) -> None:
    """Only the last try of a test must count, in run.json as for pytest."""
    pytest.importorskip("pytest_rerunfailures")
    done = pytest_in(
        project,
        "tries = []\ndef test_a(web):\n    tries.append(1)\n    assert len(tries) == 3\n"
        "def test_b(web): assert False\n",
        "--reruns=2",
        *workers,
    )
    assert done.code == 1, done.stdout
    assert run_json(project)["outcomes"] == {"flaky": 1, "failed": 1}


def test_pytest_timeout(project: Project) -> None:
    """A test that takes too long must fail, and its stack be gone."""
    pytest.importorskip("pytest_timeout")
    test = "import threading\ndef test_a(web): threading.Event().wait(20)\ndef test_b(web): pass\n"
    # The stack's start is not what is timed here.
    done = pytest_in(project, test, "--timeout=1", "-o", "timeout_func_only=true")
    assert (done.code, "1 failed, 1 passed" in done.stdout) == (1, True), done.stdout
    assert project.processes() == {}


def test_pytest_randomly_and_html(project: Project) -> None:
    """Tests in any order must pass, and the report of pytest-html have what the service wrote."""
    pytest.importorskip("pytest_randomly")
    pytest.importorskip("pytest_html")
    say = "    web.service('web').exec(['sh', '-c', 'echo during >> ' + str(web.service('web').log)])\n"
    tests = f"def test_a(web): pass\ndef test_b(web):\n{say}    assert False\n"
    done = pytest_in(project, tests, "--html=report.html", "--self-contained-html", "-p", "randomly")
    assert done.code == 1, done.stdout
    assert "Captured stdout service web" in (project.root / "report.html").read_text()


def test_pytest_docker(project: Project) -> None:
    """Where pytest-docker is, its own fixtures must be used."""
    pytest.importorskip("pytest_docker")
    done = pytest_in(project, "def test_a(web): pass\n")
    assert done.code == 0, done.stdout
    listed = run_in(project, "-m", "pytest", "--fixtures", "suite")
    assert "pytest_docker_names" not in listed.stdout
