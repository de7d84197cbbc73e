"""``images.lock``: what it holds, and that what differs from it is refused before anything is created."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from projects import run_in

from harness.errors import ConfigError
from harness.images.lock import FILE, LockedImage, drift, read, refuse_drift, write

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")
PLAIN = LockedImage("s", "db", "declared", "db:1", ONE, ("db@sha256:a",))
BUILT = LockedImage("s", "web", "build", id=ONE, fingerprint="f" * 16, bases={"debian:12": ONE})


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Whatever is written must be read again; a stack that is locked later must leave the others as they are."""
    path = tmp_path / FILE
    odd = replace(PLAIN, stack='o"dd', service="\\ü")
    write(path, [PLAIN, BUILT, odd])
    assert list(read(path).values()) == sorted([PLAIN, BUILT, odd], key=lambda image: image.key)
    write(path, [replace(PLAIN, id=TWO)])
    assert read(path) == {PLAIN.key: replace(PLAIN, id=TWO), odd.key: odd}
    assert read(tmp_path / "none") == {}


@pytest.mark.parametrize("text", ["format = 2", "format = 1\nimage = 3", "format = 1\n[[image]]\nstack = 'x'", "x", ""])
def test_a_lock_that_cannot_be_read_is_refused(text: str, tmp_path: Path) -> None:
    """A lock of another version, or a spoilt one, must be one error with its path and what helps, which does."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / FILE)
    assert str(tmp_path / FILE) in caught.value.summary
    assert "harness build --lock" in caught.value.hint
    assert "Error" not in caught.value.summary
    assert write(tmp_path / FILE, [PLAIN]) == caught.value.summary
    assert read(tmp_path / FILE) == {PLAIN.key: PLAIN}
    assert write(tmp_path / FILE, [PLAIN]) == ""


def test_what_differs_is_told_with_what_was_needed() -> None:
    """Each difference must be told with what was seen and what was needed; what is the same must be none."""
    same = [(PLAIN, PLAIN), (PLAIN, replace(PLAIN, id=TWO)), (BUILT, replace(BUILT, id=TWO))]
    assert [drift(*pair) for pair in same] == ["", "", ""]
    other = replace(PLAIN, id=TWO, digests=())
    assert [
        drift(None, PLAIN),
        drift(PLAIN, other),
        drift(PLAIN, replace(other, id="")),
        drift(PLAIN, replace(other, image="db:2")),
        drift(PLAIN, replace(other, strategy="prebuilt")),
        drift(BUILT, replace(BUILT, fingerprint="0" * 16)),
        drift(BUILT, replace(BUILT, fingerprint="0" * 16, bases={"debian:12": TWO})),
        drift(BUILT, replace(BUILT, fingerprint="", doubts=("pull: true",))),
    ] == [
        "is not in images.lock",
        "'db:1' is 222222222222; 111111111111 was needed",
        "'db:1' is not on the engine; 111111111111 was needed",
        "is 'db:2'; 'db:1' was needed",
        "is prebuilt; declared was needed",
        (
            "is made of 0000000000000000; ffffffffffffffff was needed (the same base images, other files, arguments or "
            "Dockerfile)"
        ),
        (
            "is made of 0000000000000000; ffffffffffffffff was needed "
            "(base image debian:12 is 222222222222, 111111111111 was needed)"
        ),
        "cannot be held to what it is made of: pull: true",
    ]


def test_every_image_that_differs_is_named(tmp_path: Path) -> None:
    """Of several that differ each must be in the error."""
    held = {PLAIN.key: replace(PLAIN, id=TWO, digests=()), BUILT.key: replace(BUILT, fingerprint="0" * 16)}
    with pytest.raises(ConfigError) as caught:
        refuse_drift(tmp_path / FILE, held, [PLAIN, BUILT])
    assert len(caught.value.problems) == 2
    assert all(f"service {name!r}" in str(caught.value) for name in ("db", "web"))


def project(dock: Dock, word: str, **services: Any) -> None:
    (dock.root / "word").write_text(f"{dock.checkout} {word}\n")
    text = f"FROM {dock.image}\nCOPY word /word\n"
    built = dock.up(image="web-of-test", build={"context": "..", "dockerfile_inline": text})
    (dock.root / ".dockerignore").write_text("*\n!word\n")
    dock.stack("s", {"web": built, "plain": dock.up(), **services})


def test_a_locked_stack_starts_only_as_it_was_locked(dock: Dock) -> None:
    """``--locked`` must let the same images start, and refuse others with exit code 10 before anything is there."""
    project(dock, "one")
    done = run_in(dock, *HARNESS, "up", "--locked", timeout=60)
    assert (done.code, "images.lock does not exist" in done.stderr) == (10, True), done.stderr
    done = run_in(dock, *HARNESS, "build", "--lock", timeout=120)
    assert done.code == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["s/plain", "declared"], ["s/web", "build"]]
    done = run_in(dock, *HARNESS, "run", "--locked", "--", "true", timeout=120)
    assert done.code == 0, done.stderr
    project(dock, "two", other=dock.up())
    for words in (["build", "--locked"], ["up", "--locked"], ["run", "--locked", "--", "true"]):
        done = run_in(dock, *HARNESS, *words, timeout=60)
        assert (done.code, dock.left()) == (10, []), done.stderr
        assert "Image of service 'web' of stack 's' is made of " in done.stderr
        assert "Image of service 'other' of stack 's' is not in images.lock" in done.stderr
    environ = {**dock.environ}
    dock.environ["HARNESS_LOCKED"] = "1"
    assert run_in(dock, *HARNESS, "up", timeout=60).code == 10
    dock.environ = environ


def test_what_builds_nothing_writes_no_lock(dock: Dock) -> None:
    """``--lock`` builds: with what asks for less, or holds to the lock, it must be refused and write nothing."""
    for other in ("--explain", "--locked", "--subject=web"):
        done = run_in(dock, *HARNESS, "build", "--lock", other)
        assert (done.code, "leave out --subject, --explain and --locked" in done.stderr) == (10, True), done.stderr


def test_containers_run_by_the_ids_of_images(dock: Dock) -> None:
    """A container must be created by an image's id, and its run tell what is known of that."""
    project(dock, "one")
    done = run_in(dock, *HARNESS, "up", timeout=120)
    assert done.code == 0, done.stderr
    facts = {name: dock.container(name) for name in ("web", "plain")}
    assert all(one["Config"]["Image"] == one["Image"] for one in facts.values())
    labels = {name: one["Config"]["Labels"]["harness.image"] for name, one in facts.items()}
    assert labels["plain"] == dock.image
    assert labels["web"].startswith("harness-build/s/web:")
    done = run_in(dock, *HARNESS, "report", "--json")
    told = {one["service"]: one for one in json.loads(done.stdout)["service_images"]}
    assert {name: (one["id"], one["strategy"]) for name, one in told.items()} == {
        "web": (facts["web"]["Image"], "build"),
        "plain": (facts["plain"]["Image"], "declared"),
    }
    assert (len(told["web"]["fingerprint"]), told["plain"]["fingerprint"]) == (16, "")
    assert all(one["size"] > 0 and one["created"] for one in told.values())
    project(dock, "two")  # what is up is told to be outdated by the name of its image, whatever its id
    done = run_in(dock, *HARNESS, "up", "--build", timeout=120)
    assert done.code == 0, done.stderr
    assert dock.container("web")["Image"] != facts["web"]["Image"]
    assert dock.container("plain")["Id"] == facts["plain"]["Id"]
    assert run_in(dock, *HARNESS, "down", timeout=60).code == 0
