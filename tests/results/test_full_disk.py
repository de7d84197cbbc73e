"""A disk that gets full while tests run: what came out survives, what could not be written is said once."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, web

from harness import artifacts, procs
from harness.reporting import RunFolder
from harness.results import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUITE = """
import os, pathlib, pytest, harness
web = harness.stack_fixture("s", scope="session")
"""
MANY = 60  # what is told of these needs more than the rest of the last page of a file
TESTS = f"""
import os, pathlib, pytest
def fill(folder):
    with open(folder / "filling", "ab", buffering=0) as file:
        for size in (1 << 16, 1 << 8, 1):
            try:
                while True: file.write(b"x" * size)
            except OSError: pass
def test_good(web): pass
def test_fills(web, run_dir): fill(pathlib.Path(os.environ["HARNESS_LOGS"]))
def test_bad(web): assert 1 == 2
def test_also_good(web): assert web.service("web").state == "running"
@pytest.mark.parametrize("number", range({MANY}))
def test_many(web, number): pass
def test_worse(web): assert 3 == 4
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of one MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(folder)]
    if os.geteuid() or procs.run(mount, timeout=60).code:
        pytest.skip("only root can mount a small filesystem")
    yield folder
    procs.run(["umount", "--lazy", str(folder)], timeout=60)


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_outcomes_survive_a_disk_that_gets_full(project: Project, small: Path, workers: tuple[str, ...]) -> None:
    """With no room for evidence, each test must keep its outcome, and summary and exit code tell them."""
    project.environ["HARNESS_LOGS"] = str(small)
    project.stack("s", {"web": web()})
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(SUITE)
    (folder / "test_it.py").write_text(TESTS)
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite", *workers, timeout=120)
    (small / "filling").unlink(missing_ok=True)
    assert done.code == 1, done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert f"2 failed, {3 + MANY} passed" in done.stdout
    for name, wrong in {"test_bad": "assert 1 == 2", "test_worse": "assert 3 == 4"}.items():
        assert f"FAILED suite/test_it.py::{name} - {wrong}" in done.stdout
    said = [line for line in done.stdout.splitlines() if "evidence could not be written" in line]
    assert said
    assert all("No space left on device" in line for line in said)
    assert len(said) == 1, said
    assert project.processes() == {}


def test_a_folder_takes_what_it_can(small: Path) -> None:
    """A run folder on a full disk must raise nothing, count what is lost, say so once, and go on when there is room."""
    (small / "run").mkdir()
    folder = RunFolder(small / "run", {"run": "x"})
    (small / "filling").write_bytes(b"x" * ((1 << 20) - (small / "run" / "run.json").stat().st_size - (3 << 12)))
    for number in range(200):
        folder.evidence(f"test_{number}", "web.log", b"y" * 5000)
        folder.outcome(Outcome(f"test_{number}", "failed", message="z" * 100))
    folder.finish(1)
    assert "No space left on device" in folder.unwritten()
    assert folder.unwritten() == ""
    assert folder.facts["outcomes"] == {"failed": 200}
    assert not list(small.rglob(".*"))
    (small / "filling").unlink()
    folder.finish(1)
    assert folder.unwritten() == ""
    assert (small / "run" / "junit.xml").read_text().count("<testcase") == 200


def test_a_line_after_one_that_did_not_fit_is_whole(small: Path) -> None:
    """A line of which a full disk took a part must not spoil the next one."""
    (small / "filling").write_bytes(b"x" * ((1 << 20) - (1 << 12)))
    lines = small / "events"
    artifacts.append(lines, "a\n")
    with pytest.raises(OSError, match="No space left"):
        artifacts.append(lines, "b" * (1 << 13) + "\n")
    (small / "filling").unlink()
    artifacts.append(lines, "c\n")
    assert lines.read_text().splitlines()[-1] == "c"


def test_a_folder_that_cannot_be_begun_is_an_error(small: Path) -> None:
    """A disk that is full from the beginning must be an error with its reason before anything is started."""
    (small / "run").mkdir()
    (small / "filling").write_bytes(b"x" * ((1 << 20) - (1 << 12)))
    with suppress(OSError), (small / "filling").open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(OSError, match="No space left on device"):
        RunFolder(small / "run", {"run": "x"})


def test_it_is_known_whether_a_disk_has_room(small: Path) -> None:
    """One that is full must be told from one that is not, and what came of that from what did not."""
    assert artifacts.has_room(small)
    try:
        with (small / "filling").open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    except OSError as error:
        met = error
    assert not artifacts.has_room(small)
    later = artifacts.unwritable("It cannot be written", met)
    later.__cause__ = met
    assert artifacts.is_full(later)
    assert not artifacts.is_full(FileNotFoundError(2, "No such file"))
    assert artifacts.has_room(small / "none")
