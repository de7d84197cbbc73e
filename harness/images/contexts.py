"""What a build's folder holds, as the builder is given it, told by a digest; files that did not change are not read.

What was noted at the last look is kept in the cache folder (``stack.cache``), and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.folders import OPENED, TICK, UNREAD, Folder, LeftOut, digest_of, scan
from harness.stack.cache import keep, recall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FORMAT = 4
_PLAIN = {stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFDIR: "d"}


@dataclass(frozen=True)
class Held:
    """What a folder holds.

    Attributes:
        digest: of all of it: names, contents, permissions and what links lead to, but no times and no owners.
        unread: paths of files and folders that could not be read.
        list_files: makes ``files``, which is not asked for when nothing has changed.
    """

    digest: str
    unread: tuple[str, ...] = ()
    list_files: Callable[[], Mapping[str, str]] = field(default=dict, repr=False, compare=False)

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Path in it -> kind, permissions and digest of a file, link or folder."""
        return self.list_files()


class _Sent:
    """What a builder may be sent of a folder: all but what each of the lists leaves out, and what is named."""

    def __init__(self, lists: Sequence[str], besides: Sequence[str]) -> None:
        self._left_out = LeftOut(lists)
        self._besides = besides

    def enters(self, _: Sequence[os.DirEntry[str]]) -> bool:
        return True

    def counts(self, inner: str, *, is_folder: bool) -> bool:
        if is_folder:
            return not self._left_out.leaves_out_folder(inner)
        return inner not in self._besides and self.sends_folder(inner)

    def sends_folder(self, inner: str) -> bool:
        """Return whether a folder itself is sent, and not only something below it."""
        return not self._left_out.leaves_out(inner)

    def note(self, entry: os.DirEntry[str]) -> list[Any] | None:
        try:
            return _noted(entry.stat(follow_symlinks=False))
        except PermissionError:  # of its folder: names only may be read
            return [0, 0, 0, "f0", ""]


def _noted(facts: os.stat_result) -> list[Any] | None:
    """Return times, size, kind and permissions of a file, and room for its digest; None for what no builder is sent."""
    kind = _PLAIN.get(stat.S_IFMT(facts.st_mode))
    if kind is None:
        return None
    return [facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, f"{kind}{stat.S_IMODE(facts.st_mode):o}", ""]


def look(
    root: Path, ignored: str, environ: Mapping[str, str], *, besides: Sequence[str] = (), other: str | None = None
) -> Held:
    """Return what a folder holds.

    Args:
        root: the folder.
        ignored: the text of its ``.dockerignore``, "" for none.
        environ: tells where the cache folder is.
        besides: paths in it that are no part of it.
        other: the text of another list by which builders may go instead, None without one: what either lets in counts.
    """
    lists = (ignored,) if other is None else (ignored, other)
    facts = "\0".join(["context", str(FORMAT), str(len(lists)), str(root), *lists, *besides])
    key = hashlib.sha256(facts.encode(errors="surrogateescape")).hexdigest()
    before = _recalled(key, environ)
    at = time.time_ns()
    sent = _Sent(lists, besides)
    folders = _look(root, sent, before.at, before.folders)
    files = partial(_files, folders, sent)
    if folders == before.folders and before.digest:
        digest = before.digest
        is_news = _is_doubted(before)
    else:
        digest, is_news = _digest(files()), True
    if is_news:
        keep(key, [at, {below: list(vars(folder).values()) for below, folder in folders.items()}, digest], environ)
    return Held(digest, _unread(folders), files)


@dataclass(frozen=True)
class _Noted:
    """What was noted at a look: when it was (nanoseconds since 1970), the folders, and the digest of all of them."""

    at: int = 0
    folders: Mapping[str, Folder] = field(default_factory=dict)
    digest: str = ""


def _recalled(key: str, environ: Mapping[str, str]) -> _Noted:
    with suppress(TypeError, ValueError):
        at, folders, digest = recall(key, environ)
        return _Noted(int(at), {below: Folder(*values) for below, values in folders.items()}, str(digest))
    return _Noted()


def _is_doubted(before: _Noted) -> bool:
    """Return whether some of what was noted was so new that it is read each time."""
    doubted = before.at - TICK
    return any(
        folder.is_newer(doubted) or any(noted[1] >= doubted for noted in folder.files.values())
        for folder in before.folders.values()
    )


def _look(root: Path, sent: _Sent, at: int, before: Mapping[str, Folder]) -> dict[str, Folder]:
    """Return the folders as they are, with a digest of each file, taken from before where it is the same."""
    doubted = at - TICK
    found: dict[str, Folder] = {}
    todo = [""]
    while todo:
        below = todo.pop()
        path, old = os.path.join(root, below) if below else str(root), before.get(below)  # noqa: PTH118 - thousands
        seen = _again(path, old, doubted) if old else None
        if old and seen:
            folder, prefix = seen, f"{below}/" if below else ""
            inside = [inner for name in old.passed if (inner := prefix + name) in before]
        elif scanned := scan(root, below, sent):
            folder, inside = scanned
        else:
            continue
        found[below] = folder
        todo += inside
        known = old.files if old else {}
        for name, noted in folder.files.items():
            was = known.get(name)
            if was is not None and was[:4] == noted[:4] and was[1] < doubted:
                noted[4] = was[4]
            if not noted[4]:
                noted[4] = _content(f"{path}/{name}", noted[3])
    return found


def _again(path: str, old: Folder, doubted: int) -> Folder | None:
    """Return a folder in which no names have come or gone, None when some may have."""
    if old.is_newer(doubted):
        return None
    try:
        handle = os.open(path, OPENED)
    except OSError:
        return None
    try:
        facts = os.fstat(handle)
        if old.was_changed(facts):
            return None
        folder, look_at = replace(old, files={}), os.stat
        for name, was in old.files.items():
            now = look_at(name, dir_fd=handle, follow_symlinks=False)
            if now.st_mtime_ns == was[0] and now.st_ctime_ns == was[1] and was[1] < doubted:
                folder.files[name] = was
            elif noted := _noted(now):
                folder.files[name] = noted
    except OSError:
        return None
    finally:
        os.close(handle)
    return folder


def _content(path: str, kind: str) -> str:
    """Return the digest of a file's content, or of where a link leads; "" where it cannot be read."""
    if kind[0] != "l":
        return digest_of(path)
    try:
        return hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()[:32]  # noqa: PTH115 - a string in
    except OSError:
        return ""


def _files(folders: Mapping[str, Folder], sent: _Sent) -> dict[str, str]:
    files: dict[str, str] = {}
    for below, folder in folders.items():
        prefix = f"{below}/" if below else ""
        if folder.time != UNREAD and below and sent.sends_folder(below):
            files[below] = f"d{folder.mode:o}"
        for name, noted in folder.files.items():
            files[prefix + name] = f"{noted[3]} {noted[4]}"
    return files


def _unread(folders: Mapping[str, Folder]) -> tuple[str, ...]:
    unread: list[str] = []
    for below, folder in folders.items():
        prefix = f"{below}/" if below else ""
        if folder.time == UNREAD:
            unread.append(below or ".")
        unread += [prefix + name for name, noted in folder.files.items() if not noted[4]]
    return tuple(unread)


def _digest(files: Mapping[str, str]) -> str:
    text = "".join(f"{name}\0{facts}\0" for name, facts in sorted(files.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
