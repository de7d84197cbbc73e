"""Suites inside the network of a stack on an engine whose ports, folders and networks are out of reach."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import containers
import pytest
import remote
from containers import Dock
from projects import run_in, run_json

from harness import procs
from harness.clock import Deadline, poll
from harness.images import find_base

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fresh import Starter

    from harness.docker_sdk import APIClient

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


def suite(dock: Dock, text: str, *, web: dict[str, Any] | None = None, said: dict[str, Any] | None = None) -> None:
    """Write a stack with a web server and a container for tests, and the system that has them."""
    (dock.root / "app.ini").write_text("copied")
    tests = dock.root / "image" / "suite" / "tests"
    tests.mkdir(parents=True)
    (tests / "test_it.py").write_text(text)
    (dock.root / "image" / "Dockerfile").write_text(f"FROM {dock.image}\nCOPY suite /suite\nWORKDIR /suite\n")
    box = {**dock.web(delay=0.5), **(web or {})}
    box["entrypoint"] = ["python3", "-u", "/actor.py"]
    waits = {"build": "../image", "profiles": ["test"], "volumes": ["../app.ini:/etc/app.ini:ro"]}
    dock.stack("s", {"web": box, "tests": waits}, **{"x-harness": said or {}})
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


def test_a_seed_is_planted_by_way_of_the_container(dock: Dock) -> None:
    """What is sent to a service from here must reach it there, before the suite runs."""
    seeded = """\
import json, urllib.request

def test_seeded():
    with urllib.request.urlopen("http://web/", timeout=10) as answer:
        assert json.load(answer)["posted"] == ['"planted"']
"""
    seeds = [
        {"key": "word", "http": {"service": "web", "port": 8080, "path": "/", "method": "POST", "json": "planted"}}
    ]
    suite(dock, seeded, said={"seed": seeds})
    harness(dock, "test", "--inside")
    assert run_json(dock)["outcomes"] == {"succeeded": 1}


def test_without_inside_the_engine_is_refused(dock: Dock) -> None:
    """Nothing is started whose ports could not be reached, and the error says with what they need not be."""
    suite(dock, ASKS)
    done = harness(dock, "up", code=10)
    assert "is not on this machine" in done.stdout + done.stderr
    assert "--inside" in done.stdout + done.stderr
    assert dock.left() == []


def test_an_image_without_python_is_told(dock: Dock, engine_client: APIClient) -> None:
    """A relay needs it; who is to blame is the container of the tests, not a service that nobody could ask."""
    base = find_base(engine_client)
    assert base
    dock.client.load_image(engine_client.get_image(base))
    suite(dock, ASKS)
    (dock.root / "image" / "Dockerfile").write_text(f"FROM {base}\n")
    done = harness(dock, "test", "--inside", code=12)
    said = done.stdout + done.stderr
    assert "the container of service 'tests': python3 does not run there" in said, said
    assert "install python3 in its image" in said


def test_a_service_that_nobody_can_reach_is_told_with_why(dock: Dock) -> None:
    """What was observed last must name the service's port as it is there, and that it refused."""
    nobody = {"command": ["wait"], "x-harness": {"ready": [{"tcp": 8080}]}}
    suite(dock, ASKS, web=nobody, said={"timeouts": {"ready": "6s"}})
    done = harness(dock, "test", "--inside", code=12)
    said = done.stdout + done.stderr
    assert "web:80 cannot be reached from the container of service 'tests': Connection refused" in said, said


def test_a_run_that_is_killed_leaves_nothing_on_the_engine(dock: Dock) -> None:
    """Its keeper must remove everything there, by the API alone."""
    suite(dock, "import time\n\ndef test_long():\n    time.sleep(600)\n")
    process = containers.spawn(dock, dock.root / "said", *HARNESS, "test", "--inside")
    for _ in poll(Deadline.after(60)):
        if "test_it.py" in output(dock):
            break
    process.kill()
    process.wait(10)
    for _ in poll(Deadline.after(30)):
        if not dock.left():
            break
    assert dock.left() == []


def test_what_a_dead_keeper_left_there_is_removed_later(dock: Dock) -> None:
    """Its ledger names the engine, and proves what is ours, by the API alone; nothing else on it is touched."""
    suite(dock, "import time\n\ndef test_long():\n    time.sleep(600)\n")
    process = containers.spawn(dock, dock.root / "said", *HARNESS, "test", "--inside")
    for _ in poll(Deadline.after(90)):
        if "test_it.py" in output(dock):
            break
    bystander = dock.bystander({"harness.test": "1"}, kind="volume")
    for pid in dock.processes():
        procs.kill(pid, signal.SIGKILL, start_time=procs.start_time_of(pid) or 0)
    process.kill()
    process.wait(10)
    assert len(dock.left()) > 1
    harness(dock, "gc")
    assert dock.left() == []
    assert dock.client.inspect_volume(bystander)
    assert dock.dismiss_bystanders() == []


def output(dock: Dock) -> str:
    """Return what the suite has said until now."""
    path = dock.latest / "inside" / "output.log"
    return path.read_text() if path.is_file() else ""
