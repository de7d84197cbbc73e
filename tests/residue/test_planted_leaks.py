"""What tests leave is found, and told of the test that left it, whatever kind it is of."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest
from junitparser import JUnitXml, Properties
from projects import Project, run_in, run_json, web
from residue.leaks import CONFTEST, HEAD, LEAKS, Leak, suite

from harness import procs
from harness.reporting.markdown import markdown
from harness.reporting.shown import read_run

MAIN = "from harness.invoke_tasks import main; main()"
WATCH = '[tool.harness.residue]\nwatch = ["out"]\n'


def pytest_in(project: Project, tests: str, *argv: str, conftest: str = CONFTEST, more: str = "") -> procs.Finished:
    """Run pytest on one file of tests, in a project with a stack and a watched folder."""
    pyproject = project.root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + WATCH + more)
    out = project.root / "out"
    out.mkdir()
    for name in ("old.txt", "gone.txt"):
        (out / name).write_text("x")
    project.stack("s", {"web": web()})
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(tests)
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "suite", *argv, timeout=150)


def left(project: Project) -> list[dict[str, Any]]:
    """Return what run.json tells of things that were left."""
    things: list[dict[str, Any]] = run_json(project).get("residue", [])
    return things


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, procs.Finished]:
    """A run of a suite in which every other test leaves something, each something else."""
    project = Project(tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("state"))
    return project, pytest_in(project, suite(LEAKS))


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_a_planted_leak_is_found_and_told_of_its_test(planted: tuple[Project, procs.Finished], leak: Leak) -> None:
    things = [thing for thing in left(planted[0]) if thing["test"] == f"suite/test_it.py::test_{leak.name}"]
    found = [thing for thing in things if thing["kind"] == leak.kind and leak.thing in thing["name"]]
    assert [thing["change"] for thing in found] == [leak.change], (things, planted[1].stdout)


def test_nothing_is_told_of_the_clean_tests_between_them(planted: tuple[Project, procs.Finished]) -> None:
    names = {thing["test"].rpartition("::")[2] for thing in left(planted[0])}
    assert names == {f"test_{leak.name}" for leak in LEAKS}


def test_each_thing_stands_in_the_junit_file_with_its_test(planted: tuple[Project, procs.Finished]) -> None:
    """Whatever kind it is of, what run.json tells of a test must be told of it there, and no more."""
    cases = [case for suite in JUnitXml.fromfile(str(planted[0].latest / "junit.xml")) for case in suite]
    of_cases = [(case.name, one.value) for case in cases for one in case.child(Properties) or ()]  # type: ignore[no-untyped-call]
    told = [(thing["test"].rpartition("::")[2], thing["text"]) for thing in left(planted[0])]
    assert of_cases == told
    assert len(told) >= len(LEAKS)


def test_a_run_whose_tests_left_something_ends_with_13(planted: tuple[Project, procs.Finished]) -> None:
    assert planted[1].code == 13, planted[1].stdout
    assert run_json(planted[0])["exit_code"] == 13


def test_no_value_of_a_variable_is_told(planted: tuple[Project, procs.Finished]) -> None:
    assert "secret-value" not in planted[1].stdout
    assert "secret-value" not in (planted[0].latest / "junit.xml").read_text()


def test_reports_show_what_each_test_left(planted: tuple[Project, procs.Finished]) -> None:
    project, done = planted
    assert "left by suite/test_it.py::test_thread: threads: poller (thread" in done.stdout
    cases = {case.name: case for suite in JUnitXml.fromfile(str(project.latest / "junit.xml")) for case in suite}
    properties = [(one.name, one.value) for one in cases["test_umask"].child(Properties)]  # type: ignore[no-untyped-call]
    assert properties == [("residue", "umask: umask (changed): 0077")]
    assert "umask: umask (changed): 0077" in cases["test_umask"].system_out
    assert cases["test_clean_first"].system_out is None
    shown = read_run(project.latest)
    assert "suite/test_it.py::test_umask: umask: umask (changed): 0077" in shown.residue
    assert "left by suite/test_it.py::test_umask: umask: umask (changed): 0077" in str(shown)
    assert "### Left by tests" in markdown(shown)


SCOPES = (
    HEAD
    + """
@pytest.fixture(scope="module")
def leaking():
    os.environ["OF_FIXTURE"] = "1"
    KEPT.append(listen())
    yield

@pytest.fixture(scope="module")
def tidy():
    os.environ["TIDY"] = "1"
    server = listen()
    yield
    server.close()
    del os.environ["TIDY"]

@pytest.fixture(scope="module")
def late(request):
    request.getfixturevalue("tidy")
    thread(name="of late").start()

def test_first(leaking): pass
def test_own(tidy): os.environ["OF_TEST"] = "1"
def test_third(request):
    os.environ["BEFORE_LATE"] = "1"
    request.getfixturevalue("late")
