"""Suites inside the network of a stack on an engine whose ports, folders and networks are out of reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import containers
import pytest
import remote
from containers import Dock
from projects import run_in, run_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import APIClient
    from fresh import Starter

    from harness import procs

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
ASKS = """\
import json, os, urllib.request
from pathlib import Path

def ask(where):
    with urllib.request.urlopen(f"http://{where}/", timeout=10) as answer:
        return json.load(answer)["status"]

def test_by_name():
    assert ask("web") == "green"

def test_by_variable():
    assert ask(os.environ["HARNESS_ENDPOINT_WEB_8080"]) == "green"

def test_file():
    assert Path("/etc/app.ini").read_text() == "copied"
"""


@pytest.fixture(scope="module")
def far(engine_client: APIClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any, str]]:
    """Give the address of an engine elsewhere, a client of it, and the image with pytest and the actor there."""
    actor = containers.actor_image(engine_client)
    image = containers.pytest_image(engine_client, actor)
    with remote.engine(tmp_path_factory.getbasetemp()) as daemon:
        client = remote.copy_image(engine_client, image, daemon)
        yield daemon.host, client, image
        client.close()


@pytest.fixture
def dock(far: tuple[str, Any, str], tmp_path: Path, starter: Starter) -> Iterator[Dock]:
    """An empty project on the engine elsewhere. At the end of the test nothing of it may be left."""
    host, client, image = far
    root, state = tmp_path / "project", tmp_path / "state"
    root.mkdir()
    state.mkdir(mode=0o700)
    made = Dock(root, state, client, image)
    made.starter = starter
    made.environ["DOCKER_HOST"] = host
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", host)  # where it is looked for what is left
        yield made
        made.close()
        assert made.left() == []


def suite(dock: Dock, text: str, *, web: dict[str, Any] | None = None, **top: Any) -> None:
    """Write a stack with a web server and a container for tests, and the system that has them."""
    (dock.root / "app.ini").write_text("copied")
    tests = dock.root / "image" / "suite" / "tests"
    tests.mkdir(parents=True)
    (tests / "test_it.py").write_text(text)
    (dock.root / "image" / "Dockerfile").write_text(f"FROM {dock.image}\nCOPY suite /suite\nWORKDIR /suite\n")
    box = dock.web(delay=0.5, **(web or {}))
    box["entrypoint"] = ["python3", "-u", "/actor.py"]
    waits = {"build": "../image", "profiles": ["test"], "volumes": ["../app.ini:/etc/app.ini:ro"]}
    dock.stack("s", {"web": box, "tests": waits}, **top)
    (dock.root / "pyproject.toml").write_text(
        '[tool.harness.systems.s]\ntests = "tests"\ndefault = "s"\ninside = "tests"\n'
    )


def harness(dock: Dock, *words: str, code: int = 0) -> procs.Finished:
    done = run_in(dock, *HARNESS, *words, timeout=120)
    assert done.code == code, done.stdout + done.stderr
    return done


def test_a_suite_runs_on_an_engine_elsewhere(dock: Dock) -> None:
    """Probes must be asked by way of its container, files come as copies, and reports come out."""
    suite(dock, ASKS)
    done = harness(dock, "test", "--inside", "--", "-v")
    assert "test_file PASSED" in done.stdout, done.stdout + done.stderr
    assert run_json(dock)["outcomes"] == {"succeeded": 3}
    assert "test_by_name" in (dock.latest / "inside" / "junit.xml").read_text()
