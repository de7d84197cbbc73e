"""What an image is made of: a hash that changes when, and only when, the image may; and words for what changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import clock
from harness.folders import TICK
from harness.images import contexts
from harness.images.contexts import Held, look
from harness.images.fingerprint import Ingredients, differences, digest

if TYPE_CHECKING:
    from collections.abc import Callable


def made(folder: Path) -> tuple[Path, dict[str, str]]:
    """Make a folder to build from; return it, and an environment whose cache folder is beside it."""
    root = folder / "context"
    (root / "src").mkdir(parents=True)
    (root / "src/app.py").write_text("one\n")
    (root / "run.sh").write_text("exec\n")
    (root / "link").symlink_to("run.sh")
    return root, {"XDG_CACHE_HOME": str(folder / "cache")}


def settle(root: Path) -> None:
    """Make the files of a folder older than any doubt about their times."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
    end = clock.Deadline.after(2 * TICK / 1e9)
    for _ in clock.poll(end):
        pass


def chmod(root: Path) -> None:
    (root / "run.sh").chmod(0o755)


def chmod_folder(root: Path) -> None:
    (root / "src").chmod(0o700)


def add(root: Path) -> None:
    (root / "src/new").touch()


def add_folder(root: Path) -> None:
    (root / "empty").mkdir()


def remove(root: Path) -> None:
    (root / "src/app.py").unlink()


def move(root: Path) -> None:
    (root / "src").rename(root / "lib")


def lead(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("src")


def write_same_size(root: Path) -> None:
    facts = (root / "run.sh").stat()
    (root / "run.sh").write_text("EXEC\n")
    os.utime(root / "run.sh", ns=(facts.st_atime_ns, facts.st_mtime_ns))


def add_with_its_old_time(root: Path) -> None:
    """Add a file as ``rsync -a`` and ``tar`` do: its folder then has the time that it has elsewhere."""
    facts = (root / "src").stat()
    add(root)
    os.utime(root / "src", ns=(facts.st_atime_ns, facts.st_mtime_ns))


CHANGES = [chmod, chmod_folder, add, add_folder, remove, move, lead, write_same_size, add_with_its_old_time]


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__)
def test_what_changes_an_image_changes_the_digest_of_its_folder(change: Callable[[Path], None], tmp_path: Path) -> None:
    """Contents, names, permissions and links must count, at a second look as at a first one."""
    root, environ = made(tmp_path)
    settle(root)
    first = look(root, "", environ).digest
    assert look(root, "", environ).digest == first
    change(root)
    again = look(root, "", environ).digest
    assert again != first
    shutil.rmtree(tmp_path / "cache")
    assert look(root, "", environ).digest == again


