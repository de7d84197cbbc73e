"""A disk that gets full under a run of a matrix: one clear error, nothing left, and what was done is not lost."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from held_matrix import CELLS, FAST, Held
from namespaces import apart

from bench import toy_matrix
from harness import procs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projects import Project

SLOTS = ("--slots", "6")
FILL = """
import os, sys
fd = os.open("logs/filling", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for size in (1 << 16, 1 << 12):
    try:
        while os.write(fd, bytes(size)):
            pass
    except OSError:
        pass
os.ftruncate(fd, os.fstat(fd).st_size - int(sys.argv[1]))
"""


class Disk(Held):
    """The matrix, whose run folders are on a disk of its own."""

    def there(self, *argv: str) -> str:
        """Run a command where that disk can be seen; return what it printed."""
        done = procs.run([*self.project.prefix, *argv], timeout=30, cwd=self.root)
        assert done.code == 0, done.stderr
        return done.stdout

    def fill(self, rest: int) -> None:
        """Fill it but for so many bytes."""
        self.there("python3", "-c", FILL, str(rest))

    def journaled(self) -> list[str]:
        """Return the cells that the last run has noted; each of its lines must be whole."""
        return [json.loads(line)["cell"] for line in self._last("journal.jsonl").splitlines()[1:]]

    def _last(self, name: str) -> str:
        return self.there("sh", "-c", f"cat $(ls -d logs/*/{name} | tail -1)")

    def found(self) -> dict[str, object]:
        """Return what the last run has found."""
        report = self.root / "report.json"
        report.write_text(self._last("report.json"))
        return toy_matrix.essence(report)


@pytest.fixture
def disk(project: Project) -> Iterator[Disk]:
    """The matrix, in a project whose run folders are on a disk of its own."""
    disk, logs = Disk(project), project.root / "logs"
    logs.mkdir()
    with apart(project.root, {logs: "4m"}) as project.prefix:
        yield disk


@pytest.mark.parametrize(
    ("after", "pages", "lacks"),
    [(1, 0, "Evidence logs/"), (1, 12, "Evidence logs/"), (FAST, 26, "The report in logs/")],
    ids=["evidence", "evidence later", "report"],
)
def test_a_run_whose_disk_gets_full_goes_on_when_there_is_room(
    project: Project, disk: Disk, after: int, pages: int, lacks: str
) -> None:
    """Wherever it meets that, it must end with 12 and one error, and no cell be called broken for it, now or later."""
    disk.go.touch()
    disk.harness("interop.run", code=1)
    whole = disk.found()
    disk.go.unlink()
    disk.forget()
    begun = disk.begin(*SLOTS)
    disk.until_held(begun, fast=after)
    disk.fill(pages << 12)
    disk.go.touch()
    assert begun.wait() == 12, begun.said()
    said = begun.said()
    assert "Traceback" not in said
    assert "broken" not in said
    error, next_step = said.splitlines()[-2:]
    assert error.startswith(lacks)
    assert error.endswith(": No space left on device")
    assert next_step.startswith("next: make room on the disk")
    assert project.wait_until_gone(10) == {}
    assert (len(disk.journaled()) == CELLS) == (after == FAST)
    full = disk.harness("interop.run", "--resume", "latest", code=12).stderr
    assert full.count("No space left on device") == 1
    disk.there("rm", "logs/filling")
    done = disk.journaled()
    again = disk.harness("interop.run", "--resume", "latest", code=1)
    assert f"{len(done)} of {CELLS} cells are done" in again.stderr
    assert toy_matrix.differences(whole, disk.found()) == []


def test_ctrl_c_on_a_full_disk(project: Project, disk: Disk) -> None:
    """The code must be that of the signal, though nothing can be written any more, and the rest go on later."""
    begun = disk.begin(*SLOTS)
    disk.until_held(begun, fast=FAST)
    disk.fill(0)
    procs.kill_group(begun.process.pid, signal.SIGINT)
    assert begun.wait() == -signal.SIGINT, begun.said()
    assert "Traceback" not in begun.said()
    assert project.wait_until_gone(10) == {}
    disk.there("rm", "logs/filling")
    disk.go.touch()
    disk.harness("interop.run", "--resume", "latest", code=1)
    assert len(disk.journaled()) == CELLS
