"""Whatever lies in a state folder, and however full its disk is: one clear error, never a hang or a traceback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from namespaces import apart
from projects import Project, run_in, service, web

from harness import clock, procs
from harness.artifacts import open_regular, read_regular
from harness.errors import ConfigError
from harness.ownership.identity import this_process
from harness.ownership.locks import Holder, holder_of, locked
from harness.ownership.removal import MARK, mark_work_folder
from harness.ownership.sweep import find_dead, sweep
from harness.verbs import up_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEAD = "20260101-000000-deadbeef"
VALUES: tuple[Any, ...] = (None, 1.5, -1, "", "\0", "a" * 5000, [], {}, {"pid": None}, True)
HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def harness(project: Project, *words: str, code: int = 0, timeout: float = 60) -> procs.Finished:
    """Run a task and return what it did."""
    done = run_in(project, *HARNESS, *words, timeout=timeout)
    assert done.code == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def _link(path: Path) -> None:
    path.symlink_to("/dev/null")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket must be short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


KINDS: dict[str, Callable[[Path], None]] = {
    "a symbolic link": _link,
    "a folder": Path.mkdir,
    "a named pipe": os.mkfifo,
    "a socket": _socket,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY], ids=["r", "rw", "w"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str, flags: int) -> None:
    """Anything else must be refused at once by what it is, and stay as it was."""
    path = tmp_path / "a"
    KINDS[kind](path)
    before = path.lstat()
    with pytest.raises(OSError, match=f"it is {kind}, a regular file was needed"):
        open_regular(path, flags)
    assert path.lstat().st_mtime_ns == before.st_mtime_ns


def test_a_device_is_not_opened() -> None:
    """A device must be refused: reading one may never end."""
    with pytest.raises(OSError, match="it is a device"):
        read_regular(Path("/dev/zero"), 10)


def test_a_file_beyond_its_bound_is_not_read(tmp_path: Path) -> None:
    """A state file that has grown without end must not fill the memory."""
    path = tmp_path / "a"
    path.write_bytes(b"12345678901")
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_regular(path, 10)
    path.write_bytes(b"1234567890")
    assert read_regular(path, 10) == b"1234567890"


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_that_is_no_file_is_told_in_one_line(project: Project, kind: str) -> None:
    """A start must end with 10 and name the lock and what it is."""
    state = project.state / "harness"
    state.mkdir(mode=0o700)
    KINDS[kind](state / "sweep.lock")
    project.stack("s", {"web": web()})
    said = harness(project, "up", "--stack", "s", code=10).stderr
    assert f"sweep.lock cannot be used: it is {kind}, a regular file was needed" in said
    assert project.processes() == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_ledger_that_is_no_file_is_passed_over(project: Project, kind: str) -> None:
    """A start and ``gc`` must say what it is and go on; it must stay."""
    state = project.state / "harness"
    state.mkdir(mode=0o700)
    odd = state / "odd.ledger"
    KINDS[kind](odd)
    assert sweep(state).notes == (f"{odd} is {kind}, no ledger; it is passed over",)
    assert f"{odd} is {kind}" in harness(project, "gc", "--engine", "embedded").stderr
    assert odd.lstat()
    odd.rmdir() if kind == "a folder" else odd.unlink()


def _ledger_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the ledger of a dead environment."""
    gone = procs.spawn([sys.executable, "-c", ""])
    gone.wait(20)
    owner = {**this_process().as_dict(), "pid": gone.pid, "start": 1}
    header = {"kind": "header", "schema": 1, "env": DEAD, "checkout": "/nowhere", "engine": "embedded"}
    header |= {"folder": str(folder), "socket": "none", "owner": owner, "nonce": "a", "key": "b", "daemon": None}
    started = {"kind": "started", "pid": gone.pid, "start": 1, "service": "web"}
    return [header, {"kind": "holder", "owner": owner}, {"kind": "kept", "value": True}, started]


