"""What a list of files to leave out means, and which folders need not be entered for it."""

from __future__ import annotations

from itertools import product
from pathlib import PurePosixPath

import pytest

from harness.folders import Ignored

FILES = ["/".join(parts) for depth in (1, 2, 3) for parts in product(("a", "b", ".c"), repeat=depth)]
PATTERNS = ["*", "**/b", "a/b", "[ab]/?/a", "**", "/a/", "./.c", "*/*", "a/**/b"]


def is_entered(ignored: Ignored, path: str) -> bool:
    """Return whether all folders above a path are entered."""
    folders = [str(folder) for folder in PurePosixPath(path).parents][-2::-1]
    return not any(ignored.leaves_out_folder(folder) for folder in folders)


@pytest.mark.parametrize(
    ("text", "path", "stays"),
    [
        ("*\n!packages/*/package.json", "packages/a/package.json", True),
        ("*\n!packages/*/package.json", "packages/a/other.json", False),
        ("*\n!.config/app/settings.json", ".config/app/settings.json", True),
        ("*\n!./.config/app", ".config/app/settings.json", True),
        ("*\n!/src/main.py", "src/main.py", True),
        ("*\n!sr?/main.py", "src/main.py", True),
        ("*\n!sr[c]/main.py", "src/main.py", True),
        ("docs\n!docs/*/x.md", "docs/a/x.md", True),
        ("*\n!**/src", "a/src/main.py", True),
        ("*\n!a/**/keep.py", "a/b/c/keep.py", True),
        ("a\n!a/b\na/b/c", "a/b/c/d", False),
        ("x[^a]", "xa", True),
        ("x[^a]", "xb", False),
        ("README", "readme", True),
        ("*\n!README", "readme", True),
        ("a\\*", "ab", True),
        ("a\\*", "a*", False),
        ("\\#x", "#x", False),
        ("# x\n\n  \n!\n.\n[z-a]", "x", True),
        ("../x", "x", True),
        ("\ufeff*", "x", False),
        ("*", ".dockerignore", True),
    ],
)
def test_a_list_means_what_it_means_to_builders(text: str, path: str, stays: bool) -> None:
    """A file counts when some builder is given it, however deep the exception that lets it in."""
    ignored = Ignored(text)
    assert (not ignored.leaves_out(path), is_entered(ignored, path) or not stays) == (stays, True)


@pytest.mark.parametrize("first", PATTERNS)
def test_every_folder_with_a_file_that_stays_is_entered(first: str) -> None:
    """Whatever patterns and exceptions follow each other, no file that stays may be in a folder that is passed over."""
    for second, third in product(PATTERNS, repeat=2):
        for text in (f"{first}\n!{second}\n{third}", f"{first}\n{third}\n!{second}"):
            ignored = Ignored(text)
            lost = [path for path in FILES if not ignored.leaves_out(path) and not is_entered(ignored, path)]
            assert not lost, text


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("**/node_modules\n!*.md", "a/node_modules"),
        ("*\n!src\nsrc/build", "src/build"),
        ("*\n!src/**/*.py\n**/__pycache__", "src/a/__pycache__"),
        ("*\n!src/app/main.py", "docs"),
    ],
)
def test_a_folder_in_which_nothing_stays_is_not_entered(text: str, folder: str) -> None:
    """Thousands of files of packages must not be looked at when no exception can mean them."""
    assert Ignored(text).leaves_out_folder(folder)