def test_a_folder_that_cannot_be_read_is_a_doubt_until_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not seen in a folder must be known as such, and be looked at as soon as it may be."""
    root, environ = made(tmp_path)
    settle(root)
    list_folder = os.scandir

    def refuse(path: Path) -> Any:
        if path.name == "src":
            raise PermissionError(path)
        return list_folder(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        assert [look(root, "", environ).unread for _ in range(2)] == [("src",)] * 2
    again = look(root, "", environ)
    assert (again.unread, "src/app.py" in again.files) == ((), True)
    (root / "src/app.py").write_text("two\n")
    assert look(root, "", environ).digest != again.digest


def test_a_file_that_cannot_be_looked_at_is_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder whose names only may be read, each file must be told as one that is not known."""
    root, environ = made(tmp_path)

    def refuse(_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(contexts, "_noted", refuse)
    monkeypatch.setattr(contexts, "digest_of", lambda _: "")
    assert sorted(look(root, "", environ).unread) == ["link", "run.sh", "src/app.py"]


def test_times_do_not_count(tmp_path: Path) -> None:
    """A copy of a folder, or one that was touched, must have the same digest."""
    root, environ = made(tmp_path)
    first = look(root, "", environ).digest
    settle(root)
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    assert look(root, "", environ).digest == first == look(tmp_path / "copy", "", environ).digest


def test_a_file_that_is_written_again_in_the_same_tick_is_read_again(tmp_path: Path) -> None:
    """A file that was written just before it was looked at must not be taken for unchanged by its time."""
    root, environ = made(tmp_path)
    digests = set()
    for number in range(20):
        (root / "run.sh").write_text(f"{number:4}\n")
        digests.add(look(root, "", environ).digest)
    assert len(digests) == 20


def test_what_is_left_out_does_not_count(tmp_path: Path) -> None:
    """What ``.dockerignore`` leaves out must change nothing, and what it excepts must count."""
    root, environ = made(tmp_path)
    ignored = "src\n!src/kept.py\n# a comment\n*.log\n"
    (root / "src/kept.py").write_text("one")
    first = look(root, ignored, environ)
    (root / "src/app.py").write_text("two")
    (root / "x.log").write_text("two")
    assert look(root, ignored, environ).digest == first.digest
    assert sorted(first.files) == ["link", "run.sh", "src/kept.py"]
    (root / "src/kept.py").write_text("two")
    assert look(root, ignored, environ).digest != first.digest
    assert look(root, "", environ).digest != first.digest


def test_a_second_look_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which nothing changed must be told by its times alone."""
    root, environ = made(tmp_path)
    settle(root)
    first = look(root, "", environ)
    monkeypatch.setattr(contexts, "digest_of", lambda path: pytest.fail(f"{path} is read again"))
    assert look(root, "", environ) == first


def test_without_a_cache_folder_all_is_read(tmp_path: Path) -> None:
    """A cache that is nowhere, or was spoilt, must cost time only."""
    root, environ = made(tmp_path)
    first = look(root, "", environ)
    assert look(root, "", {}) == first
    for file in (tmp_path / "cache/harness").iterdir():
        file.write_text("spoilt")
    assert look(root, "", environ) == first


def held(**files: str) -> Held:
    """Return what a folder with these files holds."""
    return Held(digest(str(sorted(files.items()))), list_files=lambda: files)


BEFORE = Ingredients(
    lines=tuple(map(digest, ["FROM base", "COPY . /", "CMD x"])),
    arguments={"TOKEN": digest("secret"), "OLD": digest("1")},
    bases={"base": "sha256:" + "1" * 64},
    settings={"target": '"app"'},
    contexts={"": held(**{"a.py": "f644 1", "b.py": "f644 2", "c.py": "f644 3"})},
)


def test_each_ingredient_makes_another_fingerprint() -> None:
    """Whatever differs must give another hash, and the same must give the same, whatever its order."""
    others = [
        Ingredients(lines=BEFORE.lines[:2]),
        Ingredients(arguments={"A": "1"}),
        Ingredients(arguments={"A": "2"}),
        Ingredients(bases={"A": "1"}),
        Ingredients(settings={"A": "1"}),
        Ingredients(contexts={"A": held()}),
        Ingredients(),
        BEFORE,
    ]
    assert len({one.fingerprint for one in others}) == len(others)
    assert {len(one.fingerprint) for one in others} == {16}
    turned = Ingredients(arguments={"B": "1", "A": "2"}).fingerprint
    assert turned == Ingredients(arguments={"A": "2", "B": "1"}).fingerprint
    assert not Ingredients(doubts=("pull: true",)).fingerprint


def test_what_differs_is_named() -> None:
    """Files, arguments, base images and lines must be named, and no value of an argument."""
    now = Ingredients(
        lines=tuple(map(digest, ["FROM base", "COPY . /srv", "CMD x", "USER y"])),
        arguments={"TOKEN": digest("other"), "NEW": digest("1")},
        bases={"base": "sha256:" + "2" * 64},
        settings={},
        contexts={"": held(**{"a.py": "f644 9", "b.py": "f755 2", "d.py": "f644 3"})},
    )
    assert differences(BEFORE.as_dict(), now, "Dockerfile") == [
        "Dockerfile:2: line 2 changed",
        "Dockerfile:4: line 4 added",
        "argument NEW is new",
        "argument OLD is gone",
        "argument TOKEN changed",
        "base image base changed (111111111111 -> 222222222222)",
        "target is gone",
        "file a.py changed",
        "file b.py has other permissions (644 -> 755)",
        "file c.py was removed",
        "file d.py came",
    ]
    assert differences(BEFORE.as_dict(), BEFORE, "Dockerfile") == []


def test_values_of_arguments_cannot_be_guessed_from_what_is_kept() -> None:
    """A short secret must not be found by trying: two records of it must differ."""
    first, second = (BEFORE.as_dict()["arguments"]["TOKEN"] for _ in range(2))
    assert first != second
    assert digest("secret") not in str(BEFORE.as_dict())


def test_many_files_are_counted() -> None:
    """Where hundreds of files changed, the first must be named and the others counted."""
    now = Ingredients(contexts={"": held(**{f"{number:03}": "f644 1" for number in range(50)})})
    told = differences(Ingredients().as_dict(), now, "Dockerfile")
    assert (told[0], told[-1], len(told)) == ("file 000 came", "and 40 other files", 11)
