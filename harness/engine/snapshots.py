"""What the sources of services were when these were made and started, and what of them is another thing now.

A file is the same while its times and size are: they are asked for first. Where they differ, or where the file was
written so shortly before that its time tells nothing, its content decides. New files are looked for only in folders
whose own time has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.engine.sources import Source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

_LARGEST = 16 << 20  # bytes of a file whose content is compared
_TICK = 50_000_000  # nanoseconds: no filesystem's clock is slower, but for those of whole seconds (FAT)
_DIGEST = 8
_NANO = 1e9
_ALONE = -1
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

CHANGED, CAME, WENT = "changed", "came", "went"


class Change(NamedTuple):
    """A file of a source that is another one now.

    Attributes:
        path: which.
        how: ``changed``, ``came`` or ``went``.
        at: when, in seconds of the wall clock, as its folder or itself tells.
        read: as in its source.
    """

    path: Path
    how: str
    at: float
    read: str


@dataclass
class _Folder:
    """A folder as it was: its time, the names in it that do not count, and name -> times, size and digest of files.

    Of a time that is ``_ALONE`` only the files are looked at: others of that folder do not matter.
    """

    time: int
    passed: list[str] = field(default_factory=list)
    files: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class _Taken:
    """A source as it was at some time: its folders, by their paths from ``base`` on."""

    source: Source
    at: int
    base: str
    folders: dict[str, _Folder]

    def files(self) -> Iterator[tuple[str, list[Any]]]:
        """Give the path of each file, and what was noted of it."""
        for below, folder in self.folders.items():
            for name, noted in folder.files.items():
                yield os.path.join(self.base, below, name), noted  # noqa: PTH118 - thousands of them


class _Ignored:
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


class Snapshot:
    """The sources of the services of one stack, as they were.

    Args:
        services: service -> numbers of its sources.
        taken: the sources.
    """

    def __init__(self, services: Mapping[str, Sequence[int]], taken: Sequence[_Taken]) -> None:
        self._services = {name: list(numbers) for name, numbers in services.items()}
        self._taken = list(taken)

    @classmethod
    def take(cls, sources: Mapping[str, Sequence[Source]]) -> Snapshot:
        """Return what sources are now. Contents are noted of what is in doubt only; see ``digest``."""
        numbers: dict[Source, int] = {}
        services = {
            name: [numbers.setdefault(source, len(numbers)) for source in listed] for name, listed in sources.items()
        }
        made = cls(services, [_look(source) for source in numbers])
        for taken in made._taken:
            _digest(taken, since=taken.at - _TICK)
        return made

    def digest(self) -> None:
        """Note the content of every file that is still what it was. It may be done aside."""
        for taken in self._taken:
            _digest(taken, since=0)

    def size(self) -> int:
        """Return how many files it has."""
        return sum(1 for taken in self._taken for _ in taken.files())

    def changes(self) -> dict[str, list[Change]]:
        """Return service -> what of its sources is another thing now, the first change first."""
        changed = [list(_changes(taken)) for taken in self._taken]
        return {
            name: sorted({change for number in numbers for change in changed[number]}, key=lambda change: change.at)
            for name, numbers in self._services.items()
        }

    def folders(self) -> dict[str, list[Path]]:
        """Return service -> the files and folders that are its sources."""
        return {
            name: [self._taken[number].source.path for number in numbers] for name, numbers in self._services.items()
        }

    def holds(self, path: Path) -> list[str]:
        """Return the services of whose sources a path is a part, if it is there or was."""
        return [
            name for name, numbers in self._services.items() if any(_holds(self._taken[one], path) for one in numbers)
        ]

    def replaced(self, newer: Snapshot, services: Collection[str]) -> Snapshot:
        """Return this one with some services as a newer one has them."""
        offset = len(self._taken)
        stay = {name: numbers for name, numbers in self._services.items() if name not in services}
        come = {
            name: [number + offset for number in numbers]
            for name, numbers in newer._services.items()
            if name in services
        }
        both, taken = {**stay, **come}, [*self._taken, *newer._taken]
        used = {number: index for index, number in enumerate(sorted({one for some in both.values() for one in some}))}
        return Snapshot(
            {name: [used[number] for number in numbers] for name, numbers in both.items()},
            [taken[number] for number in used],
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "services": self._services,
            "taken": [
                {
                    "source": {
                        **vars(taken.source),
                        "path": str(taken.source.path),
                        "besides": [str(path) for path in taken.source.besides],
                    },
                    "at": taken.at,
                    "base": taken.base,
                    "folders": {below: [one.time, one.passed, one.files] for below, one in taken.folders.items()},
                }
                for taken in self._taken
            ],
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Snapshot:
        """Return it from JSON values."""
        return cls(
            table["services"],
            [
                _Taken(
                    _source_of(one["source"]),
                    one["at"],
                    one["base"],
                    {below: _Folder(*values) for below, values in one["folders"].items()},
                )
                for one in table["taken"]
            ],
        )


def _source_of(written: Mapping[str, Any]) -> Source:
    places = {"path": Path(written["path"]), "besides": tuple(map(Path, written["besides"]))}
    return Source(**{**written, **places, "suffixes": tuple(written["suffixes"])})


# -- as it is --------------------------------------------------------------------------------------------------------


def _look(source: Source) -> _Taken:
    at = time.time_ns()
    if not source.path.is_dir():
        alone = _Folder(_ALONE)
        with contextlib.suppress(OSError):  # one that is not there yet may come
            alone.files[source.path.name] = _noted(source.path.stat())
        return _Taken(source, at, str(source.path.parent), {"": alone})
    folders = {below: folder for below, folder, _ in _walk(source, _Ignored(source.ignored), "")}
    return _Taken(source, at, str(source.path), folders)


def _walk(source: Source, ignored: _Ignored, start: str) -> Iterator[tuple[str, _Folder, str]]:
    """Give each folder of a source from ``start`` on, as it is."""
    todo = [start]
    while todo:
        below = todo.pop()
        path = source.path / below
        try:
            folder = _Folder(path.stat().st_mtime_ns)
            with os.scandir(path) as entries:
                listed = list(entries)
        except OSError:
            continue
        if any(entry.name == "pyvenv.cfg" for entry in listed):
            continue
        for entry in listed:
            inner = f"{below}/{entry.name}" if below else entry.name
            if not _counts(source, ignored, inner, is_folder=entry.is_dir(follow_symlinks=False)):
                folder.passed.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                todo.append(inner)
                folder.passed.append(entry.name)
            else:
                with contextlib.suppress(OSError):
                    folder.files[entry.name] = _noted(_stat(entry.path))
        yield below, folder, str(path)


def _counts(source: Source, ignored: _Ignored, inner: str, *, is_folder: bool) -> bool:
    path = source.path / inner
    if is_folder:
        return source.may_hold(path) and not ignored.leaves_out_folder(inner)
    return source.counts(path) and not ignored.leaves_out(inner)


def _stat(path: str, folder: int | None = None) -> os.stat_result:
    """Return what a link leads to, else itself. Raises OSError."""
    try:
        return os.stat(path, dir_fd=folder)
    except FileNotFoundError:
        return os.lstat(path, dir_fd=folder)


def _noted(facts: os.stat_result) -> list[Any]:
    return [facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, ""]


def _digest(taken: _Taken, *, since: int) -> None:
    """Note the contents of files that were written since a time."""
    for path, noted in taken.files():
        if not noted[3] and noted[0] >= since and noted[2] <= _LARGEST:
            digest = _digest_of(path)
            with contextlib.suppress(OSError):
                if digest and _noted(_stat(path))[:3] == noted[:3]:
                    noted[3] = digest


def _digest_of(path: str) -> str:
    """Return the digest of a file's content, "" where it cannot be read."""
    try:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=_DIGEST).hexdigest()
    except OSError:
        return ""


