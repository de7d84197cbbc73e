"""The table of options, and what the docs say of it."""

from __future__ import annotations

import re
from pathlib import Path

from harness.config.options import OPTIONS, TAKERS

TASKS = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TASKS.splitlines() if line.startswith("|")]


def test_the_docs_name_the_tasks_that_take_an_option() -> None:
    """A flag's row must name just those tasks that the table of options gives it to."""
    of = {flag: row[1] for row in ROWS for flag in re.findall(r"`--([a-z-]+)`", row[0])}
    for name in {name for task, names in TAKERS.items() if task != "pytest" for name in names} - {"engine"}:
        takers = {task for task, names in TAKERS.items() if name in names and task != "pytest"}
        # The first list; after it come tasks that have a flag of that name for something else.
        assert set(re.findall(r"`([a-z ]+)`", of[name.replace("_", "-")])[0].split()) == takers, name


def test_the_docs_name_every_key() -> None:
    """Each key of ``[tool.harness]`` that gives an option must be in the table of settings."""
    keys = {key for row in ROWS for key in re.findall(r"`([a-z-]+)`", row[0])}
    assert {option.key for option in OPTIONS.values() if option.key} <= keys


def test_the_docs_name_every_option_of_pytest() -> None:
    """Each option that the plugin takes must be in the docs of tests."""
    tests = (Path(__file__).parent.parent / "docs" / "tests.md").read_text()
    assert not [name for name in TAKERS["pytest"] if f"`--{name.replace('_', '-')}`" not in tests]
