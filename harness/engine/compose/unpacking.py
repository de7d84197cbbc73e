"""Archives that an engine gives of a container's files, unpacked without trust: whoever wrote them may be anybody."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.clock import Deadline

_OTHERS = {"CHRTYPE": "a device", "BLKTYPE": "a device", "FIFOTYPE": "a pipe"}
_KINDS = {getattr(tarfile, name): words for name, words in _OTHERS.items()}
_MODES = 0o777  # no set-uid


class Chunks(io.RawIOBase):
    """Chunks of bytes as a file that is read once.

    Args:
        chunks: the bytes.
        deadline: when to give up; reading then raises HarnessError.
    """

    def __init__(self, chunks: Iterator[bytes], deadline: Deadline) -> None:
        self._chunks, self._deadline, self._rest = chunks, deadline, b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # a buffer of bytes, as here
        """Fill a buffer with what comes next; return how much, 0 at the end."""
        while not self._rest:
            if self._deadline.expired():
                raise HarnessError(f"it was not all there in {self._deadline.budget:g} s")
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


@dataclass(frozen=True)
class Bounds:
    """How much of one archive is written at most: whoever made it could fill this machine's disk.

    Attributes:
        size: bytes of all files together; one that does not fit is left out, and smaller ones behind it are not.
        members: files, folders and links; what comes behind them is left out.
    """

    size: int = 2 << 30
    members: int = 100_000


DEFAULT = Bounds()
UNBOUNDED = Bounds(sys.maxsize, sys.maxsize)


def unpack(archive: tarfile.TarFile, top: str, to: Path, bounds: Bounds = DEFAULT) -> list[str]:
    """Write what is in an archive to ``to``: files, folders, and links that stay within.

    Args:
        archive: it; read once, from its beginning to its end, or until there is too much in it.
        top: the name of the file or folder that was asked for, which ``to`` stands for.
        to: where it goes; what is there is written over.
        bounds: how much of it is written.

    Returns:
        What was refused or left out, and why, in words.

    Raises:
        OSError: it cannot be written, or is no archive (tarfile.TarError).
        HarnessError: it did not come in time.
    """
    unpacking = _Unpacking(archive, top, to, bounds)
    for number, member in enumerate(archive):
        if number == bounds.members:
            unpacking.refused.append(f"{member.name} and all behind it: more than {number} files in one copy")
            break
        if why := unpacking.take(member):
            unpacking.refused.append(f"{member.name}: {why}")
    unpacking.finish()
    return unpacking.refused


class _Unpacking:
    """An archive on its way to ``to``; ``refused`` is what of it was not written."""

    def __init__(self, archive: tarfile.TarFile, top: str, to: Path, bounds: Bounds) -> None:
        self._archive, self._top, self._to, self._bounds = archive, top, to, bounds
        self._written = 0
        self._links: list[tuple[Path, str]] = []
        self._too_large: list[str] = []
        self.refused: list[str] = []

    def take(self, member: tarfile.TarInfo) -> str:
        """Write a member; return why it was not, "" when it was or that is told at the end. Raises OSError."""
        path = _inner(member.name, self._top)
        if path is None:
            return "its name leads out"
        target = self._to / path
        if why := _refused(member, path, self._top) or _in_the_way(member, target, self._to):
            return why
        if member.isdir():
            target.mkdir(exist_ok=True)
        elif member.issym():
            self._links.append((target, member.linkname))
        elif member.islnk():
            self._write_again(member, target)
        elif self._fits(member.name, member.size):
            _write(self._archive, member, target)
        return ""

    def _write_again(self, member: tarfile.TarInfo, target: Path) -> None:
        """Write the second name of a file as a copy of it."""
        linked = _inner(member.linkname, self._top)
        source = self._to / linked if linked is not None else target
        if source != target and source.is_file() and self._fits(member.name, source.stat().st_size):
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)

    def _fits(self, name: str, size: int) -> bool:
        """Return whether a file is written; it counts then."""
        if self._written + size > self._bounds.size:
            self._too_large.append(name)
            return False
        self._written += size
        return True

    def finish(self) -> None:
        """Make the links, last, so that nothing is written by way of one, and say what was too large."""
        for target, name in self._links:
            if target.is_dir() and not target.is_symlink():
                self.refused.append(f"{target.relative_to(self._to)}: it is a link, and a folder")
                continue
            target.unlink(missing_ok=True)
            target.symlink_to(name)
        if self._too_large:
            first, more = self._too_large[0], len(self._too_large) - 1
            also = f" and {more} more file{'s' if more > 1 else ''}" if more else ""
            self.refused.append(f"{first}{also}: more than {self._bounds.size >> 20} MiB in one copy")


def _in_the_way(member: tarfile.TarInfo, target: Path, to: Path) -> str:
    """Have the folder of a member; return what is in its place or in that of its folder, "" for nothing."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return f"{target.parent.relative_to(to)} is no folder"
    if target.is_dir() and not member.isdir():
        return "a folder is there"
    return "a file is there" if member.isdir() and os.path.lexists(target) and not target.is_dir() else ""


def _inner(name: str, top: str) -> PurePosixPath | None:
    """Return the path of a member within what was asked for, None when it is not in there."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return None
    try:
        return path.relative_to(top)
    except ValueError:
        return None


def _refused(member: tarfile.TarInfo, path: PurePosixPath, top: str) -> str:
    """Return why a member is not written, "" when it is."""
    if member.type in _KINDS:
        return f"it is {_KINDS[member.type]}"
    if member.issym() and not _stays(path, member.linkname):
        return f"it is a link that leads out, to {member.linkname}"
    if member.islnk() and _inner(member.linkname, top) is None:
        return f"it is a link that leads out, to {member.linkname}"
    return "" if member.isfile() or member.isdir() or member.issym() or member.islnk() else "it is no file or folder"


def _stays(path: PurePosixPath, target: str) -> bool:
    """Return whether a symbolic link leads to something beside or below what was asked for, whatever is a link there.

    So ".." is for its beginning only: behind the name of a link it would lead from where that leads.
    """
    parts = PurePosixPath(target).parts
    up = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    return not target.startswith("/") and ".." not in parts[up:] and up < len(path.parts)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = archive.extractfile(member)
    target.unlink(missing_ok=True)
    with target.open("wb") as file:
        if source:
            shutil.copyfileobj(source, file)
    os.chmod(target, member.mode & _MODES | 0o600)  # noqa: PTH101 - by its path
