"""What of the sources of services is another thing now than when they were started."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import clock
from harness.engine.snapshots import Snapshot
from harness.engine.sources import Source
from harness.folders import TICK

if TYPE_CHECKING:
    from collections.abc import Callable

OLD = 1_700_000_000  # long before any snapshot


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with old files."""
    for name in ("code/app.py", "code/deep/er/b.py", "code/notes.md", "code/keep.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one\n")
        os.utime(path, (OLD, OLD))
    return tmp_path / "code"


def let_pass(seconds: float) -> None:
    for _ in clock.poll(clock.Deadline.after(seconds)):
        pass


def taken(*sources: Source) -> Snapshot:
    """Return a snapshot of the sources of a service ``api``, as it is read from what was written of it."""
    made = Snapshot.take({"api": sources})
    made.digest()
    return Snapshot.from_dict(json.loads(json.dumps(made.as_dict())))


def changes(snapshot: Snapshot, base: Path) -> list[tuple[str, str]]:
    """Return the paths that changed, and how."""
    return sorted((str(change.path.relative_to(base)), change.how) for change in snapshot.changes()["api"])


def rewrite(path: Path) -> None:
    path.write_text("two\n")


def write_back(path: Path) -> None:
    path.write_text("one\n")


def with_its_old_time(path: Path) -> None:
    path.write_text("two\n")
    os.utime(path, (OLD, OLD))


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (rewrite, [("app.py", "changed")]),
        (write_back, []),
        (with_its_old_time, [("app.py", "changed")]),
        (Path.touch, []),
        (Path.unlink, [("app.py", "went")]),
        (lambda path: path.write_text("longer than before\n"), [("app.py", "changed")]),
        (lambda path: path.with_name("new.py").write_text("x"), [("new.py", "came")]),
        (lambda path: path.with_name("test_app.py").write_text("x"), []),
        (lambda path: path.with_name("__pycache__").mkdir(), []),
    ],
    ids=["content", "the same again", "old time", "touched", "gone", "size", "new", "a new test", "compiled"],
)
def test_content_decides_where_times_differ(
    code: Path, act: Callable[[Path], object], expected: list[tuple[str, str]]
) -> None:
    """A file is another one when its content is; a new time alone must tell nothing, an old one hide nothing."""
    snapshot = taken(Source(code))
    act(code / "app.py")
    assert changes(snapshot, code) == expected


