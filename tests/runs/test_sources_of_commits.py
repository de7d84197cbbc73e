"""What is built of a commit is in that commit: whoever wrote it may be anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.config.subjects import read_subjects
from harness.errors import ConfigError
from harness.runs.images import _refuse_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def refused(place: Path, **table: Any) -> str:
    """Return why a commit that is checked out at ``place`` is not built, "" when it is."""
    tables = {"web": {"git": "/r", "commit": COMMIT, "context": "app", **table}}
    subject = read_subjects(tables, Path("/"), Path("p"))["web"]
    section = {**subject.section, "context": str(place / subject.section["context"])}
    try:
        _refuse_wrong(subject, section, place)
    except ConfigError as error:
        return error.summary
    return ""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A commit with links that stay within, at a path that is a link itself; beside it what is no part of it."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/Dockerfile").write_text("FROM scratch\n")
    app = tmp_path / "cache/commit/app"
    app.mkdir(parents=True)
    (app / "Dockerfile").write_text("FROM scratch\n")
    (app / "same").symlink_to("Dockerfile")
    (app.parent / "also").symlink_to("app")
    (app / "key").symlink_to(tmp_path / "secret")  # within a context it is a link in the image, too
    (tmp_path / "link").symlink_to("cache")
    return tmp_path / "link/commit"


@pytest.mark.parametrize(
    "table", [{}, {"context": "also"}, {"dockerfile": "same"}, {"context": ".", "dockerfile": "app/Dockerfile"}]
)
def test_links_that_stay_within_a_commit_are_followed(place: Path, table: dict[str, str]) -> None:
    """A context or Dockerfile that is a link to something in the commit must be built, whatever links are beside it."""
    assert refused(place, **table) == ""


def _link(name: str, to: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        (place / name).unlink(missing_ok=True)
        (place / name).symlink_to(to)

    return make


@pytest.mark.parametrize(
    ("make", "table", "why"),
    [
        (_link("out", "../../secret"), {"context": "out"}, "context 'out'"),
        (_link("out", "../.."), {"context": "out/secret"}, "context 'out/secret'"),
        (_link("out", "../../secret"), {"dockerfile": "../out/Dockerfile"}, "dockerfile '../out/Dockerfile'"),
        (_link("app/Dockerfile", "/etc/passwd"), {}, "dockerfile 'Dockerfile'"),
        (_link("app/Dockerfile", "../../../nowhere"), {}, "dockerfile 'Dockerfile'"),
        (_link("app/.dockerignore", "/etc/passwd"), {}, "its .dockerignore"),
        (_link("app/Dockerfile.dockerignore", "/etc/passwd"), {}, "its Dockerfile.dockerignore"),
    ],
)
def test_links_out_of_a_commit_are_refused(
    place: Path, make: Callable[[Path], None], table: dict[str, str], why: str
) -> None:
    """What is built must not be taken from outside of a commit by way of a link in it, and the link must be named."""
    make(place)
    said = refused(place, **table)
    assert f"{why} leads out of commit {COMMIT}: " in said
    link, _, to = said.partition(f"{COMMIT}: ")[2].partition(" is a symbolic link to ")
    assert str((place / link).readlink()) == to


def test_what_a_commit_lacks_is_told(place: Path) -> None:
    """A folder or Dockerfile that is not in the commit must be told with its name."""
    assert "context 'no' does not exist in commit" in refused(place, context="no")
    assert "dockerfile 'no' does not exist in commit" in refused(place, dockerfile="no")
