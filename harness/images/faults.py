"""Why a build failed: from the end of its log, and from its Dockerfile as it is written, as one error."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness import procs
from harness.artifacts import last_lines
from harness.errors import BrokenStack, ConfigError
from harness.images.base import NAME as BASE
from harness.images.dockerfiles import lines_of_step, references, steps_of_line
from harness.images.making import BASE_ARGUMENT, INSTALL_BUILDX, default_base
from harness.images.names import plain
from harness.last_words import cause_of, last_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.errors import HarnessError

_LOG_LINES = 15
_EXCERPT_LINES = 25  # BuildKit shows its Dockerfile after what a command has said
# The classic builder's words, BuildKit's and Podman's.
_STEP_FAILED = re.compile(
    r"The command .* returned a non-zero code: \d+|did not complete successfully: exit code: \d+"
    r"|executor failed running .*: exit code: \d+|building at STEP .*: while running runtime: exit status \d+"
)
_COMMAND = re.compile(
    r"The command '\S*sh -c (?P<classic>.*)' returned a non-zero code"
    r"|process \"\S*sh -c (?P<kit>.*)\" did not complete|executor failed running \[\S*sh -c (?P<old>.*)\]: exit code"
    r"|building at STEP \"RUN (?P<pod>.*)\": while running"
)
_NOT_IN_CONTEXT = re.compile(
    r"build context.*: stat (?P<path>\S+): file|\"(?P<other>/[^\"]+)\": not found"
    r"|copier: stat: \"(?P<source>/[^\"]+)\": no such file"
)
# Before what a command says under BuildKit comes a time.
_OF_BUILDER = re.compile(
    r"\s*(?:-{2,3}>|Step |(?:\[\d+/\d+\] )?STEP \d|Removing |------| > |Successfully |Sending build context"
    r"|Image \S+ Buil(?:ding|t)\b)|#\d+ (?!\d+\.\d)"
)
_BUILDER_SAYS = re.compile(
    r"^(?:#\d+ [\d.]* ?|ERROR: |failed to solve(?: with frontend \S+)?: |failed to create LLB definition: "
    r"|unable to prepare context: |target \S+: |Error response from daemon: |Error: "
    r"|dockerfile parse error(?: on)? |unable to evaluate symlinks in Dockerfile path: lstat )+"
)
_LINE = re.compile(r"^line (?P<line>\d+): (?P<rest>.*)")
_MARKED = re.compile(r"^\s*(\d+) \| >>> ")
_TARGET = re.compile(r"\btarget (\S+): failed to solve")
_STEP = re.compile(
    r"^\s*(?:Step \d+/\d+ : (?P<classic>.+)|(?:\[\d+/\d+\] )?STEP \d+/\d+: (?P<pod>.+)"
    r"|(?:#\d+|>) \[[^\]]*\d+/\d+\] (?P<kit>.+?):?)$"
)
# What the classic builder says of a Dockerfile, or of a section `build`, that only BuildKit understands.
_NEEDS_BUILDKIT = re.compile(
    r"requires BuildKit|failed to parse platform|unknown instruction: <<|additional[_ ]contexts"
    r"|[Uu]nknown flag: (?:mount|link|chmod|chown|parents|exclude|security|network|checksum|keep-git-dir)"
)
# What builders say of a Dockerfile before they do anything.
_MISWRITTEN = re.compile(
    r"dockerfile parse error|no build stage in current context|[Dd]ockerfile.* cannot be empty"
    r"|file with no instructions|failed to create LLB definition: (?:.*unknown instruction|.*[Uu]nknown flag)"
)
# What they, and engines, say of an image that they could not get.
_NOT_GOT = re.compile(
    r"pull access denied|manifest (?:for \S+ )?(?:not found|unknown)|failed to (?:resolve source metadata|do request"
    r"|authorize|fetch)|/v2/|no such host|unable to copy from source docker://|short-name|initializing source docker://"
    r"|invalid from flag value|invalid reference format|repository does not exist|: not found$"
)


@dataclass(frozen=True)
class Written:
    """The Dockerfile of an image that could not be built.

    Attributes:
        service: whose image it is.
        source: where it is, for people.
        text: what it says.
        arguments: build arguments.
        target: the stage that is built, "" for the last one.
        absent: images that it names and the engine does not have, as it names them.
    """

    service: str
    source: str
    text: str = field(repr=False)
    arguments: Mapping[str, str] = field(default_factory=dict, repr=False)
    target: str = ""
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Fault:
    """What failed: where, and which image could not be had."""

    why: str
    written: Written | None = None
    line: int = 0
    base: str = ""


def build_fault(lines: Sequence[str]) -> str:
    """Return what the end of a build's log says of its fault: of a command that failed, that command's own words."""
    failed = next((at for at, line in enumerate(lines) if _STEP_FAILED.search(line)), None)
    own = [line for line in lines[:failed] if not _OF_BUILDER.match(line)]
    cause = cause_of(lines) if failed is None else cause_of(own) or last_line(own)
    if missing := _NOT_IN_CONTEXT.search(cause):
        return f"{missing['path'] or missing['other'] or missing['source']} is not in the build context"
    return _BUILDER_SAYS.sub("", cause)


def _place(lines: Sequence[str], written: Sequence[Written]) -> tuple[Written | None, int]:
    """Return the Dockerfile that a build failed at and the line, None and 0 for what the log does not tell."""
    target = next((match[1] for line in lines if (match := _TARGET.search(line))), "")
    known = [one for one in written if one.service == target] or list(written)
    steps = [line for line in (_command(lines), *_last_steps(lines)) if line]
    number = _told_line(lines)
    if number:
        fitting = [one for one in known if any(step in steps_of_line(one.text, number) for step in steps)] or known
        return (fitting[0], number) if len({one.source for one in fitting}) == 1 else (None, 0)
    for step in steps:
        places = {(one.source, line): one for one in known for line in lines_of_step(one.text, step)}
        if len(places) == 1:
            ((_, line), one), *_ = places.items()
            return one, line
    return (known[0], 0) if len({one.source for one in known}) == 1 else (None, 0)


def _told_line(lines: Sequence[str]) -> int:
    """Return the line that a builder itself names, 0 for none."""
    for line in lines:
        if marked := _MARKED.match(line):
            return int(marked[1])
        if _MISWRITTEN.search(line) and (told := re.search(r"\bline (\d+): ", line)):
            return int(told[1])
    return 0


def _command(lines: Sequence[str]) -> str:
    """Return the ``RUN`` that failed, "" when none did."""
    matches = [match for line in lines if (match := _COMMAND.search(line))]
    words = next((word for word in matches[-1].groupdict().values() if word is not None), "") if matches else ""
    return " ".join(f"RUN {words}".split()) if words else ""


def _last_steps(lines: Sequence[str]) -> list[str]:
    """Return the steps that a log tells of, the last one first: none when a command's own line tells which it is."""
    if any(_STEP_FAILED.search(line) for line in lines):
        return []
    matches = [match for line in lines if (match := _STEP.match(line))]
    steps = [match["classic"] or match["pod"] or match["kit"] for match in matches]
    return [" ".join(step.split()) for step in reversed(steps[-1:])]


