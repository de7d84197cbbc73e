"""Whole projects of others, in shape, adopted by ``harness adopt --write`` and nothing by hand: green on both engines.

Those on containers need the images that the projects name, which are not made here: where the engine does not have
them, they are skipped.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checkout import TESTS
from projects import Project, run_in

if TYPE_CHECKING:
    from harness.docker_sdk import APIClient

    from harness import procs

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
WRITTEN = {"compose.harness.yaml", "docker-compose.harness.yml", "pyproject.toml", ".gitignore", "tests/conftest.py"}
PROJECTS = {
    "flask_notes": (
        ("test",),
        "3 passed",
        ("flask", "psycopg", "redis"),
        ("postgres:16-alpine", "redis:7-alpine", "python:3.11-slim"),
    ),
    "django_library": (
        ("run", "--", "python", "manage.py", "test"),
        "Ran 3 tests",
        ("django", "psycopg"),
        ("postgres:16", "python:3.11-slim"),
    ),
    "node_counter": (("run", "--", "npm", "test"), "pass 3", (), ("redis:7", "node:18-slim")),
}


def check_at_hand(modules: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Skip where what a project's own tests need is not installed."""
    lacking = [name for name in modules if find_spec(name) is None]
    lacking += [word for word in ("npm", "node") if "npm" in words and shutil.which(word) is None]
    if lacking:
        pytest.skip(f"not installed here: {', '.join(lacking)}; the group adopt has Python's")


def adopted(project: Project, name: str) -> Path:
    """Return a copy of a project, adopted; whatever else it has is as it was."""
    root = project.root
    (root / "pyproject.toml").unlink()
    (root / "compose").rmdir()
    shutil.copytree(TESTS / "adopt" / name, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = run_in(project, *HARNESS, "adopt", "--write")
    assert done.code == 0, done.stderr
    changed = {path for path in root.rglob("*") if path.is_file() and before.get(path) != path.read_bytes()}
    assert {path.relative_to(root).as_posix() for path in changed} <= WRITTEN
    return root


def run(project: Project, name: str, engine: str) -> procs.Finished:
    (task, *words), _, _, _ = PROJECTS[name]
    project.environ["HARNESS_RESIDUE"] = "off"  # the tests share their stores, as docs/adopting.md says of some
    return run_in(project, *HARNESS, task, "--engine", engine, "--wait-timeout", "120", *words, timeout=400)


@pytest.mark.parametrize("name", PROJECTS)
def test_a_project_is_green_on_local_processes(project: Project, name: str) -> None:
    """Adopted, and with nothing by hand, the project's own tests must pass without containers, and nothing be left."""
    words, says, modules, _ = PROJECTS[name]
    check_at_hand(modules, words)
    adopted(project, name)
    done = run(project, name, "embedded")
    assert (done.code, says in done.stdout + done.stderr) == (0, True), done.stdout + done.stderr
    assert project.processes() == {}


def test_adopt_goes_on_where_the_overlay_was_removed(project: Project) -> None:
    """Without its overlay every other command must be refused with what to do, and that must bring it back."""
    root = adopted(project, "node_counter")
    overlay = next(root.glob("*.harness.y*ml"))
    overlay.unlink()
    done = run_in(project, *HARNESS, "config")
    assert (done.code, "harness adopt --compose" in done.stderr) == (10, True), done.stderr
    done = run_in(project, *HARNESS, "adopt", "--write")
    assert (done.code, overlay.is_file()) == (0, True), done.stderr
    assert run_in(project, *HARNESS, "config").code == 0


@pytest.mark.parametrize("name", PROJECTS)
def test_a_project_is_green_in_containers(project: Project, name: str, engine_client: APIClient) -> None:
    """The same must hold in containers, of the images that the project's own files name."""
    words, says, modules, images = PROJECTS[name]
    check_at_hand(modules, words)
    lacking = [image for image in images if not engine_client.images(name=image)]
    if lacking:
        pytest.skip(f"the engine has no image {', '.join(lacking)}")
    adopted(project, name)
    done = run(project, name, "compose")
    assert (done.code, says in done.stdout + done.stderr) == (0, True), done.stdout + done.stderr
