"""Data in folders of the checkout outlives an environment: that is told, and what is disposable is emptied."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from projects import Project, service

from harness.errors import BrokenStack
from harness.runs import running
from harness.runs.data import disposable, empty, folders_of, written_since
from harness.verbs.up_down import down, up

if TYPE_CHECKING:
    from pathlib import Path


def test_only_folders_of_the_checkout_that_can_be_written_count(project: Project, tmp_path: Path) -> None:
    """Files, read-only mounts, volumes and what is elsewhere must not be taken for data of the checkout."""
    for name in ("data", "config"):
        (project.root / name).mkdir()
    (project.root / "file").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mounts = ["../data:/d", "../config:/c:ro", "../file:/f", f"{elsewhere}:/e", "v:/v", f"{project.root}:/all"]
    project.stack("s", {"db": service("wait", compose={"volumes": mounts})}, volumes={"v": None})
    (stack,) = project.run().choice.read("s").stacks
    assert folders_of(stack, project.root) == [project.root / "data"]
    assert disposable(stack, project.root) == []


def test_what_is_new_is_seen(tmp_path: Path) -> None:
    """A folder must count as written to when something in it, however deep, is new, and not when it is as it was."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        (folder / "below").mkdir(parents=True)
        (folder / "below" / "file").touch()
        for path in (folder / "below" / "file", folder / "below"):
            os.utime(path, (1000, 1000))
    os.utime(new / "below" / "file", (3000, 3000))
    assert written_since([old, new, tmp_path / "gone"], 2000) == [new]


def test_a_folder_is_emptied_and_nothing_else(tmp_path: Path) -> None:
    """What is in the folder must go, links in it too, and what these lead to stay, as the folder itself."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    data = tmp_path / "checkout" / "data"
    (data / "below").mkdir(parents=True)
    (data / "below" / "file").touch()
    (data / "link").symlink_to(outside)
    empty(data, tmp_path / "checkout")
    assert list(data.iterdir()) == []
    assert (outside / "kept").exists()


def test_a_folder_that_is_not_of_the_checkout_is_not_emptied(tmp_path: Path) -> None:
    """Neither a link nor the checkout itself may be emptied, nor what is beside it."""
    checkout, beside = tmp_path / "checkout", tmp_path / "beside"
    for folder in (checkout, beside):
        folder.mkdir()
        (folder / "kept").touch()
    (checkout / "link").symlink_to(beside)
    for folder in (checkout, beside, checkout / "link"):
        with pytest.raises(BrokenStack, match="so it is not emptied"):
            empty(folder, checkout)
    assert (beside / "kept").exists()


@pytest.mark.parametrize("is_disposable", [False, True], ids=["kept", "disposable"])
def test_data_is_told_at_the_end_and_emptied_where_it_is_disposable(project: Project, is_disposable: bool) -> None:
    """``down`` must say that what was written stays; ``up --fresh`` must empty what is disposable and nothing else."""
    data = project.root / "data"
    data.mkdir()
    top = {"x-harness": {"data": ["../data"]}} if is_disposable else {}
    db = service(f"touch:{data}/row", "say:up", "wait", ready=[{"log": "up"}], compose={"volumes": ["../data:/data"]})
    project.stack("s", {"db": db}, **top)
    settings = project.settings(stack="s")
    up(settings, project.said.append)
    (data / "old").touch()
    up(settings, project.said.append, fresh=True)
    assert (data / "old").exists() != is_disposable
    assert ("data is emptied" in project.said) == is_disposable
    project.said.clear()
    down(settings, project.said.append)
    assert any(line.startswith("what services wrote to data stays") for line in project.said)
    assert (data / "row").exists()


def test_nothing_is_told_of_what_was_only_read(project: Project) -> None:
    """A folder that was mounted and not written to must not be told."""
    data = project.root / "data"
    data.mkdir()
    (data / "old").touch()
    os.utime(data / "old", (1000, 1000))
    db = service("say:up", "wait", ready=[{"log": "up"}], compose={"volumes": ["../data:/data"]})
    project.stack("s", {"db": db})
    settings = project.settings(stack="s")
    up(settings, project.said.append)
    down(settings, project.said.append)
    assert not [line for line in project.said if "stays" in line]


def test_data_that_somebody_uses_is_not_emptied(project: Project) -> None:
    """``up --fresh`` must leave disposable data alone while an environment of the checkout lives that may write it."""
    data = project.root / "data"
    data.mkdir()
    (data / "row").touch()
    db = service("say:up", "wait", ready=[{"log": "up"}], compose={"volumes": ["../data:/data"]})
    project.stack("s", {"db": db}, **{"x-harness": {"data": ["../data"]}})
    settings = project.settings(stack="s")
    up(settings, project.said.append)
    with running(project.run()) as run:
        run.bring("s")
        with pytest.raises(BrokenStack, match=r"data is not emptied: .* is up and uses it"):
            up(settings, project.said.append, fresh=True)
        assert (data / "row").exists()
    down(settings, project.said.append)
