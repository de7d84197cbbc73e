"""Many workers, one environment: set up once, given back once, whoever dies."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from projects import Project, run_in, run_json, web

from harness import clock, procs
from harness.ownership import ledger

if TYPE_CHECKING:
    from pathlib import Path

CONFTEST = """
import os, pathlib, pytest, harness
from harness import clock
shared = harness.stack_fixture("s", scope="session")
own = harness.stack_fixture("m", scope="module")
other = harness.stack_fixture("s", scope="module")
HERE = pathlib.Path(__file__).parent / "workers"
HERE.mkdir(exist_ok=True)

def workers():
    return len(list(HERE.iterdir()))

@pytest.fixture(scope="session")
def all_here(request):
    (HERE / request.config.workerinput["workerid"]).touch()
    for _ in clock.poll(clock.Deadline.after(20)):
        if workers() >= request.config.workerinput["workercount"]:
            break

def wait(seconds):
    for _ in clock.poll(clock.Deadline.after(seconds)):
        pass
"""


def suite(project: Project, **files: str) -> None:
    """Write a suite of one module for each of ``files``, which may use ``wait``."""
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text("import os, pytest\nfrom conftest import wait\n" + text)


def pytest_in(project: Project, *argv: str) -> procs.Finished:
    """Run pytest on the suite."""
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite", *argv)


def set_ups(project: Project) -> list[str]:
    """Return the stacks that were set up in the newest run, as often as they were."""
    return sorted(span["of"] for span in run_json(project)["spans"] if span["stage"] == "stack")


def events(project: Project) -> list[dict[str, Any]]:
    """Return the events of the newest run."""
    return [json.loads(line) for line in (project.latest / "events.jsonl").read_text().splitlines()]


def test_four_workers_that_begin_together_share_one_stack(project: Project) -> None:
    """A shared stack must be set up once for all workers, and be gone once, with one folder for the whole run."""
    project.stack("s", {"web": web(words=("say:hello",))})
    test = (
        "def test_{0}(all_here, shared, run_dir):\n    assert shared.service('web').pid\n    assert run_dir.is_dir()\n"
    )
    suite(project, **{f"f{n}": test.format(n) for n in range(4)})
    done = pytest_in(project, "-n4")
    assert done.code == 0, done.stdout
    assert done.stdout.count("harness: engine: embedded (asked for by HARNESS_ENGINE)") == 1
    assert set_ups(project) == ["s"]
    assert (project.latest / "services" / "web.log").read_text() == "hello\n"
    assert [path.name for path in (project.root / "logs").iterdir() if path.is_dir() and not path.is_symlink()] == [
        project.latest.name
    ]
    assert run_json(project)["outcomes"] == {"succeeded": 4}
    assert run_json(project)["exit_code"] == 0
    assert len([event for event in events(project) if event["event"] == "exit"]) == 1
    assert (project.latest / "junit.xml").read_text().count("<testcase") == 4
    assert project.processes() == {}


def test_a_stack_of_a_module_is_set_up_once_for_it(project: Project) -> None:
    """Each of three modules on three workers must get its stack once and fresh; what it stands on is shared."""
    project.stack("s", {"web": web()})
    project.stack("m", {"top": web()}, include=["s.yaml"])
    tests = "".join(f"def test_{n}(own): assert own.service('top').restarts == 0\n" for n in range(4))
    suite(project, a=tests, b=tests, c=tests)
    done = pytest_in(project, "-n3")
    assert done.code == 0, done.stdout
    assert set_ups(project) == ["m", "m", "m", "s"]


def test_a_stack_of_a_module_is_nobody_elses_meanwhile(project: Project) -> None:
    """However tests are distributed, what one module does to its stack must not be seen by another that uses it."""
    project.stack("m", {"web": web()})
    kills = "def test_kill(own):\n    own.service('web').kill()\n    wait(1)\n"
    uses = "def test_use(own):\n    assert own.service('web').state == 'running'\n    wait(1)\n"
    suite(project, a=kills, b=uses, c=kills, d=uses)
    done = pytest_in(project, "-n2", "--dist=load")
    assert done.code == 0, done.stdout
    assert set_ups(project) == ["m"] * 4


def test_the_distribution_that_the_user_chose_stays(project: Project) -> None:
    """``--dist`` must be left alone, and projects without stacks keep the default of pytest-xdist."""
    body = "".join(f"def test_{n}(all_here): pass\n" for n in range(2))
    suite(project, a=body)
    together = pytest_in(project, "-n2", "--dist=load")
    assert together.code == 0, together.stdout
    assert len(list((project.root / "suite" / "workers").iterdir())) == 2
    assert "StackScheduling" not in together.stdout
    (project.root / "suite" / "test_a.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    assert "StackScheduling" in pytest_in(project, "-n2", "-v").stdout
    (project.root / "pyproject.toml").write_text("")
    assert "StackScheduling" in pytest_in(project, "-n2", "-v").stdout  # the conftest has stacks
    (project.root / "suite" / "conftest.py").write_text("")
    assert "scheduling tests via LoadScheduling" in pytest_in(project, "-n2", "-v").stdout


def test_stacks_that_two_workers_want_crosswise_are_an_error_at_once(project: Project) -> None:
    """Two workers that each wait for the other's stack must not wait for ever, and be told what to change."""
    project.stack("s", {"web": web()})
    project.stack("m", {"web": web()})
    first, second = "def test_x(own, all_here, other): pass\n", "def test_y(other, all_here, own): pass\n"
    fixture = "@pytest.fixture(scope='module')\ndef all_here(all_here): pass\n"
    suite(project, a=fixture + first, b=fixture + second)
    began = clock.now()
    done = pytest_in(project, "-n2")
    assert clock.now() - began < 60
    assert done.code == 10, done.stdout
    assert "is with another worker, which waits for one of this worker's" in done.stdout
    assert "1 passed, 1 error" in done.stdout


