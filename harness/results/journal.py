"""What came out of each part of a run, on the disk before the next thing is told: a run that was killed can go on.

``journal.jsonl``: a header, then a line for each result, in the order in which they came. Only its last can be torn.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.artifacts import FULL, NO_ROOM, open_regular, read_regular, unwritable
from harness.errors import BrokenStack, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NAME = "journal.jsonl"
SCHEMA = 1
KEY = "cell"


@dataclass(frozen=True)
class Header:
    """The first line of a journal.

    Attributes:
        plan: hash of the plan whose results it has.
        run: id of the run.
        shard: the part of the plan, ``i/n``.
    """

    plan: str
    run: str
    shard: str = "1/1"


@dataclass(frozen=True)
class Journaled:
    """What a journal has.

    Attributes:
        header: its first line.
        records: cell id -> its record, in the order in which they came.
        size: bytes of whole lines.
        torn: bytes of a last line that was not written to its end.
    """

    header: Header
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    size: int = 0
    torn: int = 0


LARGEST = 1 << 30  # bytes of a journal
ANEW = "run the matrix anew"


def read(path: Path) -> Journaled:
    """Return what a journal has; a last line that is torn is left out and counted.

    Raises:
        ConfigError: it is not there, it is no journal, of another version, or it is damaged before its end.
    """
    try:
        data = read_regular(path, LARGEST)
    except OSError as error:
        raise ConfigError(f"Journal {path} cannot be read: {error.strerror or error}") from error
    whole, end, torn = data.rpartition(b"\n")
    lines = whole.split(b"\n") if end else []
    if not lines:
        raise ConfigError(f"Journal {path} has no first line, so it tells nothing", hint=ANEW)
    header = _header(path, lines[0])
    records: dict[str, Mapping[str, Any]] = {}
    for number, line in enumerate(lines[1:], 2):
        record = _record(path, number, line)
        if record[KEY] in records:
            raise ConfigError(
                f"Journal {path}, line {number}: {record[KEY]} is there twice, once was needed", hint=ANEW
            )
        records[record[KEY]] = record
    return Journaled(header, records, len(whole) + len(end), len(torn))


def _header(path: Path, line: bytes) -> Header:
    values = _values(path, 1, line)
    if "journal" not in values:
        raise ConfigError(f"Journal {path}, line 1: a header was needed, it is something else")
    if values["journal"] != SCHEMA:
        raise ConfigError(f"Journal {path} has schema version {values['journal']!r}, {SCHEMA} was needed", hint=ANEW)
    texts = [values.get(name) for name in ("plan", "run", "shard")]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"Journal {path}, line 1: plan, run and shard were needed as texts")
    return Header(*map(str, texts))


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    values = _values(path, number, line)
    if not isinstance(values.get(KEY), str):
        raise ConfigError(f"Journal {path}, line {number}: it names no {KEY}")
    return values


def _values(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as error:
        hint = "only its last line may be damaged; run the matrix anew"
        raise ConfigError(f"Journal {path}, line {number} is damaged: {error}", hint=hint) from error
    if not isinstance(values, dict):
        raise ConfigError(f"Journal {path}, line {number}: an object was needed")
    return values


class Journal:
    """A journal that is written; safe to use from several threads.

    Where the disk is full, what could not be written is kept and written with the next result for which there is room.
    """

    def __init__(self, path: Path, fd: int, journaled: Journaled, tell: Callable[[str], None]) -> None:
        self._path = path
        self._fd = fd
        self._size, self._torn = journaled.size, journaled.torn
        self._tell = tell
        self._pending: list[bytes] = []
        self._error: OSError | None = None
        self._lock = threading.Lock()

    @classmethod
    def begin(cls, folder: Path, header: Header, tell: Callable[[str], None]) -> Journal:
        """Make the journal of a run's folder; ``tell`` is told once when it cannot be written.

        Raises:
            ConfigError: there is one, or it cannot be made.
            BrokenStack: the disk is full.
        """
        path, scratch = folder / NAME, folder / f".{NAME}.{os.getpid()}"
        fd = _open(scratch, os.O_CREAT | os.O_TRUNC)
        journal = cls(path, fd, Journaled(header), tell)
        try:
            _lock(fd, path)
            journal._write(_line({"journal": SCHEMA, **vars(header)}))
            os.link(scratch, path)  # only now: who finds it finds its header
            _sync_folder(folder)
        except FileExistsError as error:
            journal.close()
            raise ConfigError(f"Journal {path} is there already, a new run was needed") from error
        except OSError as error:
            journal.close()
            raise unwritable(f"Journal {path} cannot be written", error) from error
        finally:
            with contextlib.suppress(OSError):
                scratch.unlink()
        return journal

    @classmethod
    def go_on(cls, folder: Path, tell: Callable[[str], None]) -> tuple[Journal, Journaled]:
        """Open the journal of a run's folder, to append to it; return also what it has.

        A torn last line is cut off before the first result is added.

        Raises:
            ConfigError: see ``read``; or it cannot be written, or somebody writes it now.
        """
        path = folder / NAME
        fd = _open(path)
        try:
            _lock(fd, path)
            journaled = read(path)
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd, journaled, tell), journaled

    def add(self, *records: Mapping[str, Any]) -> None:
        """Have records on the disk when this returns, or keep them where that cannot be."""
        lines = [_line(record) for record in records]
        with self._lock:
            told = self._error is not None
            self._pending += lines
            try:
                self._write(b"".join(self._pending))
            except OSError as error:
                self._error = error
                if not told:
                    self._tell(f"the journal cannot be written, results are kept in memory: {error.strerror or error}")
            else:
                self._pending.clear()

    def _write(self, data: bytes) -> None:
        """Append all of it, or nothing. Raises OSError."""
        try:
            if self._torn:
                os.ftruncate(self._fd, self._size)
                self._torn = 0
            written = 0
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], self._size + written)
            os.fsync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)  # half a line would be damage once there is room again
            raise
        self._size += len(data)

    @property
    def unwritten(self) -> int:
        """How many records are not on the disk."""
        return len(self._pending)

    def check(self) -> None:
        """Do nothing where all that was added is on the disk, after one more attempt.

        Raises:
            BrokenStack: the disk is full.
            ConfigError: something else kept it from being written.
        """
        if self._pending:
            self.add()
        if self._pending and self._error:
            reason = f"Journal {self._path} lacks {len(self._pending)} results: {self._error.strerror or self._error}"
            hint = "what it has is not run again with --resume"
            if self._error.errno in FULL:
                raise BrokenStack(reason, hint=f"{NO_ROOM}; {hint}") from self._error
            raise ConfigError(reason, hint=hint) from self._error

    def close(self) -> None:
        """Close it; closing twice does nothing."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _open(path: Path, more: int = 0) -> int:
    try:
        return open_regular(path, os.O_WRONLY | more, 0o666)
    except OSError as error:
        raise unwritable(f"Journal {path} cannot be opened", error) from error


def _lock(fd: int, path: Path) -> None:
    """Keep others from writing a journal. Raises ConfigError where somebody does."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"Journal {path} is being written by a run that still lives") from error


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
