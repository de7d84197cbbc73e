"""What folders hold, told without reading what was read before: one walk for all who compare files with earlier ones.

A file is the same while its times and size are. Where they differ, or where it was written so shortly before it was
looked at that its time tells nothing, its content decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TICK = 50_000_000  # nanoseconds: no filesystem's clock is slower, but for those of whole seconds (FAT)
OPENED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DIGEST = 16


@dataclass
class Folder:
    """A folder as it was.

    Attributes:
        time: when it was changed, in nanoseconds.
        passed: the names in it that are no files that count: folders, and what is left out.
        files: name -> what was noted of a file.
        mode: its permissions.
    """

    time: int
    passed: list[str] = field(default_factory=list)
    files: dict[str, list[Any]] = field(default_factory=dict)
    mode: int = 0


class Selection(Protocol):
    """Which files below a folder count, and what is noted of them."""

    def enters(self, entries: Sequence[os.DirEntry[str]]) -> bool:
        """Return whether a folder with these entries counts."""
        ...

    def counts(self, inner: str, *, is_folder: bool) -> bool:
        """Return whether what is at a path counts, which starts from the folder; of a folder, whether it may."""
        ...

    def note(self, entry: os.DirEntry[str]) -> list[Any] | None:
        """Return what is noted of a file, None when nothing is. Raises OSError."""
        ...


def scan(root: Path, below: str, selection: Selection) -> tuple[Folder, list[str]] | None:
    """Return one folder as it is, and the paths of the folders in it that may count; None when it does not count."""
    path = root / below
    try:
        facts = path.stat()
        with os.scandir(path) as entries:
            listed = list(entries)
    except OSError:
        return None
    if not selection.enters(listed):
        return None
    folder, inside = Folder(facts.st_mtime_ns, mode=facts.st_mode & 0o7777), []
    for entry in listed:
        inner = f"{below}/{entry.name}" if below else entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        counts = selection.counts(inner, is_folder=is_folder)
        if is_folder or not counts:
            folder.passed.append(entry.name)
            inside += [inner] if counts else []
        else:
            with contextlib.suppress(OSError):
                if noted := selection.note(entry):
                    folder.files[entry.name] = noted
    return folder, inside


def walk(root: Path, start: str, selection: Selection) -> Iterator[tuple[str, Folder]]:
    """Give each folder from ``start`` on that counts, by its path from ``root`` on."""
    todo = [start]
    while todo:
        below = todo.pop()
        if scanned := scan(root, below, selection):
            folder, inside = scanned
            todo += inside
            yield below, folder


def digest_of(path: str) -> str:
    """Return the digest of a file's content, "" where it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - thousands of them
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST)).hexdigest()
    except OSError:
        return ""


class Ignored:
    """What a ``.dockerignore`` leaves out, as the SDK has it."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._lines = [line for line in lines if line and not line.startswith("#")]
        self._exceptions = [line[1:].strip().lstrip("./") for line in self._lines if line.startswith("!")]
        self._matcher: Any = None

    def leaves_out(self, path: str) -> bool:
        """Return whether it leaves out a path, which starts from its folder."""
        if not self._lines:
            return False
        if self._matcher is None:
            from docker.utils.build import PatternMatcher  # noqa: PLC0415 - a quarter of a second, only where needed

            self._matcher = PatternMatcher(self._lines)
        return bool(self._matcher.matches(path))

    def leaves_out_folder(self, path: str) -> bool:
        """Return whether it leaves out all of a folder: no exception may mean anything below that."""
        return self.leaves_out(path) and not any(
            "*" in exception.partition("/")[0] or exception.startswith(f"{path}/") for exception in self._exceptions
        )
