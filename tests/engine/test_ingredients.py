"""What the image of a service is made of, read from its recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.engine.compose.ingredients import ingredients_of
from harness.engine.plan import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from harness.images.fingerprint import Ingredients


def made_of(text: str, folder: Path, **section: Any) -> Ingredients:
    """Return what an image is made of that stands on no other."""
    (folder / "context").mkdir(exist_ok=True)
    recipe = Recipe("a", text=text, written=text, section={"context": str(folder / "context"), **section})
    return ingredients_of(recipe, cast("Any", None), {"XDG_CACHE_HOME": str(folder / "cache")})


@pytest.mark.parametrize("how", ['ADD ["https://x/y", "/z"]', "ADD a.txt https://x/y /z/", "ARG U\nADD $U /z"])
def test_what_comes_from_a_server_is_a_doubt(how: str, tmp_path: Path) -> None:
    """What only the builder can ask for must have it asked, with the line that says so."""
    made = made_of(f"FROM scratch\n{how}\n", tmp_path, args={"U": "https://x/y"})
    line = 1 + len(how.splitlines())
    assert (made.doubts, made.fingerprint) == ((f"line {line} adds what is not on this machine",), "")
    certain = made_of(f"FROM scratch\n{how}\n".replace("https://x/", ""), tmp_path, args={"U": "y"})
    assert (certain.doubts, len(certain.fingerprint)) == ((), 16)