def test_last(leaking): pass
"""
)


def test_what_a_fixture_of_wider_scope_made_is_told_of_it_when_its_scope_has_ended(project: Project) -> None:
    done = pytest_in(project, SCOPES)
    things = {(thing["test"].rpartition("::")[2], thing["kind"], thing["by"]): thing["name"] for thing in left(project)}
    by = "fixture {!r} (module, suite/test_it.py)"
    told = {where: name.split(" (thread")[0].split(":")[0] for where, name in things.items()}
    assert told == {
        ("test_own", "environment", ""): "OF_TEST",
        ("test_third", "environment", ""): "BEFORE_LATE",
        ("test_last", "environment", by.format("leaking")): "OF_FIXTURE",
        ("test_last", "listening ports", by.format("leaking")): "127.0.0.1",
        ("test_last", "threads", by.format("late")): "of late",
    }, done.stdout


ENDINGS = (
    HEAD
    + """
def leak(name): os.environ[name] = "1"

@pytest.mark.parametrize("number", [1, 2])
def test_parameter(number):
    if number == 2: leak("PARAMETER")
def test_fails():
    leak("FAILS")
    assert False
@pytest.mark.xfail
def test_xfails():
    leak("XFAILS")
    assert False
def test_skips():
    leak("SKIPS")
    pytest.skip("why")
@pytest.fixture
def broken():
    leak("SETUP")
    raise ValueError
def test_set_up(broken): pass
@pytest.fixture
def torn():
    yield
    leak("TEARDOWN")
    raise ValueError
def test_torn_down(torn): pass
"""
)


def test_tests_are_judged_whatever_comes_out_of_them(project: Project) -> None:
    done = pytest_in(project, ENDINGS)
    assert [(thing["test"].rpartition("::")[2], thing["name"]) for thing in left(project)] == [
        ("test_parameter[2]", "PARAMETER"),
        ("test_fails", "FAILS"),
        ("test_xfails", "XFAILS"),
        ("test_skips", "SKIPS"),
        ("test_set_up", "SETUP"),
        ("test_torn_down", "TEARDOWN"),
    ], done.stdout
    assert done.code == 1  # before 13


ENDING = (
    HEAD
    + """
def test_thread(): thread(target=threading.Event().wait, args=(0.5,)).start()
def test_process(): KEPT.append(subprocess.Popen(["sleep", "0.5"]))
def test_circle():
    circle = [listen()]
    circle.append(circle)
"""
)


def test_what_is_just_ending_is_no_residue(project: Project) -> None:
    done = pytest_in(project, ENDING)
    assert (done.code, left(project)) == (0, []), done.stdout


ONE = HEAD + "\ndef test_leaks(): os.umask(0o077)\ndef test_clean(): pass\n"


def test_it_can_be_made_an_error(project: Project) -> None:
    done = pytest_in(project, ONE, "--residue", "fail", "--junitxml", "pytest.xml")
    assert done.code == 13, done.stdout
    assert "2 passed, 1 error" in done.stdout
    assert "test_leaks left 1 thing(s): umask: umask (changed): 0077" in done.stdout
    cases = [case for suite in JUnitXml.fromfile(str(project.latest / "junit.xml")) for case in suite]
    assert [[type(one).__name__ + " " + one.type for one in case.result] for case in cases] == [["Error Residue"], []]
    assert [test["status"] for test in read_run(project.latest).bad] == ["failed"]
    written = JUnitXml.fromfile(str(project.root / "pytest.xml"))  # by pytest itself
    (case, _) = [case for suite in written for case in suite]
    assert [one.message for one in case.result] == [
        'failed on teardown with "test_leaks left 1 thing(s): umask: umask (changed): 0077"'
    ]
    properties = [(one.name, one.value) for one in case.child(Properties)]  # type: ignore[no-untyped-call]
    assert ("residue", "umask: umask (changed): 0077") in properties


def test_it_can_be_turned_off(project: Project) -> None:
    project.environ["HARNESS_RESIDUE"] = "off"
    done = pytest_in(project, ONE)
    assert (done.code, left(project)) == (0, []), done.stdout


def test_what_is_allowed_is_not_told(project: Project) -> None:
    entry = 'allow = [{kind = "umask", name = "um*", reason = "it is"}, {kind = "files", name = "x", reason = "why"}]\n'
    done = pytest_in(project, ONE, more=entry)
    assert (done.code, left(project)) == (0, []), done.stdout
    assert "allowed and left by no test: files: x (why)" in done.stdout


def test_a_session_without_a_stack_is_not_watched(project: Project) -> None:
    done = pytest_in(project, ONE, conftest="")
    assert done.code == 0, done.stdout
    assert "left by" not in done.stdout
    assert not (project.root / "logs").exists()


def test_workers_judge_their_own_tests(project: Project) -> None:
    leaks = tuple(leak for leak in LEAKS if leak.kind not in ("files", "working directory"))
    done = pytest_in(project, suite(leaks), "-n", "2", "--dist", "load")
    names = [thing["test"].rpartition("::")[2] for thing in left(project)]
    assert {f"test_{leak.name}" for leak in leaks} == set(names), done.stdout
    assert done.code == 13


NEIGHBOUR = """
import pathlib, socket, subprocess, sys, threading
folder = pathlib.Path(sys.argv[1])
for number in range(10**6):
    child = subprocess.Popen(["sleep", "0.05"])
    server = socket.create_server(("127.0.0.1", 0))
    (folder / f"{number}.txt").write_text("x")
    thread = threading.Thread(target=child.wait)
    thread.start()
    (folder / f"{number - 20}.txt").unlink(missing_ok=True)
    thread.join()
    server.close()
