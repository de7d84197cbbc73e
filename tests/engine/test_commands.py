"""Commands in containers: their exit codes, and where what they say cannot be written."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.clock import Deadline
from harness.engine.compose import hands
from harness.engine.compose.commands import Command
from harness.engine.compose.hands import attach, execute
from harness.errors import HarnessError
from harness.runs.inside import _Output

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

RUNS: dict[str, Any] = {"Running": True, "ExitCode": None}
SAID = b"x" * 20000


class Engine:
    """An engine with a command that has said something, and of which it knows one after the other."""

    def __init__(self, *facts: dict[str, Any]) -> None:
        self.facts = list(facts)
        self.stream, engine = socket.socketpair()
        engine.sendall(b"\1\0\0\0" + len(SAID).to_bytes(4, "big") + SAID)
        engine.close()

    def exec_create(self, *_: object, **__: object) -> dict[str, str]:
        return {"Id": "c"}

    def exec_start(self, *_: object, **__: object) -> socket.socket:
        return self.stream

    def exec_inspect(self, _: str) -> dict[str, Any]:
        return self.facts.pop(0) if len(self.facts) > 1 else self.facts[0]


def code_of(engine: Any, way: str) -> int | None:
    """Return the exit code of a command that is run in one of the ways."""
    if way == "execute":
        return execute(engine, "box", ["run"], 5).code
    if way == "attach":
        return attach(engine, "box", ["run"])
    command = Command(engine, "box", ["run"], {})
    assert command.follow(lambda _, __: None, Deadline.after(5), lambda: None)
    command.close()
    return command.code


@pytest.mark.parametrize("way", ["execute", "attach", "command"])
def test_an_exit_code_is_waited_for(way: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Where an engine ends the output before it knows the exit code, that must be asked for again."""
    engine = Engine(RUNS, {"Running": True, "ExitCode": 0}, {"Running": False, "ExitCode": 3})
    assert code_of(engine, way) == 3
    assert capsysbinary.readouterr().out == (SAID if way == "attach" else b"")


@pytest.mark.parametrize("facts", [RUNS, {"Running": False, "ExitCode": None}])
def test_a_code_that_no_engine_knows_is_no_success(facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that has closed its output and goes on must not be waited for without end, nor end well."""
    monkeypatch.setattr(hands, "CODE_BUDGET", 0.05)
    assert code_of(Engine(facts), "execute") is None
    assert code_of(Engine(facts), "command") is None
    with pytest.raises(HarnessError, match="does not know how 'run' ended in the container"):
        code_of(Engine(facts), "attach")


@pytest.fixture
def full() -> Iterator[io.TextIOWrapper]:
    """A stream on a disk that is full; it ends well when nothing waits in it."""
    with Path("/dev/full").open("w") as stream:
        yield stream


def test_a_command_goes_on_when_a_disk_is_full(
    full: io.TextIOWrapper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written must be told, be in the file all the same, and end no command."""
    engine: Any = Engine(RUNS)
    command = Command(engine, "box", ["run"], {})
    monkeypatch.setattr(sys, "stdout", full)
    with _Output(tmp_path / "log") as output:
        assert command.follow(output.write, Deadline.after(5), lambda: None)
    command.close()
    assert (tmp_path / "log").read_bytes() == SAID
    assert output.lost == "standard output cannot be written: No space left on device"


def test_a_command_on_this_terminal_tells_of_a_full_disk(
    full: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of this process that cannot be written must not be told as an engine that does not answer."""
    monkeypatch.setattr(sys, "stdout", full)
    engine: Any = Engine(RUNS)
    with pytest.raises(HarnessError, match="cannot be written, and it goes on in the container: No space") as caught:
        attach(engine, "box", ["run"])
    assert caught.value.exit_code == HarnessError.exit_code
