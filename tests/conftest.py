"""Fixtures of the toolkit's own tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project. At the end of the test nothing of it may be left."""
    root, state = tmp_path / "project", tmp_path / "state"
    root.mkdir()
    state.mkdir(mode=0o700)
    made = Project(root, state)
    yield made
    for run in made.runs:
        run.close()
    left = made.wait_until_gone(10)
    assert not left
    assert not made.ledgers()