"""
CLEAN = (
    HEAD
    + """
import concurrent.futures, contextlib, tempfile, urllib.request
TICK = threading.Event()

def process(web, tmp_path):
    assert subprocess.run(["sleep", "0.001"], check=True).returncode == 0
def detached(web, tmp_path):
    KEPT[:] = [subprocess.Popen(["sleep", "0.02"], start_new_session=True)]
def port(web, tmp_path):
    with listen() as server, socket.create_connection(server.getsockname()):
        pass
def pool(web, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert list(pool.map(len, ["a", "bc"])) == [1, 2]
def ending(web, tmp_path):
    threading.Thread(target=TICK.wait, args=(0.02,)).start()
def patched(web, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATCHED", "1")
        patch.chdir(tmp_path)
def mask(web, tmp_path):
    os.umask(os.umask(0o077))
def handler(web, tmp_path):
    signal.signal(signal.SIGUSR1, signal.signal(signal.SIGUSR1, signal.SIG_IGN))
def files(web, tmp_path):
    (tmp_path / "elsewhere").write_text("x")
    with tempfile.NamedTemporaryFile(dir=OUT): pass
def asks(web, tmp_path):
    with contextlib.closing(urllib.request.urlopen(web.url("web", 8080, "/"))) as answer:
        assert answer.status == 200

WAYS = (process, detached, port, pool, ending, patched, mask, handler, files, asks)
@pytest.mark.parametrize("number", range(500))
def test_clean(web, tmp_path, number): WAYS[number % len(WAYS)](web, tmp_path)
"""
)


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist", "load")], ids=["alone", "workers"])
def test_500_clean_tests_beside_a_busy_neighbour_leave_nothing(
    project: Project, tmp_path_factory: pytest.TempPathFactory, workers: tuple[str, ...]
) -> None:
    neighbour = procs.spawn([sys.executable, "-c", NEIGHBOUR, str(tmp_path_factory.mktemp("neighbour"))])
    try:
        done = pytest_in(project, CLEAN, *workers)
    finally:
        procs.kill_group(neighbour.pid, signal.SIGKILL)
        neighbour.wait()
    assert "500 passed" in done.stdout
    assert (done.code, left(project)) == (0, []), done.stdout


SERVICES = (
    HEAD
    + f"""
MAIN = {MAIN!r}
def test_uses(web): pass
def test_starts():
    subprocess.run([sys.executable, "-c", MAIN, "up", "--stack", "other"], check=True)
def test_clean(web): pass
"""
)


def test_services_that_a_test_starts_beside_its_stacks_are_told(project: Project) -> None:
    project.stack("other", {"job": web()})
    project.stack("s", {"web": web()})
    assert run_in(project, "-c", MAIN, "up", "--stack", "s").code == 0
    try:
        done = pytest_in(project, SERVICES)
        services = [thing for thing in left(project) if thing["kind"] == "services"]
        assert [(thing["test"], thing["name"]) for thing in services] == [
            ("suite/test_it.py::test_starts", "other/job")
        ], done.stdout
    finally:
        assert run_in(project, "-c", MAIN, "down").code == 0


SHARED = (
    HEAD
    + """
@pytest.mark.parametrize("number", range(6))
def test_makes_files(ns, number):
    OUT.joinpath(ns).write_text("x")
    OUT.joinpath("of_nobody").write_text(ns)
"""
)


def test_workers_tell_of_shared_places_by_namespace(project: Project) -> None:
    done = pytest_in(project, SHARED, "-n", "2", "--dist", "load")
    things = left(project)
    assert len(things) == 6, done.stdout
    assert all(thing["name"].startswith(("out/w0_test", "out/w1_test")) for thing in things)


def test_a_worker_that_has_no_other_beside_it_tells_all(project: Project) -> None:
    """With one worker, as on a small machine, shared places must be judged as without any."""
    leaks = tuple(leak for leak in LEAKS if leak.kind == "files")
    done = pytest_in(project, suite(leaks), "-n", "1")
    names = [thing["test"].rpartition("::")[2] for thing in left(project)]
    assert {f"test_{leak.name}" for leak in leaks} == set(names), done.stdout
