"""Images that are on an engine which has not, or no longer, what they stand on. No engine is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.docker_sdk import ImageNotFound
from harness.engine.compose.ingredients import ingredients_of
from harness.engine.compose.standing import Made, standings_of
from harness.engine.plan import Containers, Recipe
from harness.images.fingerprint import digest
from harness.images.lock import FILE, LockedImage, write
from harness.images.records import Records, by_content

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine.compose.standing import Standing
    from harness.images.fingerprint import Ingredients

IMAGE = "harness-build/web:01234567"
DEFAULT, OURS = "debian:bookworm-slim", "harness-base:one"
TEXT = f"ARG BASE_IMAGE={DEFAULT}\nFROM $BASE_IMAGE\nFROM tool:1\n"
BASES = {DEFAULT: "sha256:1", OURS: "sha256:2", "tool:1": "sha256:3"}


class Engine:
    """An engine that has images: name -> id."""

    def __init__(self, images: dict[str, str]) -> None:
        self.there = images

    def inspect_image(self, image: str) -> dict[str, Any]:
        if image not in self.there:
            raise ImageNotFound("no such image")
        return {"Id": self.there[image], "Config": {"Labels": {"harness.built": image.rpartition(":")[0]}}}


def recipe(folder: Path, **arguments: str) -> Recipe:
    """Return how an image is built that stands on two others."""
    folder.mkdir(exist_ok=True)
    section = {"context": str(folder), "args": arguments, "dockerfile_inline": TEXT}
    return Recipe(IMAGE, written=TEXT, is_inline=True, section=section)


def standing(recipe: Recipe, engine: Any, made: Made) -> Standing:
    return standings_of("s", Containers("", (), "", ("web",), {"web": recipe}), engine, made.records.environ, made)[
        "web"
    ]


def built(folder: Path, **arguments: str) -> tuple[Made, Any, Ingredients]:
    """Return what is known after a build, the engine that has its image, and what that is made of."""
    environ = {"XDG_CACHE_HOME": str(folder.parent)}
    client: Any = Engine(dict(BASES))
    made_of = ingredients_of(recipe(folder, **arguments), client, environ)
    assert made_of.fingerprint
    client.there |= {by_content(IMAGE, made_of.fingerprint): "sha256:9", IMAGE: "sha256:9"}
    return Made(Records(str(folder), environ), lambda: client, folder.parent / FILE), client, made_of


@pytest.mark.parametrize("known_by", ["record", "lock"])
@pytest.mark.parametrize("on_ours", [False, True])
def test_an_image_is_there_though_its_bases_are_gone(known_by: str, tmp_path: Path, *, on_ours: bool) -> None:
    """What was noted of bases, here or in the lock, must tell an image apart where they are no more, ours as well."""
    made, engine, made_of = built(tmp_path / "x", **({"BASE_IMAGE": OURS} if on_ours else {}))
    if known_by == "record":
        made.records.note(IMAGE, made_of.as_dict(), made_of.fingerprint, "sha256:9")
    else:
        write(tmp_path / FILE, [LockedImage("s", "web", "build", bases=made_of.bases)])
    for base in BASES:
        del engine.there[base]
    now = standing(recipe(tmp_path / "x"), engine, made)
    assert (now.id, now.ingredients.fingerprint) == ("sha256:9", made_of.fingerprint)
    assert dict(now.ingredients.arguments) == ({"BASE_IMAGE": digest(OURS)} if on_ours else {})


def test_a_base_that_nobody_knew_is_asked_for(tmp_path: Path) -> None:
    """Where nothing was noted, or another base has come, an image must be built."""
    made, engine, made_of = built(tmp_path / "x")
    del engine.there["tool:1"]
    now = standing(recipe(tmp_path / "x"), engine, made)
    assert now.is_built
    assert now.reasons == ("always asked: its base image tool:1 is not on the engine",)
    made.records.note(IMAGE, made_of.as_dict(), made_of.fingerprint, "sha256:9")
    assert not standing(recipe(tmp_path / "x"), engine, made).is_built
    engine.there["tool:1"] = "sha256:4"
    assert standing(recipe(tmp_path / "x"), engine, made).reasons == ("base image tool:1 changed (3 -> 4)",)


def test_a_file_that_changed_builds_without_its_base_too(tmp_path: Path) -> None:
    """What was noted of bases must not hide that something else differs."""
    made, engine, made_of = built(tmp_path / "x")
    made.records.note(IMAGE, made_of.as_dict(), made_of.fingerprint, "sha256:9")
    del engine.there["tool:1"]
    (tmp_path / "x" / "new").touch()
    now = standing(recipe(tmp_path / "x"), engine, made)
    assert now.is_built
    assert "always asked: its base image tool:1 is not on the engine" in now.reasons


def test_what_is_built_here_comes_from_nowhere_else(tmp_path: Path) -> None:
    """Of what an image stands on, only what is not built here must be saved by its name in the Dockerfile."""
    made, engine, _ = built(tmp_path / "x")
    made.note("harness-build/tool:01234567", ingredients_of(recipe(tmp_path / "x"), engine, made.records.environ))
    on_own = replace(recipe(tmp_path / "x"), stands={"tool:1": "harness-build/tool:01234567"})
    assert standing(on_own, engine, made).bases_from_elsewhere == [DEFAULT]
