"""One tree of errors. Facts are attributes; the sentence is made in ``__str__``, which cannot fail."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OK = 0
TESTS_FAILED = 1
CONFIGURATION = 10
ENGINE_UNREACHABLE = 11
BROKEN_STACK = 12
TEST_RESIDUE = 13
LEFTOVER = 14

EXIT_MEANING = {
    OK: "ok",
    TESTS_FAILED: "tests failed",
    CONFIGURATION: "configuration or usage",
    ENGINE_UNREACHABLE: "engine unreachable",
    BROKEN_STACK: "a stack did not settle or broke under a test",
    TEST_RESIDUE: "a test left something",
    LEFTOVER: "teardown left something",
}
"""What the exit codes of pytest with our plugin, ``harness`` and the Invoke tasks mean."""

FIRST_LINE_LIMIT = 120


def first_line(text: str) -> str:
    """Return ``text`` as one line of at most 120 characters, shortened in the middle so that both ends are kept."""
    line = " ".join(text.split())
    if len(line) <= FIRST_LINE_LIMIT:
        return line
    tail = FIRST_LINE_LIMIT // 3
    return f"{line[: FIRST_LINE_LIMIT - tail - 3]}...{line[-tail:]}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest of ``known``, or nothing."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


class HarnessError(Exception):
    """Anything that harness has to say to its user.

    Attributes:
        summary: who, what was seen, what was needed.
        details: further lines: the cause in the engine's words, the last log lines.
        hint: the next step, if there is one.
        exit_code: what a shell reports for it.
    """

    exit_code = TESTS_FAILED

    def __init__(self, summary: str, *, details: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.details = tuple(details)
        self.hint = hint
        self.summary_in_details = False

    def __str__(self) -> str:
        head = first_line(self.summary)
        lines = [head]
        if head != self.summary and not self.summary_in_details:
            lines.append(self.summary)
        lines += self.details
        if self.hint:
            lines.append(f"next: {self.hint}")
        return "\n".join(lines)


class ConfigError(HarnessError):
    """Something the user wrote is wrong; nothing was created."""

    exit_code = CONFIGURATION

    @classmethod
    def of(cls, problems: Sequence[str], *, hint: str = "") -> ConfigError:
        """Return one error for all ``problems``: the first is the summary, the others follow."""
        unique = list(dict.fromkeys(problems))
        if len(unique) == 1:
            return cls(unique[0], hint=hint)
        error = cls(f"{len(unique)} problems: {unique[0]}", details=[f"  {one}" for one in unique], hint=hint)
        error.summary_in_details = True
        return error


class SkippedStack(HarnessError):
    """A stack was left out on purpose, by a variable of its user; what depends on it is skipped."""

    exit_code = CONFIGURATION


class EngineUnreachableError(HarnessError):
    """The engine that was asked for does not answer."""

    exit_code = ENGINE_UNREACHABLE


class BrokenStack(HarnessError):
    """A stack did not settle, or a service of it died while something relied on it.

    Attributes:
        service: the service that is to blame, if one is.
        exit_code_seen: its exit code (negative: the signal that ended it), or None while it runs.
    """

    exit_code = BROKEN_STACK

    def __init__(
        self,
        summary: str,
        *,
        service: str = "",
        exit_code_seen: int | None = None,
        details: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(summary, details=details, hint=hint)
        self.service = service
        self.exit_code_seen = exit_code_seen


class LeftoverError(HarnessError):
    """Teardown ended and something of ours is still there."""

    exit_code = LEFTOVER


def refuse_leftovers(left: Sequence[str]) -> None:
    """Do nothing when nothing is ``left`` of a teardown.

    Raises:
        LeftoverError: something is; it names each thing.
    """
    if left:
        raise LeftoverError(f"Teardown left {len(left)} thing(s): {left[0]}", details=[f"  {thing}" for thing in left])


class Unsupported(HarnessError):
    """The engine in use cannot do what was asked."""

    exit_code = CONFIGURATION


class WaitTimeout(HarnessError):
    """What a test waited for did not come before its deadline; the sentence lists what came instead."""
