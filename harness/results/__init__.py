"""What came out: outcomes of tests and spans of stages, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from harness import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = Literal["succeeded", "failed", "broken", "skipped", "xfailed", "flaky", "quarantined"]


@dataclass(frozen=True)
class Outcome:
    """How one test ended.

    Attributes:
        test: its node id.
        status: succeeded, failed, broken (the stack's fault), skipped, xfailed (as its ``xfail`` marker expects),
            flaky (it failed, and passed when it was run again), or quarantined (it failed, which does not count).
        seconds: set-up, call and teardown together, of its last try.
        kind: type of the error, "" without one.
        message: one line; of a test that is xfailed, the reason of its marker; of a flaky one, why it failed first.
        text: the whole report; of a flaky test, the one of its first try.
        sections: (title, text) of captured output and log slices.
        tries: how often it was run.
        quarantine: why its failure does not count: owner, reason, expires; {} where it does.
        stacks: fingerprint of the stacks that it used, "" for none.
        residue: what it left, a line each.
    """

    test: str
    status: Status
    seconds: float = 0.0
    kind: str = ""
    message: str = ""
    text: str = ""
    sections: tuple[tuple[str, str], ...] = ()
    tries: int = 1
    quarantine: Mapping[str, str] = field(default_factory=dict)
    stacks: str = ""
    residue: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """How long a stage took.

    Attributes:
        stage: bring, stack, build, settle, seed, stop.
        of: the stack or service.
        began: seconds since the run began.
        seconds: its length.
    """

    stage: str
    of: str
    began: float
    seconds: float


def exit_code(  # noqa: PLR0913 - the table has this many columns
    *,
    pytest_code: int,
    signal_number: int = 0,
    configuration: bool = False,
    unreachable: bool = False,
    failed: bool = False,
    broken: bool = False,
    leftover: bool = False,
    residue: bool = False,
) -> int:
    """Return the exit code of a run: the first of the documented causes that applies.

    Args:
        pytest_code: what pytest would say by itself (0 to 6).
        signal_number: the signal that ended the run, 0 for none; Ctrl-C keeps pytest's own 2.
        configuration: something the user wrote was wrong.
        unreachable: the engine did not answer.
        failed: a test really failed.
        broken: a stack did not settle or broke under a test.
        leftover: our teardown left something.
        residue: a test left something.
    """
    if signal_number:
        return 128 + signal_number
    for applies, code in (
        (configuration, errors.CONFIGURATION),
        (unreachable, errors.ENGINE_UNREACHABLE),
        (failed, errors.TESTS_FAILED),
        (broken, errors.BROKEN_STACK),
        (leftover, errors.LEFTOVER),
        (residue, errors.TEST_RESIDUE),
    ):
        if applies:
            return code
    return pytest_code