def test_a_file_that_was_written_just_before_is_looked_into(code: Path) -> None:
    """A change within one tick of the clock, of the same size, must be seen though the time stays."""
    (code / "app.py").write_text("one\n")
    before = (code / "app.py").stat()
    snapshot = taken(Source(code / "app.py"))
    (code / "app.py").write_text("two\n")
    os.utime(code / "app.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changes(snapshot, code) == [("app.py", "changed")]


def test_new_and_lost_folders_are_seen(code: Path) -> None:
    """All files of a folder that came, and of one that went, must be told."""
    snapshot = taken(Source(code))
    (code / "more" / "inner").mkdir(parents=True)
    (code / "more" / "inner" / "c.py").write_text("x")
    (code / "deep" / "er").rename(code.parent / "away")
    assert changes(snapshot, code) == [("deep/er/b.py", "went"), ("more/inner/c.py", "came")]


def test_a_file_that_comes_in_a_folder_with_its_old_time_is_seen(code: Path) -> None:
    """What ``rsync -a`` or ``tar`` adds must be seen, though the time of its folder is what it was."""
    os.utime(code / "deep", (OLD, OLD))
    let_pass(2 * TICK / 1e9)
    snapshot = taken(Source(code))
    (code / "deep" / "new.py").touch()
    os.utime(code / "deep", (OLD, OLD))
    assert changes(snapshot, code) == [("deep/new.py", "came")]


def test_what_could_not_be_read_is_looked_at_later(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a folder that could not be listed must be told as soon as it can be."""
    list_folder = os.scandir

    def refuse(path: Path) -> Any:
        if path.name == "er":
            raise PermissionError(path)
        return list_folder(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        snapshot = taken(Source(code))
    assert changes(snapshot, code) == [("deep/er/b.py", "came")]


def test_what_a_dockerignore_leaves_out_is_no_source(code: Path) -> None:
    """Files that are left out of a build must not count, new ones neither; exceptions must."""
    snapshot = taken(Source(code, "made", ignored=("# notes\n*.md\ndeep\n!keep.md\n",)))
    (code / "notes.md").write_text("two\n")
    (code / "new.md").write_text("two\n")
    (code / "deep" / "er" / "b.py").write_text("two\n")
    (code / "keep.md").write_text("two\n")
    assert changes(snapshot, code) == [("keep.md", "changed")]


def test_virtual_environments_and_what_is_named_beside_are_left_out(code: Path) -> None:
    """What lies in a virtual environment, or in a folder of runs, must not count."""
    (code / "env").mkdir()
    (code / "env" / "pyvenv.cfg").touch()
    (code / "logs").mkdir()
    snapshot = taken(Source(code, besides=(code / "logs",)))
    (code / "env" / "x.py").touch()
    (code / "logs" / "x.py").touch()
    assert changes(snapshot, code) == []


def test_services_are_replaced_in_a_snapshot_one_by_one(code: Path) -> None:
    """A service that is made again must be compared to what it was made of then, the others as before."""
    sources = {"api": [Source(code / "app.py")], "db": [Source(code / "app.py"), Source(code / "deep")]}
    snapshot = Snapshot.take(sources)
    (code / "app.py").write_text("two\n")
    both = snapshot.replaced(Snapshot.take(sources), ["api"])
    assert {name: [change.path.name for change in some] for name, some in both.changes().items()} == {
        "api": [],
        "db": ["app.py"],
    }


def test_a_file_is_known_to_be_of_a_service(code: Path) -> None:
    """Of a path that changed it must be told whose source it is, also when it is new, and whether it counts."""
    snapshot = taken(Source(code, "made", ignored=("*.md\n",)))
    assert snapshot.holds(code / "deep" / "new.py") == ["api"]
    assert snapshot.holds(code / "x.md") == []
    assert snapshot.holds(code / "test_x.py") == []
    assert snapshot.holds(code / "__pycache__" / "x.py") == []
    assert snapshot.holds(code.parent / "x.py") == []


def test_what_was_written_of_many_files_says_that_none_changed(tmp_path: Path) -> None:
    """What is read again of 5,000 files must know each, and name none that did not change."""
    for number in range(5000):
        folder = tmp_path / f"d{number % 50}"
        folder.mkdir(exist_ok=True)
        path = folder / f"m{number}.py"
        path.write_text(f"x = {number}\n")
        os.utime(path, (OLD, OLD))
        if number < 50:
            os.utime(folder, (OLD, OLD))
    snapshot = Snapshot.take({"api": [Source(tmp_path)]})
    written = json.dumps(snapshot.as_dict())
    read = Snapshot.from_dict(json.loads(written))
    assert read.changes() == {"api": []}
    assert read.size() == snapshot.size() == 5000


def test_what_any_list_lets_in_counts(tmp_path: Path) -> None:
    """Where builders go by two lists, a file that either lets in must be a part; it must survive being written down."""
    (tmp_path / "code").mkdir()
    for name in ("folder.md", "own.txt", "neither.log"):
        (tmp_path / "code" / name).write_text("1")
    lists = ("*.txt\n*.log\n", "*.md\n*.log\n")
    snapshot = Snapshot.from_dict(
        json.loads(json.dumps(taken(Source(tmp_path / "code", "made", ignored=lists)).as_dict()))
    )
    assert {
        name: bool(snapshot.holds(tmp_path / "code" / name)) for name in ("folder.md", "own.txt", "neither.log")
    } == {
        "folder.md": True,
        "own.txt": True,
        "neither.log": False,
    }
    assert snapshot.size() == 2
