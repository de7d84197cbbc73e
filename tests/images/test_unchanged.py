"""Images that are there are not built: by what they are made of, whichever checkout has built them."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from containers import Dock
from projects import run_in

from harness.images.archives import describe
from harness.images.built import built_images
from harness.images.records import KEPT

if TYPE_CHECKING:
    from pathlib import Path

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def project(dock: Dock, word: str, **build: Any) -> None:
    """Write a stack whose image has a word of this test in it."""
    (dock.root / "word").write_text(f"{dock.checkout} {word}\n")
    (dock.root / "Dockerfile").write_text(f"FROM {dock.image}\nCOPY word /word\n")
    (dock.root / ".dockerignore").write_text("*\n!word\n!Dockerfile\n")
    dock.stack("s", {"web": dock.up(build={"context": "..", **build})})


def build(dock: Dock) -> str:
    """Build; return what was told of it."""
    done = run_in(dock, *HARNESS, "build", timeout=120)
    assert done.code == 0, done.stderr
    return done.stderr


def ids(dock: Dock) -> dict[str, str]:
    """Return name -> id of each image that harness has built for this project's checkout."""
    return {image.name: image.id for image in built_images(dock.client) if image.checkout == str(dock.root)}


def test_an_image_that_is_there_is_not_built_again(dock: Dock) -> None:
    """What did not change must cause no build, on ``build`` and ``up``; a change, and its undoing, must be seen."""
    project(dock, "one")
    assert "building web" in build(dock)
    first = ids(dock)
    assert [len(name.rpartition(":")[2]) for name in first] in ([8, 16], [16, 8])
    told = build(dock)
    assert ("building" in told, "web: unchanged, no build" in told) == (False, True)
    done = run_in(dock, *HARNESS, "up", timeout=120)
    assert (done.code, "building" in done.stderr) == (0, False), done.stderr
    assert run_in(dock, *HARNESS, "down", timeout=60).code == 0
    project(dock, "two")
    assert "building web" in build(dock)
    assert set(ids(dock).values()) > set(first.values())
    project(dock, "one")
    assert "building" not in build(dock)
    checkout_name = next(name for name in first if len(name.rpartition(":")[2]) == 8)
    assert ids(dock)[checkout_name] == first[checkout_name]


def test_an_argument_is_a_part_of_an_image(dock: Dock) -> None:
    """Another value of an argument must build; one that the Dockerfile does not declare must be named."""
    project(dock, "one", args={"VERSON": "1"})
    told = build(dock)
    assert "declares no build argument 'VERSON' (ARG VERSON)" in told
    project(dock, "one", args={"VERSON": "2"})
    assert "building web" in build(dock)


def test_two_checkouts_with_the_same_content_share_an_image(dock: Dock, tmp_path: Path) -> None:
    """A checkout must take the image that another one has built, and keep it when that one is gone."""
    project(dock, "one")
    (tmp_path / "other").mkdir()
    other = Dock(tmp_path / "other", dock.state, dock.client, dock.image)
    for name in ("word", "Dockerfile", ".dockerignore"):
        shutil.copy2(dock.root / name, other.root / name)
    other.stack("s", {"web": other.up(build={"context": ".."})})
    assert "building web" in build(other)
    assert "building" not in build(dock)
    shutil.rmtree(other.root)
    done = run_in(dock, *HARNESS, "gc", "--images")
    assert done.code == 0, done.stderr
    environ = {**dock.environ}
    mine = {image.name: image.checkout for image in built_images(dock.client, environ)}
    assert list(mine.values()).count(str(dock.root)) == 2, mine
    assert str(other.root) not in mine.values()
    assert "building" not in build(dock)


def test_few_images_of_before_are_kept(dock: Dock) -> None:
    """Of images that a checkout does not use any more only the last ones must stay."""
    for number in range(KEPT + 2):
        project(dock, str(number))
        build(dock)
    by_content = [name for name in ids(dock) if len(name.rpartition(":")[2]) == 16]
    assert len(by_content) == KEPT


def explained(dock: Dock) -> dict[str, Any]:
    """Return service -> what ``build --explain`` tells of its image."""
    done = run_in(dock, *HARNESS, "build", "--explain", "--json", timeout=60)
    assert done.code == 0, done.stderr
    return {image["service"]: image for image in json.loads(done.stdout)["images"]}


def test_explain_names_what_changed(dock: Dock) -> None:
    """A file, a line, an argument and a base must be named before they are built, and nothing be done about them."""
    project(dock, "one", args={"VALUE": "hidden-1"})
    assert explained(dock)["web"]["reasons"] == ["it was not built here"]
    build(dock)
    there = ids(dock)
    image = explained(dock)["web"]
    assert (image["builds"], image["reasons"]) == (False, ["unchanged, no build"])
    assert [image["id"]] == [*{*there.values()}]
    project(dock, "two", args={"VALUE": "hidden-2"})
    (dock.root / "Dockerfile").write_text(f"FROM {dock.image}\nCOPY word /words\n")
    image = explained(dock)["web"]
    told = ["Dockerfile:2: line 2 changed", "argument VALUE changed", "file word changed"]
    assert (image["builds"], image["id"], image["reasons"]) == (True, "", told)
    done = run_in(dock, *HARNESS, "build", "--explain", timeout=60)
    assert done.stdout.splitlines() == [f"web: build: {told[0]}", *(f"  {line}" for line in told[1:])]
    assert "hidden" not in done.stdout + done.stderr
    assert ids(dock) == there


