"""What lives is found whatever became of its files, and what hangs is named and can be ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from namespaces import apart
from projects import Project, run_in, web

from harness import clock, procs
from harness.errors import BrokenStack
from harness.keeper.client import HungKeeperError, KeeperLink
from harness.keeper.living import find_living, find_one, listening
from harness.ownership import ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_OPEN = 900  # more than may wait at a keeper
HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
TEST = "def test_a(stack):\n    assert stack.endpoint('web', 8080)\n"


def harness(project: Project, *words: str, code: int = 0, timeout: float = 60) -> procs.Finished:
    """Run a task and return what it did."""
    done = run_in(project, *HARNESS, *words, timeout=timeout)
    assert done.code == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def services(project: Project) -> list[dict[str, Any]]:
    """Return what ``ps`` lists."""
    listed: list[dict[str, Any]] = json.loads(harness(project, "ps", "--json").stdout)["services"]
    return listed


@pytest.fixture
def alone(project: Project) -> Iterator[Project]:
    """A project with the stack ``s`` whose commands see no environment of anybody else: they are taken down here."""
    project.stack("s", {"web": web()})
    with apart(project.root) as project.prefix:
        yield project
        harness(project, "gc", "--hung", "--engine", "embedded")
        harness(project, "down")


@pytest.fixture
def up(project: Project) -> Iterator[tuple[Project, Path]]:
    """A project with the stack ``s`` up, and the ledger of its environment."""
    project.stack("s", {"web": web()})
    harness(project, "up", "--stack", "s")
    yield project, project.ledgers()[0]
    harness(project, "down")


def pid_of_keeper(path: Path) -> int:
    """Return the keeper that a ledger names."""
    record = ledger.read(path)
    assert record
    return record.keeper.pid


def stop(pid: int) -> None:
    """Stop a process, and wait until it is."""
    os.kill(pid, signal.SIGSTOP)
    for _ in clock.poll(clock.Deadline.after(10)):
        if procs.state_of(pid) in procs.STOPPED:
            return
    raise AssertionError(f"pid {pid} is {procs.state_of(pid)}")


def _removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _replaced(path: Path) -> None:
    text = path.read_text().replace(path.stem, "20200101-000000-00000000")
    path.unlink()
    path.write_text(text)


def _linked(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _in_its_place_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = [_removed, _emptied, _halved, _replaced, _linked, _piped, _in_its_place_a_folder]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda one: one.__name__.strip("_"))
def test_a_living_environment_is_found_whatever_became_of_its_ledger(
    up: tuple[Project, Path], damage: Callable[[Path], None]
) -> None:
    """It must be listed, used instead of a second one, and taken down."""
    project, path = up
    keeper, before = pid_of_keeper(path), services(project)
    damage(path)
    assert [record.keeper.pid for record in find_living(path.parent, str(project.root))] == [keeper]
    assert services(project) == before
    harness(project, "up", "--stack", "s")
    assert services(project) == before
    said = harness(project, "down").stderr
    assert "is down, nothing is left" in said
    assert project.wait_until_gone(10) == {}
    if path.is_dir():
        path.rmdir()


@pytest.mark.parametrize("damage", DAMAGE[:-1], ids=lambda one: one.__name__.strip("_"))
def test_a_keeper_writes_its_ledger_again(up: tuple[Project, Path], damage: Callable[[Path], None]) -> None:
    """A ledger that is gone, replaced or changed must be whole and locked again within some seconds."""
    _, path = up
    before = ledger.read(path)
    damage(path)
    again = None
    for _ in clock.poll(clock.Deadline.after(10)):
        again = ledger.read(path)
        if again == before and ledger.keeper_is_alive(path):
            break
    assert again == before
    assert ledger.keeper_is_alive(path)


def test_an_environment_of_another_session_is_found(up: tuple[Project, Path], tmp_path: Path) -> None:
    """With another state folder, as in cron, what is up must be listed, used and taken down all the same."""
    project, path = up
    before = services(project)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    project.environ["XDG_RUNTIME_DIR"] = str(elsewhere)
    assert services(project) == before
    harness(project, "up", "--stack", "s")
    assert services(project) == before
    (project.root / "test_a.py").write_text(TEST)
    assert "1 passed" in harness(project, "test", "--stack", "s", "--", "-q", "test_a.py").stdout
    assert services(project) == before
    assert "lives (keeper: pid" in harness(project, "gc", "--engine", "embedded").stderr
    assert "is down, nothing is left" in harness(project, "down").stderr
    assert not path.exists()


def test_workers_share_an_environment_whose_ledger_was_deleted(project: Project, tmp_path: Path) -> None:
    """A ledger that is deleted under a run with workers must neither make a second environment nor leave the first."""
    project.stack("s", {"web": web()})
    (project.root / "test_a.py").write_text(
        "import pathlib, pytest, shutil\n"
        "@pytest.mark.parametrize('n', range(4))\n"
        f"def test_a(stack, n):\n    shutil.rmtree({str(project.state / 'harness')!r}, ignore_errors=True)\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'pid-{{stack.service(\"web\").pid}}').touch()\n"
    )
    done = harness(project, "test", "--stack", "s", "--", "-q", "-n", "2", "test_a.py", timeout=180)
    assert "4 passed" in done.stdout
    assert len(list(tmp_path.glob("pid-*"))) == 1
    assert project.wait_until_gone(10) == {}


def test_nobody_listens_for_an_environment_that_is_gone(up: tuple[Project, Path]) -> None:
    """After ``down`` neither a name nor a record of it may be found."""
    project, path = up
    env = path.stem
    assert env in listening()
    harness(project, "down")
    assert env not in listening()
    assert find_one(path.parent, env) is None


def test_down_all_lists_and_ends_what_other_checkouts_keep(alone: Project, tmp_path: Path) -> None:
    """``down --all`` must list the environments of every checkout of this user, then remove them, from any session."""
    harness(alone, "up", "--stack", "s")
    elsewhere, state = tmp_path / "else", tmp_path / "other-state"
    elsewhere.mkdir()
    state.mkdir(mode=0o700)
    environ = alone.environ | {"XDG_RUNTIME_DIR": str(state)}
    done = procs.run([*alone.prefix, sys.executable, *HARNESS, "down", "--all"], timeout=30, env=environ, cwd=elsewhere)
    assert done.code == 0, done.stderr
    assert f"on embedded, of {alone.root}" in done.stderr
    assert "is down, nothing is left" in done.stderr
    assert alone.ledgers() == []


def _second(project: Project, folder: Path) -> Project:
    """Return another checkout in the same session, with the same stack."""
    folder.mkdir()
    other = Project(folder, project.state)
    other.prefix = project.prefix
    other.stack("s", {"web": web()})
    return other


@pytest.mark.parametrize("has_ledger", [True, False], ids=["ledger", "no-ledger"])
def test_a_hung_keeper_is_named_passed_over_and_ended(alone: Project, tmp_path: Path, *, has_ledger: bool) -> None:
    """``down --all`` must take down all others and name it; ``gc --hung`` must end it and clear what it kept."""
    harness(alone, "up", "--stack", "s")
    path = alone.ledgers()[0]
    keeper = pid_of_keeper(path)
    other = _second(alone, tmp_path / "other")
    harness(other, "up", "--stack", "s")
    stop(keeper)
    if not has_ledger:
        path.unlink()
    said = harness(alone, "down", "--all", code=14).stderr
    assert f"(pid {keeper}, stopped) does not answer" in said
    assert "gc --hung" in said
    assert other.wait_until_gone(10).keys() <= alone.processes().keys()
    assert [record.env for record in find_living(path.parent, str(other.root))] == []
    assert f"(pid {keeper}, stopped)" in harness(alone, "gc", "--engine", "embedded").stderr
    harness(alone, "gc", "--hung", "--engine", "embedded")
    assert alone.wait_until_gone(10) == {}
    assert alone.ledgers() == []


def test_a_hung_keeper_that_cannot_go_on_is_killed(alone: Project) -> None:
    """One that does not end when it is asked to must be killed, and what it kept removed by whoever asked."""
    harness(alone, "up", "--stack", "s")
    keeper = pid_of_keeper(alone.ledgers()[0])
    stop(keeper)
    stopper = procs.spawn(
        [
            sys.executable,
            "-c",
            "import os, signal, sys\nwhile True:\n    os.kill(int(sys.argv[1]), signal.SIGSTOP)",
            str(keeper),
        ]
    )
    try:
        # It is given a second instead of fifteen.
        hurried = "from harness.keeper import living; living.TERM_BUDGET = 1.0; " + HARNESS[1]
        done = run_in(alone, "-c", hurried, "gc", "--hung", "--engine", "embedded", timeout=60)
        assert done.code == 0, done.stdout + done.stderr
    finally:
        stopper.kill()
        stopper.wait(10)
    assert alone.wait_until_gone(10) == {}
    assert alone.ledgers() == []


def test_commands_beside_a_hung_keeper_say_so_soon(up: tuple[Project, Path]) -> None:
    """``ps``, ``up``, ``test`` and ``down`` must name it within some seconds; another checkout must not notice."""
    project, path = up
    keeper = pid_of_keeper(path)
    (project.root / "test_a.py").write_text(TEST)
    stop(keeper)
    try:
        began = clock.now()
        with pytest.raises(BrokenStack, match="stopped"):
            KeeperLink(listening()[path.stem], lease=False)
        assert clock.now() - began < 30  # not the minute that a request has
        for words, code in ((("ps",), 12), (("up", "--stack", "s"), 12), (("down",), 14)):
            assert f"(pid {keeper}, stopped) does not answer" in harness(project, *words, code=code).stderr
        done = harness(project, "test", "--stack", "s", "--", "-q", "test_a.py", code=12)
        assert f"(pid {keeper}, stopped) does not answer" in done.stdout + done.stderr
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_a_keeper_that_is_stopped_under_a_command_is_named_soon(up: tuple[Project, Path]) -> None:
    """Who has talked to it already must not wait for its answers any longer than who comes to it."""
    project, path = up
    keeper = pid_of_keeper(path)
    words = ("run", "--stack", "s", "--", "sh", "-c", f"kill -STOP {keeper}")
    began = clock.now()
    try:
        done = harness(project, *words, code=14)
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert f"(pid {keeper}, stopped) does not answer" in done.stderr
    assert clock.now() - began < 45  # it used to wait for a minute or more


def test_a_hung_keeper_that_many_wait_for_is_not_called_gone(up: tuple[Project, Path]) -> None:
    """When so many have come that the kernel lets nobody else wait, it must be named all the same."""
    project, path = up
    keeper, name = pid_of_keeper(path), listening()[path.stem]
    stop(keeper)
    with contextlib.ExitStack() as waiting:
        waiting.callback(os.kill, keeper, signal.SIGCONT)
        while (connection := waiting.enter_context(socket.socket(socket.AF_UNIX))).fileno() < MOST_OPEN:
            connection.settimeout(0)
            if connection.connect_ex(f"\0{name}"):
                break
        with pytest.raises(HungKeeperError, match="stopped") as told:
            KeeperLink(name, lease=False)
        assert told.value.pid == keeper
        path.unlink()
        assert [record.keeper.pid for record in find_living(path.parent, str(project.root))] == [keeper]