def test_a_killed_worker_does_no_harm_to_the_others(project: Project) -> None:
    """When a worker is killed, the others must go on with the same stack, and nothing be left at the end."""
    project.stack("s", {"web": web(words=("say:hello",))})
    killed = "def test_killed(all_here, shared):\n    os.kill(os.getpid(), 9)\n"
    lives = (
        "def test_a(all_here, shared): wait(1)\ndef test_b(shared): assert shared.service('web').state == 'running'\n"
    )
    suite(project, a=killed, b=lives, c=lives.replace("test_", "test_c_"))
    done = pytest_in(project, "-n3")
    assert done.code == 1, done.stdout
    assert "1 failed, 4 passed" in done.stdout
    assert (project.latest / "services" / "web.log").read_text() == "hello\n"
    assert run_json(project)["outcomes"] == {"succeeded": 4, "failed": 1}
    assert project.processes() == {}


def test_a_new_worker_takes_all_that_a_killed_one_had_left(project: Project) -> None:
    """What a worker had done must not be given to the next one again, which would wait for ever for nothing to do."""
    project.stack("s", {"web": web()})
    killed = "def test_killed(shared):\n    os.kill(os.getpid(), 9)\ndef test_after(shared): pass\n"
    one = "def test_{0}(shared): pass\n"
    suite(project, a=one.format("a"), b=killed, c=one.format("c"), d=one.format("d"))
    for workers in ("-n1", "-n2"):
        done = pytest_in(project, workers)
        assert done.code == 1, done.stdout
        assert "1 failed, 4 passed" in done.stdout, workers


def test_a_worker_killed_while_it_builds_is_replaced(project: Project) -> None:
    """When the builder of a stack is killed, the next worker must build it anew."""
    project.stack("s", {"web": web(delay=1.0)})
    once = (
        "def test_{0}(request, all_here, shared): pass\n"
        "@pytest.fixture(scope='session', autouse=True)\ndef bomb(request, all_here):\n    import threading\n"
        "    mark = request.config.rootpath / 'bombed'\n"
        "    if request.config.workerinput['workerid'] == 'gw0' and not mark.exists():\n"
        "        mark.touch()\n        threading.Timer(0.7, os.kill, (os.getpid(), 9)).start()\n"
    )
    suite(project, a=once.format("a"), b=once.format("b"))
    done = pytest_in(project, "-n2")
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert project.processes() == {}


def test_a_service_that_dies_is_broken_for_every_worker_that_uses_it(project: Project) -> None:
    """A death seen by a worker must be counted as broken by the controller, with the evidence of the test."""
    project.stack("s", {"web": web(words=("say:hello",))})
    kill = "def test_kill(shared):\n    os.kill(shared.service('web').pid, 9)\n    wait(20)\n"
    suite(project, a=kill, b="def test_plain(): pass\n")
    done = pytest_in(project, "-n2")
    assert done.code == 12, done.stdout
    assert "Service 'web' ended with signal 9 (SIGKILL) under test_kill" in done.stdout
    assert run_json(project)["outcomes"] == {"succeeded": 1, "broken": 1}
    assert 'type="BrokenStack"' in (project.latest / "junit.xml").read_text()
    assert (project.latest / "failures" / "suite.test_a.py.test_kill").is_dir()


