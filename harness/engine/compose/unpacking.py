"""Archives that an engine gives of a container's files, unpacked without trust: whoever wrote them may be anybody."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
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


def unpack(archive: tarfile.TarFile, top: str, to: Path) -> list[str]:
    """Write what is in an archive to ``to``: files, folders, and links that stay within.

    Args:
        archive: it; read once, from its beginning to its end.
        top: the name of the file or folder that was asked for, which ``to`` stands for.
        to: where it goes; what is there is written over.

    Returns:
        What was refused, and why, in words.

    Raises:
        OSError: it cannot be written, or is no archive (tarfile.TarError).
        HarnessError: it did not come in time.
    """
    refused: list[str] = []
    links: list[tuple[Path, str]] = []
    for member in archive:
        path = _inner(member.name, top)
        why = "its name leads out" if path is None else _refused(member, path, top)
        if path is None or why:
            refused.append(f"{member.name}: {why}")
            continue
        target = to / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not member.isdir():
            refused.append(f"{member.name}: a folder is there")
        elif member.isdir():
            target.mkdir(exist_ok=True)
        elif member.issym():
            links.append((target, member.linkname))
        elif member.islnk():
            linked = _inner(member.linkname, top)
            if linked is not None and (to / linked).is_file():
                shutil.copyfile(to / linked, target)
        else:
            _write(archive, member, target)
    for target, name in links:  # last, so that nothing is written by way of one
        if target.is_dir() and not target.is_symlink():
            refused.append(f"{target.relative_to(to)}: it is a link, and a folder")
            continue
        target.unlink(missing_ok=True)
        target.symlink_to(name)
    return refused


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
