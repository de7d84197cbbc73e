"""Tests of a matrix that are taken from a repository: what comes, what goes, and what is of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from toy_matrix import TOML, Toy, commit, git

from harness.errors import ConfigError
from harness.matrix.fetched import Update, compared, digest, parse_record, write_record

if TYPE_CHECKING:
    from projects import Project

TEST = '{"timeout": "20s"}\n'


class Upstream(Toy):
    """A matrix without tests, which are those of the folder ``spec`` of a repository beside it."""

    def __init__(self, project: Project, *tests: str) -> None:
        super().__init__(project)
        (self.root / "tests/plain.md").unlink()
        (self.root / "tests").rmdir()
        for test in tests:
            self.write(f"up/spec/{test}.md", TEST)
        self.push()

    def push(self) -> None:
        """Commit what is upstream."""
        commit(self.root / "up")
        self.hold("")

    def hold(self, held: str) -> None:
        """Have the matrix take a commit, "" for HEAD."""
        held = f', commit = "{held}"' if held else ""
        self.write("interop.toml", f'tests-from = {{git = "./up", folder = "spec"{held}}}\n{TOML}')


def test_what_is_compared() -> None:
    """Theirs must be told from one's own, and what would be lost from what may go."""
    theirs = {"new": b"1", "same": b"1", "other": b"2", "mine": b"2", "taken": b"1"}
    here = {"same": b"1", "other": b"1", "mine": b"3", "own": b"1", "gone": b"1", "gone-mine": b"3", "taken": b"2"}
    record = dict.fromkeys(("same", "other", "mine", "gone", "gone-mine"), (digest(b"0"), digest(b"1")))
    assert compared(theirs, here, record) == Update(
        added=("new",),
        changed=("other",),
        removed=("gone",),
        unchanged=("same",),
        own=("own",),
        lost=("gone-mine", "mine", "taken"),
    )
    assert str(compared(theirs, {}, {})) == "5 added, 0 changed, 0 removed, 0 unchanged"


def test_a_record_is_read_as_it_was_written() -> None:
    """One that is damaged, or of another format, must be told with what to do."""
    record = {"b": ("1",), "a": ("2", "3")}
    text = write_record({"git": "x"}, record)
    assert parse_record(text.encode(), "f") == record
    for damaged in (text[:-9], text.replace('"format": 1', '"format": 2'), "[]", '{"format": 1, "tests": {"a": 1}}'):
        with pytest.raises(ConfigError) as raised:
            parse_record(damaged.encode(), "f")
        assert raised.value.hint.startswith("take it away")


def test_tests_come_from_a_repository(project: Project) -> None:
    """What is upstream must be in the folder after it, what was is gone, and one's own test stays; each is told."""
    toy = Upstream(project, "plain", "fails")
    assert "`harness interop.tests-update` fetches them" in toy.refused("plan")
    done = toy("tests-update")
    assert done.stdout.splitlines() == ["added tests/fails.md", "added tests/plain.md"]
    first = git("rev-parse", "HEAD", cwd=toy.root / "up")
    assert f"HEAD of {toy.root}/up is {first}" in done.stderr
    assert toy.run(code=1)["totals"] == {"succeeded": 4, "failed": 4}
    toy.write("tests/unknown.md", TEST)
    toy.write("up/spec/plain.md", f"{TEST}\n# More\n")
    toy.write("up/spec/more.md", TEST)
    (toy.root / "up/spec/fails.md").unlink()
    toy.push()
    done = toy("tests-update")
    assert done.stdout.splitlines() == ["added tests/more.md", "changed tests/plain.md", "removed tests/fails.md"]
    assert "1 added, 1 changed, 1 removed, 0 unchanged, 1 own" in done.stderr
    assert toy.run()["totals"] == {"succeeded": 8, "unsupported": 4}
    toy.hold(first)
    assert "HEAD" not in toy("tests-update").stderr
    assert sorted(path.stem for path in (toy.root / "tests").glob("*.md")) == ["fails", "plain", "unknown"]


def test_no_change_of_ones_own_is_lost(project: Project) -> None:
    """A file with one must be told with 10, and nothing be written, whether upstream has changed or removed it."""
    toy = Upstream(project, "plain", "fails", "more")
    assert toy("tests-update").code == 0
    toy.write("tests/plain.md", f"{TEST} mine")
    toy.write("tests/fails.md", f"{TEST} mine")
    toy.write("up/spec/new.md", TEST)
    (toy.root / "up/spec/fails.md").unlink()
    toy.push()
    told = toy.refused("tests-update")
    assert "tests/fails.md: has a change that is not from up" in told
    assert "tests/plain.md: has a change" in told
    assert "more.md" not in told
    assert not (toy.root / "tests/new.md").exists()
    toy.write("tests/plain.md", TEST)
    (toy.root / "tests/fails.md").rename(toy.root / "tests/mine.md")
    assert toy("tests-update").stdout.splitlines() == ["added tests/new.md"]


def test_what_cannot_be_taken_is_told(project: Project) -> None:
    """Without ``tests-from``, with a wrong one, and where upstream has no tests or bad ones: 10, nothing written."""
    toy = Upstream(project, "plain")
    toy.write("up/spec/bad.md", '{"timeout": "soon"}')
    toy.write("up/none/x", "")
    (toy.root / "up/spec/link.md").symlink_to("/etc/passwd")
    toy.push()
    assert "link.md: cannot be read: it is a symbolic link" in toy.refused("tests-update")
    (toy.root / "up/spec/link.md").unlink()
    toy.push()
    assert ": bad.md: timeout" in toy.refused("tests-update")
    for source, says in (
        ("", "says of no repository that tests are taken from"),
        ('tests-from = {git = "./up", folder = "none"}', "has no test; NAME.md was needed"),
        ('tests-from = {git = "./up", folder = "spec/no"}', "folder 'spec/no' does not exist in commit"),
        ('tests-from = {git = "./up", folder = "../x"}', "a folder within the repository was needed"),
        ('tests-from = {git = "./up", comit = "x"}', "key 'comit' is not known; did you mean 'commit'?"),
        ('tests-from = {git = "./up", commit = "main"}', "the 40 hexadecimal digits of a commit were needed"),
        ('tests-from = "./up"', "a table was needed"),
        ("tests-from = {}", "git is ''"),
        ('tests-from = {git = "./nowhere"}', "[tests-from]: repository"),
    ):
        toy.write("interop.toml", f"{source}\n{TOML}")
        assert says in toy.refused("tests-update")
    assert not (toy.root / "tests").exists()