def test_a_base_that_is_built_anew_is_named(dock: Dock) -> None:
    """Of an image that is built from another service's it must be told when that one changed."""
    project(dock, "one")
    base = {"build": {"context": ".."}, "image": "base-of-test", "profiles": ["never"]}
    child = {"context": "..", "dockerfile_inline": "FROM base-of-test\n"}
    dock.stack("s", {"base": base, "child": dock.up(build=child, image="child-of-test")})
    build(dock)
    assert {name: image["builds"] for name, image in explained(dock).items()} == {"base": False, "child": False}
    (dock.root / "word").write_text(f"{dock.checkout} two\n")
    told = {name: image["reasons"] for name, image in explained(dock).items()}
    assert told == {"base": ["file word changed"], "child": told["child"]}


def test_two_builds_of_one_image_are_one(dock: Dock, tmp_path: Path) -> None:
    """Who comes second must say whom it waits for, take what that one has built, and build nothing."""
    project(dock, "one")
    (dock.root / "Dockerfile").write_text(
        f"FROM {dock.image}\nCOPY word /word\nRUN python3 -c 'import time; time.sleep(4)'\n"
    )
    (tmp_path / "other").mkdir()
    other = Dock(tmp_path / "other", dock.state, dock.client, dock.image)
    for name in ("word", "Dockerfile", ".dockerignore"):
        shutil.copy2(dock.root / name, other.root / name)
    other.stack("s", {"web": other.up(build={"context": ".."})})
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(build, (dock, other)))
    first, second = sorted(told, key=lambda text: "is being built by" in text)
    assert "building web" in first
    assert "] RUN python3" in first
    assert ("building web" in second, "web: unchanged, no build" in second) == (False, True)
    line = next(line for line in second.splitlines() if "is being built by pid" in line)
    whose = {str(one.root): text for one, text in zip((dock, other), told, strict=True)}
    assert f"for service web of {next(root for root, text in whose.items() if text is first)}" in line
    shutil.rmtree(other.root)


def test_what_is_loaded_is_not_built(dock: Dock) -> None:
    """All that a project builds must be saved so that where it is loaded nothing is built."""
    project(dock, "one")
    saved = run_in(dock, *HARNESS, "images.save", "--all", "--file", "all.tar.zst", timeout=240)
    assert saved.code == 0, saved.stderr
    first = ids(dock)
    for name in first:
        dock.client.remove_image(name)
    assert ids(dock) == {}
    loaded = run_in(dock, *HARNESS, "images.load", "--file", "all.tar.zst", timeout=240)
    assert loaded.code == 0, loaded.stderr
    assert ids(dock) == first
    told = build(dock)
    assert ("building" in told, "web: unchanged, no build" in told) == (False, True)


def test_bases_are_saved_by_the_names_that_they_have(dock: Dock) -> None:
    """What a Dockerfile calls by the name of a service or a context must be saved as the engine has it."""
    project(dock, "one")
    base = {"build": {"context": ".."}, "image": "base-of-test", "profiles": ["never"]}
    child = {"context": "..", "dockerfile_inline": "FROM base-of-test\n"}
    other = {
        "context": "..",
        "dockerfile_inline": "FROM context-of-test\nCOPY word /other\n",
        "additional_contexts": {"context-of-test": f"docker-image://{dock.image}"},
    }
    services = {name: dock.up(build=how, image=f"{name}-of-test") for name, how in (("child", child), ("other", other))}
    dock.stack("s", {"base": base, **services})
    saved = run_in(dock, *HARNESS, "images.save", "--all", "--file", "all.tar.zst", timeout=240)
    assert saved.code == 0, saved.stderr
    names = [name for image in describe(dock.root / "all.tar.zst").images for name in image.names]
    assert dock.image in names
    assert "of-test" not in "".join(names)
    by_content = [name for name in names if len(name.rpartition(":")[2]) == 16]
    repositories = sorted(name.rpartition(":")[0] for name in by_content)
    assert repositories == ["harness-build/s/base", "harness-build/s/child", "harness-build/s/other"]


def test_all_is_all_that_is_built(dock: Dock) -> None:
    """A project that builds nothing must be told so, and words that say which images exclude ``--all``."""
    dock.stack("s", {"web": dock.up()})
    nothing = run_in(dock, *HARNESS, "images.save", "--all", "--file", "all.tar.zst", timeout=60)
    assert (nothing.code, "Nothing is built for any system" in nothing.stderr) == (10, True), nothing.stderr
    both = run_in(dock, *HARNESS, "images.save", "--all", "--image", "a:1", "--file", "all.tar.zst", timeout=60)
    assert (both.code, "--all excludes" in both.stderr) == (10, True), both.stderr
