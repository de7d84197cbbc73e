"""To whom notices go: names in pyproject.toml, URLs in variables and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config import Sources, load_settings
from harness.config.notices import HINT, Notices
from harness.errors import ConfigError
from harness.notices.places import Place, find_places, problems_of

MAIL = "mailto://ci:hunter2@mail.example.org:25?to=ops@example.org"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops"


def read(table: dict[str, Any], tmp_path: Path) -> Notices:
    """Return what ``[tool.harness.notices]`` says."""
    return load_settings(Sources({}, tmp_path, {"notices": table})).notices


def test_variables_and_files_are_named(tmp_path: Path) -> None:
    """Names must be taken as they are; nothing must be needed for a project that wants no notices."""
    table = {"urls": ["NOTICE_MAIL", "~/notices", "ci/urls"], "runs": "https://ci.example/logs"}
    assert read(table, tmp_path) == Notices(("NOTICE_MAIL", "~/notices", "ci/urls"), "https://ci.example/logs")
    assert read({}, tmp_path) == Notices()


@pytest.mark.parametrize(
    ("table", "problem", "hint"),
    [
        ({"urls": [MAIL]}, "entry 1 of urls is a URL; those have passwords and tokens in them", HINT),
        ({"urls": ["A", SLACK]}, "entry 2 of urls is a URL; those have passwords and tokens in them", HINT),
        ({"urls": ["hunter2:x"]}, "entry 1 of urls is neither a name of a variable nor a path with a /", HINT),
        ({"urls": [3]}, "entry 1 of urls is no name of a variable or file", ""),
        ({"urls": "A"}, "urls is str, a list was needed", ""),
        ({"url": ["A"]}, "key 'url' is not known; did you mean 'urls'?", ""),
        ({"runs": "https://me:hunter2@ci.example"}, "runs is no http:// or https:// address without user and password",
         ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_without_secrets(table: dict[str, Any], problem: str, hint: str, tmp_path: Path) -> None:
    """A URL in pyproject.toml must be refused with what to do instead, and never be shown."""
    with pytest.raises(ConfigError) as error:
        read(table, tmp_path)
    assert error.value.summary == f"{tmp_path / 'pyproject.toml'}: [tool.harness.notices]: {problem}"
    assert error.value.hint == hint
    assert "hunter2" not in str(error.value)
    assert "T1JJ" not in str(error.value)


def test_urls_come_from_variables_and_files(tmp_path: Path) -> None:
    """A variable and a file may have several URLs; each must have a name of its own, and comments be none."""
    (tmp_path / "urls").write_text(f"# whom to tell\n{SLACK}  # the channel\n\n{MAIL}\n")
    found = find_places(Notices(("A", "./urls")), {"A": f" {MAIL}\n{SLACK} "}, tmp_path)
    assert [(place.name, place.url) for place in found.places] == [
        ("A", MAIL), ("A#2", SLACK), ("./urls", SLACK), ("./urls#2", MAIL),
    ]  # fmt: skip
    assert not found.problems


@pytest.mark.parametrize(
    ("environ", "problems"),
    [
        ({}, []),
        ({"B": ""}, []),
        ({"A": MAIL}, ["variable B is not set, so nothing goes there"]),
        ({"A": "hunter2", "B": MAIL},
         ["A has no URL such as mailtos://USER:PASSWORD@HOST?to=WHO; nothing goes there"]),
        ({"A": f"{MAIL} hunter2", "B": SLACK},
         ["A#2 has no URL such as mailtos://USER:PASSWORD@HOST?to=WHO; nothing goes there"]),
    ],
)  # fmt: skip
def test_who_cannot_be_told_is_said(environ: dict[str, str], problems: list[str], tmp_path: Path) -> None:
    """What is no URL must be said and not shown; variables that are not set only where others are."""
    assert list(problems_of(find_places(Notices(("A", "B")), environ, tmp_path))) == problems


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A file that is not there, is none or has nothing in it must be told as such."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    found = find_places(Notices(("./none", "./empty", "./bytes", "./")), {}, tmp_path)
    assert list(problems_of(found)) == [
        "file ./none cannot be read: No such file or directory",
        "file ./empty has no URL in it",
        "file ./bytes cannot be read: it is no UTF-8",
        "file ./ cannot be read: it is a folder, a regular file was needed",
    ]


@pytest.mark.parametrize(
    ("url", "shown", "secrets"),
    [
        (MAIL, "N (mailto://mail.example.org:25...)", {"hunter2"}),
        (SLACK, "N (slack://...)", {"T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ"}),
        ("jsons://me:p%40ss@ci.example/h00k?x=t0ken", "N (jsons://ci.example...)", {"p%40ss", "p@ss", "h00k", "t0ken"}),
        ("json://[::1", "N (json://...)", set()),
    ],
)
def test_a_place_is_shown_without_secrets(url: str, shown: str, secrets: set[str]) -> None:
    """A place must be known by its name, kind and host, and what is secret of it by ourselves."""
    place = Place("N", url)
    assert place.shown == shown
    assert secrets <= set(place.secrets)
    assert not any(secret in place.shown for secret in secrets if len(secret) > 3)
    assert url not in repr(place)
