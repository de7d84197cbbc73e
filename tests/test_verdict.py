"""Whose fault it is: a test whose stack died, hangs or lost its engine is broken; what comes after it is not run."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from checkout import TESTS
from junitparser import Error, JUnitXml
from projects import Project, run_in, run_json, web

from harness import clock, procs
from harness.daemon import find_daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from containers import Dock

CONFTEST = """
import harness, pytest, urllib.request
web = harness.stack_fixture("s", scope="session")
other = harness.stack_fixture("t", scope="session")
own = harness.stack_fixture("m", scope="module")

@pytest.fixture
def get(web):
    return lambda path, timeout=30: urllib.request.urlopen(web.url("web", 8080, path), timeout=timeout).read()
"""
ENGINES = ("embedded", "compose")


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest) -> Project:
    """A project whose stacks ``s``, ``t`` and ``m`` have a service ``web`` each, on one engine after the other."""
    made: Project = request.getfixturevalue("project" if request.param == "embedded" else "dock")
    service: Callable[[], dict[str, Any]] = web if request.param == "embedded" else made.web  # type: ignore[attr-defined]
    for name in "stm":
        made.stack(name, {"web": service()})
    return made


def pytest_in(project: Project, tests: str, *argv: str) -> procs.Finished:
    """Run pytest on one file of tests."""
    folder = project.root / "suite"
    folder.mkdir(exist_ok=True)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(tests)
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite", *argv, timeout=150)


def results(project: Project) -> dict[str, object]:
    """Return test name -> its result in the run's junit.xml, None for success."""
    cases = [case for suite in JUnitXml.fromfile(str(project.latest / "junit.xml")) for case in suite]
    return {case.name: next(iter(case.result), None) for case in cases}


DEATHS = """
import os, pytest
@pytest.mark.parametrize("n", range(8))
def test_dies(own, n):
    import urllib.request
    try:
        urllib.request.urlopen(own.url("web", 8080, "/die"), timeout=30).read()
    except OSError:
        if n % 2: raise
"""


def test_the_test_that_kills_its_service_is_broken_every_time(place: Project) -> None:
    """Whether it fails or passes over it, a test under which a service ends must be broken, on a busy machine too."""
    body = DEATHS.replace("own, n", "again, n").replace("own.url", "again.url")
    again = "import harness\nagain = harness.stack_fixture('m', scope='function')\n"
    spin = "import multiprocessing, pytest\n@pytest.fixture(scope='session', autouse=True)\ndef busy():\n"
    spin += "    def work():\n        while True: pass\n"
    spin += "    busy = [multiprocessing.Process(target=work, daemon=True) for _ in range(4)]\n"
    spin += "    for one in busy: one.start()\n    yield\n    for one in busy: one.kill()\n"
    done = pytest_in(place, again + spin + body)
    assert done.code == 12, done.stdout
    assert run_json(place)["outcomes"] == {"broken": 8}
    assert done.stdout.count("ended with exit code 3 under test_dies[") >= 8


TORN_DOWN = """
import contextlib, harness, pytest, urllib.request
again = harness.stack_fixture("m", scope="function")

@pytest.fixture
def trips(again):
    yield
    urllib.request.urlopen(again.url("web", 8080, "/die"), timeout=30)
@pytest.fixture
def passes(again):
    yield
    with contextlib.suppress(OSError): urllib.request.urlopen(again.url("web", 8080, "/die"), timeout=30)
@pytest.fixture
def refuses(again):
    yield
    assert not again, "a fixture's own fault"

def test_trips(trips): pass
def test_passes(passes): pass
def test_own_fault(refuses): pass
def test_fine(again): pass
def test_parts(again, subtests):
    with subtests.test("first"): urllib.request.urlopen(again.url("web", 8080, "/die"), timeout=30)
    with subtests.test("second"): urllib.request.urlopen(again.url("web", 8080, "/"), timeout=30)
    with subtests.test("third"): pass
def test_part_of_its_own(again, subtests):
    with subtests.test("only"): assert not again
def test_leaves(again):
    with contextlib.suppress(OSError): urllib.request.urlopen(again.url("web", 8080, "/die"), timeout=30)
    pytest.skip("not today")
@pytest.mark.xfail(reason="it dies of this", strict=True)
def test_known(again): urllib.request.urlopen(again.url("web", 8080, "/die"), timeout=30)
"""


def test_a_death_is_told_also_when_its_stack_is_torn_down_with_the_test(place: Project) -> None:
    """A death in teardown, in a subtest and before a skip breaks the test; own faults fail, a known one is expected."""
    done = pytest_in(place, TORN_DOWN, "-rA")
    for test in ("test_trips", "test_passes", "test_parts", "test_leaves"):
        assert f"Service 'web' ended with exit code 3 under {test}" in done.stdout, done.stdout
        assert f"ERROR suite/test_it.py::{test} - Service 'web' ended" in done.stdout, done.stdout
    assert "no longer answers" not in done.stdout
    assert "a fixture's own fault" in done.stdout
    assert done.code == 1, done.stdout  # of those that failed by themselves
    assert "FAILED suite/test_it.py::test_parts " not in done.stdout
    assert "SUBFAILED[second]" not in done.stdout
    assert run_json(place)["outcomes"] == {"broken": 4, "failed": 2, "succeeded": 1, "xfailed": 1}


