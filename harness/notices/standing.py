"""How a suite stands, and what of it is news. Pure values: nothing is read or sent here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.errors import (
    BROKEN_STACK,
    CONFIGURATION,
    ENGINE_UNREACHABLE,
    EXIT_MEANING,
    LEFTOVER,
    TEST_RESIDUE,
    TESTS_FAILED,
)

Verdict = Literal["green", "red", "broken"]
_RED = (TESTS_FAILED, LEFTOVER, TEST_RESIDUE)
_KILLED, _STOPPED = 128 + 9, 2
_INTERRUPTED = range(129, 160)
VERDICTS: tuple[Verdict, ...] = ("green", "red", "broken")


@dataclass(frozen=True)
class Standing:
    """How a suite stands after a run.

    Attributes:
        verdict: green; red: tests failed, or left something; broken: what is tested could not be asked.
        failed: node ids of the tests that were failed or broken.
        flakes: tests that failed and then passed.
        lapsed: entries of the quarantine whose time is over.
    """

    verdict: Verdict
    failed: tuple[str, ...] = ()
    flakes: frozenset[str] = frozenset()
    lapsed: frozenset[str] = frozenset()


UNKNOWN = Standing("green")
"""What a suite stands at before its first run: it would tell nobody that all is as it should be."""


@dataclass(frozen=True)
class Change:
    """What is news of a suite.

    Attributes:
        before: how it stood, as whoever gets this was told.
        now: how it stands.
        flakes: tests that are flaky and were not known to be.
        lapsed: entries of the quarantine that have lapsed since.
    """

    before: Verdict
    now: Verdict
    flakes: frozenset[str] = field(default_factory=frozenset)
    lapsed: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_any(self) -> bool:
        """Whether there is any news."""
        return self.before != self.now or bool(self.flakes or self.lapsed)

    @property
    def sentence(self) -> str:
        """What changed, as a few words."""
        words = [f"{self.before} -> {self.now}"] if self.before != self.now else []
        words += _counted(len(self.flakes), "new flake", "new flakes")
        words += _counted(len(self.lapsed), "lapsed quarantine", "lapsed quarantines")
        return ", ".join(words) or f"still {self.now}"

    def after(self, earlier: Change | None) -> Change:
        """Return the news for somebody who has not got ``earlier``: what flipped back in between is none."""
        if earlier is None:
            return self
        return Change(earlier.before, self.now, earlier.flakes | self.flakes, earlier.lapsed | self.lapsed)


def _counted(count: int, one: str, several: str) -> list[str]:
    return [f"{count} {one if count == 1 else several}"] if count else []


def change_of(before: Standing, now: Standing) -> Change:
    """Return what is news: another verdict, tests newly flaky, quarantines newly lapsed; other failed tests are not."""
    return Change(before.verdict, now.verdict, now.flakes - before.flakes, now.lapsed - before.lapsed)


def verdict_of(code: int, *, collected: bool = True) -> Verdict | None:
    """Return what a run with this exit code says of its suite, None when it says nothing: it was interrupted.

    A run that was killed (137, or -9 as its parent sees it) was not meant to end: that is broken. So is one whose tests
    could not be ``collected``, which pytest calls an interruption (2).
    """
    if code == _STOPPED and collected:
        return None
    if code == 0:
        return "green"
    if code in _RED:
        return "red"
    if code in (-9, _KILLED):
        return "broken"
    return None if code < 0 or code in _INTERRUPTED else "broken"


def meaning_of(code: int) -> str:
    """Return why a suite is not green, as a few words."""
    if code in (-9, _KILLED):
        return "the run was killed"
    return {
        _STOPPED: "tests could not be collected",
        CONFIGURATION: "it could not begin: configuration or usage",
        ENGINE_UNREACHABLE: "the engine did not answer",
        BROKEN_STACK: "a stack did not settle or broke under a test",
    }.get(code, EXIT_MEANING.get(code, f"pytest ended with {code}"))
