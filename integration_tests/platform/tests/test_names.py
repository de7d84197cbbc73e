"""Applications and models by their names, and requests that mean nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration_tests.platform.tests.suite import Model, Platform

NAMES = {
    "umlaut": "Größe",
    "greek": "μοντέλο",
    "han": "模型",
    "arabic": "نموذج",
    "emoji": "🏠 flats",
    "quotes": """it's "so" <b>& {{ this }}""",
    "slash": "a/b/../c",
    "longest": "ä" * 100,
}
BAD_NAMES = {"missing": None, "empty": "", "blank": " ", "number": 7, "list": ["a"], "long": "a" * 101, "nul": "a\0b"}
BAD_BODIES = {
    "nothing": b"",
    "half": b'{"name": "a"',
    "list": b'["a"]',
    "text": b'"a"',
    "null": b"null",
    "latin-1": '{"name": "Größe"}'.encode("latin-1"),
    "deep": b"[" * 100_000,
}


@pytest.fixture
def path(platform: Platform, ns: str) -> Iterator[str]:
    """An application of this test's own."""
    pk = platform.made("/api/applications", {"name": ns})["id"]
    yield f"/api/applications/{pk}"
    platform.ask("DELETE", f"/api/applications/{pk}")


def test_an_application_is_there_until_it_is_deleted(platform: Platform, ns: str) -> None:
    """An application must be told and listed once it is made, and be 404 once it is deleted."""
    made = platform.made("/api/applications", {"name": ns})
    path = f"/api/applications/{made['id']}"
    assert platform.get(path) == made == {"id": made["id"], "name": ns, "models": []}
    assert made in platform.get("/api/applications")["applications"]
    platform.done("DELETE", path)
    assert platform.ask("GET", path).told == (404, "there is no such application")
    assert platform.ask("DELETE", path).status == 404
    assert made not in platform.get("/api/applications")["applications"]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_name_may_be_of_any_script(platform: Platform, path: str, name: str) -> None:
    """A name must come back as it was given, whatever it is written in."""
    model = platform.made(f"{path}/models", {"name": name})
    assert platform.get(f"/api/models/{model['id']}")["name"] == name
    assert [one["name"] for one in platform.get(path)["models"]] == [name]


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_a_bad_name_is_refused_by_its_field(platform: Platform, path: str, name: object) -> None:
    """A name that is none must be 400 with the field, and make nothing."""
    said = platform.ask("POST", f"{path}/models", {} if name is None else {"name": name})
    assert said.status == 400
    assert said.error.startswith("name ")
    assert platform.get(path)["models"] == []


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_body_that_is_no_object_is_refused(platform: Platform, path: str, body: bytes) -> None:
    """A body that is no JSON object must be 400 in words, and make nothing."""
    said = platform.ask("POST", f"{path}/models", data=body)
    assert said.status == 400
    assert said.error in ("the body is no JSON", "the body is no JSON object")
    assert platform.get(path)["models"] == []


def test_a_field_that_is_none_is_named(platform: Platform, path: str) -> None:
    """A field that does not exist must be 400 with its name and those that there are."""
    said = platform.ask("POST", f"{path}/models", {"name": "a", "nmae": "b"})
    assert said.told == (400, "'nmae' is no field; there are: name")


def test_a_large_body_is_refused(platform: Platform, path: str) -> None:
    """A body of more than 1 MiB must be 413."""
    said = platform.ask("POST", f"{path}/models", data=b'{"name": "' + b"a" * 1024 * 1024 + b'"}')
    assert said.told == (413, "the body is larger than 1 MiB")


def test_a_name_is_taken_once(platform: Platform, guest: Platform, path: str, ns: str) -> None:
    """A second application or model of one name must be 409; another user's may have it."""
    said = platform.ask("POST", "/api/applications", {"name": ns})
    assert said.told == (409, f"there is an application with the name {ns!r} already")
    assert platform.ask("POST", f"{path}/models", {"name": "a"}).status == 201
    assert platform.ask("POST", f"{path}/models", {"name": "a"}).status == 409
    other = guest.made("/api/applications", {"name": ns})
    guest.done("DELETE", f"/api/applications/{other['id']}")


def test_of_one_name_that_comes_ten_times_at_once_one_is_made(platform: Platform, path: str) -> None:
    """Of requests that make the same model at the same time one must be taken and the others be 409."""
    said = platform.together(10, lambda _: platform.ask("POST", f"{path}/models", {"name": "one"}))
    assert sorted(one.status for one in said) == [201] + [409] * 9
    assert [one["name"] for one in platform.get(path)["models"]] == ["one"]


@pytest.mark.parametrize("path", ["/", "/api", "/api/models", "/api/models/x", "/api/models/1/", "/admin"])
def test_a_path_that_is_none_is_told(platform: Platform, path: str) -> None:
    """A path that does not exist must be 404 as JSON."""
    assert platform.ask("GET", path).told == (404, "there is no such path")


def test_a_number_that_is_too_large_is_not_there(platform: Platform) -> None:
    """An id beyond what a database can have must be 404."""
    assert platform.ask("GET", f"/api/models/{10**30}").told == (404, "there is no such model")


def test_a_method_that_is_none_is_told(platform: Platform, starter: Model) -> None:
    """A method that a path does not have must be 405 with those that it has."""
    said = platform.ask("PUT", starter.path, {})
    assert said.told == (405, "there is no PUT here")
    assert said.headers["allow"] == "DELETE, GET"
