"""Which interoperability matrix is meant: a declared one, or one by its place."""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

TOML, MANIFEST = "interop.toml", "_implementations.json"
TESTS = ("tests", "interop/tests")  # where an older project has them
FILES = (TOML, MANIFEST, *(f"{tests}/{MANIFEST}" for tests in TESTS))
"""The file of a folder's matrix: the first that is there."""


class Places(NamedTuple):
    """Where a matrix is looked for.

    Attributes:
        here: the folder that the user is in.
        root: the project's.
        declared: name -> file or folder, of the project.
    """

    here: Path
    root: Path
    declared: Mapping[str, Path]


def matrix_file(name: str, origin: str, places: Places) -> Path:
    """Return the file or folder of a matrix.

    Args:
        name: of a declared one, or the path of its file or folder; "" for the only declared one, else that of the
            nearest folder that has one, from here up to the project's.
        origin: where the name comes from.
        places: where it is looked for. A path begins here, or at the project's folder.

    Raises:
        ConfigError: there is none of that name, its declared file is gone, or several are declared and none is named.
    """
    here, root, declared = places
    known = ", ".join(declared) or "none"
    if not name and len(declared) > 1:
        raise ConfigError(f"No matrix was named; there are: {known}", hint="give --matrix NAME")
    of = declared.get(name) if name else next(iter(declared.values()), None)
    if of and not of.exists():
        raise ConfigError(f"Matrix {of} ([tool.harness.matrices]) does not exist")
    if of or not name:
        return of or _by_place(here, root)
    for path in (here / name, root / name):
        if path.exists():
            return path
    if "/" not in name:
        raise ConfigError(
            f"Matrix {name!r} ({origin}) is not known; there are: {known}{nearest(name, declared)}",
            hint="name one of [tool.harness.matrices], or its file by its path",
        )
    raise ConfigError(f"Matrix {here / name if here == root else name} ({origin}) does not exist")


def file_in(folder: Path) -> Path | None:
    """Return the file of a folder's matrix, None where it has none; reading it tells if it is no file at all."""
    return next((folder / name for name in FILES if os.path.lexists(folder / name)), None)


def _by_place(here: Path, root: Path) -> Path:
    """Return the nearest folder that has one, from here up to the project's; this one where none has."""
    folders = [folder for folder in (here, *here.parents) if folder.is_relative_to(root)]
    return next((folder for folder in folders if file_in(folder)), here)
