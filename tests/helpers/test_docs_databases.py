"""The recipes of docs/databases.md and docs/search.md, as they stand there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT
from projects import run_in

if TYPE_CHECKING:
    from projects import Project

FILE = re.compile(r"^`([\w./]+)`[^\n]*:\n\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("page", "needed"),
    [
        ("databases", {"compose/shop.yaml", "compose/schema.sql", "compose/keys.redis", "conftest.py", "test_shop.py"}),
        ("search", {"compose/pets.yaml", "compose/data/owners.ndjson", "conftest.py", "test_search.py"}),
    ],
)
def test_the_recipe_does_what_the_page_says(project: Project, page: str, needed: set[str]) -> None:
    """The files of the page, written down as they are, must be a project whose tests pass."""
    files = dict(FILE.findall((ROOT / "docs" / f"{page}.md").read_text()))
    assert needed <= set(files)
    for name, text in files.items():
        (project.root / name).parent.mkdir(exist_ok=True)
        (project.root / name).write_text(text)
    tests = sum(text.count("def test_") for text in files.values())
    done = run_in(project, "-m", "pytest", "-q", "-p", "no:randomly", "-W", "ignore", timeout=120)
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr
