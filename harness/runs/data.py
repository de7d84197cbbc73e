"""Data that services keep in folders of the checkout outlives an environment: that is told. It may be disposable."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import BrokenStack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.stack import Stack

LOOKED_AT = 10_000  # files of a folder at most, to see whether one is new


def folders_of(stack: Stack, root: Path) -> list[Path]:
    """Return the folders of a checkout that services of a stack may write to."""
    sources = [
        Path(mount.source)
        for service in stack.services
        for mount in service.mounts
        if mount.kind == "bind" and not mount.read_only
    ]
    inside = [source for source in sources if source.is_relative_to(root) and source != root and source.is_dir()]
    return list(dict.fromkeys(inside))


def written_since(folders: Iterable[Path], moment: float) -> list[Path]:
    """Return those of some folders in which something was written since a moment, in seconds of the wall clock."""
    return [folder for folder in folders if any(_is_newer(entry, moment) for entry in _entries(folder))]


def _entries(folder: Path) -> Iterator[Path]:
    left = LOOKED_AT
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            left -= 1
            if left < 0:
                return
            yield Path(where) / name


def _is_newer(entry: Path, moment: float) -> bool:
    try:
        return entry.lstat().st_mtime >= moment
    except OSError:
        return False


def disposable(stack: Stack, root: Path) -> list[Path]:
    """Return the folders that services of a stack may write to and ``x-harness.data`` calls disposable."""
    named = {(stack.folder / path).resolve() for path in stack.settings.data}
    return [folder for folder in folders_of(stack, root) if folder.resolve() in named]


def empty(folder: Path, root: Path) -> None:
    """Remove what is in a folder of the checkout; links in it go, what they lead to stays.

    Raises:
        BrokenStack: something could not be removed, or the folder is not in the checkout any more.
    """
    if folder.is_symlink() or not folder.resolve().is_relative_to(root.resolve()) or folder.resolve() == root.resolve():
        raise BrokenStack(f"{folder} is not a folder of {root}, so it is not emptied")
    try:
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise BrokenStack(
            f"{folder} could not be emptied: {error.filename}: {error.strerror}",
            hint="a container has written there as another user, maybe",
        ) from error