AFTER = """
import pytest
def test_good(get): assert get("/")
def test_die(get): get("/die")
def test_next(get): assert get("/")
def test_other(other):
    assert other.service("web").state == "running"
    from harness import clock
    for _ in clock.poll(clock.Deadline.after(0.1)): pass
def test_plain(request): assert request
def test_by_name(harness_stack_named): harness_stack_named("s")
"""


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_what_comes_after_a_death_is_not_run_and_says_why(place: Project, workers: tuple[str, ...]) -> None:
    """The test of a death must be named everywhere, later ones of that stack not be run, all others run normally."""
    done = pytest_in(place, AFTER, "-v", "--junitxml=pytest.xml", *workers)
    assert done.code == 12, done.stdout
    cause = "ervice 'web' ended with exit code 3 under test_die"
    assert "3 passed, 3 errors" in done.stdout
    assert re.search(r"_ ERROR at call of test_die _+\n(\[gw0\].*\n)?S" + re.escape(cause), done.stdout), done.stdout
    assert "ERROR at setup of test_die" not in done.stdout
    assert f"Not run: s{cause}" in done.stdout
    got = results(place)
    for name, begin in {"test_die": "S", "test_next": "Not run: s", "test_by_name": "Not run: s"}.items():
        result = got[name]
        assert isinstance(result, Error)
        assert str(result.message).startswith(begin + cause)
    assert [got[name] for name in ("test_good", "test_other", "test_plain")] == [None] * 3
    assert [fault["test"] for fault in run_json(place)["faults"]] == ["suite/test_it.py::test_die"]
    own = JUnitXml.fromfile(str(place.root / "pytest.xml"))
    assert [(suite.failures, suite.errors) for suite in own] == [(0, 3)]


ODD = """
import pytest

class Odd:
    def __eq__(self, other): raise ValueError("neither equal nor not")
    __hash__ = None

@pytest.fixture(params=[Odd(), Odd()])
def web_with(request, web): return web
def test_odd(web_with): assert web_with.endpoint("web", 8080)
@pytest.mark.parametrize("value", [Odd()])
def test_failed(value, web): assert not value
"""


def test_parameters_that_cannot_be_compared_are_no_matter(project: Project) -> None:
    """A test's parameters may be of any kind, such as arrays: its stacks are known without comparing them."""
    project.stack("s", {"web": web()})
    done = pytest_in(project, ODD)
    assert (done.code, "2 passed" in done.stdout, "1 failed" in done.stdout) == (1, True, True), done.stdout


def test_a_stack_that_is_made_anew_is_used_again(project: Project) -> None:
    """A death must not outlive its stack: the next module, which gets a fresh one, runs."""
    for name in "stm":
        project.stack(name, {"web": web()})
    kill = "import os\ndef test_kill(own):\n    os.kill(own.service('web').pid, 9)\n    assert False\n"
    pytest_in(project, kill)
    (project.root / "suite" / "test_next.py").write_text("def test_next(own): assert own.service('web').pid\n")
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite")
    assert (done.code, "1 passed, 1 error" in done.stdout) == (12, True), done.stdout


def test_what_a_fixture_trips_over_after_a_death_is_the_same_error(project: Project) -> None:
    """Set-up and teardown of fixtures that need a dead service must be neither a failure nor a second error."""
    for name in "stm":
        project.stack(name, {"web": web()})
    tests = (
        "import pytest\n@pytest.fixture\ndef row(get):\n    yield\n    get('/')\n"
        "@pytest.fixture\ndef kills(get): get('/die')\n"
        "@pytest.fixture(scope='module')\ndef late(web):\n    yield\n    assert False, 'no service'\n"
    )
    done = pytest_in(project, tests + "def test_a(row, get, late): get('/die')\n")
    assert (done.code, "= 1 error in" in done.stdout) == (12, True), done.stdout
    done = pytest_in(project, tests + "def test_b(kills): pass\n")
    assert (done.code, "= 1 error in" in done.stdout) == (12, True), done.stdout
    assert "ended with exit code 3 under test_b" in done.stdout


STOP = "os.kill(web.service('web').pid, signal.SIGSTOP); get('/', 1)"


