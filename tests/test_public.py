"""What ``import harness`` offers, and the example of it that the docs have."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from checkout import ROOT
from projects import run_in

import harness

if TYPE_CHECKING:
    from projects import Project

EXAMPLES = ROOT / "docs" / "examples"


def test_dir_shows_every_public_name() -> None:
    """Whoever looks at the package, by hand or in an editor, must see what can be imported, and each must be there."""
    assert set(harness.__all__) <= set(dir(harness))
    assert [name for name in harness.__all__ if getattr(harness, name, None) is None] == []
    assert {"Stack", "Service", "Endpoint"} <= set(harness.__all__)


def test_the_typed_example_runs(project: Project) -> None:
    """The example of the docs, which mypy checks with everything else, must pass as it stands."""
    shutil.copytree(EXAMPLES, project.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "logs"))
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-q", "test_typed.py")
    assert done.code == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
