"""Contracts: how implementations that know of no events take part as they are."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.matrix.cases import Case, Role
from harness.matrix.cells import Cell
from harness.matrix.contracts.known import CONTRACTS
from harness.matrix.implementations import Matrix, read_matrix
from harness.runs.interop.parts import parts_of

FILE = Path("/m/interop.toml")


def matrix(lines: str) -> Matrix:
    return read_matrix(FILE, tomllib.loads(f"[implementations.a]\ncommand = ['run']\n{lines}"))


def heard(contract: str, role: str, ready: str, output: bytes, code: int) -> list[str]:
    ears = CONTRACTS[contract].ears(role, ready)
    events = [event for byte in output for event in ears.feed(bytes([byte]), 1, is_error=False)]
    return [event.info.get("line", event.ty) for event in [*events, *ears.end(code, 2)]]


def test_a_line_says_that_a_silent_worker_is_ready() -> None:
    """It is ready right behind the first line that its pattern is found in, of either stream, and only once."""
    assert heard("exit-code", "worker", "on port [0-9]+", b"starting\non port 80\non port 81", 0) == [
        *("starting", "on port 80", "ready", "on port 81")
    ]
    ears = CONTRACTS["exit-code"].ears("worker", "up")
    assert [event.ty for event in ears.feed(b"up\n", 1, is_error=True)] == ["log", "ready"]
    assert ears.written == 3
    assert heard("exit-code", "worker", "up", b"up", 0) == ["up", "ready"]
    assert heard("exit-code", "worker", "up", b"down\n", 0) == ["down"]


@pytest.mark.parametrize(
    ("code", "told"), [(0, ["ready", "done"]), (1, ["ready"]), (-9, ["ready"]), (127, []), (3, ["ready"])]
)
def test_an_exit_code_says_that_a_silent_driver_is_done(code: int, told: list[str]) -> None:
    """It is ready and done when it exits with 0; 127 says that it never was; what it writes is no event."""
    line = '{"ty": "done"}'
    assert heard("exit-code", "driver", "", line.encode(), code) == [line, *told]


def test_a_silent_driver_with_a_pattern_must_have_written_it() -> None:
    """An exit code of 0 without that line says nothing."""
    assert heard("exit-code", "driver", "go", b"went\n", 0) == ["went"]
    assert heard("exit-code", "driver", "go", b"go\n", 0) == ["go", "ready", "done"]


def test_a_test_case_is_told_in_variables() -> None:
    """The entry must get no argument; worker and driver are server and client."""
    made = matrix("contract = 'testcase'\nready = 'up'")
    assert made.implementations[0].entry == ("/run_endpoint.sh",)
    case = Case("t", roles=(Role("worker"), Role("driver")))
    parts = parts_of(made, case, Cell("t/a/a", "t", "a", "a"), {})
    assert [(part.argv, part.env["TESTCASE"], part.env["ROLE"], part.ready) for part in parts] == [
        *((("run",), "t", "server", "up"), (("run",), "t", "client", "up"))
    ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("contract = 'exit'", "contract is 'exit', one of th-test, exit-code, testcase was needed"),
        ("contract = 'exit-code'", "ready is missing: of the contract exit-code, who is a worker"),
        ("ready = 'up'", "ready is not for the contract th-test"),
        ("contract = 'testcase'\nready = '('", "ready is '(', which is no regular expression"),
    ],
)
def test_what_a_contract_needs_is_said(lines: str, problem: str) -> None:
    """A matrix that cannot be spoken to must be refused, with what was needed."""
    with pytest.raises(ConfigError) as caught:
        matrix(lines)
    assert problem in str(caught.value.problems)


def test_a_silent_driver_needs_no_pattern() -> None:
    """Where an implementation is never waited for, there must be nothing to declare."""
    assert matrix("contract = 'exit-code'\nroles = ['driver']").implementations[0].ready == ""
