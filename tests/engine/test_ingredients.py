"""What the image of a service is made of, read from its recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.engine.compose.ingredients import ingredients_of
from harness.engine.plan import Recipe
from harness.images.bases import text_of

if TYPE_CHECKING:
    from pathlib import Path

    from harness.images.fingerprint import Ingredients


def recipe_of(text: str, folder: Path, **section: Any) -> Recipe:
    """Return how an image is built that stands on no other."""
    (folder / "context").mkdir(exist_ok=True)
    file = folder / "Dockerfile"
    file.write_bytes(text.encode(errors="surrogateescape"))
    section["context"] = str(folder / "context")
    return Recipe("a", text=text, written=text_of(file), source=str(file), section=section)


def made_of(text: str, folder: Path, **section: Any) -> Ingredients:
    """Return what it is made of."""
    recipe = recipe_of(text, folder, **section)
    return ingredients_of(recipe, cast("Any", None), {"XDG_CACHE_HOME": str(folder / "cache")})


@pytest.mark.parametrize("how", ['ADD ["https://x/y", "/z"]', "ADD a.txt https://x/y /z/", "ARG U\nADD $U /z"])
def test_what_comes_from_a_server_is_a_doubt(how: str, tmp_path: Path) -> None:
    """What only the builder can ask for must have it asked, with the line that says so."""
    made = made_of(f"FROM scratch\n{how}\n", tmp_path, args={"U": "https://x/y"})
    line = 1 + len(how.splitlines())
    assert (made.doubts, made.fingerprint) == ((f"line {line} adds what is not on this machine",), "")
    certain = made_of(f"FROM scratch\n{how}\n".replace("https://x/", ""), tmp_path, args={"U": "y"})
    assert (certain.doubts, len(certain.fingerprint)) == ((), 16)


SCRIPT = "FROM scratch\nCOPY <<EOF /run.sh\n#!/bin/sh\necho {}\nEOF\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SCRIPT.replace("\n", "\r\n"), SCRIPT),
        (SCRIPT.format("a\x0bb"), SCRIPT.format("a\nb")),
        (SCRIPT.format("a\u2028b"), SCRIPT.format("a\nb")),
        (SCRIPT.format("\udce9"), SCRIPT.format("\udce8")),
    ],
    ids=["ends of lines", "vertical tab", "separator", "bytes"],
)
def test_each_byte_of_a_dockerfile_counts(before: str, after: str, tmp_path: Path) -> None:
    """What a here-document has in it comes into the image as it is, so that no two of them may be taken for one."""
    assert made_of(before, tmp_path).fingerprint != made_of(after, tmp_path).fingerprint


def test_the_end_of_the_last_line_does_not_count(tmp_path: Path) -> None:
    """An editor that ends the last line must cause no build, nor one that marks the file as Unicode."""
    one = made_of("FROM scratch", tmp_path)
    assert one == made_of("FROM scratch\n", tmp_path) == made_of("\ufeffFROM scratch\n", tmp_path)


def test_a_dockerfile_that_is_written_to_meanwhile_is_a_doubt(tmp_path: Path) -> None:
    """Nobody knows which of two the builder reads, so what it builds must not get the name of either."""
    recipe = recipe_of(SCRIPT, tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    made = ingredients_of(recipe, cast("Any", None), {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert (made.doubts, made.fingerprint) == (("its Dockerfile is being changed",), "")


def test_what_either_list_of_files_lets_in_counts(tmp_path: Path) -> None:
    """The classic builder passes over a Dockerfile's own list: what only that one sends must count, too."""
    recipe, context = recipe_of(SCRIPT, tmp_path), tmp_path / "context"
    own = replace(recipe, ignored="*\n!own\n!both\n")
    (context / ".dockerignore").write_text("own\nneither\n*.dockerignore\n")
    (context / "sub").mkdir()

    def seen(recipe: Recipe) -> str:
        return ingredients_of(recipe, cast("Any", None), {"XDG_CACHE_HOME": str(tmp_path / "cache")}).fingerprint

    prints = [seen(own)]
    for name, counts in (("own", True), ("both", True), ("folders", True), ("sub/x", True), ("neither", False)):
        (context / name).write_text("one")
        assert (seen(own) != prints[-1]) == counts, name
        prints.append(seen(own))
    assert seen(replace(own, ignored="own\nneither\n")) != prints[-1]
    assert seen(recipe) != prints[-1]
