"""Compares the outcomes of one suite on two engines, test by test.

``python -m harness.results.parity --system SYSTEM FIRST SECOND``: the folders are those given to each run as
``HARNESS_LOGS``. Exit code 1 when something differs that nobody declared: in
``[tool.harness.systems.<system>.differences]``, or by an ``xfail`` marker that the test has on one of the engines.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from harness.errors import CONFIGURATION, OK, TESTS_FAILED, ConfigError
from harness.results import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ABSENT = "absent"


@dataclass(frozen=True)
class Side:
    """What one run said.

    Attributes:
        engine: the engine that it ran on.
        exit_code: its exit code, None when it did not come to its end.
        statuses: node id -> status.
        expected: node id -> reason of the ``xfail`` marker with which the test failed.
    """

    engine: str
    exit_code: int | None
    statuses: Mapping[str, str]
    expected: Mapping[str, str] = field(default_factory=dict)

    def counts(self) -> Counter[str]:
        """Return how many tests have each status."""
        return Counter(self.statuses.values())


@dataclass(frozen=True)
class Difference:
    """A test whose outcome is not the same on both sides.

    Attributes:
        test: its node id.
        statuses: its status on the first and on the second side, ``absent`` where it did not run.
        reason: why that was declared to be so, "" when it was not.
    """

    test: str
    statuses: tuple[str, str]
    reason: str = ""

    @property
    def counts(self) -> bool:
        """Whether it fails the comparison: it is not declared, or the test is on one side only."""
        return not self.reason or ABSENT in self.statuses


@dataclass(frozen=True)
class Parity:
    """Two runs of one suite beside each other.

    Attributes:
        sides: the two runs.
        same: how many tests both have.
        differences: the tests that differ, declared ones too.
        problems: what else is wrong, in sentences.
    """

    sides: tuple[Side, Side]
    same: int
    differences: tuple[Difference, ...]
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether both engines did the same, but for declared differences."""
        return not self.problems and not any(difference.counts for difference in self.differences)

    def __str__(self) -> str:
        width = max(len(side.engine) for side in self.sides)
        lines = []
        for side in self.sides:
            seldom = ("flaky", "quarantined")
            counted = [(side.counts()[status], status) for status in get_args(Status)]
            counts = ", ".join(f"{count} {status}" for count, status in counted if count or status not in seldom)
            code = "did not end" if side.exit_code is None else f"exit code {side.exit_code}"
            lines.append(f"{side.engine:<{width}}  {counts}; {code}")
        declared = sum(not difference.counts for difference in self.differences)
        lines.append(f"same ids: {self.same}; differences: {len(self.differences)}, declared: {declared}")
        lines += self._table()
        lines += [f"problem: {problem}" for problem in self.problems]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        if not self.differences:
            return []
        rows = [("test", self.sides[0].engine, self.sides[1].engine, "declared")]
        rows += [(difference.test, *difference.statuses, difference.reason or "no") for difference in self.differences]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return [
            "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row[:3], widths, strict=True)), row[3]])
            for row in rows
        ]


def read_side(logs: Path, engine: str = "") -> Side:
    """Return the newest run in ``logs``.

    Args:
        logs: the folder that the run was given for its run folders.
        engine: what to call it when it left nothing behind; default: the folder's name.

    Raises:
        ConfigError: its run.json is there and cannot be read.
    """
    folder = logs / "latest"
    statuses: dict[str, str] = {}
    expected: dict[str, str] = {}
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event["event"] == "test":
                statuses[event["test"]] = event["status"]
                if event["status"] == "xfailed":
                    expected[event["test"]] = event.get("reason", "")
    except FileNotFoundError:
        return Side(engine or logs.name, None, statuses)
    except (OSError, ValueError, LookupError) as error:
        raise ConfigError(f"Run {folder} cannot be read: {error}") from error
    return Side(str(facts.get("engine") or engine or logs.name), facts.get("exit_code"), statuses, expected)


def is_declared_by(pattern: str, test: str) -> bool:
    """Return whether ``pattern`` (a node id, one without parameters, or an fnmatch pattern) means ``test``."""
    return pattern in (test, test.partition("[")[0]) or fnmatchcase(test, pattern)


