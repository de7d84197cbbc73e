"""What the sources of services were when these were made and started, and what of them is another thing now.

A file is the same while its times and size are: they are asked for first. Where they differ, or where the file was
written so shortly before that its time tells nothing, its content decides. New files are looked for only in folders
whose own time has changed.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.engine.sources import Source
from harness.folders import OPENED, TICK, Folder, LeftOut, digest_of, walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

_LARGEST = 16 << 20  # bytes of a file whose content is compared
_NANO = 1e9
_ALONE = -1

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
class _Taken:
    """A source as it was at some time: its folders, by their paths from ``base`` on.

    Of each file its times, size and digest are noted. Of a folder whose time is ``_ALONE`` only the files are looked
    at: others in it do not matter.
    """

    source: Source
    at: int
    base: str
    folders: dict[str, Folder]

    def files(self) -> Iterator[tuple[str, list[Any]]]:
        """Give the path of each file, and what was noted of it."""
        for below, folder in self.folders.items():
            for name, noted in folder.files.items():
                yield os.path.join(self.base, below, name), noted  # noqa: PTH118 - thousands of them


class _Counting:
    """What counts of a source, and what is noted of its files."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ignored = LeftOut(source.ignored)

    def enters(self, entries: Sequence[os.DirEntry[str]]) -> bool:
        """Return whether a folder is none of a virtual environment."""
        return not any(entry.name == "pyvenv.cfg" for entry in entries)

    def counts(self, inner: str, *, is_folder: bool) -> bool:
        """Return whether a path below it is a part of the source."""
        path = self._source.path / inner
        if is_folder:
            return self._source.may_hold(path) and not self._ignored.leaves_out_folder(inner)
        return self._source.counts(path) and not self._ignored.leaves_out(inner)

    def note(self, entry: os.DirEntry[str]) -> list[Any]:
        """Return the times and size of a file."""
        return _noted(_stat(entry.path))


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
            _digest(taken, since=taken.at - TICK)
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
                    "folders": {below: [*vars(one).values()] for below, one in taken.folders.items()},
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
                    {below: Folder(*values) for below, values in one["folders"].items()},
                )
                for one in table["taken"]
            ],
        )


def _source_of(written: Mapping[str, Any]) -> Source:
    places = {"path": Path(written["path"]), "besides": tuple(map(Path, written["besides"]))}
    lists = {key: tuple(written[key]) for key in ("suffixes", "ignored")}
    return Source(**{**written, **places, **lists})


# -- as it is --------------------------------------------------------------------------------------------------------


def _look(source: Source) -> _Taken:
    at = time.time_ns()
    if not source.path.is_dir():
        alone = Folder(_ALONE)
        with contextlib.suppress(OSError):  # one that is not there yet may come
            alone.files[source.path.name] = _noted(source.path.stat())
        return _Taken(source, at, str(source.path.parent), {"": alone})
    return _Taken(source, at, str(source.path), dict(walk(source.path, "", _Counting(source))))


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
            digest = digest_of(path)
            with contextlib.suppress(OSError):
                if digest and _noted(_stat(path))[:3] == noted[:3]:
                    noted[3] = digest


# -- compared --------------------------------------------------------------------------------------------------------


def _changes(taken: _Taken) -> Iterator[Change]:
    counting, read = _Counting(taken.source), taken.source.read
    for below, folder in taken.folders.items():
        path = os.path.join(taken.base, below) if below else taken.base  # noqa: PTH118 - thousands of them
        try:
            handle = os.open(path, OPENED)
        except OSError:
            for name in folder.files:
                yield Change(Path(path, name), WENT, _time_above(path), read)
            continue
        try:
            yield from _changed_files(taken, folder, path, handle)
            is_doubted = folder.is_newer(taken.at - TICK)
            if folder.time != _ALONE and (is_doubted or folder.was_changed(os.fstat(handle))):
                yield from _came(taken, folder, below, counting)
        finally:
            os.close(handle)


def _changed_files(taken: _Taken, folder: Folder, path: str, handle: int) -> Iterator[Change]:
    read, doubted, look = taken.source.read, taken.at - TICK, os.stat
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
            if digest and digest_of(os.path.join(path, name)) == digest:  # noqa: PTH118 - as above
                continue
            if not digest and facts.st_mtime_ns == modified:
                continue
        yield Change(Path(path, name), CHANGED, max(facts.st_mtime, facts.st_ctime), read)
    if folder.time == _ALONE and not folder.files:
        with contextlib.suppress(OSError):
            yield Change(taken.source.path, CAME, taken.source.path.stat().st_ctime, read)


def _came(taken: _Taken, folder: Folder, below: str, counting: _Counting) -> Iterator[Change]:
    """Give what is new in a folder, and below folders that are new there."""
    known = {*folder.passed, *folder.files}
    with contextlib.suppress(OSError), os.scandir(os.path.join(taken.base, below)) as entries:  # noqa: PTH118
        for entry in entries:
            inner = f"{below}/{entry.name}" if below else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name in known or not counting.counts(inner, is_folder=is_folder):
                continue
            if not is_folder:
                yield Change(Path(entry.path), CAME, entry.stat(follow_symlinks=False).st_ctime, taken.source.read)
                continue
            for lower, come in walk(taken.source.path, inner, counting):
                for name, noted in come.files.items():
                    yield Change(taken.source.path / lower / name, CAME, noted[1] / _NANO, taken.source.read)


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
    if taken.folders.get("", Folder(0)).time == _ALONE or not path.is_relative_to(source.path):
        return False
    inner = path.relative_to(source.path)
    above = [source.path / folder for folder in inner.parents]
    if not source.counts(path) or not all(source.may_hold(folder) for folder in above if folder != source.path):
        return False
    return not LeftOut(source.ignored).leaves_out(str(inner))
