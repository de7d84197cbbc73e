"""Commands end in time, whatever they start."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from projects import ACTOR

from harness import clock, procs


def test_a_command_that_takes_too_long_is_ended() -> None:
    """A command must be ended at its time-out, and say so by having no exit code."""
    began = clock.now()
    done = procs.run(["sh", "-c", "echo begun; exec tail -f /dev/null"], timeout=0.3)
    assert (done.code, done.stdout) == (None, "begun\n")
    assert clock.now() - began < 30


def test_a_daemon_that_holds_the_pipes_does_not_hold_the_caller() -> None:
    """A descendant that left the group and keeps the output open must not keep ``run`` waiting."""
    began = clock.now()
    done = procs.run(["sh", "-c", "setsid sh -c 'echo $$; exec tail -f /dev/null' & wait"], timeout=0.5)
    assert done.code is None
    assert clock.now() - began < 30
    pid = int(done.stdout or 0)
    start = procs.start_time_of(pid)
    assert start is not None
    assert procs.kill(pid, signal.SIGKILL, start_time=start)


def test_only_the_process_that_is_meant_is_signalled() -> None:
    """A pid with another start time must not be signalled."""
    process = procs.spawn(["tail", "-f", "/dev/null"])
    try:
        start = procs.start_time_of(process.pid)
        assert start is not None
        assert not procs.kill(process.pid, signal.SIGKILL, start_time=start - 1)
        assert process.poll() is None
        assert procs.kill(process.pid, signal.SIGKILL, start_time=start)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait(30)


def test_no_process_is_overlooked_because_it_forks(tmp_path: Path) -> None:
    """A chain of processes, each of which forks the next and ends, must be found by every walk through /proc."""
    cookie = f"TEST_HOPPER={tmp_path}"
    process = procs.spawn([sys.executable, str(ACTOR), "hop:60"], env={"TEST_HOPPER": str(tmp_path)})
    try:
        assert process.wait(30) == 0
        missed = sum(not procs.with_cookie(cookie) for _ in range(100))
        assert procs.with_cookie(cookie), "the chain ended before it was looked for"
    finally:
        (tmp_path / "stop").touch()
        gone = any(not procs.with_cookie(cookie) for _ in clock.poll(clock.Deadline.after(30)))
    assert (missed, gone) == (0, True)


def test_one_walk_tells_whose_each_process_is() -> None:
    """Of the processes with a cookie, and of no others, the value of another variable must be told."""
    mine = f"TEST_WALK={os.getpid()}"
    environments = [{"NAME": "a/b"}, {"NAME": "c"}, {}, {"NAME": "d", "TEST_WALK": f"{os.getpid()}0"}]
    spawned = [
        procs.spawn(["tail", "-f", "/dev/null"], env={"TEST_WALK": str(os.getpid()), **environment})
        for environment in environments
    ]
    try:
        processes = procs.with_cookies(mine, "NAME")
        names = {process.pid: processes[process.pid][1] for process in spawned if process.pid in processes}
        assert names == dict(zip([process.pid for process in spawned], ["a/b", "c", ""], strict=False))
        assert all(procs.start_time_of(pid) == start for pid, (start, _) in processes.items())
    finally:
        for process in spawned:
            process.kill()
            process.wait(30)


def test_each_root_has_its_own_family() -> None:
    """Descendants at any depth must be told by root, zombies and the root itself left out."""
    script = "sh -c 'tail -f /dev/null & wait' & wait"
    spawned = [procs.spawn(["sh", "-c", script]) for _ in range(2)]
    roots = [process.pid for process in spawned]
    try:
        families: dict[int, dict[int, int]] = {}
        for _ in clock.poll(clock.Deadline.after(30)):
            families = procs.families(roots)
            if all(
                sum(procs.command_of(pid).startswith("tail") for pid in family) == 1 for family in families.values()
            ):
                break
        assert [sorted(procs.command_of(pid)[:4].strip() for pid in families[root]) for root in roots] == [
            ["sh -", "tail"]
        ] * 2
        assert families[roots[0]].keys().isdisjoint(families[roots[1]])
        assert procs.families([roots[0]])[roots[0]] == procs.descendants(roots[0]) == families[roots[0]]
    finally:
        for process in spawned:
            procs.kill_group(process.pid, signal.SIGKILL)
            process.wait(30)


def test_a_command_is_told_on_one_line() -> None:
    """Whatever stands in the words of a process, people must get one line of it, without control characters."""
    process = procs.spawn(["sh", "-c", "tail -f /dev/null # a\n\n\tb \x1b[31m\x85c"])
    try:
        command = ""
        for _ in clock.poll(clock.Deadline.after(10)):
            command = procs.command_of(process.pid)
            if command.startswith("sh"):
                break
        assert command == "sh -c tail -f /dev/null # a b [31m c"
    finally:
        process.kill()
        process.wait(30)
