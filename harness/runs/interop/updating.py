"""The tests of a matrix, taken from the repository that its file names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import read_regular, unwritable, write_atomically
from harness.config.subjects import Subject
from harness.errors import ConfigError
from harness.images import check_out, git_folder
from harness.images.git import head_of
from harness.matrix.cases import doubles, read_case
from harness.matrix.fetched import FILE, compared, digest, parse_record, write_record
from harness.runs.interop.reading import read_declared
from harness.runs.interop.sources import checked, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.config import Settings
    from harness.matrix.fetched import Record, Update
    from harness.matrix.implementations import Matrix, Source

LARGEST = 16 << 20  # of a test


def update_tests(settings: Settings, say: Callable[[str], None]) -> tuple[Path, Update]:
    """Have a matrix's folder of tests hold those of ``tests-from``; return the folder, and what was done in it.

    Files that never came from there stay.

    Raises:
        ConfigError: no repository is declared, it cannot be had or has a test that is none, or a change of one's own
            would be lost; nothing was written.
        BrokenStack: the disk is full.
    """
    matrix = read_declared(settings.matrix_file())
    if matrix.tests_from is None:
        raise ConfigError(
            f"{matrix.file}: says of no repository that tests are taken from",
            hint='tests-from = {git = "URL", commit = "40 HEXADECIMAL DIGITS", folder = "tests"} in interop.toml does',
        )
    subject, place = _fetched(matrix, matrix.tests_from, settings, say)
    where = f"{subject.repository} at {subject.commit[:12]}"
    theirs = _files(checked(place, matrix.tests_from.folder or place, subject), f"{where}: ", _regular)
    _refuse_bad(theirs, where)
    folder = matrix.tests
    here, record = _files(folder, f"{folder}/", Path.read_bytes), _record(folder)
    update = compared(theirs, here, record)
    if update.lost:
        raise ConfigError.of(
            [f"{folder / name}: has a change that is not from {subject.repository}" for name in update.lost],
            hint="give it another name, or take it away; then update again",
        )
    _write(folder, update, theirs, record, {"git": subject.repository, "commit": subject.commit})
    say(f"tests of {where}: {update}")
    return folder, update


def _fetched(matrix: Matrix, source: Source, settings: Settings, say: Callable[[str], None]) -> tuple[Subject, Path]:
    """Return which commit it is, and the folder that has it."""
    url = url_of(source.repository, matrix.folder)
    subject = Subject("tests", "git", f"{matrix.file}: [tests-from]", git=url, commit=source.commit)
    if not source.commit:
        subject = Subject("tests", "git", subject.where, git=url, commit=head_of(subject, settings.environ))
        say(f"HEAD of {subject.repository} is {subject.commit}; as commit of tests-from it is held")
    folder = git_folder(settings.environ, settings.state)
    return subject, check_out(subject, folder, settings.environ, lambda line: say(line.removeprefix("subject ")))


def _regular(path: Path) -> bytes:
    """Return what a file of a repository holds, which may be no link out of it. Raises OSError."""
    return read_regular(path, LARGEST)


def _files(folder: Path, where: str, read: Callable[[Path], bytes]) -> dict[str, bytes]:
    """Return name -> content of the tests in a folder, which is called ``where``. Raises ConfigError."""
    files = {}
    for path in sorted(folder.glob("*.md")):
        if path.name.startswith("."):
            continue
        try:
            files[path.name] = read(path)
        except OSError as error:
            raise ConfigError(f"{where}{path.name}: cannot be read: {error.strerror or error}") from error
    return files


def _refuse_bad(theirs: Mapping[str, bytes], where: str) -> None:
    """Raise ConfigError where they have no tests, or some that are none, with all that is wrong."""
    tests = {name: content for name, content in theirs.items() if not name.startswith("_")}
    problems = doubles({name: name.removesuffix(".md") for name in tests})
    for name, content in tests.items():
        try:
            read_case(name.removesuffix(".md"), content.decode("utf-8"), f"{where}: {name}")
        except UnicodeDecodeError as error:
            problems.append(f"{where}: {name}: is no UTF-8: byte {error.start} is {content[error.start]:#04x}")
        except ConfigError as error:
            problems += error.problems
    if not tests:
        problems.append(f"{where}: has no test; NAME.md was needed in the folder that tests-from names")
    if problems:
        raise ConfigError.of(problems)


def _record(folder: Path) -> Record:
    path = folder / FILE
    try:
        return parse_record(read_regular(path, LARGEST), str(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _write(
    folder: Path, update: Update, theirs: Mapping[str, bytes], before: Record, source: Mapping[str, str]
) -> None:
    """Write what changes. Whenever it is ended, the record knows what is there as theirs."""
    after = {name: (digest(content),) for name, content in theirs.items()}
    both = {name: (*before.get(name, ()), *after.get(name, ())) for name in {*before, *after}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, write_record(source, both))
        for name in (*update.added, *update.changed):
            write_atomically(folder / name, theirs[name].decode("utf-8", "surrogateescape"))
        for name in update.removed:
            (folder / name).unlink(missing_ok=True)
        write_atomically(folder / FILE, write_record(source, after))
    except OSError as error:
        raise unwritable(f"Tests {folder} cannot be written", error) from error
