"""One tree of errors. Facts are attributes; the sentence is made in ``__str__``, which cannot fail."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
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


_CHECKOUT = ("pyproject.toml", ".git")  # either marks the top of a checkout
_PATH = r"(?:\.{0,2}/)?(?:[^\s/'\"():,;=]+/)+[^\s/'\"():,;]+"
_LEADING_PLACE = re.compile(rf"(\d+ problems: |)({_PATH}(?::\d+)?): (?=\S)")
_TRAILING_PLACE = re.compile(rf"(?<=\S) \(({_PATH})\)$")
# Also between quotes, and the address of a socket, where it begins at the root.
_LONG_PATH = re.compile(rf"(?<![\w./'-]){_PATH}|(?<=')/[^'\s]+(?=')|(?<=unix://)/[^\s:,;)]+")
_PATH_SHOWN = 30


def lay_out(text: str) -> list[str]:
    """Return a sentence as lines, the first with at most 120 characters and the cause in it; nothing is lost or twice.

    Paths are relative to the checkout. Where that is not enough, places leave the first line for the next ones; then
    the middle of long paths does; only then does the sentence go on in the second line.
    """
    line, after = relative(" ".join(text.split())), []
    if len(line) > FIRST_LINE_LIMIT and (place := _TRAILING_PLACE.search(line)):
        line, after = line[: place.start()], [f"  see {place[1]}"]
    if len(line) > FIRST_LINE_LIMIT and (place := _LEADING_PLACE.match(line)):
        line, after = place[1] + line[place.end() :], [f"  in {place[2]}", *after]
    if len(line) > FIRST_LINE_LIMIT:
        paths = [path for path in dict.fromkeys(_LONG_PATH.findall(line)) if len(path) > _PATH_SHOWN]
        for path in paths:
            line = line.replace(path, f".../{path.rpartition('/')[2]}")
        after = [*(f"  {path}" for path in paths), *after]
    if len(line) > FIRST_LINE_LIMIT:
        at = line.rfind(" ", FIRST_LINE_LIMIT // 2, FIRST_LINE_LIMIT - 3)
        at = at if at > 0 else FIRST_LINE_LIMIT - 4
        line, after = f"{line[:at].rstrip()} ...", [f"  ... {line[at:].strip()}", *after]
    return [line, *after]


def relative(text: str) -> str:
    """Return ``text`` with the paths in it that are in this checkout relative to that."""
    folder = _checkout()
    return re.sub(rf"(?<![\w./-]){re.escape(folder)}/(?=[^\s/])", "", text) if folder else text


def _checkout() -> str:
    """Return the nearest folder upwards that is the top of a checkout, else the current one; "" when there is none."""
    try:
        here = Path.cwd()
        tops = (folder for folder in (here, *here.parents) if any((folder / name).exists() for name in _CHECKOUT))
        return str(next(tops, here)).rstrip("/")
    except OSError:
        return ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest of ``known``, or nothing."""
    known = list(known)
    same = [name for name in known if name.casefold() == word.casefold()]
    match = same or difflib.get_close_matches(word, known, n=1)
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

    def __str__(self) -> str:
        lines = [*lay_out(self.summary), *self.details]
        if self.hint:
            lines.append(f"next: {relative(self.hint)}")
        return "\n".join(lines)


class ConfigError(HarnessError):
    """Something the user wrote is wrong; nothing was created.

    Attributes:
        problems: all that is wrong, each as one sentence.
    """

    exit_code = CONFIGURATION

    def __init__(self, summary: str, *, details: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(summary, details=details, hint=hint)
        self.problems: tuple[str, ...] = (summary,)

    @classmethod
    def of(cls, problems: Sequence[str], *, hint: str = "") -> ConfigError:
        """Return one error for all ``problems``: the first is in the summary, the others follow."""
        first, *others = dict.fromkeys(problems)
        if not others:
            return cls(first, hint=hint)
        details = [f"  {relative(problem)}" for problem in others]
        error = cls(f"{len(others) + 1} problems: {first}", details=details, hint=hint)
        error.problems = (first, *others)
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


class Residue(HarnessError):
    """A test, or a fixture that was torn down after it, left something other than it was before."""

    exit_code = TEST_RESIDUE


class Unsupported(HarnessError):
    """The engine in use cannot do what was asked."""

    exit_code = CONFIGURATION


class WaitTimeout(HarnessError):
    """What a test waited for did not come before its deadline; the sentence lists what came instead."""