def _absent_base(lines: Sequence[str], written: Sequence[Written], line: int) -> tuple[Written, str] | None:
    """Return the image that could not be had and whose Dockerfile names it, None when that is not why."""
    said = [text for text in lines if _NOT_GOT.search(text)]
    if not said or any(_STEP_FAILED.search(text) for text in lines):
        return None
    candidates = [(one, name) for one in written for name in one.absent]
    named = [(one, name) for one, name in candidates if any(name in text for text in said)]
    there = [(one, name) for one, name in candidates if line and line in _lines_that_name(one, name)]
    return next(iter(there or named or (candidates if len(candidates) == 1 else [])), None)


def _lines_that_name(written: Written, image: str) -> list[int]:
    found = references(written.text, written.arguments, written.target)
    return [written.text.count("\n", 0, one.start) + 1 for one in found if one.name == image]


def _found(lines: Sequence[str], written: Sequence[Written]) -> _Fault:
    why = build_fault(lines)
    one, number = _place(lines, written)
    if told := _absent_base(lines, [one] if one else written, number):
        one, base = told
        line = next(iter(_lines_that_name(one, base)), 0)
        return _Fault(f"base image {base!r} cannot be had", one, line, base)
    told_line = _LINE.match(why)  # "line 2: unknown instruction"
    if told_line and one and number == int(told_line["line"]):
        why = told_line["rest"]
    return _Fault(why, one, number)


def _next_for_base(base: str, written: Written | None) -> str:
    """Return what to do for an image that could not be had."""
    is_ours = plain(base).startswith(f"{BASE}:")
    if written and default_base(written.text) == base:
        return "`harness images.base` makes one from Debian packages; or set HARNESS_BASE_IMAGE to one the engine has"
    if is_ours:
        return (
            f"`harness images.base` makes one from Debian packages and says its name; ARG {BASE_ARGUMENT} and "
            f"FROM ${BASE_ARGUMENT} take whichever is there"
        )
    return f"docker load an archive that has {base}, or name an image that the engine has"


def build_error(
    services: str | Sequence[str], log: Path, code: int | None, written: Sequence[Written] = ()
) -> HarnessError:
    """Return the error for a build, with its last lines: ``ConfigError`` where a Dockerfile is written wrongly.

    Args:
        services: whose images were being built.
        log: of the build.
        code: it ended with, None when it did not end in time.
        written: their Dockerfiles, so that the error can name the one that it is and its line.
    """
    names = (services,) if isinstance(services, str) else tuple(services)
    ended = "no end in time" if code is None else procs.describe_exit(code)
    lines = last_lines(log, _LOG_LINES + _EXCERPT_LINES)
    fault, hint = _found(lines, written), ""
    why = fault.why
    if fault.base:
        hint = _next_for_base(fault.base, fault.written)
    elif any(_NEEDS_BUILDKIT.search(line) for line in lines):
        why, hint = f"it needs BuildKit: {why}", INSTALL_BUILDX
    if fault.written and sum(one.source == fault.written.source for one in written) == 1:
        names = (fault.written.service,)
    who = f"service{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"
    where = f"{fault.written.source}{f':{fault.line}' if fault.line else ''}: " if fault.written else ""
    summary = f"The image of {who} could not be built: {where}{why or ended} ({log})"
    details = [line for line in lines if line.strip()][-_LOG_LINES:]
    if not hint and any(_MISWRITTEN.search(line) for line in lines):
        return ConfigError(summary, details=details)
    return BrokenStack(summary, service=names[0] if len(names) == 1 else "", details=details, hint=hint)
