"""What explains a failed test: the part of every service's log that was written while it ran."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness import artifacts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.runs.environment import Environment

SHOWN_LINES = 40
LONGEST_BLOCK = 60  # lines, of what is looked for again
WORTH_IT = 3  # lines that are left out at least where a block is
_COLOURS = re.compile(rb"\x1b\[[0-9;:?]*[ -/]*[@-~]")  # "Control sequences" in ECMA-48
_TIMES = re.compile(r"\d{4}-\d\d-\d\d|\d\d/[A-Z][a-z]{2}/\d{4}|\d\d:\d\d:\d\d(?:[.,]\d+)?")


@dataclass(frozen=True)
class Mark:
    """Where every service log stood at some moment: path -> size."""

    sizes: Mapping[Path, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Marks:
    """Where the logs stood in the course of a test.

    Attributes:
        begin: when its set-up began.
        body: when its own code began, None when it did not.
        end: when that had ended, None before.
    """

    begin: Mark
    body: Mark | None = None
    end: Mark | None = None


@dataclass(frozen=True)
class Noise:
    """What does not belong in a report.

    Attributes:
        others: logs of services that the test does not use.
        probes: log -> what a line of it looks like that one of our probes has caused.
    """

    others: Collection[Path] = ()
    probes: Mapping[Path, re.Pattern[str]] = field(default_factory=dict)


def request_for(paths: Collection[str]) -> re.Pattern[str]:
    """Return what a line about a GET request for one of ``paths`` looks like in an access log."""
    either = "|".join(re.escape(path) for path in paths)
    return re.compile(rf"""\bGET\b[^/]*(?:{either})(?=["'\s?,;]|$)""")


def _logs(environment: Environment) -> list[Path]:
    return sorted((environment.folder / "services").glob("*.log"))


def mark(environment: Environment) -> Mark:
    """Note where the logs stand now."""
    return Mark({path: artifacts.file_size(path) for path in _logs(environment)})


def save_evidence(environment: Environment, test: str, marks: Marks, noise: Noise) -> dict[str, str]:
    """Write what each log got since a test began, byte for byte, to ``failures/<test>/<service>.log``.

    A log that was there before this run took its stack begins there. Of much it is the first and the last part
    (``artifacts.read_log``). Return service -> its last lines for a report, without noise; services that wrote nothing
    are left out.
    """
    told: dict[str, str] = {}
    for path in _logs(environment):
        start = marks.begin.sizes.get(path, environment.taken.get(path, 0))
        if path in noise.others or not (data := artifacts.read_log(path, start)):
            continue
        environment.report.evidence(test, path.name, data)
        if text := shown(_without_probes(path, data, start, marks, noise)):
            told[path.stem] = text
    return told


def _without_probes(path: Path, data: bytes, start: int, marks: Marks, noise: Noise) -> bytes:
    """Return a slice without the lines of our probes: these are asked before a test's body, and after it."""
    request = noise.probes.get(path)
    if request is None or len(data) > artifacts.FIRST_BYTES:
        return data
    body = marks.body.sizes.get(path, start) - start if marks.body else len(data)
    end = max(body, marks.end.sizes.get(path, start) - start) if marks.end else len(data)

    def quiet(part: bytes) -> bytes:
        lines = part.splitlines(keepends=True)
        return b"".join(line for line in lines if not request.search(line.decode(errors="replace")))

    return quiet(data[:body]) + data[body:end] + quiet(data[end:])


def save_testimony(environment: Environment, test: str, heard: Mapping[str, str]) -> None:
    """Write what clients saw (subject -> text) to ``failures/<test>/<subject>.txt``."""
    for subject, text in heard.items():
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", subject)
        environment.report.evidence(test, f"{name}.txt", f"{text}\n".encode())


def shown(data: bytes) -> str:
    """Return the last lines of a slice for a report: without colours, and a block that is repeated only once."""
    last = _COLOURS.sub(b"", data[-artifacts.TAIL_BYTES :])
    lines = _once(artifacts.printable(last).splitlines())
    whole = len(data) <= artifacts.TAIL_BYTES
    dropped = max(0, len(lines) - SHOWN_LINES)
    if not whole:
        dropped += data[: -artifacts.TAIL_BYTES].count(b"\n")
    return (f"... {dropped} earlier lines\n" if dropped else "") + "\n".join(lines[-SHOWN_LINES:])


def _once(lines: list[str]) -> list[str]:
    """Return lines in which a block that follows itself, but for its times, stands once, and how often it came."""
    alike = [_TIMES.sub("#", line) for line in lines]
    kept: list[str] = []
    at = 0
    while at < len(lines):
        size, again = _repeated(alike, at)
        kept += lines[at : at + size]
        if again:
            block = "line" if size == 1 else f"{size} lines"
            kept.append(f"... the last {block} came {again} more time{'s' if again > 1 else ''}")
        at += size * (again + 1)
    return kept


def _repeated(alike: list[str], at: int) -> tuple[int, int]:
    """Return the size of the shortest block at ``at`` that follows itself, and how often it does; else (1, 0)."""
    for size in range(1, min(LONGEST_BLOCK, (len(alike) - at) // 2) + 1):
        if alike[at] != alike[at + size]:
            continue
        block, again = alike[at : at + size], 0
        while alike[at + size * (again + 1) : at + size * (again + 2)] == block:
            again += 1
        if size * again >= WORTH_IT:
            return size, again
    return 1, 0