def test_plain_tests_on_workers_start_and_write_nothing(project: Project) -> None:
    """Workers whose tests ask for no stack must leave neither run folder nor state."""
    suite(project, a="def test_a(): pass\n", b="def test_b(): pass\n")
    done = pytest_in(project, "-n2")
    assert done.code == 0, done.stdout
    assert not (project.root / "logs").exists()
    assert not (project.state / "harness").exists()


def in_mid_test(project: Project, output: Path) -> procs.Popen[bytes]:
    """Start pytest with two workers on tests that wait, and return it when both run."""
    project.stack("s", {"web": web()})
    test = "def test_it(shared, all_here):\n    open(f'running-{os.getpid()}', 'w').close()\n    wait(600)\n"
    suite(project, a=test, b=test)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-n2", "suite"]
    with output.open("wb") as file:
        process = procs.spawn(argv, env=project.environ, cwd=project.root, output=file)
    for _ in clock.poll(clock.Deadline.after(60)):
        if len(list(project.root.glob("running-*"))) == 2:
            break
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131), (signal.SIGINT, 2)]
)
def test_a_signal_to_the_controller_ends_all_workers(
    project: Project, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """After a signal in mid-test everything must be gone, not when the tests end, and the exit code tell the signal."""
    process = in_mid_test(project, tmp_path / "out")
    process.send_signal(number)
    assert process.wait(60) == code, (tmp_path / "out").read_text()
    assert project.processes() == {}
    assert run_json(project)["exit_code"] == code


def test_a_killed_controller_leaves_nothing(project: Project, tmp_path: Path) -> None:
    """After KILL of the controller in mid-test, workers and environment must be gone soon, not when the tests end."""
    process = in_mid_test(project, tmp_path / "out")
    process.kill()
    process.wait(30)
    assert project.wait_until_gone(30) == {}
    assert project.ledgers() == []


def test_what_failed_on_workers_can_be_kept(project: Project) -> None:
    """With --keep=on-failure the stacks of a failed run must stay, shared and own ones, until ``down``."""
    project.stack("s", {"web": web()})
    project.stack("m", {"top": web()})
    suite(project, a="def test_a(own): assert False\n", b="def test_b(shared): assert shared.services\n")
    done = pytest_in(project, "-n2", "--keep=on-failure")
    assert done.code == 1, done.stdout
    assert "the environment is kept" in done.stdout
    assert len(project.processes()) == 3
    down = run_in(project, "-c", "from harness.invoke_tasks import main; main()", "down")
    assert down.code == 0, down.stderr
    assert project.processes() == {}


def test_workers_use_the_environment_that_is_kept(project: Project) -> None:
    """Workers must use what ``up`` left, and leave it up."""
    project.stack("s", {"web": web()})
    task = "from harness.invoke_tasks import main; main()"
    assert run_in(project, "-c", task, "up", "--stack", "s").code == 0
    before = project.processes()
    suite(project, a="def test_a(shared): pass\n", b="def test_b(other): pass\n")
    done = pytest_in(project, "-n2")
    assert done.code == 0, done.stdout
    assert set_ups(project) == []
    assert project.processes() == before
    assert run_in(project, "-c", task, "down").code == 0


def test_a_keeper_told_to_end_while_a_worker_waits_for_anothers_stack_ends(project: Project, tmp_path: Path) -> None:
    """After TERM to the keeper, a worker that waits must be told so, everything be removed, and the keeper be gone."""
    project.stack("m", {"web": web()})
    test = "def test_it(own):\n    open('running', 'w').close()\n    wait(600)\n"
    suite(project, a=test, b=test)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-n2", "suite"]
    with (tmp_path / "out").open("wb") as file:
        process = procs.spawn(argv, env=project.environ, cwd=project.root, output=file)
    keepers: list[tuple[int, int]] = []
    for _ in clock.poll(clock.Deadline.after(60)):
        keepers = _with_two_leases(project) if (project.root / "running").exists() else []
        if keepers:
            break
    ((pid, start),) = keepers
    procs.kill(pid, signal.SIGTERM, start_time=start)
    assert procs.wait_gone(pid, start, 40)
    assert process.wait(60) == 12, (tmp_path / "out").read_text()
    assert project.wait_until_gone(30) == {}
    assert project.ledgers() == []


def _with_two_leases(project: Project) -> list[tuple[int, int]]:
    """Return (pid, start time) of the keeper on which two workers and their controller hold a lease."""
    read = [ledger.read(path) for path in project.ledgers()]
    return [(record.keeper.pid, record.keeper.start) for record in read if record and len(record.holders) == 3]
