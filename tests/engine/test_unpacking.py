"""What comes out of a container is unpacked without trust."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from harness.clock import Deadline
from harness.engine.compose.unpacking import DEFAULT, Bounds, Chunks, unpack
from harness.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


def unpacked(to: Path, *members: tarfile.TarInfo, bounds: Bounds = DEFAULT) -> list[str]:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for one in members:
            content = b"content" if one.type == tarfile.REGTYPE else b""
            one.size = len(content)
            archive.addfile(one, io.BytesIO(content))
    chunks = iter([data.getvalue()[at : at + 100] for at in range(0, len(data.getvalue()), 100)])
    source = io.BufferedReader(Chunks(chunks, Deadline.after(10)))
    with tarfile.open(fileobj=source, mode="r|") as archive:
        return unpack(archive, "out", to, bounds)


def test_files_folders_and_links_within_are_written(tmp_path: Path) -> None:
    """What is a file, a folder or a link to one of these must be there, without rights that nobody should get so."""
    to = tmp_path / "to"
    refused = unpacked(
        to,
        member("out", tarfile.DIRTYPE, mode=0o755),
        member("out/a/b", mode=0o4755),
        member("out/empty", tarfile.DIRTYPE),
        member("out/a/up", tarfile.SYMTYPE, "../a/b"),
        member("out/same", tarfile.LNKTYPE, "out/a/b"),
    )
    assert refused == []
    assert (to / "a/b").read_text() == (to / "a/up").read_text() == (to / "same").read_text() == "content"
    assert (to / "a/b").stat().st_mode & 0o7777 == 0o755
    assert (to / "empty").is_dir()


def test_one_file_becomes_what_was_asked_for(tmp_path: Path) -> None:
    """A single file must be at the very path that it is copied to."""
    assert unpacked(tmp_path / "report.xml", member("out")) == []
    assert (tmp_path / "report.xml").read_text() == "content"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (member("out/../evil"), "its name leads out"),
        (member("/out/evil"), "its name leads out"),
        (member("other/evil"), "its name leads out"),
        (member("out/evil", tarfile.SYMTYPE, "/etc/passwd"), "it is a link that leads out, to /etc/passwd"),
        (member("out/evil", tarfile.SYMTYPE, "../evil"), "it is a link that leads out, to ../evil"),
        (member("out/evil", tarfile.SYMTYPE, "a/../../evil"), "it is a link that leads out, to a/../../evil"),
        (member("out/evil", tarfile.LNKTYPE, "../evil"), "it is a link that leads out, to ../evil"),
        (member("out/evil", tarfile.CHRTYPE), "it is a device"),
        (member("out/evil", tarfile.BLKTYPE), "it is a device"),
        (member("out/evil", tarfile.FIFOTYPE), "it is a pipe"),
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, wrong: tarfile.TarInfo, why: str) -> None:
    """Names and links that lead elsewhere, devices and pipes must not be made; the rest must be."""
    to = tmp_path / "to"
    assert unpacked(to, member("out/a"), wrong, member("out/z")) == [f"{wrong.name}: {why}"]
    assert sorted(path.name for path in to.iterdir()) == ["a", "z"]
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


def test_nothing_is_written_by_way_of_a_link(tmp_path: Path) -> None:
    """A member that lies behind a link of the same archive must be written where its name says."""
    to = tmp_path / "to"
    refused = unpacked(to, member("out/a", tarfile.DIRTYPE), member("out/l", tarfile.SYMTYPE, "a"), member("out/l/b"))
    assert refused == ["l: it is a link, and a folder"]
    assert not (to / "a" / "b").exists()


def test_a_second_name_is_not_written_by_way_of_a_link(tmp_path: Path) -> None:
    """A second name of a file must be one itself, also where an earlier copy has left a link; its own name is none."""
    to = tmp_path / "to"
    unpacked(to, member("out/a"), member("out/b", tarfile.SYMTYPE, "other"))
    assert unpacked(to, member("out/b", tarfile.LNKTYPE, "out/a"), member("out/a", tarfile.LNKTYPE, "out/a")) == []
    assert not (to / "b").is_symlink()
    assert (to / "a").read_text() == (to / "b").read_text() == "content"
    assert not (to / "other").exists()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (member("out/f/g"), "f is no folder"),
        (member("out/f/g/h"), "f/g is no folder"),
        (member("out/f/g", tarfile.DIRTYPE), "f is no folder"),
        (member("out/f", tarfile.DIRTYPE), "a file is there"),
        (member("out/f/g", tarfile.LNKTYPE, "out/f"), "f is no folder"),
        (member("out/f/g", tarfile.SYMTYPE, "../f"), "f is no folder"),
    ],
)
def test_a_file_where_a_folder_is_needed_ends_nothing(tmp_path: Path, wrong: tarfile.TarInfo, why: str) -> None:
    """What has to be in a folder that is a file must be refused by itself; what comes behind it must be written."""
    to = tmp_path / "to"
    assert unpacked(to, member("out/f"), wrong, member("out/z")) == [f"{wrong.name}: {why}"]
    assert sorted(path.name for path in to.iterdir()) == ["f", "z"]


def test_what_is_too_large_is_left_out(tmp_path: Path) -> None:
    """A file that is too much in one copy must be left out, also as a second name; smaller ones behind it must not."""
    to, large = tmp_path / "to", Bounds(size=3 * len("content"))
    names = [member("out/a"), member("out/b", tarfile.LNKTYPE, "out/a"), member("out/c")]
    assert unpacked(to, *names, bounds=large) == []
    over = [*names, member("out/d", tarfile.LNKTYPE, "out/a"), member("out/e"), member("out/l", tarfile.SYMTYPE, "a")]
    assert unpacked(to / "2", *over, bounds=large) == ["out/d and 1 more file: more than 0 MiB in one copy"]
    assert sorted(path.name for path in (to / "2").iterdir()) == ["a", "b", "c", "l"]


def test_what_is_too_many_is_left_out(tmp_path: Path) -> None:
    """Of more files than are written in one copy the first must be there, with the word which was left out first."""
    to = tmp_path / "to"
    left = unpacked(to, *(member(f"out/{number}") for number in range(5)), bounds=Bounds(members=3))
    assert left == ["out/3 and all behind it: more than 3 files in one copy"]
    assert sorted(path.name for path in to.iterdir()) == ["0", "1", "2"]


def test_what_does_not_come_in_time_is_left() -> None:
    """A copy whose time is up must end by an error with that time."""
    with pytest.raises(HarnessError, match="it was not all there in 0 s"):
        io.BufferedReader(Chunks(iter([b"a"]), Deadline.after(0))).read()
