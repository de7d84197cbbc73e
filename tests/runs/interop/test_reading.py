"""A matrix is read from its folder, with everything that is wrong in any of its files told at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.matrix.cases import Case, Role
from harness.matrix.cells import expand
from harness.runs.interop.parts import parts_of, probing_part
from harness.runs.interop.reading import read, read_expected
from harness.runs.interop.sources import build_tree

TOML = '[implementations.a]\nbuild = "a"\ncommand = ["python", "x.py"]\nenv = {A = "b"}\n'


def write(folder: Path, **files: str) -> Path:
    """Write files, whose names have ``__`` for a slash and ``_`` for a dot before their ending."""
    for name, text in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "a").mkdir(exist_ok=True)
    return folder


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder)
    return [problem.replace(f"{folder}/", "").replace(str(folder), ".") for problem in caught.value.problems]


def test_tests_are_the_markdown_files_without_the_hidden_ones(tmp_path: Path) -> None:
    """By name; a file that begins with an underscore or a dot is left out, as is what is no Markdown."""
    folder = write(
        tmp_path, interop_toml=TOML, tests__b_md="{}", tests__a_md="{}", tests___x_md="no", tests__n_txt="no"
    )
    (folder / "tests" / ".y.md").write_text("no")
    matrix, cases = read(folder)
    assert [case.name for case in cases] == ["a", "b"]
    assert (matrix.name, matrix.folder) == (tmp_path.name, tmp_path)
    assert read(folder / "interop.toml") == (matrix, cases)
    assert read_expected(matrix) == ()


def test_an_old_project_is_read_from_its_own_folder(tmp_path: Path) -> None:
    """The manifest is beside its tests, and the Dockerfile of the folder is the implementation that is tested."""
    manifest = '{"go": {"repo": "git://example.org/go.git"}}'
    folder = write(tmp_path, interop__tests__t_md="{}", interop__tests___implementations_json=manifest)
    (folder / "Dockerfile").write_text("FROM x\n")
    matrix, cases = read(folder)
    assert matrix.tests == folder / "interop" / "tests"
    assert [cell.id for cell in expand(matrix, cases)] == ["t/local/local", "t/local/go"]
    (folder / "_implementations.json").write_text(manifest)
    assert read(folder)[0].tests == folder / "interop" / "tests"


def test_all_files_problems_are_told_together(tmp_path: Path) -> None:
    """Of the tests each one that is wrong, and two of one name in two folders."""
    folder = write(
        tmp_path,
        interop_toml=f'tests = ["tests", "more"]\n{TOML}',
        tests__a_md="words",
        tests__b_md='{"timeout": 3}',
        more__B_md="{}",
    )
    assert problems(folder) == [
        (
            "tests/a.md:1: header is no JSON: Expecting value (it begins 'words'); a JSON object was needed, such as "
            '{"timeout": "20s"}'
        ),
        "tests/b.md: timeout is 3, a duration such as 3ms, 1.5s or 1h30m was needed",
        "more/B.md: test 'B' is in tests/b.md too (case does not count); another name was needed",
    ]


def test_what_is_not_there_is_told_with_what_was_needed(tmp_path: Path) -> None:
    """No matrix, no tests, no folder of tests, no folder that is built."""
    sentence = ".: has no matrix; interop.toml or _implementations.json (here, or in tests or interop/tests) was needed"
    assert problems(tmp_path) == [sentence]
    (tmp_path / "interop2.toml").write_text("")
    assert problems(tmp_path) == [f"{sentence}; there is interop2.toml"]
    write(tmp_path, interop_toml=TOML)
    assert problems(tmp_path) == ["tests: is no folder; tests (*.md) were needed there"]
    (tmp_path / "tests").mkdir()
    assert problems(tmp_path) == [
        "tests: has no test; NAME.md was needed (names that begin with _ or . are left out)",
    ]
    write(tmp_path, tests__t_md="{}")
    (tmp_path / "a").rmdir()
    assert problems(tmp_path) == ["interop.toml: [implementations.a]: build: a is no folder"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"interop_toml": "a = "}, "interop.toml: is no TOML: Invalid value (at end of document)"),
        (
            {"_implementations_json": "{"},
            "_implementations.json: is no JSON: Expecting property name enclosed in double",
        ),
        ({"_implementations_json": "[]"}, "_implementations.json: is no JSON object; {NAME: {'repo': URL}} was needed"),
        (
            {
                "interop_toml": f'{TOML}roles = ["worker", "helpr"]',
                "tests__t_md": '{"containers": {"helper": {"command": "x"}}}',
            },
            "interop.toml: [implementations.a]: roles has 'helpr', which no test has; did you mean 'helper'?",
        ),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, files: dict[str, str], sentence: str) -> None:
    """With what its own reader says."""
    (problem,) = problems(write(tmp_path, **files))
    assert problem.startswith(sentence)


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    """An old file in another encoding is no traceback."""
    folder = write(tmp_path, interop_toml=TOML, tests__t_md="")
    (folder / "tests" / "t.md").write_bytes(b"{} \xe9")
    assert problems(folder) == ["tests/t.md: is no UTF-8: byte 3 is 0xe9"]


def test_expectations_are_read_from_beside_the_matrix(tmp_path: Path) -> None:
    """And refused in words."""
    folder = write(
        tmp_path, interop_toml=TOML, tests__t_md="{}", expect_toml='[[expect]]\nstatus = "failed"\nreason = "x"'
    )
    matrix, _ = read(folder)
    assert [each.status for each in read_expected(matrix)] == [("failed",)]
    (folder / "expect.toml").write_text("expect = 3")
    with pytest.raises(ConfigError, match="a list of tables"):
        read_expected(matrix)


def test_a_role_is_started_by_the_contract(tmp_path: Path) -> None:
    """Its entry with the test's name and its own in an image; its command in its folder as a local process."""
    folder = write(tmp_path, interop_toml=TOML, tests__t_md='{"params": {"buffer-size": [3]}}')
    matrix, (case,) = read(folder)
    (cell,) = expand(matrix, [case])
    worker, driver = parts_of(matrix, case, cell, {"a": "sha256:1"})
    assert (worker.argv, worker.image, worker.cwd) == (("th-test", "t", "worker"), "sha256:1", None)
    assert driver.argv == ("th-test", "t", "driver")
    assert worker.env == {
        "A": "b",
        "INTEROP_TEST": "t",
        "INTEROP_ROLE": "worker",
        "INTEROP_CELL": "t/a/a/buffer-size=3",
        "INTEROP_SEED": str(cell.seed),
        "INTEROP_PARAM_BUFFER_SIZE": "3",
    }
    for images in ({}, {"a": "tree:0123"}):
        worker, _ = parts_of(matrix, case, cell, images)
        assert (worker.argv, worker.image, worker.cwd) == ((sys.executable, "x.py", "t", "worker"), "", folder / "a")
    probing = probing_part(matrix.implementation("a"), Role("driver"), "probe-1", {})
    assert probing.argv == (sys.executable, "x.py", "probe-1", "driver")


def test_a_tests_own_command_is_taken_as_it_is(tmp_path: Path) -> None:
    """In an image; a local process of the same program has another name."""
    matrix, _ = read(write(tmp_path, interop_toml=TOML, tests__t_md="{}"))
    case = Case(
        "t", roles=(Role("relay", ("th-test", "relay", "-v"), "img"), Role("worker"), Role("driver", ("sh", "-c")))
    )
    (cell,) = expand(matrix, [case])
    relay, _, driver = parts_of(matrix, case, cell, {"a": "sha256:1", "img": "sha256:2"})
    assert (relay.argv, relay.image) == (("th-test", "relay", "-v"), "sha256:2")
    assert (driver.argv, driver.image) == (("sh", "-c"), "sha256:1")
    local = Case("t", roles=(Role("relay", ("th-test", "relay", "-v")), Role("worker"), Role("driver")))
    assert parts_of(matrix, local, cell, {})[0].argv == (sys.executable, "x.py", "relay", "-v")


@pytest.mark.parametrize(
    ("toml", "services"),
    [
        ('[implementations.Go]\nbuild = "a"\n[implementations.x-1]\nbuild = "a"\n', ["Go", "x_1"]),
        ('[implementations.go]\nbuild = "a"\nversions = ["1.2", "2+rc"]\n', ["go_1_2", "go_2_rc"]),
        (
            '[implementations.go_1]\nbuild = "a"\n[implementations.go]\nbuild = "a"\nversions = ["1", "2"]\n',
            ["go_1", "go_1_1b950c", "go_2"],
        ),
    ],
)
def test_what_is_built_is_told_by_the_names_of_implementations(tmp_path: Path, toml: str, services: list[str]) -> None:
    """A service that is built must be named as its implementation, as far as it may, and each one differently."""
    matrix, _ = read(write(tmp_path, interop_toml=toml, tests__t_md="{}", a__Dockerfile_x="FROM x\n"))
    builds = {each.name: each for each in matrix.implementations}
    tree, named = build_tree(builds, tmp_path / "matrix.yaml", {})
    assert named == services
    assert [service.name for service in tree.root.services] == services
