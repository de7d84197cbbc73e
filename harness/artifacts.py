"""Files and folders that runs write: private folders, atomic files, the folder of a run."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import BrokenStack, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.errors import HarnessError

TAIL_BYTES = 64 * 1024  # where last lines are looked for first
FURTHEST_BACK = 64 * TAIL_BYTES
LONGEST_LINE = 4096
LARGEST_BLOCK = 1 << 16  # of a filesystem
FIRST_BYTES, LAST_BYTES = 1 << 20, 7 << 20  # what is read of a log at most
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM = "make room on the disk that it is on, then try again"
_IRREGULAR = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Step(str):
    """A line for users that tells how something goes on: whoever shows lines may leave it out."""

    __slots__ = ()


def cache_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the user's cache folder of the harness (XDG Base Directory Specification), None when there can be none.

    It need not be there, and may be deleted at any time.
    """
    base, home = Path(environ.get("XDG_CACHE_HOME", "")), Path(environ.get("HOME", ""))
    if not base.is_absolute():  # the specification has relative ones ignored
        base = home / ".cache"
    return base / "harness" if base.is_absolute() else None


def private_folder(path: Path) -> Path:
    """Return ``path`` after making it a folder of mode 0700 that belongs to this user.

    Raises:
        ConfigError: it is a link, belongs to somebody else, is open to others, or cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise unwritable(f"State folder {path} cannot be made", error) from error
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"State folder {path} is a link or a file, a folder was needed")
    if status.st_uid != os.getuid():
        raise ConfigError(f"State folder {path} belongs to user {status.st_uid}, not to you ({os.getuid()})")
    if status.st_mode & 0o077:
        raise ConfigError(
            f"State folder {path} has mode {stat.S_IMODE(status.st_mode):04o}, 0700 was needed",
            hint=f"chmod 700 {path}",
        )
    return path


def unwritable(sentence: str, error: OSError, *, hint: str = "") -> HarnessError:
    """Return the error for what cannot be written: a disk that is full breaks a stack, all else is configuration.

    ``sentence`` is what cannot be done to which file or folder; ``hint`` the next step where the disk is not full.
    """
    reason = f"{sentence}: {error.strerror or error}"
    if error.errno in FULL:
        return BrokenStack(reason, hint=NO_ROOM)
    return ConfigError(reason, hint=hint)


def is_full(error: BaseException | None) -> bool:
    """Return whether a disk that is full is what led to an error."""
    while error and not (isinstance(error, OSError) and error.errno in FULL):
        error = error.__cause__
    return error is not None


def has_room(folder: Path) -> bool:
    """Return whether the disk of a folder has room for another file; True where that cannot be told."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return True
    is_root = os.geteuid() == 0  # who may write where nobody else may
    blocks, files = (disk.f_bfree, disk.f_ffree) if is_root else (disk.f_bavail, disk.f_favail)
    return (blocks > 0 or not disk.f_blocks) and (files > 0 or not disk.f_files)


@contextlib.contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Guard a block that writes into ``folder``: a full disk is told in one line.

    Raises:
        BrokenStack: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise unwritable(f"{error.filename or folder} cannot be written", error) from error


def open_regular(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open ``path`` as a regular file and never wait for it; return its descriptor.

    Every file of a state or cache folder is opened by this: whatever else lies there under its name is not followed,
    waited for or written to.

    Raises:
        OSError: it cannot be opened, or it is a link, folder, pipe, socket or device, which its ``strerror`` names.
    """
    with contextlib.suppress(FileNotFoundError):
        _refuse_irregular(path, path.lstat().st_mode)  # before it is opened: a device may act on that
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    try:
        _refuse_irregular(path, os.fstat(fd).st_mode)
    except OSError:
        os.close(fd)
        raise
    return fd


def irregular(path: Path) -> str:
    """Return what ``path`` is when it is there and no regular file, such as ``a folder``; else ""."""
    try:
        return _irregular(path.lstat().st_mode)
    except OSError:
        return ""


def _irregular(mode: int) -> str:
    return "" if stat.S_ISREG(mode) else _IRREGULAR.get(stat.S_IFMT(mode), "no regular file")


def _refuse_irregular(path: Path, mode: int) -> None:
    if kind := _irregular(mode):
        raise OSError(errno.EINVAL, f"it is {kind}, a regular file was needed", str(path))


def read_regular(path: Path, most: int) -> bytes:
    """Return the contents of a regular file of at most ``most`` bytes.

    Raises:
        OSError: it cannot be opened by ``open_regular``, or is larger.
    """
    with open(open_regular(path, os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most} bytes", str(path))
        return file.read(most)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the whole new one; bytes that are no text stay."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # half a file is of no use, and what is left of a disk may be
            scratch.unlink()
        raise


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Write a file of any size, in pieces, so that a reader sees the old file or the whole new one. Raises OSError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(pieces)
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def append(path: Path, text: str) -> None:
    """Append ``text`` in one piece, so that several processes can write lines to one file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        data = text.encode()
        written = os.write(fd, data)
        if written < len(data):  # a disk that gets full takes a part
            _end_line(path, os.lseek(fd, 0, os.SEEK_CUR) - 1)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(fd)


def _end_line(path: Path, at: int) -> None:
    """Make what was written until ``at`` a line of its own, in place: there is no room for more."""
    with contextlib.suppress(OSError), path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"\n", at)


def new_run_id() -> str:
    """Return a sortable id that no other run has: local time and 32 random bits."""
    return f"{datetime.now(UTC).astimezone():%Y%m%d-%H%M%S}-{os.urandom(4).hex()}"


