"""The table of options, and what the docs say of it."""

from __future__ import annotations

import runpy

from checkout import ROOT

from harness.config.options import TAKERS

DOCS = ROOT / "docs"


def test_the_docs_have_the_table_of_options() -> None:
    """docs/tasks.md must be what the table gives: it says which tasks take an option, and what a setting may be."""
    page = (DOCS / "tasks.md").read_text()
    current = runpy.run_path(str(DOCS / "tables.py"))["with_tables"](page)
    assert page == current, "docs/tasks.md is not what the table of options gives: run `nox -s docs`"


def test_the_docs_name_every_option_of_pytest() -> None:
    """Each option that the plugin takes must be in the docs of tests."""
    tests = (DOCS / "tests.md").read_text()
    assert not [name for name in TAKERS["pytest"] if f"`--{name.replace('_', '-')}`" not in tests]


def test_the_docs_have_the_table_of_keys() -> None:
    """docs/compose-keys.md must be what the table gives."""
    page = (DOCS / "compose-keys.md").read_text()
    current = runpy.run_path(str(DOCS / "tables.py"))["with_keys"](page)
    assert page == current, "docs/compose-keys.md is not what the table of keys gives: run `nox -s docs`"
