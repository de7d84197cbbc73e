"""What Compose made of files is used again only while nothing that it depends on has changed, and holds no secret."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import procs
from harness.stack import cache, compose, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.stack import Tree

CANARY = "canary-7f3a"
STACK = """
include: [{path: below.yaml, project_directory: away}]
services:
  web:
    extends: {file: base.yaml, service: base}
    environment: {A: "${A:-none}", WHERE: "${HOME}"}
    volumes: ["~/data:/data"]
"""
LOW = 'services:\n  low:\n    image: y\n    extends: {file: e.yaml, service: far}\n    environment: {A: "${A:-none}"}\n'
BASE = "services:\n  base:\n    extends: {file: far/base.yaml, service: far}\n    labels: {near: one}\n"
FAR = "services:\n  far:\n    image: x\n    labels: {far: one}\n"


class Files:
    """A folder with a stack, and how often Compose was asked for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.entries = folder / "cache" / "harness"
        self.environ = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PATH": os.environ["PATH"]}
        self.asked = 0
        self.meanwhile: Callable[[], object] = lambda: None
        self._run = procs.run
        monkeypatch.setattr(procs, "run", self._counted)
        (folder / "far").mkdir()
        (folder / "away").mkdir()
        self.write("s.yaml", STACK)
        self.write("below.yaml", LOW)
        self.write("away/e.yaml", FAR)
        self.write("base.yaml", BASE)
        self.write("far/base.yaml", FAR)

    def _counted(self, *args: Any, **kwargs: Any) -> procs.Finished:
        self.asked += 1
        done = self._run(*args, **kwargs)
        self.meanwhile()
        return done

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def read(self) -> Tree:
        return read_tree([self.folder / "s.yaml"], self.environ)

    def kept(self) -> list[Path]:
        return sorted(self.entries.iterdir()) if self.entries.is_dir() else []


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A stack in a folder of its own, that was never read."""
    return Files(tmp_path, monkeypatch)


def test_what_has_not_changed_is_not_parsed_again(files: Files) -> None:
    """The second time Compose must not be asked, and the stacks must be the same."""
    first = files.read()
    assert files.asked == 2
    assert files.read() == first
    assert files.asked == 2
    assert [path.stat().st_mode & 0o777 for path in (files.entries, *files.kept())] == [0o700, 0o600, 0o600]


CHANGES = {
    "the file": (("s.yaml", STACK.replace("none", "other")), 1),
    "an included file": (("below.yaml", LOW.replace("image: y", "image: z")), 2),
    "an extended file": (("base.yaml", BASE.replace("one", "two")), 1),
    "a file that an extended one extends": (("far/base.yaml", FAR.replace("one", "two")), 1),
    "a file that starts from a project folder": (("away/e.yaml", FAR.replace("one", "two")), 2),
    ".env": ((".env", "A=from-file\n"), 2),
    ".env in a project folder": (("away/.env", "A=from-file\n"), 2),
    ".env beside what is extended": (("far/.env", "A=from-file\n"), 1),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_what_compose_reads_is_seen(files: Files, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of anything that it may read, Compose must be asked again, and its answer be the new one."""
    (name, text), asked = CHANGES[what]
    files.read()
    files.asked = 0
    (files.folder / name).parent.mkdir(exist_ok=True)
    files.write(name, text)
    seen = files.read()
    assert files.asked == asked
    monkeypatch.setattr(cache, "recall", lambda *_: None)
    assert seen == files.read()