def _ignore_in_git(logs: Path) -> None:
    """Make a folder of runs ignore itself, unless something else is in it: then each run does that."""
    ours = re.compile(r"\.?(latest|pruned)?-?(\d{8}-\d{6}-[0-9a-f]{8})?")
    if all(ours.fullmatch(name) for name in os.listdir(logs)):  # noqa: PTH208 - names only
        append(logs / ".gitignore", "*\n")


def make_run_folder(logs: Path, run_id: str) -> Path:
    """Make ``logs/<run_id>/services`` and point ``logs/latest`` at the run; Git is told to ignore them.

    Raises:
        ConfigError: the folder cannot be written.
    """
    folder = logs / run_id
    try:
        (folder / "services").mkdir(parents=True)
        if not (logs / ".gitignore").exists():
            _ignore_in_git(logs)
        if not (logs / ".gitignore").exists():
            append(folder / ".gitignore", "*\n")
        point_latest(logs, run_id)
    except OSError as error:
        hint = "make the folder writable, or set HARNESS_LOGS to one that is"
        raise unwritable(f"Run folder {folder} cannot be made", error, hint=hint) from error
    return folder


def point_latest(logs: Path, run_id: str) -> None:
    """Point ``logs/latest`` at a run. Raises OSError."""
    link = logs / f".latest-{run_id}"
    link.unlink(missing_ok=True)  # of somebody who was killed meanwhile
    link.symlink_to(run_id)
    link.replace(logs / "latest")


def is_missing(path: str) -> bool:
    """Return whether nothing is at a path; of one that may not be looked at that is not known."""
    try:
        Path(path).stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def mapped_path(path: str, mounts: Mapping[str, str]) -> str | None:
    """Return where a container path is here, by its innermost mount (container path -> path here); None: nowhere."""
    for target in sorted(mounts, key=len, reverse=True):
        if path == target or path.startswith(target.rstrip("/") + "/"):
            return mounts[target] + path[len(target.rstrip("/")) :]
    return None


def file_size(path: Path) -> int:
    """Return the size of ``path`` in bytes, 0 when it does not exist."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def read_slice(path: Path, start: int = 0, end: int | None = None) -> bytes:
    """Return the bytes of ``path`` between two offsets, b'' when it does not exist."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read() if end is None else file.read(max(0, end - start))
    except OSError:
        return b""


def read_log(path: Path, start: int = 0, end: int | None = None) -> bytes:
    """Return what a log has between two offsets, of much the first and the last part; b'' when it does not exist.

    Lines in between say how many bytes are left out, here or by the keeper, which bounds logs by holes in them
    (``keeper.logs``). So no more than ``FIRST_BYTES`` and ``LAST_BYTES`` are returned, and never a hole's zeros.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return _read_log(file.fileno(), start, _end(file.fileno(), end))
    except OSError:
        return b""


def _read_log(log: int, start: int, end: int) -> bytes:
    first = next_data(log, start, end)
    parts = [_left_out(first - start)] if first > start else []
    if end - first <= FIRST_BYTES + LAST_BYTES:
        parts.append(_data(log, first, end))
    else:
        left_out = _left_out(end - LAST_BYTES - first - FIRST_BYTES)
        parts += [_data(log, first, first + FIRST_BYTES), left_out, _data(log, end - LAST_BYTES, end)]
    return b"".join(parts)


def read_on(path: Path, start: int, most: int) -> tuple[bytes, int]:
    """Return the next bytes of a log without its holes, ``most`` at most, and the offset to go on from."""
    try:
        with path.open("rb", buffering=0) as file:
            log, size = file.fileno(), _end(file.fileno(), None)
            first = next_data(log, start, size)
            end = min(size, first + most)
            return _data(log, first, end), max(start, end)
    except OSError:
        return b"", start


def _end(log: int, end: int | None) -> int:
    size = os.fstat(log).st_size  # while somebody writes, the end of the file is no end
    return size if end is None else min(end, size)


def next_data(log: int, start: int, end: int) -> int:
    """Return where data of an open log begin from ``start`` on, ``end`` when there are none before."""
    if start >= end:
        return end
    try:
        return min(end, os.lseek(log, start, os.SEEK_DATA))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return end


def _data(log: int, start: int, end: int) -> bytes:
    """Return the data between two offsets without the holes in it."""
    read = os.pread(log, max(0, end - start), start)
    parts, end = [], start + len(read)
    size = os.fstat(log).st_size
    # Only now: what is no hole yet was none when it was read.
    at = next_data(log, start, end)
    while at < end:
        hole = os.lseek(log, at, os.SEEK_HOLE)  # at the end of the file, if there is no other
        data = read[at - start : hole - start]
        # The rest of the block before a hole was never written.
        parts.append(data.rstrip(b"\0") if hole < min(size, end + LARGEST_BLOCK) else data)
        at = next_data(log, hole, end)
    return b"".join(parts)


def _left_out(count: int) -> bytes:
    return f"\n... harness: {count} bytes left out ...\n".encode()


def printable(data: bytes) -> str:
    r"""Return ``data`` for a terminal or report: what is no UTF-8, and control characters, as ``\xNN``."""
    text = data.decode(errors="backslashreplace").replace("\r\n", "\n")
    return "\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else f"\\x{ord(char):02x}" for char in line)


def last_lines(path: Path, count: int = 20, start: int = 0) -> list[str]:
    """Return the last ``count`` printable lines that ``path`` got since offset ``start``, of a long one its beginning.

    They are looked for further back while the end of the log is taken up by few long lines.
    """
    size, span = file_size(path), TAIL_BYTES
    while True:
        begin = max(start, size - span)
        lines = read_on(path, begin, span)[0].split(b"\n")
        if begin == start or len(lines) > count or span >= FURTHEST_BACK:
            shown = (
                line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + b" ..." for line in lines[-count - 1 :]
            )
            return printable(b"\n".join(shown)).splitlines()[-count:]
        span *= 8
