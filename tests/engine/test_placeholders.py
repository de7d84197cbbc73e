"""Placeholders and names in probes, seeds and commands of ``x-harness`` stand for what is there on each engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from projects import Project, run_in, service, web

if TYPE_CHECKING:
    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
FETCH = "import sys,urllib.request as u; print(u.urlopen('http://' + sys.argv[1], timeout=30).status)"


def _run(project: Project, code: int = 0) -> str:
    done = run_in(project, *HARNESS, "run", "--stack", "s", "--", "true")
    assert done.code == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def _seed(of: str, *words: str, **more: Any) -> dict[str, Any]:
    return {"seed": [{"key": "one", "exec": {"service": of, "command": list(words)}, **more}]}


def test_probes_of_a_process(project: Project) -> None:
    """Each text of a probe must have placeholders replaced, and an ``exec`` probe names and mounted paths too."""
    (project.root / "note").write_text("hello\n")
    ready = [
        {"exec": ["python", "-c", FETCH, "{address}:{port:80}"]},
        {"exec": ["python", "-c", FETCH, "web:8080"]},
        {"exec": ["grep", "hello", "{mount:/etc/note}"]},
        {"exec": ["sh", "-c", "grep hello /etc/note && test -d {data}"]},
        {"file": "{mount:/etc/note}"},
        {"file": "/etc/note"},
        {"file": "{data}"},
        {"log": "^at {address}:{port:8080}$"},
        {"http": {"port": 8080, "path": "/?{port:8080}"}},
    ]
    words = ("say:at {address}:{port:8080}",)
    project.stack("s", {"web": web(words=words, ready=ready, compose={"volumes": ["../note:/etc/note:ro"]})})
    _run(project)


def test_probes_of_a_container(dock: Dock) -> None:
    """In a container ``{address}`` and ``{port:N}`` must be where it listens itself, and a mounted path its own."""
    (dock.root / "note").write_text("hello\n")
    ready = [
        {"exec": ["python3", "-c", FETCH, "{address}:{port:8080}"]},
        {"exec": ["python3", "-c", FETCH, "web:80"]},
        {"exec": ["grep", "hello", "{mount:/etc/note}"]},
        {"file": "{mount:/etc/note}"},
        {"log": "^port {port:8080}$"},
    ]
    box = dock.web("say:port 80", harness={"ready": ready}, volumes=["../note:/etc/note:ro"])
    dock.stack("s", {"web": box})
    _run(dock)


def test_a_seed_runs_in_a_process(project: Project) -> None:
    """An ``exec`` seed must have placeholders of its service replaced and see the names that its own stack sees."""
    (project.root / "note").write_text("hello\n")
    project.stack("low", {"base": web(compose={"volumes": ["../note:/etc/note:ro"]})})
    script = "grep -q hello /etc/note && grep -q hello {mount:/etc/note} && test -d {data}"
    script += f' && {sys.executable} -c "$1" $2'
    words = ("sh", "-c", script + f' && {sys.executable} -c "$1" $3', "-", FETCH, "{address}:{port:8080}", "web:8080")
    project.stack("s", {"web": web()}, include=["low.yaml"], **{"x-harness": _seed("base", *words)})
    _run(project)


def test_a_seed_of_a_stack_that_is_up(project: Project) -> None:
    """``seed`` must plant an ``exec`` seed with what placeholders stand for in the environment that is up."""
    words = ("python", "-c", FETCH, "web:8080")
    project.stack("s", {"web": web()}, **{"x-harness": _seed("web", *words)})
    assert run_in(project, *HARNESS, "up").code == 0
    try:
        done = run_in(project, *HARNESS, "seed", "--fresh")
        assert (done.code, done.stdout) == (0, "s/one\n"), done.stderr
    finally:
        run_in(project, *HARNESS, "down")


def test_a_seed_runs_in_a_container(dock: Dock) -> None:
    """An ``exec`` seed must run in a container of an included stack, with what placeholders stand for in there."""
    (dock.root / "note").write_text("hello\n")
    dock.stack("low", {"base": dock.web(volumes=["../note:/etc/note:ro"])})
    words = ("sh", "-c", 'grep hello {mount:/etc/note} && python3 -c "$1" $2', "-", FETCH, "{address}:{port:8080}")
    dock.stack("s", {"more": dock.up()}, include=["low.yaml"], **{"x-harness": _seed("base", *words)})
    _run(dock)


@pytest.mark.parametrize("word", ["{build}/x", "{mount:/nope}", "{port:1}"])
def test_what_has_no_value_is_said_before_anything_starts(project: Project, word: str) -> None:
    """A placeholder in a probe or seed that stands for nothing must be exit 10 with the service and the file."""
    project.stack("s", {"web": web(ready=[{"exec": ["true", word]}])})
    said = _run(project, 10)
    assert "Service 'web'" in said
    assert word.removesuffix("/x") in said
    assert "compose/s.yaml" in said
    project.stack("s", {"web": web()}, **{"x-harness": _seed("web", "true", word)})
    assert "seed 'one'" in _run(project, 10)


def test_a_named_port_in_a_probe_is_leased(project: Project) -> None:
    """A named port must have one number, also where only a probe and a seed name it."""
    project.stack(
        "s",
        {"web": web(ready=[{"exec": ["test", "{port:beacon}", "-gt", "1"]}])},
        **{"x-harness": _seed("web", "test", "{port:other}", "-gt", "1")},
    )
    _run(project)


@pytest.mark.parametrize("how", ["{mount:/app.sh}", "/app.sh"])
def test_a_mounted_program_is_a_command(project: Project, how: str) -> None:
    """A program that is mounted must run as an embedded command, with the mode that it has."""
    program = project.root / "app.sh"
    program.write_text("#!/bin/sh\necho it is me\nexec sleep 60\n")
    program.chmod(0o555)
    box = {
        "image": "x",
        "volumes": ["../app.sh:/app.sh:ro"],
        "x-harness": {"embedded": {"command": [how]}, "ready": [{"log": "it is me"}]},
    }
    project.stack("s", {"app": box})
    _run(project)
    program.chmod(0o644)
    assert "app.sh is not executable" in _run(project, 10)


def test_a_mounted_program_is_a_healthcheck_and_a_stop_command(project: Project) -> None:
    """Mounted programs must run as healthcheck, too."""
    program = project.root / "ok.sh"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    embedded = {"healthcheck": {"test": ["CMD", "{mount:/ok.sh}"]}}
    table = service("wait", embedded=embedded, ready=[{"healthy": True}], compose={"volumes": ["../ok.sh:/ok.sh:ro"]})
    project.stack("s", {"app": table})
    _run(project)


def test_a_mount_above_the_run_folder(project: Project) -> None:
    """What stands for a path of this machine must stay it, also when a mount's target is a folder above that."""
    top = project.root.parent
    ready = [{"exec": ["test", "-d", "{data}"]}, {"file": "{data}"}, {"exec": ["test", "-f", "{mount:/etc/note}"]}]
    (project.root / "note").write_text("hello\n")
    volumes = [f"scratch:{top}", "../note:/etc/note:ro"]
    table = web(ready=ready, compose={"volumes": volumes})
    project.stack("s", {"web": table}, volumes={"scratch": {}}, **{"x-harness": _seed("web", "test", "-d", "{data}")})
    _run(project)
