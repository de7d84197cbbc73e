"""Tests that hang: interrupted wherever they wait, failed with what everybody did, and the next one goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from junitparser import Failure, JUnitXml
from projects import Project, run_in, run_json, web

if TYPE_CHECKING:
    from containers import Dock

    from harness import procs

CONFTEST = "import harness\nweb = harness.stack_fixture('s', scope='session')\n"
FOREVER = "    threading.Event().wait(60)\n"
HEAD = "import asyncio, os, pytest, queue, select, socket, subprocess, sys, threading\n"


def suite(project: Project, tests: str, service: dict[str, Any] | None = None) -> None:
    """Write a suite on the stack ``s``, with a deadline of a second."""
    project.stack("s", {"web": service or web()})
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(HEAD + tests + "def test_last(web): pass\n")
    (project.root / "pyproject.toml").write_text('[tool.harness]\ntest-timeout = "1s"\n')


def pytest_in(project: Project, *argv: str) -> procs.Finished:
    """Run the suite."""
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", "suite", *argv, timeout=120)


def ended(project: Project) -> dict[str, object]:
    """Return test name -> its result in the run's junit.xml, None for success."""
    cases = [case for suite in JUnitXml.fromfile(str(project.latest / "junit.xml")) for case in suite]
    return {case.name: next(iter(case.result), None) for case in cases}


WAITS = {
    "event": FOREVER,
    "lock": "    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()\n",
    "join": "    thread = threading.Thread(target=threading.Event().wait, args=(60,), daemon=True)\n"
    "    thread.start()\n    thread.join()\n",
    "queue": "    queue.Queue().get()\n",
    "socket": "    one, other = socket.socketpair()\n    one.recv(1)\n",
    "child": "    subprocess.Popen(['sleep', '60']).wait()\n",
    "run": "    subprocess.run(['sleep', '60'])\n",
    "select": "    select.select([], [], [])\n",
    "loop": "    while True: pass\n",
    "swallowed": "    try:\n        threading.Event().wait(60)\n    except BaseException: pass\n",
    "swallowed_again": "    for _ in range(2):\n        try:\n            threading.Event().wait(60)\n"
    "        except BaseException: pass\n",
    "asyncio": "    async def forever(): await asyncio.Event().wait()\n    asyncio.run(forever())\n",
    "asyncio_blocked": "    async def forever(): threading.Event().wait(60)\n    asyncio.run(forever())\n",
}


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_a_test_that_hangs_fails_wherever_it_waits(project: Project, workers: tuple[str, ...]) -> None:
    """Each kind of wait must be ended, the test fail as a hang with its stacks, and the next one pass."""
    suite(
        project,
        "".join(f"def test_{name}(web):\n{body}def test_after_{name}(): pass\n" for name, body in WAITS.items()),
    )
    done = pytest_in(project, *workers)
    assert done.code == 1, done.stdout
    assert f"{len(WAITS)} failed, {len(WAITS) + 1} passed" in done.stdout
    results = ended(project)
    for name in WAITS:
        result = results[f"test_{name}"]
        assert isinstance(result, Failure)
        assert (result.type, f"test_{name} did not end in 1 s: it was interrupted" in str(result.message)) == (
            "Hang",
            True,
        )
        stacks = (project.latest / "failures" / f"suite.test_it.py.test_{name}" / "stacks.txt").read_text()
        assert "thread MainThread, most recent call last:" in stacks
        assert f"in test_{name}\n" in stacks
        assert "service web: running\n  process " in stacks
    assert "stacks when it hung" in (project.latest / "junit.xml").read_text()
    assert "task Task-" in (project.latest / "failures" / "suite.test_it.py.test_asyncio" / "stacks.txt").read_text()
    assert run_json(project)["outcomes"] == {"failed": len(WAITS), "succeeded": len(WAITS) + 1}


