"""A checkout may have any name: whatever letters are in its path, stacks of it run on every engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, web

from harness import procs

if TYPE_CHECKING:
    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
NAMES = {
    "brackets": "a [x] b",
    "colon": "co:lon",
    "tab": "t\tab",
    "newline": "new\nline",
    "dollar": "$HOME ${x} $$",
    "quotes": "quo'te\"s",
    "wild": "st*r?{address}",
    "other": "é\N{SLIGHTLY SMILING FACE} back\\slash %41#,;&=-",
}
PROJECT = '[tool.harness.systems.s]\ntests = "suite"\nstacks = ["s"]\n'
TEST = "def test_file(stack):\n    assert stack.service('web').exec(['cat', '/etc/note']).stdout == 'hello\\n'\n"


def _move(project: Project, name: str) -> None:
    root = project.root.parent / name / "x"
    root.parent.mkdir()
    project.root.rename(root)
    project.root = root
    (root / "note").write_text("hello\n")
    (root / "suite").mkdir()
    (root / "suite" / "test_s.py").write_text(TEST)
    (root / "pyproject.toml").write_text(PROJECT)


def _used(project: Project) -> None:
    """Run what users run, by a stack's name and by its file, with a file laid over it."""
    (project.root / "over.yaml").write_text("services: {web: {environment: {OVER: here}}}\n")
    for words in (
        ("test", "--stack", "./compose/s.yaml"),
        ("test", "--stack", "s", "--stack", "./over.yaml"),
        ("config", "--rendered"),
        ("up",),
        ("test",),
        ("exec", "--service", "web", "--", "cat", "/etc/note"),
        ("restart", "--service", "web"),
        ("down",),
    ):
        done = run_in(project, *HARNESS, *words)
        assert done.code == 0, (words, done.stdout, done.stderr)
        assert "is down, nothing is left" in done.stderr or words != ("down",)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_local_processes(project: Project, name: str) -> None:
    """Every command must work in a checkout of any name, with local processes."""
    _move(project, name)
    project.stack("s", {"web": web(compose={"volumes": ["../note:/etc/note:ro"]})})
    _used(project)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_containers(dock: Dock, name: str) -> None:
    """Every command must work in a checkout of any name, with containers built of it that mount its files."""
    _move(dock, name)
    dock.checkout = _digest(dock)
    (dock.root / "image").mkdir()
    (dock.root / "image" / "Dockerfile").write_text(f"FROM {dock.image}\nCOPY note /etc/built\n")
    (dock.root / "image" / "note").write_text("hello\n")
    box = dock.web(
        build="../image", volumes=["../note:/etc/note:ro", "../suite:/suite"], harness={"log_file": "/x.log"}
    )
    dock.stack("s", {"web": box})
    _used(dock)


def _digest(dock: Dock) -> str:
    import hashlib  # noqa: PLC0415

    return hashlib.sha256(str(dock.root.resolve()).encode()).hexdigest()[:16]


def test_files_with_a_colon_in_their_own_names(project: Project) -> None:
    """A stack's file may have a colon in its name; one that is laid over another may not, which is said."""
    path = project.stack("s", {"web": web()})
    path.rename(path.with_name("a:b.yaml"))
    given = ("--stack", "./compose/a:b.yaml")
    assert run_in(project, *HARNESS, "run", *given, "--", "true").code == 0
    done = procs.run(
        [sys.executable, *HARNESS, "config", *given, *given], timeout=60, env=project.environ, cwd=project.root
    )
    assert (done.code, "does not exist" in done.stderr) == (10, True), done.stderr
