"""What came out is on the disk before the next thing is told, and is read back as it was, whatever ended the writer."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from harness import procs
from harness.artifacts import FULL
from harness.errors import BrokenStack, ConfigError
from harness.results.journal import NAME, Header, Journal, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = Header("0123abcd", "a-run", "2/3")


def begin(folder: Path, told: list[str] | None = None) -> Journal:
    return Journal.begin(folder, HEADER, ([] if told is None else told).append)


def lines(folder: Path) -> list[bytes]:
    return (folder / NAME).read_bytes().splitlines(keepends=True)


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    """Header and records, in their order; several at once, too."""
    journal = begin(tmp_path)
    journal.add({"cell": "b", "odd": "ü\n", "number": 1.5})
    journal.add({"cell": "a"}, {"cell": "c"})
    journal.close()
    journaled = read(tmp_path / NAME)
    assert journaled.header == HEADER
    assert list(journaled.records) == ["b", "a", "c"]
    assert journaled.records["b"] == {"cell": "b", "odd": "ü\n", "number": 1.5}
    assert journaled.torn == 0
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_record_is_on_the_disk_when_adding_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is synced by itself: what the kernel would only write later could be lost."""
    journal, synced = begin(tmp_path), list[int]()
    real = os.fsync

    def sync(fd: int) -> None:
        real(fd)
        synced.append(os.fstat(fd).st_size)

    monkeypatch.setattr(os, "fsync", sync)
    journal.add({"cell": "a"})
    journal.add({"cell": "b"})
    assert synced == [len(b"".join(lines(tmp_path)[:2])), len(b"".join(lines(tmp_path)))]


@pytest.mark.parametrize("kept", range(1, 12))
def test_a_torn_last_line_is_left_out_and_overwritten(tmp_path: Path, kept: int) -> None:
    """Wherever the writer was killed; the next one must not join its own line to it."""
    journal = begin(tmp_path)
    journal.add({"cell": "a"})
    journal.add({"cell": "b"})
    journal.close()
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(b"".join(lines(tmp_path)[:2]) + lines(tmp_path)[2][:kept])
    journal, journaled = Journal.go_on(tmp_path, print)
    assert list(journaled.records) == ["a"]
    assert journaled.torn == kept
    journal.add({"cell": "b"})
    journal.close()
    assert (tmp_path / NAME).read_bytes() == whole


def test_a_torn_last_line_that_is_longer_than_the_next_one_leaves_nothing(tmp_path: Path) -> None:
    """The rest of it would be a damaged line amid the others."""
    journal = begin(tmp_path)
    journal.close()
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"cell": "long' * 20)
    journal, _ = Journal.go_on(tmp_path, print)
    journal.add({"cell": "b"})
    journal.close()
    assert lines(tmp_path)[1:] == [b'{"cell":"b"}\n']


def test_a_last_line_without_its_end_is_torn_though_it_can_be_read(tmp_path: Path) -> None:
    """Its last digits may be missing."""
    journal = begin(tmp_path)
    journal.add({"cell": "a"})
    journal.close()
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"cell": "b"}')
    assert list(read(tmp_path / NAME).records) == ["a"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda _: b"", "has no first line"),
        (lambda rows: rows[0][:5], "has no first line"),
        (lambda rows: b"".join([rows[0], rows[1][:4] + b"\n", rows[2]]), "line 2 is damaged"),
        (lambda rows: b"".join([rows[0], b"\0" * 20 + b"\n", rows[2]]), "line 2 is damaged"),
        (lambda rows: b"".join([rows[0], b"\n", rows[2]]), "line 2 is damaged"),
        (lambda rows: b"".join([rows[0], b"[1]\n", rows[2]]), "line 2: an object was needed"),
        (lambda rows: b"".join([rows[0], b"{}\n", rows[2]]), "line 2: it names no cell"),
        (lambda rows: b"".join([rows[0], rows[1], rows[1]]), "line 3: a is there twice"),
        (lambda rows: b"".join(rows[1:]), "line 1: a header was needed"),
        (lambda rows: rows[0].replace(b'"journal":1', b'"journal":9'), "has schema version 9, 1 was needed"),
        (lambda rows: rows[0].replace(b'"plan"', b'"plane"'), "plan, run and shard were needed"),
    ],
)
def test_a_damaged_journal_is_refused(tmp_path: Path, damage: object, told: str) -> None:
    """Only its last line can be torn by a kill; all else is somebody's doing, and what it tells cannot be relied on."""
    journal = begin(tmp_path)
    journal.add({"cell": "a"}, {"cell": "b"})
    journal.close()
    (tmp_path / NAME).write_bytes(damage(lines(tmp_path)))  # type: ignore[operator]
    with pytest.raises(ConfigError) as raised:
        Journal.go_on(tmp_path, print)
    assert told in str(raised.value)


