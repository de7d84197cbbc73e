"""The files of a matrix, read: the only place that opens them."""

from __future__ import annotations

import json
import os.path
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import read_regular
from harness.config.matrices import MANIFEST, TESTS, TOML, file_in
from harness.errors import ConfigError, nearest
from harness.matrix.cases import DRIVER, WORKER, doubles, read_case
from harness.matrix.expectations import read_expectations
from harness.matrix.implementations import read_manifest, read_matrix
from harness.matrix.tables import twice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.matrix.cases import Case
    from harness.matrix.expectations import Expectation
    from harness.matrix.implementations import Matrix

EXPECT = "expect.toml"
LARGEST = 1 << 26  # bytes of a file


def find(folder: Path) -> Path:
    """Return a folder's matrix: ``interop.toml``, else ``_implementations.json``. Raises ConfigError."""
    if file := file_in(folder):
        return file.absolute()
    near = sorted(file.name for file in folder.glob("interop*.toml")) if folder.is_dir() else []
    hint = f"; there is {near[0]}" if near else ""
    raise ConfigError(
        f"{folder}: has no matrix; {TOML} or {MANIFEST} (here, or in {' or '.join(TESTS)}) was needed{hint}",
        hint="docs/first-matrix.md makes one in ten minutes; another folder's: --matrix FOLDER",
    )


def read(path: Path) -> tuple[Matrix, tuple[Case, ...]]:
    """Return a matrix and its tests, by name.

    Args:
        path: ``interop.toml``, ``_implementations.json``, or a folder that has one of them.

    Raises:
        ConfigError: with everything that is wrong in any of its files.
    """
    path = path.absolute()
    file = find(path) if path.is_dir() else path
    problems: list[str] = []
    matrix = _matrix(file, path if path.is_dir() else file.parent, problems)
    cases = _cases(matrix, problems) if matrix else ()
    if matrix and not problems:
        problems += _roles(matrix, cases)
        problems += _builds(matrix)
    if problems or matrix is None:
        raise ConfigError.of(problems)
    return matrix, cases


def read_all(path: Path) -> tuple[Matrix, tuple[Case, ...], tuple[Expectation, ...]]:
    """Return what ``read`` does, and what is expected. Raises ConfigError with everything that is wrong in any file."""
    file = find(path.absolute()) if path.is_dir() else path.absolute()
    problems: list[str] = []
    expected: tuple[Expectation, ...] = ()
    try:
        expected = _expected(file.parent)
    except ConfigError as error:
        problems += error.problems
    try:
        matrix, cases = read(path)
    except ConfigError as error:
        raise ConfigError.of([*error.problems, *problems]) from error
    if problems:
        raise ConfigError.of(problems)
    return matrix, cases, expected


def read_declared(path: Path) -> Matrix:
    """Return a matrix as its file says, whose tests need not be there. Raises ConfigError."""
    path = path.absolute()
    file = find(path) if path.is_dir() else path
    problems: list[str] = []
    matrix = _matrix(file, path if path.is_dir() else file.parent, problems)
    if matrix is None:
        raise ConfigError.of(problems)
    return matrix


def read_expected(matrix: Matrix) -> tuple[Expectation, ...]:
    """Return what ``expect.toml`` beside the matrix's file says, () without one. Raises ConfigError."""
    return _expected(matrix.folder)


def _expected(folder: Path) -> tuple[Expectation, ...]:
    file = folder / EXPECT
    return read_expectations(file, _toml(file)) if os.path.lexists(file) else ()


def _matrix(file: Path, here: Path, problems: list[str]) -> Matrix | None:
    try:
        if file.suffix == ".json":
            return read_manifest(file, _json(file), _manifest_tests(file, here), _local(here))
        return read_matrix(file, _toml(file))
    except ConfigError as error:
        problems += error.problems
        return None


def _manifest_tests(file: Path, here: Path) -> Path:
    """Return the folder of an older project's tests: where its manifest is, if that is no project's top folder."""
    folders = [here / tests for tests in TESTS if (here / tests).is_dir()]
    if file.parent in folders or not folders:
        return file.parent
    return folders[0]


def _local(here: Path) -> Path | None:
    """Return the folder with the Dockerfile of what is developed here: this one, or one above it in a checkout."""
    return here if (here / "Dockerfile").is_file() else None


def _text(file: Path) -> str:
    """Return a file's text: what a link leads to counts, and a pipe is not waited for. Raises ConfigError."""
    try:
        text = read_regular(Path(os.path.realpath(file)), LARGEST).decode("utf-8")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        link = f" (it is a link to {file.readlink()})" if file.is_symlink() else ""
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}{link}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is no UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(file))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is no TOML: {error}") from error


def _json(file: Path) -> dict[str, Any]:
    again: list[str] = []
    try:
        data = json.loads(_text(file), object_pairs_hook=twice(again))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is no JSON: {error}") from error
    if again:
        raise ConfigError.of([f"{file}: {name!r} is there twice, it was needed once" for name in again])
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: is no JSON object; {{NAME: {{'repo': URL}}}} was needed")
    return data


def _cases(matrix: Matrix, problems: list[str]) -> tuple[Case, ...]:
    cases: list[Case] = []
    files: dict[str, str] = {}
    folders = matrix.tests_folders
    fetch = "; `harness interop.tests-update` fetches them" if matrix.tests_from else ""
    for folder in folders:
        if not folder.is_dir():
            problems.append(f"{folder}: is no folder; tests (*.md) were needed there{fetch}")
            continue
        for file in sorted(folder.glob("*.md")):
            if file.name.startswith(("_", ".")) or file.is_dir():
                continue
            files[str(file)] = file.stem
            try:
                cases.append(read_case(file.stem, _text(file), str(file)))
            except ConfigError as error:
                problems += error.problems
    problems += doubles(files)
    if not files and not problems:
        where = ", ".join(map(str, folders))
        problems.append(f"{where}: has no test; NAME.md was needed (names that begin with _ or . are left out){fetch}")
    return tuple(sorted(cases, key=lambda case: case.name))


def _roles(matrix: Matrix, cases: Sequence[Case]) -> list[str]:
    known = sorted({WORKER, DRIVER, *(role.name for case in cases for role in case.roles)})
    return [
        f"{matrix.file}: [implementations.{each.name}]: roles has {role!r}, which no test has{nearest(role, known)}"
        for each in matrix.implementations
        for role in each.roles
        if role not in known
    ]


def _builds(matrix: Matrix) -> list[str]:
    """Return what is wrong with folders that implementations are made of."""
    return [
        f"{matrix.file}: [implementations.{each.name}]: build: {each.source.folder} is no folder"
        for each in matrix.implementations
        if each.source.kind == "build" and each.source.folder and not each.source.folder.is_dir()
    ]
