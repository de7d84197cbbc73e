"""Of a stack that is up only those services are made again that changed, and those that must see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from containers import ask as ask_in
from projects import Project, run_in, service, web

from harness.engine import ContainerPlan, ProcessPlan
from harness.helpers import http
from harness.runs.changes import UNFINISHED
from harness.runs.choice import choose
from harness.runs.known import listed
from harness.runs.replacing import Seen, beyond_services, decide
from harness.runs.run import Run, running
from harness.stack import read_tree
from harness.verbs import explain, up_down

if TYPE_CHECKING:
    from containers import Dock

    from harness.config import Settings
    from harness.runs.replacing import Replacement

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


# -- what is decided -------------------------------------------------------------------------------------------------


def decided(
    folder: Path,
    services: dict[str, Any],
    seen: Seen,
    *,
    seed: list[dict[str, Any]] | None = None,
    local: bool = True,
) -> Replacement:
    """Return what is made again of a stack ``s`` with these services."""
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump({"x-harness": {"seed": seed or []}, "services": services}, sort_keys=False))
    tree = read_tree([path], {})
    kind = ProcessPlan if local else ContainerPlan
    return decide(tree, tree.root, {name: kind("s", name, {}) for name in services}, seen)


def changed(*names: str) -> Seen:
    """Return what is seen where a source of these services changed."""
    return Seen({}, {}, dict.fromkeys(names, "a.py changed 3 s after it was started"))


def depends(name: str, **table: Any) -> dict[str, Any]:
    """Return a service that depends on another."""
    return {"image": "x", "depends_on": {name: {"condition": "service_started", **table}}}


def test_what_changed_is_replaced_with_what_must_see_it(tmp_path: Path) -> None:
    """A dependent with ``restart: true``, and its own, must be replaced after it; others, and what it needs, not."""
    services = {
        "top": depends("web", restart=True),
        "web": depends("api", restart=True),
        "other": depends("api"),
        "api": depends("db", restart=True),
        "db": {"image": "x"},
    }
    made = decided(tmp_path, services, changed("api"))
    assert made.names == ("api", "web", "top")
    assert made.lines() == [
        "api: a.py changed 3 s after it was started; it is replaced",
        "web: it depends on api, which is replaced; it is replaced",
        "top: it depends on web, which is replaced; it is replaced",
    ]
    assert decided(tmp_path, services, Seen({}, {})).lines() == []


def test_a_service_that_lives_in_anothers_network_goes_with_it(tmp_path: Path) -> None:
    """A container in the network of one that is replaced must be replaced: that network goes."""
    services = {"api": {"image": "x"}, "side": {"image": "x", "network_mode": "service:api"}}
    assert decided(tmp_path, services, changed("api"), local=False).names == ("api", "side")


@pytest.mark.parametrize(
    ("before", "now", "names", "beyond"),
    [
        ({"service api: environment.A": "1"}, {"service api: environment.A": "2"}, ("api",), 0),
        ({"service api: command[0]": "1"}, {"service api: command[0]": "2", "service api: file /x": "3"}, ("api",), 0),
        ({"service api: image": "1"}, {"service api: ports[0].target": "2", "service api: image": "1"}, ("api",), 1),
        ({"service api: image": "1"}, {"service api: image": "1", "stack.networks.a": "2"}, (), 1),
        ({"service api: image": "1"}, {"service api: image": "1", "service db: image": "2"}, ("db",), 1),
        ({"service api: image": "1", "service db: image": "2"}, {"service api: image": "1"}, ("db",), 1),
        ({"service api: image": "1"}, {"service api: image": "1", "service api: --local": "2"}, ("api",), 1),
    ],
    ids=["value", "file", "ports", "network", "new service", "service gone", "local"],
)
def test_what_is_more_than_one_services_matter_is_told_apart(
    tmp_path: Path, before: dict[str, str], now: dict[str, str], names: tuple[str, ...], beyond: int
) -> None:
    """What differs in a service must be its own matter, but for what others know of it or the environment is of."""
    assert len(beyond_services(before, now)) == beyond
    services = {"api": {"image": "x"}, "db": {"image": "x"}}
    assert decided(tmp_path, services, Seen(before, now)).names == names


EXEC = {"key": "rows", "exec": {"service": "db", "command": ["fill"]}}
POST = {"key": "post", "http": {"service": "api", "port": 80}}
CODE = {"key": "code", "python": "seeds:plant"}


@pytest.mark.parametrize(
    ("names", "mounts", "again", "doubts"),
    [
        (("db",), [], ("rows",), 1),
        (("db",), ["data:/data"], (), 0),
        (("api",), [], (), 1),
        (("api", "db"), [], ("rows", "post", "code"), 0),
        ((), [], (), 0),
    ],
    ids=["a store", "with a volume", "in front of a store", "all", "none"],
)
def test_seeds_are_planted_again_where_what_they_put_in_is_gone(
    tmp_path: Path, names: tuple[str, ...], mounts: list[str], again: tuple[str, ...], doubts: int
) -> None:
    """Only seeds of a service that was replaced and kept nothing must be planted again; doubts must be told."""
    services = {
        "db": {"image": "x", "volumes": [{"type": "volume", "source": "data", "target": "/data"}] if mounts else []},
        "api": {**depends("db"), "ports": ["80:80"]},
    }
    path = tmp_path / "s.yaml"
    document = {
        "x-harness": {"seed": [EXEC, POST, CODE]},
        "services": services,
        **({"volumes": {"data": {}}} if mounts else {}),
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    tree = read_tree([path], {})
    made = decide(tree, tree.root, {name: ContainerPlan("s", name, {}) for name in services}, changed(*names))
    assert made.seeds == again
    assert len(made.doubted) == doubts


def test_data_of_a_process_outlives_it_in_its_folder(tmp_path: Path) -> None:
    """A process that was given ``{data}`` must count as one that keeps what it was given."""
    kept = {"image": "x", "x-harness": {"embedded": {"command": ["server", "--dir={data}"]}}}
    assert decided(tmp_path, {"db": kept}, changed("db"), seed=[EXEC]).seeds == ()
    lost = {"image": "x", "x-harness": {"embedded": {"command": ["server"]}}}
    assert decided(tmp_path, {"db": lost}, changed("db"), seed=[EXEC]).seeds == ("rows",)


# -- as it is done ---------------------------------------------------------------------------------------------------


def pids(settings: Settings) -> dict[str, int]:
    """Return service -> process, of what is up."""
    return {line.service: line.pid for line in listed(settings)}


def posted(settings: Settings, service: str) -> list[str]:
    """Return what was posted to a service that is up."""
    (address,) = (line.endpoints[f"{service}:8080"] for line in listed(settings) if line.service == service)
    host, _, port = address.rpartition(":")
    answer: list[str] = http.ask(host, int(port)).json()["posted"]
    return answer


def three(project: Project, **harness: Any) -> Settings:
    """Write a stack with a seeded store, an API in front of it, and what must see that; return its settings."""
    (project.root / "code").mkdir(exist_ok=True)
    (project.root / "code" / "a.py").write_text("one")
    seeds = [{"key": name, "http": {"service": name, "port": 8080, "json": name}} for name in ("db", "api", "web")]
    project.stack(
        "s",
        {
            "db": web(),
            "api": web(sources=["../code"], compose={"depends_on": ["db"]}, **harness),
            "web": web(compose={"depends_on": {"api": {"condition": "service_healthy", "restart": True}}}),
        },
        **{"x-harness": {"seed": seeds}},
    )
    return project.settings(stack="s")


def test_up_replaces_what_changed_and_what_must_see_it(project: Project) -> None:
    """After a change of a source ``up`` must replace its service and dependents only, and no seed be lost or double."""
    settings = three(project)
    up_down.up(settings, project.said.append, ttl=600)
    before = pids(settings)
    (project.root / "code" / "a.py").write_text("two")
    _, explained = explain.explain(settings)
    assert [(one.stack, one.act) for one in explained] == [("s", "replace")]
    assert explained[0].reasons[0].startswith("service api: code/a.py changed ")
    up_down.up(settings, project.said.append, ttl=600)
    after = pids(settings)
    assert {name: after[name] == before[name] for name in before} == {"db": True, "api": False, "web": False}
    assert [posted(settings, name) for name in ("db", "api", "web")] == [['"db"'], [], ['"web"']]
    assert [line for line in project.said if "is not planted again" in line] == [
        "seed 'api' is not planted again: it may be in db; `harness seed --fresh` plants all again"
    ]
    assert not any(line.changed for line in listed(settings))
    up_down.up(settings, project.said.append, ttl=600)
    assert pids(settings) == after
    up_down.down(settings, project.said.append)


def test_a_service_of_an_included_stack_is_replaced_and_seen_above(project: Project) -> None:
    """What changed in an included stack must be replaced there, and what must see it in the stack above."""
    (project.root / "a.txt").write_text("one")
    project.stack("low", {"db": web(sources=["../a.txt"]), "other": service("wait")})
    sees = {"depends_on": {"db": {"condition": "service_healthy", "restart": True}}}
    project.stack("s", {"api": service("wait", compose=sees), "web": web()}, include=["low.yaml"])
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    before = pids(settings)
    (project.root / "a.txt").write_text("two")
    up_down.up(settings, project.said.append, ttl=600)
    after = pids(settings)
    same = {name: after[name] == before[name] for name in before}
    assert same == {"db": False, "other": True, "api": False, "web": True}
    up_down.down(settings, project.said.append)


def test_a_run_replaces_only_where_it_is_told_to(project: Project) -> None:
    """A run must use old code with a word, and with ``--restart-changed`` replace it before it goes on."""
    settings = three(project)
    up_down.up(settings, project.said.append, ttl=600)
    before = pids(settings)
    (project.root / "code" / "a.py").write_text("two")
    run = Run(choose(settings), project.said.append)
    with running(run):
        run.bring("s")
    assert pids(settings) == before
    told = project.settings(stack="s", restart_changed="yes")
    run = Run(choose(told), project.said.append)
    with running(run):
        stack = run.bring("s")
        assert stack.service("api").pid != before["api"]
        assert stack.service("db").pid == before["db"]
        (project.root / "code" / "a.py").write_text("three")
        assert run.bring("s").service("api").pid == stack.service("api").pid  # not under its own tests
    assert pids(settings)["db"] == before["db"]
    up_down.down(settings, project.said.append)


def test_what_others_use_is_not_replaced(project: Project) -> None:
    """While another run uses a stack nothing of it must be replaced, which must be told."""
    settings = three(project)
    up_down.up(settings, project.said.append, ttl=600)
    run = project.run()
    with running(run):
        run.bring("s")
        before = pids(settings)
        (project.root / "code" / "a.py").write_text("two")
        done = run_in(project, *HARNESS, "run", "--stack", "s", "--restart-changed", "--", "true")
        assert (done.code, "not replaced, since others use stack 's' now" in done.stderr) == (0, True), done.stderr
        told = Run(choose(replace(settings, restart_changed=True)), project.said.append)
        with running(told):
            told.bring("s")
        assert pids(settings) == before
        assert "api, web: not replaced, since others use stack 's' now" in project.said
    up_down.down(settings, project.said.append)


def test_a_service_that_does_not_come_up_again_is_told_and_tried_once_more(project: Project) -> None:
    """A replaced service that ends must be exit 12 with its last words; mended, ``up`` must replace that one again."""
    settings = three(project)
    up_down.up(settings, project.said.append, ttl=600)
    before = pids(settings)
    three(project, words=("say:broken here", "exit:3"))
    with pytest.raises(Exception, match="Service 'api' ended with exit code 3") as caught:
        up_down.up(settings, project.said.append, ttl=600)
    assert getattr(caught.value, "exit_code", 0) == 12
    assert {line.service: line.state for line in listed(settings)}["api"] == "exited"
    three(project, words=("say:mended",))
    up_down.up(settings, project.said.append, ttl=600)
    assert {line.service: line.state for line in listed(settings)} == dict.fromkeys(before, "running")
    assert pids(settings)["db"] == before["db"]
    up_down.down(settings, project.said.append)


def test_an_exact_undo_of_a_failed_replacement_is_a_change(project: Project) -> None:
    """Undone exactly, what made a replacement fail must be replaced again, with all that was replaced with it."""
    code, other = project.root / "a.txt", project.root / "b.txt"
    code.write_text("good")
    other.write_text("one")
    broken = "import os, sys; os.execvp('sleep', ['sleep', '600']) if open(sys.argv[1]).read() == 'good' else exit(3)"
    run_code = {"command": ["python", "-c", broken, str(code)]}
    project.stack(
        "s",
        {
            "side": service("wait", sources=["../b.txt"]),
            "api": service("wait", sources=["../a.txt"], embedded=run_code, compose={"depends_on": ["side"]}),
            "db": service("wait"),
        },
    )
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    before = pids(settings)
    code.write_text("evil")
    other.write_text("two")
    with pytest.raises(Exception, match="Service 'api' ended with exit code 3"):
        up_down.up(settings, project.said.append, ttl=600)
    tried = pids(settings)
    told = {line.service: line.changed for line in listed(settings)}
    assert told == {"side": UNFINISHED, "api": UNFINISHED, "db": ""}
    code.write_text("good")
    other.write_text("one")
    told = {line.service: line.changed for line in listed(settings)}
    assert {name: how.split()[0] if how else "" for name, how in told.items()} == {
        "side": "b.txt",
        "api": "a.txt",
        "db": "",
    }
    assert [one.act for one in explain.explain(settings)[1]] == ["replace"]
    up_down.up(settings, project.said.append, ttl=600)
    after = pids(settings)
    assert (after["db"], after["side"] != tried["side"]) == (before["db"], True)
    assert {line.service: (line.state, line.changed) for line in listed(settings)} == dict.fromkeys(
        before, ("running", "")
    )
    up_down.down(settings, project.said.append)


def test_what_a_failed_replacement_left_is_tried_again(project: Project) -> None:
    """Where no source says why, a service that a failed replacement left down must be replaced again, not refused."""
    settings = three(project)
    up_down.up(settings, project.said.append, ttl=600)
    before = pids(settings)
    three(project, words=("exit:3",))
    with pytest.raises(Exception, match="Service 'api' ended with exit code 3"):
        up_down.up(settings, project.said.append, ttl=600)
    three(project)
    assert {line.service: line.changed for line in listed(settings)} == {
        "db": "",
        "api": UNFINISHED,
        "web": UNFINISHED,
    }
    assert [one.act for one in explain.explain(settings)[1]] == ["replace"]
    up_down.up(replace(settings, build="never"), project.said.append, ttl=600)
    assert {line.service: (line.state, line.changed) for line in listed(settings)} == dict.fromkeys(
        before, ("running", "")
    )
    assert pids(settings)["db"] == before["db"]
    up_down.down(settings, project.said.append)


def test_a_mounted_file_is_copied_anew(project: Project) -> None:
    """A service that is replaced must see its mounted file as it is now."""
    (project.root / "a.txt").write_text("one")
    mounts = {"volumes": ["../a.txt:/a.txt:ro"]}
    project.stack("s", {"web": web(compose=mounts), "box": service("wait")})
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    before = pids(settings)
    (project.root / "a.txt").write_text("two")
    up_down.up(settings, project.said.append, ttl=600)
    run = project.run()
    with running(run):
        copy = run.bring("s").service("web").copy_out("/a.txt", project.root / "copied")
        assert copy.read_text() == "two"
    assert pids(settings)["box"] == before["box"]
    up_down.down(settings, project.said.append)


def test_containers_are_built_and_replaced_one_by_one(dock: Dock) -> None:
    """On containers a changed context must be built and its container replaced; a store must keep its container."""
    context = dock.root / "image"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {dock.image}\nCOPY life.txt /life.txt\n")
    (context / "life.txt").write_text("one")
    (context / ".dockerignore").write_text("*.md\n")
    api = dock.web(harness={"subject": "api"}) | {"image": "api", "build": "../image", "depends_on": ["db"]}
    seen = {"depends_on": {"api": {"condition": "service_healthy", "restart": True}}}
    seeds = [{"key": "db", "exec": {"service": "db", "command": ["touch", "/planted"]}}]
    services = {"db": dock.up(), "api": api, "web": dock.up(**seen)}
    dock.stack("s", services, **{"x-harness": {"seed": seeds}})
    settings = dock.settings(stack="s")
    images = []
    try:
        up_down.up(settings, dock.said.append, ttl=600)
        before = dock.containers()
        images.append(dock.container("api")["Config"]["Image"])
        (context / "notes.md").write_text("left out")
        assert not any(line.changed for line in listed(settings))
        (context / "life.txt").write_text("two")
        run = Run(choose(replace(settings, restart_changed=True)), dock.said.append)
        with running(run):
            stack = run.bring("s")
            assert stack.service("api").exec(["cat", "/life.txt"]).stdout == "two"
            assert stack.service("db").exec(["ls", "/planted"]).code == 0
            assert ask_in(stack, "api")["status"] == "green"
        after = dock.containers()
        assert {name: after[name] == before[name] for name in before} == {"db": True, "api": False, "web": False}
        assert not any(line.changed for line in listed(settings))
    finally:
        up_down.down(settings, dock.said.append)
        for image in images:
            dock.client.remove_image(image, force=True)
    assert dock.left() == []