def test_no_journal_is_refused(tmp_path: Path) -> None:
    """It must be said which file is missing."""
    with pytest.raises(ConfigError, match=NAME):
        read(tmp_path / NAME)


def test_nobody_writes_to_a_journal_that_is_being_written(tmp_path: Path) -> None:
    """Two runs that go on with one would each run what the other one does."""
    journal = begin(tmp_path)
    with pytest.raises(ConfigError, match="is being written by a run that still lives"):
        Journal.go_on(tmp_path, print)
    journal.close()
    Journal.go_on(tmp_path, print)[0].close()


def test_a_journal_is_not_begun_twice(tmp_path: Path) -> None:
    """What is there would be lost."""
    begin(tmp_path).close()
    with pytest.raises(ConfigError, match="is there already"):
        begin(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    """Each record must be whole."""
    journal = begin(tmp_path)
    names = [[f"{number}-{turn}" for turn in range(25)] for number in range(4)]

    def add(own: list[str]) -> None:
        for name in own:
            journal.add({"cell": name})

    threads = [threading.Thread(target=add, args=(own,)) for own in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read(tmp_path / NAME).records) == sorted(name for own in names for name in own)


class Full:
    """A disk that takes some bytes and then no more, until there is room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self._real = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._write)

    def _write(self, fd: int, data: bytes, at: int) -> int:
        if self.room is None:
            return self._real(fd, data, at)
        if not self.room:
            raise OSError(FULL[0], os.strerror(FULL[0]))
        written = self._real(fd, data[: self.room], at)
        self.room -= written
        return written


def test_what_a_full_disk_does_not_take_is_kept_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once, and no part of a line is left in the middle."""
    told, full = list[str](), Full(monkeypatch)
    journal = begin(tmp_path, told)
    journal.add({"cell": "a"})
    full.room = 5
    journal.add({"cell": "b"})
    journal.add({"cell": "c"})
    assert journal.unwritten == 2
    assert told == ["the journal cannot be written, results are kept in memory: No space left on device"]
    assert list(read(tmp_path / NAME).records) == ["a"]
    full.room = None
    journal.add({"cell": "d"})
    assert journal.unwritten == 0
    journal.check()
    assert list(read(tmp_path / NAME).records) == ["a", "b", "c", "d"]
    assert read(tmp_path / NAME).torn == 0


def test_a_run_whose_journal_lacks_results_ends_as_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is missing, and what to do."""
    full = Full(monkeypatch)
    journal = begin(tmp_path)
    full.room = 0
    journal.add({"cell": "b"})
    with pytest.raises(BrokenStack, match="lacks 1 results: No space left on device") as raised:
        journal.check()
    assert raised.value.exit_code == 12
    assert "make room" in raised.value.hint


def test_a_full_disk_is_told_when_a_journal_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was run then; and nothing is left that would be taken for a journal."""
    Full(monkeypatch).room = 3
    with pytest.raises(BrokenStack, match="No space left"):
        begin(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_amid_a_record_leaves_nothing_torn_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is interrupted still writes what its cells came to."""
    journal = begin(tmp_path)
    real = os.fsync

    def interrupted(_: int) -> None:
        monkeypatch.setattr(os, "fsync", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        journal.add({"cell": "long" * 20})
    journal.add({"cell": "b"})
    journal.close()
    assert list(read(tmp_path / NAME).records) == ["long" * 20, "b"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(folder)]
    if os.geteuid() or procs.run(mount, timeout=60).code:
        pytest.skip("only root can mount a small filesystem")
    yield folder
    procs.run(["umount", "--lazy", str(folder)], timeout=60)


def test_a_disk_that_really_gets_full_and_has_room_again(small: Path) -> None:
    """No record must be lost, or torn, or be there twice."""
    told = list[str]()
    journal = begin(small, told)
    (small / "filling").write_bytes(b"x" * 48 * 1024)
    for number in range(40):
        journal.add({"cell": f"c{number}", "text": "y" * 1000})
    assert journal.unwritten
    assert len(told) == 1
    before = read(small / NAME)
    assert len(before.records) + journal.unwritten == 40
    (small / "filling").unlink()
    journal.check()
    journal.close()
    assert list(read(small / NAME).records) == [f"c{number}" for number in range(40)]
    assert json.loads(lines(small)[-1])["cell"] == "c39"
