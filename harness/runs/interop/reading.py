"""The files of a matrix, read: the only place that opens them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.matrix.cases import Case
    from harness.matrix.expectations import Expectation
    from harness.matrix.implementations import Matrix


def find(folder: Path) -> Path:
    """Return a folder's matrix: ``interop.toml``, else ``_implementations.json``. Raises ConfigError."""
    raise NotImplementedError


def read(path: Path) -> tuple[Matrix, tuple[Case, ...]]:
    """Return a matrix and its tests, by name.

    Args:
        path: ``interop.toml``, ``_implementations.json``, or a folder that has one of them.

    Raises:
        ConfigError: with everything that is wrong in any of its files.
    """
    raise NotImplementedError


def read_expected(matrix: Matrix) -> tuple[Expectation, ...]:
    """Return what ``expect.toml`` beside the matrix's file says, () without one. Raises ConfigError."""
    raise NotImplementedError
