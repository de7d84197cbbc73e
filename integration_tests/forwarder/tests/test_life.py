"""How a forwarder begins, ends, and is missed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from suite import ANY, SUBJECT, needs

import harness
from harness.clock import Deadline

if TYPE_CHECKING:
    from pathlib import Path

    from suite import Forwarder

pytestmark = pytest.mark.usefixtures("kafka_stack", "ioc_stack")


def test_it_ends_when_asked_to(forwarding: harness.Stack, forwarder: Forwarder, provider: str) -> None:
    """TERM must end it with its exit code (ours: 0), with streams open, before anybody loses patience."""
    service = forwarding.service("forwarder")
    command = ANY.add(*forwarder.streams(["SIMPLE:LONG", "SIMPLE:STR"], provider))
    forwarder.status_after(command, lambda found: len(found) == 2, "with two streams")
    service.stop()
    code = service.exit_code
    service.start()
    assert forwarder.running() == set()
    assert code == SUBJECT.exit_code


@needs("json", "exit-command")
def test_the_command_exit_ends_it(forwarding: harness.Stack, forwarder: Forwarder) -> None:
    """After the command exit it must end with exit code 0, which is noticed as the end of a service."""
    service = forwarding.service("forwarder")
    with forwarder.status() as status:
        forwarder.send(b'{"cmd": "exit"}')
        try:
            with pytest.raises(harness.BrokenStack, match=r"^Service 'forwarder' ended with exit code 0 "):
                status.wait_for(lambda _: False, what="end")
        finally:
            service.start()
    forwarder.running()


def test_a_killed_forwarder_is_reported_at_once(forwarding: harness.Stack, forwarder: Forwarder) -> None:
    """A subject that is killed must end a wait at once, with its signal and its last words."""
    service = forwarding.service("forwarder")
    forwarder.status_after(ANY.add(*forwarder.streams(["SIMPLE:LONG"], "pva")), bool, "with a stream")
    with forwarder.data() as data:
        try:
            try:
                os.kill(service.pid, signal.SIGKILL)
            except PermissionError:
                pytest.skip("only root may kill a container's process")
            noticed = Deadline.after(30)
            with pytest.raises(harness.BrokenStack) as caught:
                data.wait_for(lambda _: False, 60, what="end")
            assert not noticed.expired()
        finally:
            service.start()
    forwarder.running()
    assert caught.value.summary.startswith("Service 'forwarder' ended with ")
    assert "SIGKILL" in caught.value.summary or "137" in caught.value.summary
    assert any(SUBJECT.adding in line for line in caught.value.details)


def test_its_own_log_is_in_the_folder_of_the_run(
    forwarding: harness.Stack, forwarder: Forwarder, run_dir: Path
) -> None:
    """What the forwarder writes to its --log-file must be in the run's folder while it runs."""
    forwarder.status_after(ANY.add(*forwarder.streams(["SIMPLE:LONG"], "ca")), bool, "with a stream")
    assert forwarding.service("forwarder").state == "running"
    logs = list((run_dir / "services").glob("forwarder@forwarding.file.log"))
    assert logs
    assert f"INFO {SUBJECT.adding}" in logs[0].read_text(encoding="utf-8")
