"""What folders hold, told without reading what was read before: one walk for all who compare files with earlier ones.

A file is the same while its times and size are. Where they differ, or where it was written so shortly before it was
looked at that its time tells nothing, its content decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TICK = 50_000_000  # nanoseconds: no filesystem's clock is slower, but for those of whole seconds (FAT)
OPENED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
UNREAD = -2
_DIGEST = 16
_WILD = frozenset("*?[")
_ESCAPED = re.compile(r"\\(.)")


@dataclass
class Folder:
    """A folder as it was.

    Attributes:
        time: when names in it came or went, in nanoseconds, as it says: that can be set; ``UNREAD`` where it could not
            be read.
        passed: the names in it that are no files that count: folders, and what is left out.
        files: name -> what was noted of a file.
        mode: its permissions.
        changed: when anything of it was changed: that cannot be set.
    """

    time: int
    passed: list[str] = field(default_factory=list)
    files: dict[str, list[Any]] = field(default_factory=dict)
    mode: int = 0
    changed: int = 0

    def was_changed(self, facts: os.stat_result) -> bool:
        """Return whether names may have come or gone since."""
        return (facts.st_mtime_ns, facts.st_ctime_ns) != (self.time, self.changed)

    def is_newer(self, since: int) -> bool:
        """Return whether it was changed so late that its times tell nothing."""
        return max(self.time, self.changed) >= since


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
    """Return one folder as it is, and the paths of the folders in it that may count; None when it does not count.

    One that cannot be read is empty, and its time ``UNREAD``: it counts, for it may be read another time.
    """
    path = root / below
    try:
        facts = path.stat()
        with os.scandir(path) as entries:
            listed = list(entries)
    except OSError:
        return Folder(UNREAD), []
    if not selection.enters(listed):
        return None
    folder, inside = Folder(facts.st_mtime_ns, mode=facts.st_mode & 0o7777, changed=facts.st_ctime_ns), []
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


class _Pattern(NamedTuple):
    """A line of a ``.dockerignore``: whether it lets in again, its parts, and what tells whether a path is meant."""

    lets_in: bool
    parts: tuple[str, ...]
    matches: Callable[[str], object]

    def may_match_below(self, path: str) -> bool:
        """Return whether it may mean something below a folder that it does not mean itself."""
        names = path.split("/")
        for part, name in zip(self.parts, names, strict=False):
            if "**" in part:
                return True
            if not _WILD & {*part} and part.lower() != name.lower():
                return False
        return len(self.parts) > len(names)


def _plain(escaped: re.Match[str]) -> str:
    """Return what means a character that is escaped to the SDK, which knows no escapes."""
    return f"[{escaped[1]}]" if escaped[1] in "*?[\\" else escaped[1]


def ignore_list(folder: Path) -> str:
    """Return what the ``.dockerignore`` of a folder says, "" where there is none."""
    path = folder / ".dockerignore"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


class Ignored:
    """What a ``.dockerignore`` leaves out: its patterns are translated by the SDK, and applied as builders do.

    What is meant with a folder is all below it. Only where the builders themselves are not of one mind (the SDK takes
    no heed of case) more counts than some of them are given.
    """

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
        self._lines = [line for line in lines if line and not line.startswith("#")]
        self._above: dict[str, list[bool]] = {}

    @cached_property
    def _patterns(self) -> list[_Pattern]:
        from harness.docker_sdk import translate  # noqa: PLC0415 - a quarter of a second, only where needed

        patterns = []
        for line in (*self._lines, "!.dockerignore"):
            lets_in = line.startswith("!")
            cleaned = posixpath.normpath(line.removeprefix("!").strip()).lstrip("/")
            if cleaned in ("", "."):
                continue
            cleaned = _ESCAPED.sub(_plain, cleaned).replace("[^", "[!")
            with contextlib.suppress(re.error):  # builders refuse it
                meant = re.compile(translate(cleaned), re.IGNORECASE if lets_in else 0)
                patterns.append(_Pattern(lets_in, tuple(cleaned.split("/")), meant.fullmatch))
        return patterns

    def _meaning(self, path: str) -> list[bool]:
        """Return which of the patterns mean a path, or a folder that it is in."""
        folder = path.rpartition("/")[0]
        if not folder:
            return [pattern.matches(path) is not None for pattern in self._patterns]
        above = self._above.get(folder)
        if above is None:
            above = self._above[folder] = self._meaning(folder)
        return [was or one.matches(path) is not None for was, one in zip(above, self._patterns, strict=True)]

    def _left_out_by(self, path: str) -> int | None:
        """Return the number of the pattern that leaves out a path, None when it stays."""
        if not self._lines:
            return None
        meaning = self._meaning(path)
        last = next((number for number in reversed(range(len(meaning))) if meaning[number]), None)
        return None if last is None or self._patterns[last].lets_in else last

    def leaves_out(self, path: str) -> bool:
        """Return whether it leaves out a path, which starts from its folder."""
        return self._left_out_by(path) is not None

    def leaves_out_folder(self, path: str) -> bool:
        """Return whether it leaves out all of a folder: no later exception may mean anything below that."""
        by = self._left_out_by(path)
        if by is None:
            return False
        return not any(later.lets_in and later.may_match_below(path) for later in self._patterns[by + 1 :])


class LeftOut:
    """What each of several ``.dockerignore`` leaves out: by which of them a builder goes is not told. None: nothing."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._lists = [Ignored(text) for text in texts]

    def leaves_out(self, path: str) -> bool:
        """Return whether all of them leave out a path, which starts from their folder."""
        return bool(self._lists) and all(one.leaves_out(path) for one in self._lists)

    def leaves_out_folder(self, path: str) -> bool:
        """Return whether all of them leave out all of a folder."""
        return bool(self._lists) and all(one.leaves_out_folder(path) for one in self._lists)
