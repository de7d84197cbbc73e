"""The built wheel, in a repository that knows nothing of harness: no pyproject.toml, no ``x-harness``."""

from __future__ import annotations

import shutil
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkout import ROOT

from harness import procs

if TYPE_CHECKING:
    from containers import Dock

FILE = """\
version: "3.8"
services:
  web:
    image: ${ACTOR_IMAGE}
    container_name: my_web
    restart: always
    command: ["say:${GREETING}", "serve:0.0.0.0:80:0.2", "wait"]
    ports: ["8080:80"]
    depends_on: {db: {condition: service_started}}
    networks: [back]
  db:
    image: ${ACTOR_IMAGE}
    command: ["serve:0.0.0.0:5432:0", "wait"]
    ports: ["5432"]
    networks: {back: {aliases: [database]}}
  tools:
    image: ${ACTOR_IMAGE}
    command: [wait]
    profiles: [debug]
networks: {back: {}}
"""
OVERRIDE = "services: {web: {environment: {EXTRA: from override}}}\n"
SUITE = """\
import json, urllib.request
def test_it(stack):
    facts = json.load(urllib.request.urlopen(stack.url("web", 8080)))
    assert facts["env"]["EXTRA"] == "from override"
    assert stack.service("web").logs() == "hello from .env\\n"
    assert "tools" not in stack.services
"""
NODE = """\
const test = require("node:test"), assert = require("node:assert");
test("web answers", async () => {
  const answer = await fetch(`http://${process.env.HARNESS_ENDPOINT_WEB_8080}/`);
  assert.equal((await answer.json()).status, "green");
});
"""


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a virtual environment that has the wheel, and what this one has beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    made = procs.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT)], timeout=300)
    assert made.code == 0, made.stderr
    venv.create(folder / "venv", with_pip=False)
    # What it depends on comes from here; the project itself is only in the wheel.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "venv" / "lib" / version / "site-packages"
    wheel = next(folder.glob("*.whl"))
    # With --python: an install by --prefix would first take the project out of this environment.
    there = [*pip, "--python", str(folder / "venv" / "bin" / "python")]
    made = procs.run([*there, "install", "--no-deps", str(wheel)], timeout=120)
    assert made.code == 0, made.stderr
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    compose = Path(sys.executable).with_name("docker-compose")
    if compose.exists():
        (folder / "venv" / "bin" / "docker-compose").symlink_to(compose)
    return folder / "venv" / "bin"


@pytest.fixture
def repository(dock: Dock) -> Dock:
    """A repository with two Compose files and an ``.env``."""
    shutil.rmtree(dock.root / "compose")
    (dock.root / "pyproject.toml").unlink()
    for name, text in (
        ("docker-compose.yml", FILE),
        ("docker-compose.override.yml", OVERRIDE),
        (".env", f"ACTOR_IMAGE={dock.image}\nGREETING=hello from .env\n"),
        ("test_it.py", SUITE),
        ("web.test.cjs", NODE),
    ):
        (dock.root / name).write_text(text)
    del dock.environ["HARNESS_ENGINE"]
    dock.environ.pop("PYTHONPATH", None)
    return dock


def call(repository: Dock, *argv: Any, **env: str) -> procs.Finished:
    """Run a command there."""
    return procs.run([str(word) for word in argv], timeout=120, env={**repository.environ, **env}, cwd=repository.root)


def test_a_repository_that_knows_nothing_of_harness_is_tested(harness: Path, repository: Dock) -> None:
    """`up`, `test`, a profile and `down` must work with the wheel alone, and a suite in Node get its endpoints."""
    where = call(repository, harness / "python", "-c", "import harness; print(harness.__file__)").stdout
    assert where.startswith(str(harness.parent)), where
    up = call(repository, harness / "harness", "up")
    assert up.code == 0, up.stderr
    told = dict(line.split() for line in up.stdout.splitlines())
    assert sorted(told) == ["db:5432", "web:8080"]
    tested = call(repository, harness / "harness", "test")
    assert tested.code == 0, tested.stdout
    assert "1 passed" in tested.stdout
    if node := shutil.which("node"):
        suite = call(repository, harness / "harness", "run", "--", node, "--test", "web.test.cjs")
        assert suite.code == 0, suite.stdout
    more = call(repository, harness / "harness", "up", "--profile", "debug")
    assert "changed since it was started" in more.stderr
    assert "tools" in call(repository, harness / "harness", "ps").stdout
    assert call(repository, harness / "harness", "down").code == 0
    assert repository.left() == []


def test_without_an_engine_a_plain_compose_file_says_what_is_missing(harness: Path, repository: Dock) -> None:
    """Where no engine answers, that must be the first thing said, not words that a plain file does not have."""
    done = call(repository, harness / "harness", "up", DOCKER_HOST="unix:///nonexistent/docker.sock", CI="")
    assert done.code == 10
    assert done.stderr.startswith("Stack 'project' needs a Docker engine (auto: no Docker engine answers at ")
    assert "next: start one or set DOCKER_HOST" in done.stderr