def _damaged(lines: list[dict[str, Any]]) -> Iterator[bytes]:
    """Return the file with each value replaced by another kind of value, one at a time, and by what is hard to read."""
    for number, line in enumerate(lines):
        for key in line:
            for value in VALUES:
                wrong = [*lines[:number], {**line, key: value}, *lines[number + 1 :]]
                yield "\n".join(map(json.dumps, wrong)).encode()
    yield b"[" * 200_000
    yield b"\0" * 4096
    yield b'{"kind": "header", "schema": ' + b"9" * 5000 + b"}"


def test_a_ledger_of_whatever_values_is_no_traceback(tmp_path: Path) -> None:
    """A sweep must take it for a ledger or for none; what has no proper number is never waited for or signalled."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    path = state / f"{DEAD}.ledger"
    for content in _damaged(_ledger_lines(tmp_path / "run")):
        path.write_bytes(content)
        os.utime(path, (1, 1))
        find_dead(state)
        began = clock.now()
        assert sweep(state).uncleared == ()
        assert clock.now() - began < 30, content[:1000]


@pytest.mark.parametrize("kind", [*KINDS, "no text"])
def test_scratch_space_with_another_mark_is_left_and_named(tmp_path: Path, kind: str) -> None:
    """What does not bear the mark of its environment must stay, without a wait for what the mark may be."""
    state, folder = tmp_path / "state", tmp_path / "run"
    state.mkdir(mode=0o700)
    folder.mkdir()
    mark = mark_work_folder(folder, DEAD) / MARK
    mark.unlink()
    mark.write_bytes(b"\xff") if kind == "no text" else KINDS[kind](mark)
    (state / f"{DEAD}.ledger").write_text("\n".join(map(json.dumps, _ledger_lines(folder))))
    assert sweep(state).left_of(DEAD) == [f"folder {folder}/work"]
    assert mark.lstat()


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_lock_whose_file_is_deleted_stays_held(tmp_path: Path, *, everywhere: bool) -> None:
    """Who holds a lock must hold it alone, also when its file or all of its folder is deleted meanwhile."""
    path = tmp_path / "state" / f"a-{os.getpid()}.lock"
    path.parent.mkdir()
    with locked(path, 1, everywhere=everywhere):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        with pytest.raises(ConfigError, match=f"held by pid {os.getpid()} "), locked(path, 0.1, everywhere=everywhere):
            pass
    with locked(path, 1, everywhere=everywhere):
        pass


def test_a_lock_of_every_session_is_one(tmp_path: Path) -> None:
    """A lock that is the same everywhere must be held alone, whichever state folder it was taken in."""
    name = f"a-{os.getpid()}.lock"
    (tmp_path / "b").mkdir()
    with locked(tmp_path / name, 1, everywhere=True, purpose="tried"):
        holder = holder_of(tmp_path / name, everywhere=True)
        assert holder
        assert (holder.pid, holder.purpose) == (os.getpid(), "tried")
        with pytest.raises(ConfigError, match="was not free"), locked(tmp_path / "b" / name, 0.1, everywhere=True):
            pass
        with locked(tmp_path / "b" / name, 1):
            pass
    assert holder_of(tmp_path / name, everywhere=True) is None


def test_who_waits_for_a_lock_is_told_at_once_and_gets_it(tmp_path: Path) -> None:
    """A lock that is not free must name its holder before it is waited for, and be had once that one is done."""
    path = tmp_path / "a.lock"
    told: list[Holder] = []
    waits, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(path, 1):
            done.set()
            waits.wait(10)

    holding = threading.Thread(target=hold)
    holding.start()
    assert done.wait(10)

    def waiting(holder: Holder) -> None:
        told.append(holder)
        waits.set()

    with locked(path, 10, waiting=waiting):
        pass
    holding.join(10)
    assert [holder.pid for holder in told] == [os.getpid()]


def test_locks_are_freed_by_death_and_seen_from_other_networks(tmp_path: Path) -> None:
    """A lock must be seen held from another network namespace, by its file; and be free once its holder is killed."""
    path = tmp_path / "a.lock"
    holds = (
        "import sys\nfrom pathlib import Path\nfrom harness.ownership.locks import locked\n"
        "with locked(Path(sys.argv[1]), 5):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with apart(tmp_path) as prefix:
        process = procs.Popen(
            [*prefix, sys.executable, "-c", holds, str(path)], stdin=procs.PIPE, stdout=procs.PIPE, bufsize=0
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.read(4) == b"held"
            with pytest.raises(ConfigError, match=f"held by pid {process.pid} "), locked(path, 0.1):
                pass
            process.kill()
            process.wait(10)
            with locked(path, 5):
                pass


# -- one that is being brought up ------------------------------------------------------------------------------------


def test_a_second_up_says_whom_it_waits_for_and_not_for_longer_than_it_may(project: Project) -> None:
    """It must name the first at once, end at its own --wait-timeout, and ``ps`` must show what is going on."""
    project.stack("s", {"web": web(), "slow": service("say:up", "wait", ready=[{"log": "never"}])})
    log = (project.root / "first.log").open("wb")
    argv = [sys.executable, *HARNESS, "up", "--stack", "s", "--wait-timeout", "60s"]
    with log:
        first = procs.spawn(argv, env=project.environ, cwd=project.root, output=log)
    try:
        for _ in clock.poll(clock.Deadline.after(30)):
            if project.ledgers():
                break
        said = harness(project, "ps").stdout
        assert f"being brought up by pid {first.pid} (" in said
        assert '"purpose": "brought up"' in harness(project, "ps", "--json").stdout
        said = harness(project, "up", "--stack", "s", "--wait-timeout", "0.5s", code=10).stderr
        assert f"what is up here is being brought up by pid {first.pid} (" in said.splitlines()[0]
        assert "was not free in 0.5 s; held by pid" in said
    finally:
        first.terminate()
        first.wait(30)
    assert project.wait_until_gone(10) == {}
    assert "exit code: 143" in harness(project, "report").stdout
    assert "Nothing is up here" in harness(project, "ps", code=10).stderr


def test_report_tells_why_an_up_failed(project: Project) -> None:
    """After an ``up`` that failed, ``report`` must show its exit code and its reason; after one that did not, 0."""
    project.stack("s", {"web": service("exit:3", ready=[{"log": "never"}])})
    failed = harness(project, "up", "--stack", "s", code=12).stderr
    shown = harness(project, "report").stdout
    assert "exit code: 12 (a stack did not settle or broke under a test)" in shown
    assert "reason: Service 'web' ended with exit code 3" in shown
    assert shown.partition("reason: ")[2].splitlines()[0] in failed
    project.stack("s", {"web": web()})
    harness(project, "up", "--stack", "s")
    shown = harness(project, "report").stdout
    assert "exit code: 0 (ok)" in shown
    assert "reason:" not in shown
    up_down.down(project.settings(), project.said.append)


# -- full disks ------------------------------------------------------------------------------------------------------

FILL = """
import os, sys
fd = os.open(sys.argv[1] + "/fill", os.O_WRONLY | os.O_CREAT)
try:
    while os.write(fd, bytes(1 << 12)):
        pass
except OSError:
    pass
"""


@pytest.mark.parametrize("full", ["state", "logs"])
@pytest.mark.parametrize("task", ["up", "run", "test"])
def test_a_full_disk_at_the_start_is_one_clear_line(project: Project, full: str, task: str) -> None:
    """With no room for the state folder or for run folders a start must end with 12, say so, and leave nothing."""
    project.stack("s", {"web": web()})
    (project.root / "test_a.py").write_text("def test_a(stack):\n    assert stack\n")
    disk = project.state if full == "state" else project.root / "logs"
    disk.mkdir(exist_ok=True)
    more = {"run": ["--", "true"], "test": ["--", "-q", "test_a.py"]}.get(task, [])
    with apart(project.root, {disk: "64k"}) as project.prefix:
        run_in(project, "-c", FILL, str(disk))
        done = harness(project, task, "--stack", "s", *more, code=12)
        assert "No space left on device" in done.stdout + done.stderr
        assert "10 s" not in done.stderr
        assert project.wait_until_gone(10) == {}
        assert harness(project, "gc", "--engine", "embedded").stdout == "nothing is left of dead runs\n"
