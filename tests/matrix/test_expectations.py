"""What is expected of cells: read with all its mistakes, the most specific one counts, and a pass can be unexpected."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import ConfigError
from harness.matrix.cells import Cell
from harness.matrix.expectations import (
    chance_of_at_most,
    compare,
    expectation_for,
    expired,
    in_force,
    read_expectations,
    unmatched,
)
from harness.matrix.verdicts import Verdict

if TYPE_CHECKING:
    from harness.matrix.expectations import Expectation
    from harness.matrix.verdicts import Status

FILE = Path("/m/expect.toml")


def read(text: str) -> tuple[Expectation, ...]:
    return read_expectations(FILE, tomllib.loads(text))


def cell(place: str) -> Cell:
    test, worker, driver, *params = place.split("/")
    return Cell(place, test, worker, driver, dict(pair.split("=") for pair in params))


def test_every_key_is_read() -> None:
    """A day may be a day of TOML or a text."""
    first, second = read(
        """
        [[expect]]
        test = "net-*"
        worker = "go"
        driver = "node@*"
        params = {size = 64}
        status = ["failed", "timeout"]
        pass-rate = 0.9
        window = 10
        reason = "see 12"
        expires = 2027-01-31
        [[expect]]
        status = "crashed"
        reason = "x"
        expires = "2026-01-31"
        """
    )
    assert (first.test, first.worker, first.driver, first.params) == ("net-*", "go", "node@*", {"size": "64"})
    assert (first.status, first.pass_rate, first.window) == (("failed", "timeout"), 0.9, 10)
    assert (first.reason, first.expires) == ("see 12", dt.date(2027, 1, 31))
    assert (second.status, second.test, second.pass_rate) == (("crashed",), "*", None)
    assert second.where == "/m/expect.toml: [[expect]] 2"


WRONG = {
    "no status": ('reason = "x"', "status is missing; one or more of succeeded, failed, unsupported, "),
    "status": ('status = ["fail"]\nreason = "x"', "status has 'fail', one of succeeded, failed, unsupported, "),
    "no reason": ('status = ["failed"]', "reason is missing; a sentence was needed"),
    "key": ('status = ["failed"]\nreason = "x"\ndrivr = "a"', "key 'drivr' is not known; did you mean 'driver'?"),
    "rate": ('status = ["failed"]\nreason = "x"\npass-rate = 90', "pass-rate is 90, a number from 0 to 1 was needed"),
    "window": ('status = ["failed"]\nreason = "x"\nwindow = 9', "window goes with pass-rate, which is missing"),
    "day": (
        'status = ["failed"]\nreason = "x"\nexpires = "soon"',
        "expires is 'soon', a day such as 2027-01-31 was needed",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_expectation_is_told_with_its_number(name: str) -> None:
    """And what was found and needed."""
    text, sentence = WRONG[name]
    with pytest.raises(ConfigError) as caught:
        read(f'[[expect]]\nstatus = ["failed"]\nreason = "x"\n[[expect]]\n{text}')
    (problem,) = caught.value.problems
    assert problem.startswith(f"/m/expect.toml: [[expect]] 2: {sentence}")


def test_a_file_of_another_shape_is_refused() -> None:
    """A table in place of a list is a common slip."""
    with pytest.raises(ConfigError, match=r"a list of tables \[\[expect\]\] was needed"):
        read('[expect]\nstatus = "failed"')


def test_the_most_specific_one_counts_and_of_several_the_last() -> None:
    """The fewest wildcards, wherever it stands in the file."""
    every = 'status = ["failed"]\nreason = "{}"\n'
    expectations = read(
        f'[[expect]]\ntest = "t"\nworker = "w"\ndriver = "d"\n{every.format("exact")}'
        f'[[expect]]\ntest = "t"\n{every.format("test")}'
        f'[[expect]]\ntest = "t"\n{every.format("test again")}'
        f'[[expect]]\ntest = "t"\nparams = {{n = "1"}}\n{every.format("parameter")}'
        f'[[expect]]\ntest = "[uv]"\nworker = "w"\n{every.format("set")}'
    )

    def reason(place: str) -> str:
        found = expectation_for(cell(place), expectations)
        return found.reason if found else ""

    assert reason("t/w/d") == "exact"
    assert reason("t/x/d") == "test again"
    assert reason("t/x/d/n=1") == "parameter"
    assert reason("t/x/d/n=2") == "test again"
    assert reason("u/w/d") == "set"
    assert reason("x/w/d") == ""


def test_one_that_has_expired_counts_as_absent_and_is_told() -> None:
    """On its last day it still holds."""
    expectations = read('[[expect]]\nstatus = ["failed"]\nreason = "see 12"\nexpires = 2027-01-31')
    last, after = dt.date(2027, 1, 31), dt.date(2027, 2, 1)
    assert (in_force(expectations, last), expired(expectations, last)) == (expectations, ())
    assert in_force(expectations, after) == ()
    assert expired(expectations, after) == (
        "/m/expect.toml: [[expect]] 1 has expired on 2027-01-31 and is left out: see 12",
    )


def test_one_that_is_about_no_cell_is_told_with_the_name_that_was_meant() -> None:
    """A misspelt name would hide a failure, or a fix."""
    expectations = read(
        '[[expect]]\ntest = "net-lnik"\nstatus = ["failed"]\nreason = "x"\n'
        '[[expect]]\ntest = "net-*"\nstatus = ["failed"]\nreason = "x"'
    )
    assert unmatched(expectations, [cell("net-link/w/d")]) == (
        "/m/expect.toml: [[expect]] 1 is about no cell: test 'net-lnik'; did you mean 'net-link'?",
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("succeeded", "expected"),
        ("unsupported", "expected"),
        ("skipped", "expected"),
        ("failed", "unexpected"),
        ("broken", "unexpected"),
        ("flaky", "unexpected"),
    ],
)
def test_without_a_word_success_is_expected(status: Status, kind: str) -> None:
    """And what was not tried, or is not supported, is no surprise."""
    assert compare(Verdict(status), None).kind == kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("failed", "expected"),
        ("timeout", "expected"),
        ("skipped", "expected"),
        ("crashed", "unexpected"),
        ("unsupported", "unexpected"),
        ("succeeded", "unexpected pass"),
    ],
)
def test_an_unexpected_pass_is_told_as_one(status: Status, kind: str) -> None:
    """With what was expected, and why."""
    (expectation,) = read('[[expect]]\nstatus = ["failed", "timeout"]\nreason = "see 12"')
    comparison = compare(Verdict(status), expectation)
    assert comparison.kind == kind
    assert comparison.expected == ("failed", "timeout")
    assert kind == "expected" or comparison.reason == "failed or timeout was expected: see 12"


def test_a_pass_rate_is_judged_over_a_window() -> None:
    """One failure of twenty is no surprise at 0.9, and seven are; what is broken says nothing about it."""
    (expectation,) = read('[[expect]]\nstatus = ["failed"]\npass-rate = 0.9\nreason = "see 12"')

    def kind(last: Status, *history: Status) -> str:
        return compare(Verdict(last), expectation, history).kind

    passes: list[Status] = ["succeeded"] * 19
    fails: list[Status] = ["failed"] * 30
    broken: list[Status] = ["broken"] * 9
    assert kind("failed", *passes) == "expected"
    assert kind("succeeded", *passes) == "expected"
    assert kind("failed") == "expected"
    assert kind("failed", "failed") == "expected"  # a chance of 1 in 100, which is not less than that
    assert kind("failed", "failed", "failed") == "unexpected"
    assert kind("failed", *passes[:13], *fails[:6]) == "unexpected"
    assert kind("succeeded", *fails, *passes) == "expected"  # those are out of the window
    assert kind("failed", *broken, *passes) == "expected"
    assert kind("crashed", *passes) == "unexpected"
    said = compare(Verdict("failed"), expectation, ["failed"] * 5).reason
    assert said == "0 of 6 succeeded, 0.9 of them were expected to: see 12"


def test_chances_are_those_of_the_binomial_distribution() -> None:
    """Known values, at its ends too."""
    assert chance_of_at_most(14, 20, 0.9) == pytest.approx(0.01125, abs=1e-5)
    assert chance_of_at_most(20, 20, 0.9) == pytest.approx(1)
    assert chance_of_at_most(0, 3, 0.0) == 1
    assert chance_of_at_most(2, 3, 1.0) == 0