@pytest.mark.parametrize(
    ("how", "state"), [(STOP, r"stopped \(T\)"), ("get('/hang', 1)", r"sleeping \(S\), CPU \d+%")], ids=["stop", "hang"]
)
def test_a_service_that_no_longer_answers_breaks_its_test(place: Project, how: str, state: str) -> None:
    """After a failed test a service that does not answer its own probe must be named, with what its process does."""
    body = (
        f"import os, signal\ndef test_hang(get, web): {how}\ndef test_next(get): get('/', 1)\ndef test_plain(): pass\n"
    )
    done = pytest_in(place, body)
    assert done.code == 12, done.stdout
    assert "1 passed, 2 errors" in done.stdout
    assert re.search(rf"Service 'web' no longer answers under test_hang: {state}.*http /: no answer", done.stdout)
    assert "Not run: service 'web' no longer answers under test_hang" in done.stdout


def test_what_a_test_has_paused_or_ended_itself_does_not_break_it(place: Project) -> None:
    """A test that paused or stopped a service through its stack fails by itself; its report must say what it did."""
    tests = "import pytest\n@pytest.fixture\ndef svc(web):\n"
    tests += "    yield web.service('web')\n    web.service('web').unpause()\n"
    tests += "def test_pause(svc):\n    svc.pause()\n    assert False\n"
    tests += "def test_plain_failure(get): assert get('/') == b''\n"
    tests += "def test_end(svc):\n    svc.stop()\n    assert False\n"
    done = pytest_in(place, tests)
    assert (done.code, "3 failed" in done.stdout) == (1, True), done.stdout
    assert "service 'web' was paused by service.pause()" in done.stdout
    assert "service 'web' was ended on purpose" in done.stdout


# -- an engine that goes away ----------------------------------------------------------------------------------------

CALLS = {
    "exec": "svc.exec(['true'])",
    "copy_out": "svc.copy_out('/actor.py', tmp_path / 'x')",
    "stop": "svc.stop()",
    "state_and_logs": "assert svc.state and svc.logs() is not None and False",
}


@contextlib.contextmanager
def proxied(dock: Dock) -> Iterator[procs.Popen[bytes]]:
    """Have the project reach its engine by a proxy, which a test may kill; it is there again at the end."""
    path, engine = dock.state / "engine.sock", find_daemon(os.environ).host.removeprefix("unix://")
    argv = [sys.executable, str(TESTS / "engine_proxy.py"), str(path), engine]

    def begin() -> procs.Popen[bytes]:
        process = procs.spawn(argv)
        for _ in clock.poll(clock.Deadline.after(20)):
            if path.exists():
                break
        return process

    dock.environ["DOCKER_HOST"] = f"unix://{path}"
    running = begin()
    try:
        yield running
    finally:
        running.kill()
        running.wait(10)
        path.unlink(missing_ok=True)
        again = begin()
        run_in(dock, "-c", "from harness.invoke_tasks import main; main()", "gc")
        again.kill()
        again.wait(10)


def test_an_engine_that_goes_away_is_told_in_one_line(dock: Dock) -> None:
    """Whatever asks an engine that is gone must say so in a line, and its tests be neither passed nor failed."""
    dock.stack("s", {"web": dock.web()})
    with proxied(dock) as proxy:
        kill = f"    os.kill({proxy.pid}, 9)\n"
        tests = "import os\ndef test_first(web, tmp_path):\n    svc = web.service('web')\n"
        tests += f"    assert svc.exec(['true']).code == 0\n{kill}    {CALLS['exec']}\n"
        for name, call in CALLS.items():
            tests += f"def test_{name}(web, tmp_path):\n    svc = web.service('web')\n    {call}\n"
        done = pytest_in(dock, tests)
    assert done.code == 11, done.stdout
    assert "5 errors" in done.stdout
    assert "INTERNALERROR" not in done.stdout
    for word in ("urllib3", "requests/adapters.py", "Traceback", "http/client.py"):
        assert word not in done.stdout
    assert "'true' cannot be run in the container: the engine did not answer: " in done.stdout
    assert len(done.stdout.splitlines()) < 120, done.stdout


@pytest.mark.parametrize(
    "way",
    [
        "urllib.request.urlopen('http://localhost:8080/', timeout=10)",
        "http.client.HTTPConnection('127.0.0.1', 8080, timeout=10).request('GET', '/')",
        "requests.get('http://localhost:8080/', timeout=10)",
        "socket.create_connection(('localhost', 8080), timeout=10)",
    ],
    ids=["urllib", "http.client", "requests", "socket"],
)
def test_who_looks_on_localhost_is_told_where_the_service_is(project: Project, way: str) -> None:
    """A test that was refused at ``localhost`` and a published port must be told the address that is in use."""
    project.stack("s", {"web": web()})
    for name in "tm":
        project.stack(name, {"web": web()})
    done = pytest_in(project, f"import http.client, requests, socket, urllib.request\ndef test_it(web):\n    {way}\n")
    assert done.code == 1
    assert "localhost:8080 is not this environment's: service 'web' is at 127." in done.stdout
