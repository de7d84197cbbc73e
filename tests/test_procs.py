"""Commands end in time, whatever they start."""

from __future__ import annotations

import signal

from harness import clock, procs


def test_a_command_that_takes_too_long_is_ended() -> None:
    """A command must be ended at its time-out, and say so by having no exit code."""
    began = clock.now()
    done = procs.run(["sh", "-c", "echo begun; exec tail -f /dev/null"], timeout=0.3)
    assert (done.code, done.stdout) == (None, "begun\n")
    assert clock.now() - began < 3


def test_a_daemon_that_holds_the_pipes_does_not_hold_the_caller() -> None:
    """A descendant that left the group and keeps the output open must not keep ``run`` waiting."""
    began = clock.now()
    done = procs.run(["sh", "-c", "setsid sh -c 'echo $$; exec tail -f /dev/null' & wait"], timeout=0.5)
    assert done.code is None
    assert clock.now() - began < 4
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
        assert process.wait(5) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait(5)
