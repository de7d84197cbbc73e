"""Subjects whose images come from elsewhere than their stack file says, on an engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from projects import run_in

from harness import procs
from harness.images import lock

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def dockerfile(dock: Dock, folder: Path, text: str) -> None:
    """Write a Dockerfile of an image that says ``text`` for ``MARK``, or what it is given as argument."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(f"FROM {dock.image}\nARG MARK={text}\nENV MARK=$MARK\n")


def table(dock: Dock, text: str) -> None:
    """Write the table of the subject ``thing``."""
    (dock.root / "pyproject.toml").write_text(f"[tool.harness.subjects.thing]\n{text}\n")


def mark(dock: Dock, service: str = "web") -> str:
    """Bring the stack up, return what its service has for ``MARK``, and take it down."""
    done = run_in(dock, *HARNESS, "up", "--stack", "s", timeout=180)
    assert done.code == 0, done.stderr
    try:
        variables: dict[str, str] = dict(line.split("=", 1) for line in dock.container(service)["Config"]["Env"])
    finally:
        assert run_in(dock, *HARNESS, "down").code == 0
    return variables.get("MARK", "")


def test_a_table_says_what_is_built_and_a_variable_goes_before_it(dock: Dock) -> None:
    """The folder and arguments of a table must be built in place of the file's; ``prebuilt`` must go before that."""
    dockerfile(dock, dock.root / "of_file", "file")
    dockerfile(dock, dock.root / "of_table", "table")
    dock.stack("s", {"web": {**dock.up(harness={"subject": "thing"}), "build": {"context": "../of_file"}}})
    assert mark(dock) == "file"
    table(dock, 'build = {context = "of_table"}')
    assert mark(dock) == "table"
    table(dock, 'build = {context = "of_table", args = {MARK = "a$b"}}')
    assert mark(dock) == "a$b"
    dock.environ["THING_CONTAINER"] = f"prebuilt={dock.image}"
    assert mark(dock) == ""
    del dock.environ["THING_CONTAINER"]
    table(dock, f'prebuilt = "{dock.image}"')
    assert mark(dock) == ""
    dock.environ["THING_CONTAINER"] = "build"
    assert mark(dock) == "file"


def committed(dock: Dock, origin: Path, text: str) -> str:
    """Commit a Dockerfile of an image that says ``text`` to a repository; return the commit."""
    dockerfile(dock, origin / "app", text)
    names = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", text]):
        assert procs.run(["git", *words], timeout=60, env=os.environ | names, cwd=origin).code == 0
    return procs.run(["git", "rev-parse", "HEAD"], timeout=60, cwd=origin).stdout.strip()


def test_a_commit_is_locked(dock: Dock, tmp_path: Path) -> None:
    """A lock must hold what is built of a commit, which need not be fetched again; another commit must be refused."""
    origin = tmp_path / "origin"
    first, second = committed(dock, origin, "one"), committed(dock, origin, "two")
    dock.stack("s", {"web": dock.up(harness={"subject": "thing"})})
    table(dock, f'git = "../origin"\ncommit = "{first}"\ncontext = "app"')
    done = run_in(dock, *HARNESS, "build", "--lock", "--stack", "s", timeout=120)
    assert (done.code, done.stdout.split()[:2]) == (0, ["s/web", "build"]), done.stderr
    held = lock.read(dock.root / lock.FILE)["s", "web"]
    assert (held.strategy, len(held.fingerprint), held.image) == ("build", 16, "")
    origin.rename(tmp_path / "gone")  # what is locked is here
    done = run_in(dock, *HARNESS, "run", "--stack", "s", "--locked", "--", "true", timeout=120)
    assert done.code == 0, done.stderr
    (tmp_path / "gone").rename(origin)
    table(dock, f'git = "../origin"\ncommit = "{second}"\ncontext = "app"')
    done = run_in(dock, *HARNESS, "run", "--stack", "s", "--locked", "--", "true", timeout=120)
    assert (done.code, dock.left()) == (10, [])
    assert f"{held.fingerprint} was needed" in done.stderr, done.stderr


