"""The tasks that differ with containers, on a real engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from projects import run_in

if TYPE_CHECKING:
    from containers import Dock

    from harness import procs

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def harness(dock: Dock, *words: str, code: int = 0) -> procs.Finished:
    done = run_in(dock, *HARNESS, *words, timeout=120)
    assert done.code == code, done.stdout + done.stderr
    return done


def test_tasks_with_containers(dock: Dock) -> None:
    """run, up, exec, restart, logs, endpoints, seed and down must do with containers what they do with processes."""
    dock.stack("s", {"web": dock.web("say:hello"), "other": dock.up()})
    assert (
        harness(dock, "run", "--", "sh", "-c", "echo $HARNESS_ENDPOINT_WEB_8080; exit 7", code=7).stdout[:4] == "127."
    )
    assert dock.left() == []
    harness(dock, "up")
    assert json.loads(harness(dock, "up", "--explain", "--json").stdout)["stacks"][0]["act"] == "leave"
    done = harness(dock, "exec", "--service", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 5", code=5)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    before = dock.containers()
    harness(dock, "restart", "--service", "web")
    assert dock.containers() == before
    assert harness(dock, "logs", "--service", "web", "--since", "1h").stdout.count("hello") == 2
    path = dock.root / "compose" / "s.yaml"
    seeds = "x-harness: {seed: [{key: one, exec: {service: web, command: [touch, /planted]}}]}\n"
    path.write_text(seeds + path.read_text())
    assert harness(dock, "seed").stdout == "s/one\n"
    harness(dock, "exec", "--service", "web", "--", "ls", "/planted")
    harness(dock, "down", "--stack", "s")
    assert dock.left() == []


def test_build_and_what_up_does_with_it(dock: Dock) -> None:
    """``build`` must only build; ``--no-build`` use that; ``--build`` start anew what is up on another image."""
    context = dock.root / "image"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {dock.image}\nENV LIFE=one\n")
    dock.stack("s", {"web": dock.up() | {"image": "web", "build": "../image"}})
    refused = harness(dock, "up", "--no-build", code=12)
    assert "was never built here, and building is off" in refused.stderr
    image = harness(dock, "build", "--subject", "web").stdout.split()[1]
    try:
        assert dock.left() == []
        assert (
            "No image of 'wbe' is built; built are: web" in harness(dock, "build", "--subject", "wbe", code=10).stderr
        )
        harness(dock, "up", "--no-build")
        first = dock.containers()
        harness(dock, "up", "--build")
        assert dock.containers() == first
        (context / "Dockerfile").write_text(f"FROM {dock.image}\nENV LIFE=two\n")
        harness(dock, "up", "--build")
        assert dock.containers() != first
        assert harness(dock, "exec", "--service", "web", "--", "printenv", "LIFE").stdout == "two\n"
        harness(dock, "down")
    finally:
        dock.client.remove_image(image, force=True)


def test_a_container_that_did_not_settle_is_left_for_a_look(dock: Dock) -> None:
    """``up --keep-failed`` must leave the containers, the one that ended too, until ``down``."""
    dock.stack("s", {"bad": dock.box("say:no luck", "exit:3", harness={"ready": [{"log": "never"}]}), "db": dock.up()})
    harness(dock, "up", "--keep-failed", code=12)
    assert set(dock.containers()) == {"bad", "db"}
    assert "stack s did not settle: Service 'bad' ended with exit code 3" in harness(dock, "ps").stdout
    assert "no luck" in harness(dock, "logs", "--service", "bad").stdout
    harness(dock, "down")
    assert dock.left() == []


def test_doctor_tries_the_engine(dock: Dock) -> None:
    """``doctor`` must see a published port and a bind mount with a container of its own, and leave none."""
    dock.stack("s", {"web": dock.web()})
    findings = json.loads(harness(dock, "doctor", "--json").stdout)["findings"]
    found = {one["what"]: one["state"] for one in findings}
    named = found.get("docker engine") or found.get("podman")
    assert (named, found["published ports"], found["bind mounts"]) == ("ok", "ok", "ok"), findings
    assert not dock.client.containers(all=True, filters={"label": "harness.checkout=doctor"})


def test_a_new_stack_passes_in_a_container(dock: Dock) -> None:
    """What ``new`` writes must pass as a container, on an image that the engine has."""
    harness(dock, "new", "--stack", "fresh", "--image", dock.image)
    assert "1 passed" in harness(dock, "test", "--stack", "fresh", "--", "integration_tests/fresh").stdout
