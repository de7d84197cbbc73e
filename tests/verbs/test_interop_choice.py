"""Which matrix a command is about: the one that is named, the only declared one, or that of the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import run_in
from toy_matrix import HARNESS, TOML

from harness.config.matrices import Places, matrix_file
from harness.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

DECLARED = "[tool.harness.matrices]\n"


def matrix(root: Path, folder: str, *, manifest: bool = False) -> Path:
    """Make a matrix that is named as its folder is."""
    place = root / folder
    for name in ("py", "sh", "tests"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "tests/t.md").write_text("{}")
    if manifest:
        (place / "tests/_implementations.json").write_text(f'{{"a": {{"repo": "git://h/{place.name}"}}}}')
        (place / "Dockerfile").write_text("FROM scratch\n")
    else:
        (place / "interop.toml").write_text(TOML.replace("toy", place.name))
    return place


def chosen(project: Project, where: str, *words: str) -> str:
    """Return what ``interop.plan`` is of, in a folder of the project; or the first line of what it complains about."""
    done = run_in(project, "-c", f"import os; os.chdir({where!r}); {HARNESS[1]}", "interop.plan", *words, timeout=60)
    assert "Traceback" not in done.stderr
    if done.code:
        assert done.code == 10
        return done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("declared", "where", "words", "is_of"),
    [
        ("", ".", (), "a"),  # of the project's folder
        ("", "sub", (), "sub"),
        ("", "sub/py", (), "sub"),
        ("", "none", (), "a"),
        ("", "old", (), "old"),
        ("one = 'b'", ".", (), "b"),
        ("one = 'b'", "sub", (), "b"),
        ("one = 'b'", "sub", ("--matrix", "interop.toml"), "sub"),
        ("one = 'b'", "sub", ("--matrix", "."), "sub"),
        ("one = 'b'\ntwo = 'sub/interop.toml'", ".", ("--matrix", "two"), "sub"),
        ("one = 'b'\ntwo = 'sub'", "sub", ("--matrix", "b"), "b"),  # a path of the project's folder
    ],
)
def test_the_matrix_that_is_meant(
    tmp_path: Path, declared: str, where: str, words: tuple[str, ...], is_of: str
) -> None:
    """The named one, else the only declared one, else the nearest upwards, also an older project's."""
    for folder in ("b", "sub"):
        matrix(tmp_path, folder)
    matrix(tmp_path, "old", manifest=True)
    (tmp_path / "none").mkdir()
    (tmp_path / "interop.toml").write_text("")
    names = dict(line.split(" = ") for line in declared.splitlines())
    places = Places(tmp_path / where, tmp_path, {name: tmp_path / file.strip("'") for name, file in names.items()})
    found = matrix_file(words[1] if words else "", "command line", places)
    place = found.resolve().parent if found.is_file() else found.resolve()
    assert place == (tmp_path if is_of == "a" else tmp_path / is_of)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "No matrix was named; there are: one, two"),
        ("on", "Matrix 'on' (command line) is not known; there are: one, two; did you mean 'one'?"),
        ("./on", "does not exist"),
    ],
)
def test_one_that_is_not_known(tmp_path: Path, name: str, says: str) -> None:
    """Of several none may be taken, and a name that is none be told with those there are."""
    matrix(tmp_path, "sub")
    with pytest.raises(ConfigError, match="o") as raised:
        matrix_file(name, "command line", Places(tmp_path / "sub", tmp_path, {"one": tmp_path, "two": tmp_path}))
    assert says in str(raised.value)


def test_commands_take_it(project: Project) -> None:
    """A command must be about the matrix of the folder where it is given; without one it says how to make one."""
    root = project.root
    (root / "none").mkdir()
    told = chosen(project, "none")
    assert "none: has no matrix; interop.toml or _implementations.json" in told
    assert "next: docs/first-matrix.md makes one" in told
    matrix(root, "sub")
    matrix(root, "more")
    assert "sub on embedded" in chosen(project, "sub/sh")
    assert "more on embedded" in chosen(project, "sub", "--matrix", "more")
    (root / "pyproject.toml").write_text(DECLARED + "a = 'sub'\nb = 'more'\n")
    assert "No matrix was named; there are: a, b" in chosen(project, "sub")
