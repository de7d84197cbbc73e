"""Write the contract's table into the documentation, from runs of the suite.

``python -m integration_tests.broker.table [--write FILE] RUN ...``: each RUN is the folder of a run, or the
``HARNESS_LOGS`` that it was given; its columns come in this order. Without ``--write`` the tables are printed.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from junitparser import JUnitXml

from harness.errors import CONFIGURATION, OK, ConfigError
from integration_tests.broker.candidates import EMBEDDED, HERE, NOTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

YES, NO = "yes", "no"


@dataclass(frozen=True)
class About:
    """Which contract it is.

    Attributes:
        what: what keeps its promises, in a word; also the key under which a run's notes have its name.
        folder: the folder of its tests.
        notes: the file of these notes.
        embedded: the one that a stack runs on the embedded engine.
        module: who writes the tables.
    """

    what: str
    folder: Path
    notes: str
    embedded: str
    module: str


BROKERS = About("broker", HERE / "tests", NOTES, EMBEDDED, "integration_tests.broker.table")


@dataclass(frozen=True)
class Promise:
    """One row of the contract.

    Attributes:
        test: ``file::function``.
        section: what it is about, the first line of the file's docstring.
        text: the test's docstring.
    """

    test: str
    section: str
    text: str


@dataclass(frozen=True)
class Column:
    """One run of the contract.

    Attributes:
        broker: the broker's name.
        engine: what ran it.
        seconds: how long it took to be ready.
        megabytes: its memory at the end of the suite, 0 when it could not be seen.
        kept: the tests that succeeded.
        broken: test -> what the broker does instead.
    """

    broker: str
    engine: str
    seconds: float
    megabytes: int
    kept: frozenset[str]
    broken: Mapping[str, str]

    @property
    def title(self) -> str:
        """What stands above it."""
        return f"{self.broker}, {self.engine}"

    def cell(self, promise: Promise) -> str:
        """Return what stands in a row: whether the promise is kept."""
        if promise.test in self.kept:
            return YES
        return NO if promise.test in self.broken else "not run"


def promises(folder: Path = BROKERS.folder) -> list[Promise]:
    """Return the rows of the contract in the order of the suite."""
    found = []
    for file in sorted(folder.glob("test_*.py")):
        module = ast.parse(file.read_text(encoding="utf-8"))
        section = (ast.get_docstring(module) or "").splitlines()[0]
        found += [
            Promise(f"{file.name}::{one.name}", section, " ".join((ast.get_docstring(one) or "").split()))
            for one in module.body
            if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")
        ]
    return found


def read(run: Path, about: About = BROKERS) -> Column:
    """Return the column of a run.

    Raises:
        ConfigError: it has no report, or a test of it failed that is not known to fail.
    """
    folder = run if (run / "junit.xml").is_file() else run / "latest"
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        notes = json.loads((folder / about.notes).read_text(encoding="utf-8"))
        cases = [case for suite in JUnitXml.fromfile(str(folder / "junit.xml")) for case in suite]
    except (OSError, ValueError) as error:
        raise ConfigError(f"Run {run} cannot be read: {error}") from error
    kept, broken = set(), {}
    for case in cases:
        name = case.name.partition("[")[0]  # a promise holds with each of its parameters
        test = f"{case.classname.rpartition('.')[2]}.py::{name}"
        if not case.result:
            kept.add(test)
        elif case.result[0].type == "xfail":
            broken[test] = case.result[0].message
        elif case.is_failure or case.is_error:
            raise ConfigError(f"Run {run} has a test that is not known to fail: {test}")
    ready = sum(one["seconds"] for one in facts["spans"] if one["stage"] == "settle")
    return Column(notes[about.what], facts["engine"], ready, notes["megabytes"], frozenset(kept), broken)


def contract(rows: Sequence[Promise], columns: Sequence[Column], about: About = BROKERS) -> str:
    """Return the table of figures, the contract's, and what is done where a promise is not kept."""
    figures = [
        ("", *(one.title for one in columns)),
        ("promises kept", *(f"{len(one.kept)} of {len(rows)}" for one in columns)),
        ("ready after", *(f"{one.seconds:.1f} s" for one in columns)),
        ("memory after the suite", *(f"{one.megabytes} MB" if one.megabytes else "?" for one in columns)),
    ]
    lines = [_row(figures[0]), _row(["---"] * len(figures[0])), *map(_row, figures[1:]), ""]
    lines += [
        _row([f"the {about.what}'s promise", *(one.title for one in columns)]),
        _row(["---"] * (len(columns) + 1)),
    ]
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            lines.append(_row([f"**{section}**", *("" for _ in columns)]))
        lines.append(_row([row.text, *(one.cell(row) for one in columns)]))
    for one in columns:
        if one.broken:
            lines += ["", f"What {one.broker} does instead:", "", *_instead(rows, one)]
    return "\n".join(lines)


def limits(rows: Sequence[Promise], columns: Sequence[Column], about: About = BROKERS) -> str:
    """Return the promises that the embedded one does not keep, with what it does."""
    return "\n".join(line for one in columns if one.broker == about.embedded for line in _instead(rows, one))


def _instead(rows: Sequence[Promise], column: Column) -> list[str]:
    return [f"- {row.text} *{column.broken[row.test]}*" for row in rows if row.test in column.broken]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def put(text: str, block: str, content: str) -> str:
    """Return ``text`` with ``content`` in a block: between two comments with its name.

    Raises:
        ConfigError: the text has no such block.
    """
    pattern = rf"(<!-- {block}: generated -->\n).*?(<!-- {block}: end -->)"
    made, count = re.subn(pattern, lambda found: f"{found[1]}\n{content}\n\n{found[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ConfigError(f"Block {block!r} is there {count} times, one is needed")
    return made


def main(argv: Sequence[str] | None = None, about: About = BROKERS) -> int:
    """Print the tables of some runs, or write them into a file; return 0, or 10 for what cannot be read."""
    parser = argparse.ArgumentParser(prog=f"python -m {about.module}", description=main.__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--write", type=Path, help="the file that has the blocks 'limits' and 'contract'")
    given = parser.parse_args(argv)
    rows = promises(about.folder)
    try:
        columns = [read(run, about) for run in given.runs]
        blocks = {"limits": limits(rows, columns, about), "contract": contract(rows, columns, about)}
        if given.write:
            text = given.write.read_text(encoding="utf-8")
            for block, content in blocks.items():
                text = put(text, block, content)
            given.write.write_text(text, encoding="utf-8")
        else:
            print("\n\n".join(blocks.values()))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return CONFIGURATION
    return OK


if __name__ == "__main__":
    sys.exit(main())
