"""The recipe of docs/databases.md, as it stands there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from checkout import ROOT
from projects import run_in

if TYPE_CHECKING:
    from projects import Project

FILE = re.compile(r"^`([\w./]+)`[^\n]*:\n\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_recipe_does_what_the_page_says(project: Project) -> None:
    """The files of the page, written down as they are, must be a project whose tests pass."""
    files = dict(FILE.findall((ROOT / "docs" / "databases.md").read_text()))
    assert {"compose/shop.yaml", "compose/schema.sql", "compose/keys.redis", "conftest.py", "test_shop.py"} <= set(
        files
    )
    for name, text in files.items():
        (project.root / name).write_text(text)
    tests = sum(text.count("def test_") for text in files.values())
    done = run_in(project, "-m", "pytest", "-q", "-p", "no:randomly", "-W", "ignore", timeout=120)
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr
