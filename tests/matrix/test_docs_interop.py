"""docs/interop.md names all that a matrix's files may say, and all that can be done with one."""

from __future__ import annotations

import re

import pytest
from checkout import ROOT

from harness.invoke_tasks import namespace
from harness.matrix import cases, expectations, implementations, lock

PAGE = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")
TASKS = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
CODE = re.compile(r"^    .*|`[^`]*`", re.MULTILINE)


def words_of(page: str) -> set[str]:
    """Return the words of a page that are code; keys are written with either kind of dash."""
    return {word.replace("_", "-") for code in CODE.findall(page) for word in re.findall(r"[\w.-]+", code)}


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("interop.toml", implementations._TOP),
        ("interop.toml", implementations._KEYS),
        ("tests/NAME.md", (*cases._KEYS, *cases._ROLE_KEYS)),
        ("expect.toml", expectations._KEYS),
    ],
    ids=["matrix", "implementation", "test", "expectation"],
)
def test_the_docs_name_every_key_of_a_file(file: str, keys: tuple[str, ...]) -> None:
    """A key that a file of a matrix may have must be in the docs, and so must be the file."""
    words = words_of(PAGE)
    assert [key for key in keys if key.replace("_", "-") not in words] == []
    assert (file in PAGE, lock.FILE in PAGE) == (True, True)


def test_the_docs_name_every_task_of_a_matrix() -> None:
    """A task of a matrix must be in the docs of matrices and in those of tasks, and its flags be in one of them."""
    tasks = {f"interop.{name}": task for name, task in namespace.collections["interop"].tasks.items()}
    assert "interop.run" in tasks
    pages = {"interop.md": words_of(PAGE), "tasks.md": words_of(TASKS)}
    assert [(page, name) for page, words in pages.items() for name in tasks if name not in words] == []
    flags = {flag for task in tasks.values() for argument in task.get_arguments() for flag in argument.names}
    said = pages["interop.md"] | pages["tasks.md"]
    assert [
        flag for flag in sorted(flags) if f"-{flag}" not in said and f"--{flag.replace('_', '-')}" not in said
    ] == []


def test_the_first_matrix_is_found_from_where_one_begins() -> None:
    """The page that makes a matrix in ten minutes must be linked from the first page and from that of matrices."""
    assert "](docs/first-matrix.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](first-matrix.md)" in PAGE
    assert (ROOT / "docs" / "first-matrix.md").is_file()
