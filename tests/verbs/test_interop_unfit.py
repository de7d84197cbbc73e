"""Implementations of a matrix that cannot be made or started: their cells are broken, say why, and others are run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from namespaces import apart
from projects import run_in
from toy_matrix import SH, TOML, Toy, statuses

if TYPE_CHECKING:
    from projects import Project

EXPECT = '[[expect]]\nworker = "odd"\nstatus = "{status}"\nreason = "known"\n{more}'
ODD: dict[str, tuple[str, tuple[str, ...]]] = {
    "setup fails": (
        'setup = ["sh", "-c", "echo compiling; echo no zlib.h >&2; exit 2"]\ncommand = ["sh", "x"]\n',
        ("odd: its setup ", "exit code 2: compiling / no zlib.h (", "setup-odd.log)"),
    ),
    "setup is not there": (
        'setup = ["no-such-setup"]\ncommand = ["sh", "x"]\n',
        ("odd: its setup 'no-such-setup' cannot be executed: No such file or directory",),
    ),
    "no command": ("", ("odd: it has no command, with which it could run as a local process",)),
    "command is not there": (
        'command = ["./nothing"]\n',
        ("worker (odd) cannot be started: No such file or directory: ./nothing",),
    ),
    "command is nowhere": (
        'command = ["no-such-program"]\n',
        ("worker (odd) cannot be started: No such file or directory: no-such-program",),
    ),
    "command is not executable": (
        'command = ["./th-test.sh"]\n',
        ("worker (odd) cannot be started: Permission denied: ./th-test.sh",),
    ),
    "command is a folder": ('command = ["."]\n', ("worker (odd) cannot be started: Permission denied: .",)),
    "command is no program": ('command = ["./text"]\n', ("worker (odd) cannot be started: Exec format error: ./text",)),
}


READY = """echo '{"ty":"ready"}'"""
FILL = """[ "$2" = driver ] || dd if=/dev/zero of="$INTEROP_SHARED/x" bs=1M count=64 || exit 4\n"""
FREE = "import os; disk = os.statvfs('logs'); print(disk.f_bavail * disk.f_frsize)"


def odd(project: Project, keys: str) -> Toy:
    """Return a matrix with one more implementation."""
    toy = Toy(project, toml=f'{TOML}[implementations.odd]\nbuild = "sh"\n{keys}')
    toy.write("sh/text", "words\n").chmod(0o755)
    return toy


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_made_or_started_breaks_its_cells_alone(project: Project, name: str) -> None:
    """With 12, whose it is and why, a build's last lines among it; nothing is left running."""
    keys, says = ODD[name]
    toy = odd(project, keys)
    report = toy.run("--cell", "plain/odd/py", "--cell", "plain/sh/py", code=12)
    assert statuses(report) == {"plain/odd/py": "broken", "plain/sh/py": "succeeded"}
    reason = next(cell["verdict"]["reason"] for cell in report["cells"] if cell["worker"] == "odd")
    assert [part for part in says if part not in reason] == [], reason
    assert project.wait_until_gone(10) == {}


@pytest.mark.parametrize(
    ("status", "more", "code"),
    [
        ("broken", "", 0),
        ("broken", "expires = 2020-01-01\n", 12),  # it counts as absent
        ("failed", "", 12),
    ],
)
def test_what_is_broken_may_be_expected(project: Project, status: str, more: str, code: int) -> None:
    """Until the day that it expires, which each run says; and as what it is only."""
    toy = odd(project, 'command = ["./nothing"]\n')
    toy.write("expect.toml", EXPECT.format(status=status, more=more))
    done = toy("run", "--cell", "plain/odd/py")
    assert done.code == code
    assert ("[[expect]] 1 has expired on 2020-01-01 and is left out: known" in done.stderr) is bool(more)


def test_a_success_that_was_not_expected_is_told(project: Project) -> None:
    """With 1: what stands in expect.toml is no longer so."""
    toy = Toy(project)
    toy.write("expect.toml", EXPECT.format(status="failed", more="").replace("odd", "sh"))
    report = toy.run("--cell", "plain/sh/py", code=1)
    assert (statuses(report), report["unexpected"]) == ({"plain/sh/py": "succeeded"}, 1)


def test_a_cell_that_fills_its_shared_folder_is_told(project: Project) -> None:
    """With 12, the cell and what to do, as its evidence is on the same disk; what filled that goes with the cell."""
    toy = Toy(project)
    toy.write("sh/th-test.sh", SH.replace(READY, FILL + READY))
    (toy.root / "logs").mkdir()
    with apart(toy.root, {toy.root / "logs": "6m"}) as words:
        project.prefix = words
        told = toy.refused("run", "--slots", "1", "--cell", "plain/sh/py", "--cell", "plain/py/py", code=12)
        free = int(run_in(project, "-c", FREE).stdout)
    assert "No space left on device" in told
    assert "cells/plain/sh/py" in told
    assert "next: make room on the disk" in told
    assert free > 4 << 20
