"""A small matrix in shell that has each verdict in it, always the same, and what all of its reports have in common.

The tests of what becomes of runs that are killed use it, and the campaign that kills them at random moments.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

CELLS = 60
RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
VOLATILE = ("run", "began", "seconds", "bounds", "slots", "notes")
"""Of a report: when and how fast it was."""
VOLATILE_OF_CELLS = ("began", "seconds", "cpu", "spans", "pressed")
"""Of a cell: when and how fast it was."""
VOLATILE_OF_VERDICTS = ("event",)
"""The number of an event among those of roles that write at the same time; the event itself is compared."""
VOLATILE_OF_EVENTS = ("ti",)
ENDED = "TERM or KILL"
"""Of the exit code of a role that the runner has ended: which of the two it took is a matter of half a second."""

ROLE = """#!/bin/sh
# One role of a test: role TEST ROLE
trap 'exit 143' TERM
say() { printf '{"id":%s,"ty":"%s","in":%s}\\n' "$1" "$2" "$3"; }
nap() { sleep "$1" & wait $!; }
case $1/$2 in
  unknown/driver) exit 127 ;;
  quick/*|same/*|slow/*|crash/*|unknown/worker|turns/*|helped/*) ;;
  *) exit 127 ;;
esac
say 1 ready '{}'
if [ "$2" != driver ]; then
  [ "$1" = same ] && say 2 assert "{\\"assert_id\\":\\"name\\",\\"value\\":\\"$NAME\\"}"
  while :; do nap 1; done
fi
case $1 in
  quick) nap "0.$INTEROP_PARAM_N" ;;
  same) nap 0.1; say 2 assert "{\\"assert_id\\":\\"name\\",\\"value\\":\\"$NAME\\"}"; nap 0.6 ;;
  slow) while :; do nap 1; done ;;
  crash) nap 0.1; kill -SEGV $$ ;;
  turns)
    mark=$MARKS/$(echo "$INTEROP_CELL" | tr / _)
    if [ -n "$MARKS" ] && [ ! -e "$mark" ]; then : >"$mark"; exit 3; fi ;;
esac
say 3 done '{}'
"""
MATRIX = """name = "toy"
seed = 7
workers = ["a", "b"]

[implementations.a]
build = "role"
command = ["sh", "role.sh"]
entry = ["/role"]
env = {{NAME = "a", MARKS = "{marks}"}}

[implementations.b]
build = "role"
command = ["sh", "role.sh"]
entry = ["/role"]
setup = ["sleep", "0.4"]
env = {{NAME = "b", MARKS = "{marks}"}}
skip = {{slow = "it takes too long"}}

# It cannot be made: each of its cells is broken.
[implementations.never]
{never}
setup = ["false"]
roles = ["driver"]
provides = ["same"]
"""
EXPECTED = """[[expect]]
test = "same"
worker = "a"
driver = "b"
status = ["failed"]
reason = "they do not say the same"

[[expect]]
test = "same"
driver = "never"
status = ["broken"]
reason = "it cannot be made"

[[expect]]
test = "slow"
status = ["timeout"]
reason = "nobody is ever done"

[[expect]]
test = "crash"
status = ["crashed"]
reason = "a signal ends it"
"""
TESTS: dict[str, dict[str, Any]] = {
    "quick": {"timeout": "60s", "params": {"n": ["1", "2", "3", "4"]}},
    "same": {"timeout": "60s"},
    "slow": {"timeout": "2s"},
    "crash": {"timeout": "60s"},
    "unknown": {"timeout": "60s"},
    "turns": {"timeout": "60s", "retries": 1},
    "helped": {"timeout": "60s", "containers": {"helper": {"command": "/role helped helper"}}},
}


def write(root: Path, base: str = "") -> Path:
    """Write the matrix into a folder; return its own.

    Args:
        root: the checkout's, which is made one.
        base: the image to build from, "" where no engine of containers runs it.
    """
    folder, marks = root / "toy", root / "marks"
    for made in (folder / "role", folder / "never", folder / "tests", marks):
        made.mkdir(parents=True)
    never = 'build = "never"\ncommand = ["false"]'
    told = "" if base else str(marks)
    (folder / "interop.toml").write_text(MATRIX.format(marks=told, never=never))
    (folder / "expect.toml").write_text(EXPECTED)
    (folder / "role" / "role.sh").write_text(ROLE)
    (folder / "role" / "role.sh").chmod(0o755)
    (folder / "role" / "Dockerfile").write_text(f"FROM {base or 'none'}\nCOPY role.sh /role\n")
    (folder / "never" / "Dockerfile").write_text(f"FROM {base or 'none'}\nRUN false\n")
    for name, header in TESTS.items():
        (folder / "tests" / f"{name}.md").write_text(f"    {json.dumps(header)}\n\n# `{name}`\n")
    (root / "pyproject.toml").write_text('[tool.harness]\n[tool.harness.matrices]\ntoy = "toy"\n')
    return folder


def forget(root: Path) -> None:
    """Forget which cells were tried, as a run that goes on begins with their first attempt; and what was set up."""
    (root / "toy" / "role" / ".harness-setup").unlink(missing_ok=True)
    for mark in (root / "marks").iterdir():
        mark.unlink()


def essence(report: Path) -> dict[str, Any]:
    """Return what every run of one matrix must find: all that a report has, but for what is listed as volatile."""
    found: dict[str, Any] = json.loads(RUN_ID.sub("RUN", report.read_text()))  # paths of what was logged have it
    return {**_without(found, VOLATILE), "cells": {cell["id"]: _cell(cell) for cell in found["cells"]}}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return what is different between two essences, a line each."""
    ours, theirs = one["cells"], other["cells"]
    lines = _different({**one, "cells": None}, {**other, "cells": None})
    for cell in sorted(ours.keys() | theirs.keys()):
        left, right = ours.get(cell, {}), theirs.get(cell, {})
        lines += [f"{cell}: {line}" for line in _different(left, right)]
    return lines


def _different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [f"{key}: {one.get(key)!r}, {other.get(key)!r}" for key in one | other if one.get(key) != other.get(key)]


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    kept = copy.deepcopy(_without(cell, VOLATILE_OF_CELLS))
    for verdict in filter(None, [kept["verdict"], *kept["attempts"]]):
        for name in VOLATILE_OF_VERDICTS:
            verdict.pop(name, None)
    kept["exits"] = {role: ENDED if code in (137, 143) else code for role, code in kept["exits"].items()}
    if kept["deciding"]:
        kept["deciding"] = _without(kept["deciding"], VOLATILE_OF_EVENTS)
    return kept


def _without(facts: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in names}
