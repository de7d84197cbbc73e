"""Where images of subjects come from: what the tables say, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config import load_settings, read_sources
from harness.config.subjects import Subject, read_subjects, without_secrets
from harness.errors import ConfigError

ROOT = Path("/project")
FILE = ROOT / "pyproject.toml"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def subject(**table: Any) -> Subject:
    """Return the subject ``web`` that has this table."""
    return read_subjects({"web": table}, ROOT, FILE)["web"]


def test_a_build_is_a_section_of_compose_with_a_whole_path() -> None:
    """The folder of a build must begin at the project's folder, and its arguments be texts as Compose has them."""
    found = subject(build={"context": "src", "target": "final", "args": {"LEVEL": 3, "FAST": True}})
    assert (found.kind, dict(found.section)) == (
        "build",
        {
            "context": "/project/src",
            "target": "final",
            "dockerfile": "Dockerfile",
            "args": {"LEVEL": "3", "FAST": "true"},
        },
    )


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("../other", "/other"),
        ("/srv/r.git", "/srv/r.git"),
        ("https://example.org/r.git", "https://example.org/r.git"),
        ("git@example.org:group/r.git", "git@example.org:group/r.git"),
        ("ssh://git@example.org/r.git", "ssh://git@example.org/r.git"),
        ("https://me:secret@example.org:8443/r.git", "https://example.org:8443/r.git"),
        ("https://token@example.org/r.git", "https://example.org/r.git"),
        ("ssh://me:secret@example.org/r.git", "ssh://example.org/r.git"),
    ],
)
def test_a_repository_is_shown_without_its_password(url: str, repository: str) -> None:
    """A path must begin at the project's folder; of a URL, nothing secret may be in what is shown, or in a repr."""
    found = subject(git=url, commit=COMMIT, context="app")
    assert (found.repository, found.commit, found.section["context"]) == (repository, COMMIT, "app")
    assert "secret" not in repr(found)
    assert "token" not in repr(found)
    assert without_secrets(repository) == repository


def test_other_sources_are_an_image_or_an_archive() -> None:
    """A prebuilt image must have its name, an archive its path from the project's folder; nothing is built of them."""
    prebuilt, archive = subject(prebuilt="h.example:5000/a:1"), subject(archive="images/a.tar.zst")
    assert (prebuilt.kind, prebuilt.image, dict(prebuilt.section)) == ("prebuilt", "h.example:5000/a:1", {})
    assert (archive.kind, archive.archive, dict(archive.section)) == ("archive", ROOT / "images/a.tar.zst", {})


def test_a_table_may_say_what_a_subject_is_and_leave_its_source_to_the_stack() -> None:
    """Version, licence and synonyms must go without a source as well as with one."""
    about = {"version": "1.2", "licence": "MIT"}
    for source, kind in (({}, "declared"), ({"prebuilt": "a:1"}, "prebuilt")):
        found = subject(**source, **about, synonyms=["OLD_NAME"])
        assert (found.kind, found.about, found.synonyms) == (kind, about, ("OLD_NAME",))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"version": "1", "context": "."}, "context goes with git, and this has stack file"),
        ({"version": 1}, "version is int 1, a str was needed"),
        ({"synonyms": ["A-B"]}, "synonyms has 'A-B', the name of a variable was needed"),
        ({"synonyms": [1]}, "synonyms has 1, the name of a variable was needed"),
        ({"synonyms": "A"}, "synonyms is str 'A', a list was needed"),
        ({}, "has none of build, git, prebuilt, archive; exactly one was needed"),
        ({"build": {}, "prebuilt": "a:1"}, "has build and prebuilt of build, git, prebuilt, archive; exactly one"),
        ({"prebiult": "a:1"}, "key 'prebiult' is not known; did you mean 'prebuilt'?"),
        ({"build": {"contxt": "."}}, "build: key 'contxt' is not known; did you mean 'context'?"),
        ({"build": "src"}, "build is str 'src', a dict was needed"),
        ({"build": {"args": {"A": []}}}, "build: args: A is list, a text or a number was needed"),
        ({"build": {}, "target": "t"}, "target goes in the table build, and this has build"),
        ({"prebuilt": "a:1", "commit": COMMIT}, "commit goes with git, and this has prebuilt"),
        ({"prebuilt": "a"}, "prebuilt 'a' is no image with a tag; NAME:TAG was needed"),
        ({"archive": ""}, "archive is empty; the path of an archive was needed"),
        ({"git": "r"}, "commit is missing; the 40 hexadecimal digits of a commit were needed"),
        ({"git": "r", "commit": "main"}, "commit 'main' is no whole commit; 40 hexadecimal digits were needed"),
        ({"git": "r", "commit": COMMIT[:12]}, "commit '0123456789ab' is no whole commit"),
        ({"git": "r", "commit": COMMIT.upper()}, "is no whole commit; 40 hexadecimal digits were needed"),
        ({"git": "r", "commit": 7}, "commit is int 7, a str was needed"),
        ({"git": "ext::sh -c x", "commit": COMMIT}, "git 'ext::sh -c x' is no repository; a path or a URL"),
        ({"git": "-u", "commit": COMMIT}, "git '-u' is no repository"),
        ({"git": "ftp://x/r", "commit": COMMIT}, "git 'ftp://x/r' is no repository"),
        ({"git": "r", "commit": COMMIT, "context": "../x"}, "context '../x' leaves the repository"),
        ({"git": "r", "commit": COMMIT, "context": "/x"}, "context '/x' leaves the repository"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(table: dict[str, Any], problem: str) -> None:
    """An error must name the file, the table, what was seen and what was needed."""
    with pytest.raises(ConfigError) as caught:
        subject(**table)
    assert caught.value.summary.startswith(f"{FILE}: [tool.harness.subjects.web]: ")
    assert problem in caught.value.summary


def test_all_wrong_tables_are_told_together(tmp_path: Path) -> None:
    """Settings must have the tables of pyproject.toml, and all that is wrong in several must be one error."""
    (tmp_path / "pyproject.toml").write_text('[tool.harness.subjects.web]\nprebuilt = "web:1"\n')
    assert load_settings(read_sources(tmp_path, {})).subjects["web"].image == "web:1"
    (tmp_path / "pyproject.toml").write_text('[tool.harness.subjects]\nweb = 3\nweb2.prebuilt = "web"\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(read_sources(tmp_path, {}))
    assert len(caught.value.problems) == 2