def compare(first: Side, second: Side, declared: Mapping[str, str], *, whole: bool = True) -> Parity:
    """Put two runs beside each other.

    Args:
        first: the one.
        second: the other.
        declared: node id or pattern -> why the outcome differs between engines.
        whole: False when only a part of the suite ran: declarations can then not be told to be stale.
    """
    differences = []
    used: set[str] = set()
    for test in dict.fromkeys([*first.statuses, *second.statuses]):
        statuses = first.statuses.get(test, ABSENT), second.statuses.get(test, ABSENT)
        if statuses[0] == statuses[1] or "quarantined" in statuses or set(statuses) == {"succeeded", "flaky"}:
            continue
        patterns = [pattern for pattern in declared if is_declared_by(pattern, test)]
        used.update(patterns)
        reason = declared[patterns[0]] if patterns else _expected(test, first, second)
        differences.append(Difference(test, statuses, reason))
    same = len(first.statuses.keys() & second.statuses.keys())
    problems = [f"the suite on {side.engine} {_ended(side)}" for side in (first, second) if side.exit_code != OK]
    if first.engine == second.engine:
        problems.append(f"both runs were on {first.engine}")
    if not same:
        problems.append("no test ran on both")
    if whole:
        problems += [
            f"declared difference {pattern!r} ({reason}) is none any more"
            if _means_any(pattern, first, second)
            # Both name what to delete; a renamed test is the likelier cause here.
            else f"declared difference {pattern!r} ({reason}) means no test of this suite"
            for pattern, reason in declared.items()
            if pattern not in used
        ]
    return Parity((first, second), same, tuple(differences), tuple(problems))


def _expected(test: str, *sides: Side) -> str:
    """Return the reason with which a test is known to fail on one side, "" unless it succeeded on the other."""
    if sorted(side.statuses.get(test, ABSENT) for side in sides) != ["succeeded", "xfailed"]:
        return ""
    return next((side.expected[test] for side in sides if test in side.expected), "")


def _ended(side: Side) -> str:
    if side.exit_code is None:
        return "left no report, or did not come to its end"
    return f"ended with exit code {side.exit_code}"


def _means_any(pattern: str, *sides: Side) -> bool:
    return any(is_declared_by(pattern, test) for side in sides for test in side.statuses)


def declared_differences(pyproject: Path, system: str) -> dict[str, str]:
    """Return the table ``[tool.harness.systems.<system>.differences]``.

    Raises:
        ConfigError: the system is not there, or a reason is no text.
    """
    document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    systems = document.get("tool", {}).get("harness", {}).get("systems", {})
    if system not in systems:
        raise ConfigError(f"System {system!r} is not known; there are: {', '.join(systems) or 'none'}")
    table = systems[system].get("differences", {})
    problems = [
        f"{pyproject}: [tool.harness.systems.{system}.differences]: {test!r} has {reason!r} as its reason"
        for test, reason in table.items()
        if not isinstance(reason, str) or not reason.strip()
    ]
    if problems:
        raise ConfigError.of(problems, hint="each difference needs a sentence that says why")
    return dict(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare two runs, print the result; return 0 when they are alike, 1 when not, 10 for what is written wrong."""
    parser = argparse.ArgumentParser(prog="python -m harness.results.parity", description=main.__doc__)
    parser.add_argument("first", type=Path, help="HARNESS_LOGS of the one run")
    parser.add_argument("second", type=Path, help="HARNESS_LOGS of the other")
    parser.add_argument("--system", required=True, help="whose declared differences count")
    parser.add_argument("--pyproject", type=Path, default=Path("pyproject.toml"), help="where they are declared")
    parser.add_argument("--part", action="store_true", help="only a part of the suite ran")
    options = parser.parse_args(argv)
    try:
        declared = declared_differences(options.pyproject, options.system)
        parity = compare(read_side(options.first), read_side(options.second), declared, whole=not options.part)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return CONFIGURATION
    print(f"parity of {options.system}\n{parity}")
    return OK if parity.holds else TESTS_FAILED


if __name__ == "__main__":
    sys.exit(main())