def test_what_containers_do_is_seen(dock: Dock) -> None:
    """The processes in a container must be told of, and the test fail and the next one pass, as with local ones."""
    suite(dock, f"def test_hangs(web):\n{FOREVER}", dock.web())
    done = pytest_in(dock)
    assert (done.code, "1 failed, 1 passed" in done.stdout) == (1, True), done.stdout
    stacks = (dock.latest / "failures" / "suite.test_it.py.test_hangs" / "stacks.txt").read_text()
    told = stacks.partition("service web: running\n")[2]
    assert "python3" in told, stacks


PHASES = (
    f"@pytest.fixture\ndef slow_setup(web):\n{FOREVER}def test_setup(slow_setup): pass\n"
    f"@pytest.fixture\ndef slow_end(web):\n    yield\n{FOREVER}def test_end(slow_end): pass\n"
    f"@pytest.fixture(scope='class')\ndef of_class(web):\n    yield\n{FOREVER}"
    "class TestIt:\n    def test_scope(self, of_class): pass\n"
    f"@pytest.fixture\ndef finals(web):\n    yield\n    print('FINAL', 'GONE')\n"
    f"def test_body(finals):\n{FOREVER}"
    "@pytest.fixture\ndef half(web): threading.Event().wait(0.7)\ndef test_both(half): threading.Event().wait(0.7)\n"
)


def test_a_hang_in_any_phase_is_ended(project: Project) -> None:
    """Set-up and teardown must be interrupted, too; set-up and body share their time, and finalizers run."""
    suite(project, PHASES)
    done = pytest_in(project, "-s")
    assert done.code == 1, done.stdout
    assert "FINAL GONE" in done.stdout
    results = ended(project)
    said = {name: str(getattr(result, "message", "")) for name, result in results.items()}
    assert "test_setup did not end in 1 s: its set-up was interrupted" in said["test_setup"]
    assert "test_end did not end in 1 s: its teardown was interrupted" in said["test_end"]
    assert "test_scope did not end in 1 s: its teardown was interrupted" in said["TestIt::test_scope"]
    assert "test_body did not end in 1 s: it was interrupted" in said["test_body"]
    assert "test_both did not end in 1 s: it was interrupted" in said["test_both"]
    assert results["test_last"] is None
    assert project.processes() == {}


@pytest.mark.parametrize("plugin", ["anyio", "asyncio"])
def test_async_tests_are_ended(project: Project, plugin: str) -> None:
    """A test that awaits what never comes must fail, and the next one pass, with either plugin for async tests."""
    pytest.importorskip("anyio" if plugin == "anyio" else "pytest_asyncio")
    backend = "@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n"
    mark = f"@pytest.mark.{plugin}\nasync def "
    tests = f"{mark}test_hangs(web): await asyncio.Event().wait()\n{mark}test_good(web): await asyncio.sleep(0)\n"
    suite(project, (backend if plugin == "anyio" else "") + tests)
    other = "asyncio" if plugin == "anyio" else "anyio"
    words = ["-p", f"no:{other}", "-o", "asyncio_default_fixture_loop_scope=function"]
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite", *words[: 4 if plugin == "asyncio" else 2])
    assert (done.code, "1 failed, 2 passed" in done.stdout) == (1, True), done.stdout
    assert getattr(ended(project)["test_hangs"], "type", "") == "Hang"
    stacks = (project.latest / "failures" / "suite.test_it.py.test_hangs" / "stacks.txt").read_text()
    assert "of an event loop, most recent call last:" in stacks
    assert "in test_hangs\n    async def test_hangs(web): await asyncio.Event().wait()" in stacks


DEAF = (
    "import ctypes, signal\n"
    "def test_deaf(web):\n"
    "    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) | set(range(34, 65)))\n"
    "    ctypes.CDLL(None).sleep(60)\n"
)


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_code_that_heeds_nothing_ends_the_session(project: Project, workers: tuple[str, ...]) -> None:
    """After its grace the verdict must be written, everything be given back, and with workers the next tests run."""
    suite(project, "def test_first(web): pass\n" + DEAF)
    done = pytest_in(project, *workers)
    assert done.code == 1, done.stdout + done.stderr
    assert "test_deaf did not end in 1 s: it was interrupted" in done.stdout
    results = ended(project)
    result = results["test_deaf"]
    assert isinstance(result, Failure)
    assert result.type == "Hang"
    assert results["test_first"] is None
    assert ("test_last" in results) is bool(workers)
    facts = run_json(project)
    assert (facts["exit_code"], facts["outcomes"]["failed"]) == (1, 1)
    assert project.wait_until_gone(20) == {}