# -- compared --------------------------------------------------------------------------------------------------------


def _changes(taken: _Taken) -> Iterator[Change]:
    ignored, read = _Ignored(taken.source.ignored), taken.source.read
    for below, folder in taken.folders.items():
        path = os.path.join(taken.base, below) if below else taken.base  # noqa: PTH118 - thousands of them
        try:
            handle = os.open(path, _FOLDER)
        except OSError:
            for name in folder.files:
                yield Change(Path(path, name), WENT, _time_above(path), read)
            continue
        try:
            yield from _changed_files(taken, folder, path, handle)
            is_doubted = folder.time >= taken.at - _TICK
            if folder.time != _ALONE and (is_doubted or os.fstat(handle).st_mtime_ns != folder.time):
                yield from _came(taken, folder, below, ignored)
        finally:
            os.close(handle)


def _changed_files(taken: _Taken, folder: _Folder, path: str, handle: int) -> Iterator[Change]:
    read, doubted, look = taken.source.read, taken.at - _TICK, os.stat
    for name, (modified, touched, size, digest) in folder.files.items():
        try:
            facts = look(name, dir_fd=handle)
        except OSError:
            try:
                facts = _stat(name, handle)
            except OSError:
                yield Change(Path(path, name), WENT, os.fstat(handle).st_mtime, read)
                continue
        if facts.st_mtime_ns == modified and facts.st_ctime_ns == touched and modified < doubted:
            continue
        if facts.st_size == size:
            if digest and _digest_of(os.path.join(path, name)) == digest:  # noqa: PTH118 - as above
                continue
            if not digest and facts.st_mtime_ns == modified:
                continue
        yield Change(Path(path, name), CHANGED, max(facts.st_mtime, facts.st_ctime), read)
    if folder.time == _ALONE and not folder.files:
        with contextlib.suppress(OSError):
            yield Change(taken.source.path, CAME, taken.source.path.stat().st_ctime, read)


def _came(taken: _Taken, folder: _Folder, below: str, ignored: _Ignored) -> Iterator[Change]:
    """Give what is new in a folder, and below folders that are new there."""
    known = {*folder.passed, *folder.files}
    with contextlib.suppress(OSError), os.scandir(os.path.join(taken.base, below)) as entries:  # noqa: PTH118
        for entry in entries:
            inner = f"{below}/{entry.name}" if below else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name in known or not _counts(taken.source, ignored, inner, is_folder=is_folder):
                continue
            if not is_folder:
                yield Change(Path(entry.path), CAME, entry.stat(follow_symlinks=False).st_ctime, taken.source.read)
                continue
            for _, come, path in _walk(taken.source, ignored, inner):
                for name, noted in come.files.items():
                    yield Change(Path(path, name), CAME, noted[1] / _NANO, taken.source.read)


def _time_above(path: str) -> float:
    """Return when the nearest folder above a path that is gone was changed."""
    for folder in Path(path).parents:
        with contextlib.suppress(OSError):
            return folder.stat().st_mtime
    return 0.0


def _holds(taken: _Taken, path: Path) -> bool:
    source = taken.source
    if path == source.path:
        return True
    if taken.folders.get("", _Folder(0)).time == _ALONE or not path.is_relative_to(source.path):
        return False
    inner = path.relative_to(source.path)
    above = [source.path / folder for folder in inner.parents]
    if not source.counts(path) or not all(source.may_hold(folder) for folder in above if folder != source.path):
        return False
    return not _Ignored(source.ignored).leaves_out(str(inner))
