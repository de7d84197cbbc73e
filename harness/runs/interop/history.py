"""Results of earlier runs, kept in the cache folder by matrix and engine; losing them costs time only."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts, clock
from harness.errors import HarnessError
from harness.matrix.past import History, Past
from harness.stack.cache import folder_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.matrix.verdicts import Result

FOLDER = "interop"
KEPT, LEAST = 50, 5  # results of a cell
MOST = 50_000  # results in all, where that leaves the least of each cell
LARGEST = 64 << 20  # bytes that are read
GROWN = 8 << 20  # bytes at which it is looked through for what is older
PATIENCE = 2.0  # seconds
UNTOLD = frozenset({"skipped"})


class Shelf:
    """The place of the history of one matrix on one engine.

    Args:
        matrix: the file that declares it.
        engine: where it is run.
        environ: tells where the cache folder is.
    """

    def __init__(self, matrix: Path, engine: str, environ: Mapping[str, str]) -> None:
        self._name = hashlib.sha256(os.fsencode(matrix.resolve())).hexdigest()[:16] + f"-{engine}.jsonl"
        self._environ = environ

    @property
    def path(self) -> Path | None:
        """The file, None where there can be none."""
        base = folder_of(self._environ)
        try:
            return artifacts.private_folder(base / FOLDER) / self._name if base else None
        except HarnessError:
            return None

    def read(self) -> History:
        """Return what is known; lines that are damaged are passed over, and a file that cannot be read is empty."""
        path = self.path
        return History(_read(path) if path else ())

    def add(self, results: Iterable[Result], run: str) -> None:
        """Note what a run has found; what was taken over or skipped tells nothing. What cannot be written is lost."""
        lines = [_line(_past(result, run)) for result in results if _counts(result)]
        path = self.path
        if not (path and lines):
            return
        with contextlib.suppress(OSError), _alone(path):
            data = "".join(lines).encode()
            fd = artifacts.open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                os.write(fd, data if _ends_a_line(fd) else b"\n" + data)
                size = os.fstat(fd).st_size
            finally:
                os.close(fd)
            if size > GROWN:
                artifacts.write_atomically(path, "".join(_line(past) for past in _newest(_read(path))))


def _counts(result: Result) -> bool:
    return not result.taken and result.verdict.status not in UNTOLD


def _past(result: Result, run: str) -> Past:
    status, cpu = result.verdict.status, result.cpu
    return Past(result.cell, status, round(result.seconds, 4), cpu, result.digest, run, result.began)


def _line(past: Past) -> str:
    return json.dumps(vars(past), separators=(",", ":")) + "\n"


def _read(path: Path) -> list[Past]:
    try:
        data = artifacts.read_regular(path, LARGEST)
    except OSError:
        return []
    return [past for line in data.splitlines() if (past := _parsed(line))]


def _parsed(line: bytes) -> Past | None:
    try:
        values: Any = json.loads(line)
        return Past.of(values)
    except (ValueError, TypeError):
        return None  # torn, or of another version


def _newest(results: Iterable[Past]) -> list[Past]:
    """Return the last results of each cell, in their order."""
    results, seen = list(results), defaultdict[str, int](int)
    most = max(LEAST, min(KEPT, MOST // max(1, len({past.cell for past in results}))))
    kept = []
    for past in reversed(results):
        seen[past.cell] += 1
        if seen[past.cell] <= most:
            kept.append(past)
    return kept[::-1]


def _ends_a_line(fd: int) -> bool:
    """Return whether what is added begins a line; a writer that was killed may have left a part of one."""
    size = os.fstat(fd).st_size
    return size == 0 or os.pread(fd, 1, size - 1) == b"\n"


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other runs from writing meanwhile. Raises OSError where another one does for too long."""
    fd = artifacts.open_regular(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
    try:
        for _ in clock.poll(clock.Deadline.after(PATIENCE)):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        else:
            raise TimeoutError
        yield
    finally:
        os.close(fd)