def test_a_regular_expression_that_does_not_end_fails_its_test_only(project: Project) -> None:
    """Code that lets no other thread run but heeds signals must be interrupted, however often; the next test runs."""
    match = "re.match('(a+)+$', 'a' * 60 + 'b')"
    again = f"    try: {match}\n    except BaseException: {match}\n"
    suite(project, f"import re\ndef test_regex(web): {match}\ndef test_again(web):\n{again}")
    done = pytest_in(project)
    assert (done.code, "2 failed, 1 passed" in done.stdout) == (1, True), done.stdout + done.stderr
    results = ended(project)
    assert [getattr(results[name], "type", "") for name in ("test_regex", "test_again")] == ["Hang", "Hang"]
    stacks = (project.latest / "failures" / "suite.test_it.py.test_regex" / "stacks.txt").read_text()
    assert "in test_regex\n" in stacks
    assert "service web: running\n  process " in stacks


def test_an_interpreter_that_runs_nothing_else_is_ended_as_well(project: Project) -> None:
    """Code that keeps every other thread from running must not keep the session: it ends with 1 and its stacks."""
    deaf = DEAF.replace("ctypes.CDLL(None)", "ctypes.PyDLL(None)")
    suite(project, deaf)
    done = pytest_in(project)
    assert done.code == 1, done.stdout + done.stderr
    assert "in test_deaf" in done.stderr
    assert project.wait_until_gone(20) == {}


def test_a_service_that_died_breaks_a_test_that_hangs(project: Project) -> None:
    """A hang whose cause is the end of a service must be broken, not failed."""
    suite(project, "def test_waits(web):\n    os.kill(web.service('web').pid, 9)\n" + FOREVER)
    assert pytest_in(project).code == 12


def test_the_start_of_a_stack_takes_no_time_of_a_test(project: Project) -> None:
    """A stack has deadlines of its own: a slow one must not fail the test that needs it first."""
    suite(project, "")
    project.stack("s", {"web": web(delay=2.5)})
    done = pytest_in(project)
    assert done.code == 0, done.stdout


@pytest.mark.parametrize("value", ["soon", "-1"])
def test_a_wrong_deadline_is_refused(project: Project, value: str) -> None:
    """What is no time must be told with where it came from, before anything starts."""
    suite(project, "")
    done = pytest_in(project, f"--test-timeout={value}")
    assert done.code == 10, done.stdout
    assert f"--test-timeout '{value}'" in done.stdout + done.stderr
    assert not (project.root / "logs").exists()


def test_without_a_deadline_nothing_is_watched(project: Project) -> None:
    """0 must be no deadline."""
    suite(
        project, "def test_it(web):\n    threading.Event().wait(1.5)\n    assert 'harness.hangs' not in sys.modules\n"
    )
    done = pytest_in(project, "--test-timeout=0")
    assert done.code == 0, done.stdout


def test_pytest_timeout_comes_first(project: Project) -> None:
    """A test that pytest-timeout watches must be ended by that one, and others by ours."""
    pytest.importorskip("pytest_timeout")
    suite(
        project,
        f"@pytest.mark.timeout(0.5, func_only=True)\ndef test_theirs(web):\n{FOREVER}def test_ours(web):\n{FOREVER}",
    )
    done = pytest_in(project)
    assert done.code == 1, done.stdout
    assert "Timeout" in str(getattr(ended(project)["test_theirs"], "message", ""))
    assert "did not end in 1 s" in str(getattr(ended(project)["test_ours"], "message", ""))
    assert pytest_in(project, "--timeout=0.5", "-o", "timeout_func_only=true").stdout.count("did not end in 1 s") == 0