@pytest.mark.parametrize(("name", "value"), [("A", "set"), ("HOME", "/elsewhere"), ("DOCKER_CONTEXT", "other")])
def test_a_change_of_a_variable_is_seen(files: Files, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is named, or that Compose itself goes by, must not be the one of an earlier answer."""
    files.read()
    files.asked = 0
    files.environ[name] = value
    seen = files.read()
    assert files.asked >= 1
    monkeypatch.setattr(cache, "recall", lambda *_: None)
    assert seen == files.read()


def test_another_compose_is_asked(tmp_path: Path) -> None:
    """The answer of another Compose, or of the same one after an update, must not be used."""
    program, file = tmp_path / "compose", tmp_path / "s.yaml"
    file.write_text("services: {}\n")
    keys = set()
    for text in (b"\x7fELF one", b"\x7fELF two, longer", b"\x7fELF two, LONGER"):
        scratch = tmp_path / "scratch"
        scratch.write_bytes(text)
        scratch.replace(program)
        keys.add(cache.inputs_of([str(program), "config"], [file], [tmp_path], {}).key)
    assert len(keys - {""}) == 3
    program.write_text("#!/bin/sh\nexec compose-of-the-day\n")
    assert cache.inputs_of([str(program), "config"], [file], [tmp_path], {}) == cache.Inputs()


SERVICE = "services:\n  web:\n    image: x\n"
SECRETS = {
    "a variable": (SERVICE + '    environment: {S: "${SECRET}"}\n', {}),
    "a variable by its name alone": (SERVICE + "    environment: [SECRET]\n", {}),
    "a variable with an odd name": (SERVICE + "    environment: [odd.secret]\n", {}),
    ".env": (SERVICE + '    environment: {S: "${OTHER}"}\n', {".env": f"OTHER={CANARY}\n"}),
    "env_file": (SERVICE + "    env_file: [e]\n", {"e": f"S={CANARY}\n"}),
    "env_file that is looked for": (SERVICE + "    env_file: [{path: e, required: false}]\n", {"e": f"S={CANARY}\n"}),
    "env_file of what is extended": (
        "services:\n  web: {extends: {file: b.yaml, service: web}}\n",
        {"b.yaml": SERVICE + "    env_file: e\n", "e": f"S={CANARY}\n"},
    ),
    "env_file of what is included": (
        "include: [{path: b.yaml, env_file: e}]\n" + SERVICE.replace("web", "own"),
        {"b.yaml": SERVICE + '    environment: {S: "${OTHER}"}\n', "e": f"OTHER={CANARY}\n"},
    ),
    ".env beside what is included": (
        "include: [far/b.yaml]\n" + SERVICE.replace("web", "own"),
        {"far/b.yaml": SERVICE + '    environment: {S: "${OTHER}"}\n', "far/.env": f"OTHER={CANARY}\n"},
    ),
    "label_file": (SERVICE + "    label_file: e\n", {"e": f"S={CANARY}\n"}),
    "an anchor": (
        f"x-all: &all\n  env_file: e\n{SERVICE}    <<: *all\n",
        {"e": f"S={CANARY}\n"},
    ),
}


@pytest.mark.parametrize("what", SECRETS)
def test_what_may_hold_a_secret_is_not_kept(files: Files, what: str) -> None:
    """The value of a variable, or of a file of variables, must reach the stack, each time anew, and no cached file."""
    text, others = SECRETS[what]
    files.environ |= {"SECRET": CANARY, "odd.secret": CANARY}
    files.write("s.yaml", text)
    for name, content in others.items():
        files.write(name, content)
    for _ in range(2):
        files.asked = 0
        services = {service.name: service for stack in files.read().stacks for service in stack.services}
        assert CANARY in str(services["web"].compose)
        assert files.asked >= 1
        assert not [path for path in files.kept() if CANARY in path.read_text()]


UNSURE = {
    "a name with a variable": "services:\n  web: {extends: {file: '${B:-base.yaml}', service: base}}\n",
    "a file that is not there": "services:\n  web: {image: x, extends: {file: nowhere.yaml, service: base}}\n",
    "a watched folder": SERVICE + "    develop: {watch: [{path: ., action: sync, target: /x}]}\n",
}


@pytest.mark.parametrize("what", UNSURE)
def test_what_cannot_be_told_for_certain_is_not_kept(files: Files, what: str) -> None:
    """Where it is not certain what Compose reads, nothing must be kept."""
    files.write("s.yaml", UNSURE[what])
    compose.run_config([files.folder / "s.yaml"], files.environ)
    assert files.kept() == []


def test_a_file_that_changes_while_it_is_parsed_is_not_kept(files: Files) -> None:
    """An answer about a file that was written meanwhile, even with the same content, must not be kept."""
    files.write("s.yaml", SERVICE)
    files.meanwhile = lambda: files.write("s.yaml", SERVICE)
    files.read()
    assert files.kept() == []


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _alter(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"none", b"evil"))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _bloat(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(cache.LARGEST))


def _link(path: Path) -> None:
    path.replace(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def _open_up(path: Path) -> None:
    path.chmod(0o644)


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _swap(path: Path) -> None:
    for other in path.parent.iterdir():
        path.write_bytes(other.read_bytes()) if other != path else None


@pytest.mark.parametrize("harm", [_shorten, _alter, _empty, _bloat, _link, _open_up, _make_folder, _make_pipe, _swap])
def test_an_entry_that_is_not_as_it_was_written_is_none(files: Files, harm: Callable[[Path], None]) -> None:
    """An entry that is damaged, or that others could have written, must not be used; Compose is asked instead."""
    first = files.read()
    for path in files.kept():
        harm(path)
    files.asked = 0
    assert files.read() == first
    assert files.asked >= 1


def _no_folder(files: Files) -> None:
    (files.folder / "cache").write_text("a file")


def _open_folder(files: Files) -> None:
    files.entries.mkdir(parents=True)
    files.entries.chmod(0o755)


def _no_home(files: Files) -> None:
    files.environ = {"PATH": files.environ["PATH"], "XDG_CACHE_HOME": "relative"}
    files.write("s.yaml", SERVICE)


def _no_entry(files: Files) -> None:
    files.read()
    for path in files.kept():
        _make_folder(path)
        (path / "x").touch()


@pytest.mark.parametrize("harm", [_no_folder, _open_folder, _no_home, _no_entry])
def test_a_cache_that_cannot_be_used_hinders_nothing(files: Files, harm: Callable[[Files], None]) -> None:
    """Without a private folder that can be written, stacks must be read as ever."""
    harm(files)
    assert files.read() == files.read()
    assert not Path("relative").exists()


def test_many_at_once_agree(files: Files) -> None:
    """Many who read, parse and keep the same at once must all get it whole, and leave one entry for each file."""
    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(lambda _: files.read(), range(24)))
    assert all(tree == trees[0] for tree in trees)
    assert len(files.kept()) == 2
    files.asked = 0
    files.read()
    assert files.asked == 0


def test_the_least_used_go_first(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more entries than the bound may stay, those that were used last; what is no entry must not be touched."""
    monkeypatch.setattr(cache, "MOST", 3)
    for number in range(3):
        cache.keep(f"{number}", {"number": number}, files.environ)
        os.utime(files.entries / f"{number}{cache.SUFFIX}", (number, number))
    (files.entries / "note").touch()
    os.utime(files.entries / "note", (0, 0))
    assert cache.recall("0", files.environ) == {"number": 0}
    cache.keep("3", {"number": 3}, files.environ)
    assert [cache.recall(f"{number}", files.environ) for number in range(4)] == [
        {"number": 0},
        None,
        {"number": 2},
        {"number": 3},
    ]
    assert (files.entries / "note").exists()


def test_all_entries_together_are_bounded(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large entries the least used must go before there are many, and never the one that was just written."""
    monkeypatch.setattr(cache, "TOTAL", 2500)
    for number in range(3):
        cache.keep(f"{number}", "x" * 1000, files.environ)
        os.utime(files.entries / f"{number}{cache.SUFFIX}", (number, number))
    assert [path.name.partition(".")[0] for path in sorted(files.kept())] == ["1", "2"]


def test_what_is_known_of_a_large_folder_is_kept(files: Files) -> None:
    """Times and digests of 100,000 files must come back: else all of them are read each time."""
    known = {f"folder/file_{number}.js": [10**18 + number, 10**18, 12, "f644", "0" * 32] for number in range(100_000)}
    cache.keep("k", known, files.environ)
    assert cache.recall("k", files.environ) == known


@pytest.mark.parametrize("value", [{1: "number as a key"}, {"x": float("nan")}, {"x": "y" * cache.LARGEST}])
def test_what_would_come_back_otherwise_is_not_kept(files: Files, value: dict[Any, Any]) -> None:
    """What JSON cannot give back unchanged, or what is too large, must not be kept."""
    cache.keep("k", value, files.environ)
    assert files.kept() == []
