"""Files that tests may leave in folders that the project has watched."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
    from pathlib import Path

MOST = 20_000
_SKIPPED = frozenset({"__pycache__", ".git", ".pytest_cache", ".mypy_cache", ".ruff_cache"})


class Files:
    """The files of some folders: size and time of change of each.

    Args:
        root: the project's folder, which names are relative to.
        folders: they may come and go.
        without: folders below them whose files do not count.
    """

    kind = "files"
    counts_removed = True
    is_shared = True  # with other workers

    def __init__(self, root: Path, folders: Sequence[Path], without: Collection[Path] = ()) -> None:
        self._root = root
        self._folders = folders
        self._without = frozenset(map(str, without))
        self._seen: dict[str, tuple[int, int]] = {}
        self._known: dict[str, tuple[tuple[int, int], str, str]] = {}  # path -> the same, its name and its detail

    def glance(self) -> Hashable:
        """Return what is another one when any file is. Raises HarnessError: there are too many."""
        self._seen = {}
        for folder in self._folders:
            for path, status in self._walk(str(folder)):
                self._seen[path] = status
                if len(self._seen) > MOST:
                    raise HarnessError(f"There are more than {MOST} files in {folder}")
        return frozenset(self._seen.items())

    def look(self) -> Mapping[str, str]:
        """Return their paths, as they were at the last glance."""
        known = self._known
        self._known = {
            path: known[path] if path in known and known[path][0] == status else (status, *self._shown(path, status))
            for path, status in self._seen.items()
        }
        return {name: detail for _, name, detail in self._known.values()}

    def _shown(self, path: str, status: tuple[int, int]) -> tuple[str, str]:
        """Return the name of a file, and what is known of it."""
        if path.endswith("/"):
            return f"{os.path.relpath(path, self._root)}/", ""
        return os.path.relpath(path, self._root), f"{status[0]} bytes, changed at {_time(status[1])}"

    def _walk(self, folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield path -> (size, time of change), of folders themselves too: an empty one is left as well."""
        try:
            entries = list(os.scandir(folder))
        except OSError:  # it is not there, or not any more
            return
        for entry in entries:
            if entry.name in _SKIPPED or entry.path in self._without:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
                is_folder = entry.is_dir(follow_symlinks=False)
            except OSError:
                continue
            if is_folder:
                yield f"{entry.path}/", (0, 0)
                yield from self._walk(entry.path)
            else:
                yield entry.path, (status.st_size, status.st_mtime_ns)


def _time(nanoseconds: int) -> str:
    """Return a time of change for people, exact enough to tell two apart."""
    moment = datetime.fromtimestamp(nanoseconds // 10**9, tz=UTC)
    return f"{moment:%H:%M:%S}.{nanoseconds % 10**9:09}Z"