def test_a_service_without_a_build_is_built_from_a_commit(dock: Dock, tmp_path: Path) -> None:
    """A service that names an image only must run the commit of its table, and one that cannot be had end with 10."""
    origin = tmp_path / "origin"
    commit = committed(dock, origin, "commit")
    dockerfile(dock, origin / "app", "later")
    dock.stack("s", {"web": dock.up(harness={"subject": "thing"})})
    table(dock, f'git = "../origin"\ncommit = "{commit}"\ncontext = "app"')
    explained = run_in(dock, *HARNESS, "build", "--explain", "--stack", "s", timeout=60)
    assert (explained.code, "web" in explained.stdout, "fetching commit" in explained.stderr) == (0, True, True)
    assert mark(dock) == "commit"
    origin.rename(tmp_path / "gone")
    assert mark(dock) == "commit"
    table(dock, f'git = "../origin"\ncommit = "{commit}"\ncontext = "apps"')
    done = run_in(dock, *HARNESS, "up", "--stack", "s")
    assert (done.code, "context 'apps' does not exist in commit" in done.stderr) == (10, True)
    table(dock, f'git = "../origin"\ncommit = "{commit[::-1]}"')
    done = run_in(dock, *HARNESS, "up", "--stack", "s")
    assert (done.code, "repository" in done.stderr, dock.left()) == (10, True, [])


def test_an_archive_carries_the_image_of_a_subject(dock: Dock, tmp_path: Path) -> None:
    """A saved image must come back by its id where the engine lacks it, run as a subject, and not be loaded twice."""
    dockerfile(dock, dock.root / "src", "carried")
    web = {**dock.up(harness={"subject": "thing"}), "build": "../src"}
    dock.stack("s", {"web": web})
    archive = tmp_path / "thing.tar.zst"
    done = run_in(
        dock, *HARNESS, "images.save", "--file", str(archive), "--subject", "thing", "--stack", "s", timeout=180
    )
    assert done.code == 0, done.stderr
    name, ident = done.stdout.split()
    dock.client.remove_image(ident, force=True)  # by all of its names
    assert not [image for image in dock.client.images() if image["Id"] == ident]
    (dock.root / "src/Dockerfile").unlink()
    table(dock, f'archive = "{archive}"')
    assert mark(dock) == "carried"
    assert dock.client.inspect_image(name)["Id"] == ident
    dock.client.tag(ident, f"{name}-also")
    dock.client.remove_image(name)
    assert mark(dock) == "carried"
    assert not dock.client.images(name=name)  # it was there by its id: nothing was loaded
    done = run_in(dock, *HARNESS, "images.load", "--file", str(archive))
    assert (done.code, done.stdout) == (0, f"{name} {ident}\n")
    done = run_in(dock, *HARNESS, "images.load", "--file", str(archive))
    assert (done.code, done.stdout) == (0, f"{name} {ident} (was there)\n")
    archive.write_bytes(archive.read_bytes()[:5000])
    done = run_in(dock, *HARNESS, "up", "--stack", "s")
    assert (done.code, "cut off or damaged" in done.stderr, dock.left()) == (10, True, [])


def test_what_cannot_be_saved_is_told(dock: Dock, tmp_path: Path) -> None:
    """An image or subject that is not there must be named, with exit code 10 and no file."""
    dock.stack("s", {"web": dock.up(harness={"subject": "thing"})})
    file = ("--file", str(tmp_path / "a"))
    for words, problem in (
        (("--image", "none:1"), "Image 'none:1' is not on the engine"),
        (("--subject", "thnig"), "did you mean 'thing'?"),
        (("--subject", "thing", "--engine", "embedded"), "has no images"),
        ((), "A value of --image"),
    ):
        more = words or ("--image",)
        stack = ("--stack", "s")
        done = run_in(dock, *HARNESS, "images.save", *file, *stack, *more)
        assert (done.code, problem in done.stderr) == (10, True), done.stderr
    done = run_in(dock, *HARNESS, "images.save", "--file", str(tmp_path / "no/a"), "--image", dock.image)
    assert (done.code, "its folder does not exist" in done.stderr) == (10, True)
    assert list(tmp_path.glob("a*")) == []
