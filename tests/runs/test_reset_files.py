"""Files of a service are brought back to what they were when its stack had been seeded, and those of others are not."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from projects import service, web

from harness.engine.plan import AttachedPlan, ContainerPlan, ProcessPlan
from harness.errors import BrokenStack, ConfigError, Unsupported
from harness.helpers import http
from harness.runs import running
from harness.runs.files import Files
from harness.runs.planning import Planned
from harness.stack import read_tree
from harness.verbs.up_down import down, up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projects import Project

    from harness import Stack
    from harness.engine import ServicePlan

SEED = """
import os, sqlite3, sys

data, kept = sys.argv[1:]
with sqlite3.connect(data + "/shop.db") as shop:
    shop.execute("CREATE TABLE item (name text)")
    shop.execute("INSERT INTO item VALUES ('lamp')")
os.mkdir(kept + "/empty", 0o555)
os.symlink("nowhere", kept + "/link")
os.mkfifo(kept + "/pipe")
with open(kept + "/note", "w") as note:
    note.write("seeded")
os.chmod(kept + "/note", 0o4640)
os.utime(kept + "/note", (1e9, 1e9))
"""


def write(project: Project, app: dict[str, Any], *more: dict[str, Any], **services: Any) -> None:
    """Write the stack ``s`` with a service that keeps files in ``{data}`` and in a volume, and their seed."""
    (project.root / "seed.py").write_text(SEED)
    command = ["python", str(project.root / "seed.py"), "{data}", "{mount:/kept}"]
    seeds = [{"key": "files", "exec": {"service": "app", "command": command}}, *more]
    project.stack("s", {"app": app, **services}, volumes={"kept": {}}, **{"x-harness": {"seed": seeds}})


def keeper_of_files(*volumes: str, reset: bool = True, **harness: Any) -> dict[str, Any]:
    """Return a service that answers HTTP and is told of its folder ``{data}``."""
    environment = {"DATA": "{data}"}
    compose = {"volumes": ["kept:/kept", *volumes], **harness.pop("compose", {})}
    return web(compose=compose, embedded={"environment": environment}, reset=reset, **harness)


@pytest.fixture
def shop(project: Project) -> Iterator[Stack]:
    """A stack with a service whose files were seeded."""
    write(project, keeper_of_files())
    run = project.run()
    with running(run):
        yield run.bring("s")


def data_of(stack: Stack) -> Path:
    """Return its data folder."""
    return Path(stack.service("app").env["DATA"])


def volume_of(project: Project) -> Path:
    """Return the folder that its volume is."""
    (found,) = {path.parent.resolve() for path in project.root.glob("logs/*/work/volumes/s/kept/note")}
    return found


def is_green(stack: Stack) -> bool:
    """Return whether the service answers now, without waiting."""
    end = stack.service("app").endpoint(8080)
    return http.ask(end.host, end.port).status == 200


def test_files_are_as_they_were_seeded_again_and_again(project: Project, shop: Stack) -> None:
    """Contents, modes and times must be as seeded, what came since be gone, and the service answer, each time."""
    data, kept = data_of(shop), volume_of(project)
    before = {path: path.lstat() for path in (kept / "note", kept / "empty", kept)}
    assert before[kept / "note"].st_mode == stat.S_IFREG | 0o4640
    for turn in range(2):
        with closing(sqlite3.connect(data / "shop.db")) as database:
            database.execute("DELETE FROM item")
            database.commit()
        (kept / "note").unlink()
        (kept / "link").unlink()
        (kept / "left").mkdir()
        (kept / "left" / "over").write_text("of a test")
        shop.service("app").reset()
        with closing(sqlite3.connect(data / "shop.db")) as database:
            assert database.execute("SELECT name FROM item").fetchall() == [("lamp",)]
        assert sorted(path.name for path in kept.iterdir()) == ["empty", "link", "note"]
        assert (kept / "note").read_text() == "seeded"
        assert (kept / "link").readlink() == Path("nowhere")
        for path, facts in before.items():
            now = path.lstat()
            assert (now.st_mode, now.st_uid, now.st_mtime) == (facts.st_mode, facts.st_uid, facts.st_mtime), turn
        assert is_green(shop)
    shop.check()
    assert project.said[-1] == (
        "service 'app' was reset: it was stopped, its files were put back, and it was started again"
    )
    assert (
        project.said.count("service 'app' was stopped, its files were copied as seeded, and it was started again") == 1
    )


def test_a_service_that_a_test_has_killed_runs_again(shop: Stack) -> None:
    """A reset of a service that is down must bring it back, too."""
    shop.service("app").kill()
    (data_of(shop) / "shop.db").unlink()
    shop.service("app").reset()
    assert (data_of(shop) / "shop.db").exists()
    assert is_green(shop)
    shop.check()


def test_a_kept_stack_is_reset_by_a_later_run_and_leaves_nothing(project: Project) -> None:
    """The copies must be the environment's: there for any run that uses it, and gone with it."""
    write(project, keeper_of_files())
    settings = project.settings(stack="s")
    up(settings, project.said.append)
    try:
        run = project.run()
        with running(run):
            stack = run.bring("s")
            (data_of(stack) / "shop.db").unlink()
            stack.service("app").reset()
            assert (data_of(stack) / "shop.db").exists()
        assert list(project.root.glob("logs/*/work/.seeded/s/app"))
    finally:
        down(settings, project.said.append)
    assert not list(project.root.glob("logs/*/work"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a service as somebody else")
def test_files_stay_those_of_the_user_that_a_service_runs_as(project: Project) -> None:
    """What another user has written must be that user's again, in a folder that it can write."""
    app = service(
        reset=True, embedded={"command": ["sleep", "infinity"], "user": "nobody", "environment": {"DATA": "{data}"}}
    )
    seed = {"key": "note", "exec": {"service": "app", "command": ["sh", "-c", "echo seeded > {data}/note"]}}
    project.stack("s", {"app": app}, **{"x-harness": {"seed": [seed]}})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        note = data_of(stack) / "note"
        owners = (note.stat().st_uid, note.parent.stat().st_uid)
        assert 0 not in owners
        note.unlink()
        stack.service("app").reset()
        assert (note.stat().st_uid, note.parent.stat().st_uid) == owners
        assert stack.service("app").exec(["sh", "-c", f"echo more >> {note}"]).code == 0


def test_a_folder_of_the_checkout_is_never_overwritten(project: Project) -> None:
    """A service that may write a folder of the user's must be refused with the reason, and keep what it has."""
    (project.root / "mine").mkdir()
    (project.root / "mine" / "work").write_text("of hours")
    write(project, keeper_of_files("../mine:/mine"))
    run = project.run()
    with running(run):
        stack = run.bring("s")
        (volume_of(project) / "left").touch()
        with pytest.raises(Unsupported, match=r"'app' cannot be reset: .*/mine is mounted at /mine, a folder of yours"):
            stack.service("app").reset()
        assert (volume_of(project) / "left").exists()
        assert stack.service("app").restarts == 0
    assert (project.root / "mine" / "work").read_text() == "of hours"


def test_a_folder_that_is_only_read_is_in_nobodys_way(project: Project) -> None:
    """A folder of the checkout that is mounted read-only must not keep a service from being reset."""
    (project.root / "mine").mkdir()
    write(project, keeper_of_files("../mine:/mine:ro"))
    run = project.run()
    with running(run):
        stack = run.bring("s")
        (volume_of(project) / "left").touch()
        stack.service("app").reset()
        assert not (volume_of(project) / "left").exists()


def test_a_volume_that_another_service_has_is_not_exchanged_under_it(project: Project) -> None:
    """Of a volume that a service which runs on may have open, nothing must be put back."""
    write(project, keeper_of_files(), reader=service("wait", compose={"volumes": ["kept:/there:ro"]}))
    run = project.run()
    with running(run):
        stack = run.bring("s")
        with pytest.raises(Unsupported, match="volume 'kept' is used by service 'reader' too, which runs on"):
            stack.service("app").reset()


def test_files_are_not_copied_unasked(project: Project) -> None:
    """Copying costs a restart: without ``reset: true`` there must be none, and a reset say what would do."""
    write(project, keeper_of_files(reset=False))
    run = project.run()
    with running(run):
        stack = run.bring("s")
        assert stack.service("app").restarts == 0
        with pytest.raises(Unsupported, match=r"'app' cannot be reset: .* does not say `reset: true`"):
            stack.service("app").reset()


def test_what_cannot_be_put_back_is_told_before_the_service_is_stopped(project: Project, shop: Stack) -> None:
    """Without a copy the error must say so, and the service run on."""
    (copy,) = {path.resolve() for path in project.root.glob("logs/*/work/.seeded/s/app/volumes/s/kept")}
    copy.rename(copy.with_name("elsewhere"))
    with pytest.raises(ConfigError, match=r"'app' cannot be reset: its files were not copied when it was seeded"):
        shop.service("app").reset()
    assert is_green(shop)


def test_a_service_that_does_not_become_ready_again_is_broken(project: Project) -> None:
    """A service that ends with what was put back must be told with its exit code and last lines."""
    words = ("once:{mount:/kept}/first:touch:{mount:/kept}/must", "need:{mount:/kept}/must")
    write(project, keeper_of_files(words=words))
    run = project.run()
    with running(run):
        stack = run.bring("s")
        (copy,) = {path.resolve() for path in project.root.glob("logs/*/work/.seeded/s/app/volumes/s/kept")}
        (copy / "must").unlink()
        with pytest.raises(BrokenStack, match=r"Service 'app' could not be reset: .*exit code 9") as error:
            stack.service("app").reset()
        assert "/must is missing" in str(error.value)


def test_what_a_stack_above_has_seeded_comes_back_too(project: Project) -> None:
    """Of a service of an included stack, what a seed of the stack that stands on it has put there must be seeded."""
    write(project, keeper_of_files())
    add = {"key": "more", "exec": {"service": "app", "command": ["touch", "{data}/of_above"]}}
    project.stack("t", {"other": service("wait")}, include=["s.yaml"], **{"x-harness": {"seed": [add]}})
    run = project.run()
    with running(run):
        stack = run.bring("t")
        (data_of(stack) / "of_above").unlink()
        (data_of(stack) / "left").touch()
        stack.service("app").reset()
        assert sorted(path.name for path in data_of(stack).iterdir()) == ["of_above", "shop.db"]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (ContainerPlan("s", "app", {}), "volumes and files of containers are not copied"),
        (AttachedPlan("s", "app", {}), "'app' is attached: to reset it is for whoever started it"),
        (ProcessPlan("s", "app", {}), "it is done when it has ended"),
    ],
    ids=["container", "attached", "one-shot"],
)
def test_what_has_no_files_that_are_copied_says_why(tmp_path: Path, plan: ServicePlan, reason: str) -> None:
    """A container, a service of somebody else and one that ends must be refused before anything is done to them."""
    path = tmp_path / "s.yaml"
    app = {"image": "x", "volumes": ["kept:/kept"], "x-harness": {"reset": True, "role": "oneshot"}}
    path.write_text(yaml.safe_dump({"services": {"app": app}, "volumes": {"kept": {}}}))
    tree = read_tree([path], {})
    nowhere: Any = None
    planned = Planned(nowhere, tree, tree.root, {"app": plan}, lambda service, port: f"{service}:{port}")
    settled: Any = {"s": SimpleNamespace(planned=planned)}
    said: list[str] = []
    for act in (Files(settled, said.append).take, Files(settled, said.append).bring_back):
        with pytest.raises(Unsupported, match=reason):
            act("s", "app")
    assert said == []
