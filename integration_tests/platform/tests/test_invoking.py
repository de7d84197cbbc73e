"""What invocations are answered, when all is well and when a model server is not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from integration_tests.platform.tests.suite import ALLOWED, FLAT, LATE, PRICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration_tests.platform.tests.suite import Deployer, Model, Version

FEW = 4
"""Invocations that a machine with much to do answers in a second and a half."""
BAD_INPUTS: dict[str, tuple[object, str]] = {
    "none": ([], "inputs must be a list of rows of 3 numbers"),
    "number": (7, "inputs must be a list of rows of 3 numbers"),
    "flat": ([1, 2, 3], "row 0 of inputs is no list of 3 numbers"),
    "short": ([[1, 2, 3], [1, 2]], "row 1 of inputs is no list of 3 numbers"),
    "text": ([[1, 2, "3"]], "row 0 of inputs is no list of 3 numbers"),
    "truth": ([[1, 2, True]], "row 0 of inputs is no list of 3 numbers"),
    "large": ([[1, 2, 1e300]], "row 0 of inputs is no list of 3 numbers"),
}


def test_its_own_model_server_is_up_before_the_first_test(own: Version, deployer: Deployer) -> None:
    """The account must have a model of its own from the start, whose server runs."""
    assert own.state == "running"
    assert deployer.running[own.instance] == "running"
    assert own.invoke().body == {"outputs": [PRICES["price-1.onnx"]], "version": 1}


def test_rows_are_answered_in_their_order(starter: Model) -> None:
    """Each row must have its prediction, at its place."""
    said = starter.invoke([[area, 1, 0] for area in range(100)])
    assert said.body["outputs"] == [2.0 * area + 15 for area in range(100)]


@pytest.mark.parametrize(("inputs", "says"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_inputs_that_a_model_does_not_take_are_refused(starter: Model, inputs: object, says: str) -> None:
    """Inputs of another shape than the model's must be 400, with the row and what it takes."""
    assert starter.invoke(inputs).told == (400, says)


def test_missing_inputs_are_named(starter: Model) -> None:
    """An invocation without inputs must be 400 with the field."""
    said = starter.platform.ask("POST", f"{starter.path}/invoke", {})
    assert said.told == (400, "inputs is missing: a list of rows of numbers was needed")


def test_fifty_invocations_at_once_have_their_own_answers(starter: Model) -> None:
    """Each of fifty invocations at the same time must be answered with what it asked for."""
    said = starter.platform.together(50, lambda number: starter.invoke([[number, 1, 0]]))
    assert [one.status for one in said] == [200] * 50
    assert [one.body["outputs"] for one in said] == [[2.0 * number + 15] for number in range(50)]


def test_an_invocation_leaves_no_row(starter: Model, rows: Callable[[], dict[str, int]]) -> None:
    """Invocations must leave the database as it was."""
    before = rows()
    for _ in range(5):
        starter.says()
    assert rows() == before


def test_a_crash_is_told_with_its_exit_code(model: Model, deployer: Deployer) -> None:
    """A server that ends while it predicts must make that 502 with the exit code, and be shown as crashed."""
    version = model.deploy(crash_at=2)
    assert model.invoke([FLAT]).status == 200
    said = model.invoke([FLAT])
    assert said.told == (502, "version 1: its model server ended with exit code 70")
    assert deployer.running[version.instance] == "exited"
    told = model.platform.get(version.path)
    assert (told["state"], told["reason"]) == ("crashed", "its model server ended with exit code 70")
    said = model.invoke([FLAT])
    assert said.told == (502, "version 1 is crashed: its model server ended with exit code 70")
    assert "prediction 2: crashes, as it was told" in version.log()


def test_after_a_crash_a_restart_helps(model: Model) -> None:
    """A crashed version must predict again once it was restarted; meanwhile another version is not disturbed."""
    crashing, other = model.deploy(crash_at=2), model.deploy("price-2.onnx")
    assert [crashing.invoke().status for _ in range(2)] == [200, 502]
    assert other.invoke().body["outputs"] == [PRICES["price-2.onnx"]]
    assert crashing.act("restart")["state"] == "running"
    assert [crashing.invoke().status for _ in range(2)] == [200, 502]  # it was told to crash at the second of each life
    other.act("promote")
    assert model.says() == (PRICES["price-2.onnx"], 2)


def test_a_restarted_model_server_is_the_same_deployment(model: Model, deployer: Deployer) -> None:
    """A restart must keep the version, its place and its name, and the new server must predict."""
    version = model.deploy("price-2.onnx")
    instance = version.instance
    told = version.act("restart")
    assert (told["id"], told["instance"], told["state"]) == (version.pk, instance, "running")
    assert deployer.running[instance] == "running"
    assert model.says() == (PRICES["price-2.onnx"], 1)
    assert version.log().count("pynode: serves price-2.onnx") == 2


def test_a_slow_model_is_left_in_time(model: Model) -> None:
    """A server that takes too long must make the invocation 504 in time."""
    model.deploy(seconds=30)
    said = model.invoke([FLAT])
    assert said.told == (504, f"the model server did not answer in {ALLOWED:g} s")
    assert ALLOWED <= said.seconds < ALLOWED + LATE


def test_a_slow_model_holds_up_nobody_else(model: Model, starter: Model) -> None:
    """While an invocation waits for a slow server, those of another model must be answered."""
    model.deploy(seconds=1.5)
    meanwhile = 0
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(model.invoke, [FLAT])
        while not slow.done():
            starter.says()
            meanwhile += not slow.done()
    assert slow.result().status == 200
    assert meanwhile >= FEW, "so few were answered meanwhile"


def test_a_slow_load_is_waited_for(model: Model) -> None:
    """A deployment must be answered when the model is loaded, however long that takes."""
    version = model.deploy(load_seconds=0.5)
    assert version.invoke().status == 200


def test_a_log_is_what_its_model_server_wrote(model: Model) -> None:
    """The log of a version must have what its own server wrote, and of that as many lines as were asked for."""
    version = model.deploy("price-2.onnx")
    assert version.invoke().status == 200
    log = version.log()
    assert "pynode: serves price-2.onnx" in log
    assert "POST /predict" in log
    assert version.log(tail=1).count("\n") == 1
    assert "POST /predict" in version.log(tail=1)


@pytest.mark.parametrize("tail", ["0", "-1", "x", "10001", ""])
def test_a_number_of_lines_that_is_none_is_named(own: Version, tail: str) -> None:
    """A number of lines that means nothing must be 400 with the parameter."""
    said = own.platform.ask("GET", f"{own.path}/logs?tail={tail}")
    assert said.told == (400, f"tail is {tail!r}, a number from 1 to 10000 was needed")
