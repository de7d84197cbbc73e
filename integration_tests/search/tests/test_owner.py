"""Owners: found exactly as they are called, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from integration_tests.search.tests.suite import declared, without_id

if TYPE_CHECKING:
    from integration_tests.search.tests.suite import Application, Family

# Each is a text that a query language (Lucene's, SQL, JSON, a shell, a path) could take for more than a name.
SPECIAL = (
    "*", "?", "Ali*", "?lice", '"Alice"', "name:Alice", "Alice OR Bjørn", "+Alice", "-Alice", "!Alice", "Alice~",
    "Alice^2", "[A TO z]", "{}", "(", ")", "\\", "\\*", "&&", "||", "/Al.*/", "_exists_:name", '{"match_all": {}}',
    "%2a", "%", "#", "' OR '1'='1", "$(id)", "<b>", "a;b", "a=b&c", "a/b",
)  # fmt: skip
UNICODE = (
    "Ünal", "Zoë Ångström", "Иван", "李小龍", "さくら", "عمر", "שרה", "Ελένη", "🐶 Rex", "👩\u200d👩\u200d👧",
    "e\u0301", "ﬁ", "ı", "ß", "𝔄𝔡𝔞", "\u200bx",
)  # fmt: skip


@pytest.mark.parametrize("owner", declared("owners"), ids=lambda owner: owner["_id"])
def test_an_owner_is_found_by_name(app: Application, owner: dict[str, str]) -> None:
    """An owner must be given with every value that was stored."""
    said = app.owner(owner["name"])
    assert (said.status, said.body) == (200, without_id(owner))


def test_an_unknown_owner_is_404(app: Application, ns: str) -> None:
    """An owner who is not there must be 404 and not an error of the server, with the name that was asked for."""
    said = app.owner(ns)
    assert (said.status, said.error) == (404, f"there is no owner {ns!r}")


@pytest.mark.parametrize(
    ("path", "status"), [("/owner/", 404), ("/owner", 404), ("/owner/%20", 400), ("/owner/%09%0A", 400)]
)
def test_an_empty_name_is_no_name(app: Application, path: str, status: int) -> None:
    """An empty name must find nobody, and a blank one must be refused."""
    said = app.ask("GET", path)
    assert (said.status, bool(said.error)) == (status, True)


@pytest.mark.parametrize("name", UNICODE)
def test_a_name_may_be_in_any_script(app: Application, family: Family, name: str) -> None:
    """A name in any script must be found, and come back by code point."""
    written = family.owner(f"{name} {family.name}")
    said = app.owner(f"{name} {family.name}")
    assert (said.status, said.body) == (200, written)


def test_letters_that_look_alike_differ(app: Application, family: Family) -> None:
    """One letter and the same as letter and accent must be two names: nothing is normalised on the way."""
    family.owner(f"\u00e9 {family.name}")
    assert app.owner(f"\u00e9 {family.name}").status == 200
    assert app.owner(f"e\u0301 {family.name}").status == 404


@pytest.mark.parametrize("name", SPECIAL)
def test_no_character_is_an_operator(app: Application, name: str) -> None:
    """What a query language takes for an operator must be a name like any other: nobody has it."""
    said = app.owner(name)
    assert (said.status, said.error) == (404, f"there is no owner {name!r}")


@pytest.mark.parametrize("name", SPECIAL)
def test_a_name_may_have_any_character(app: Application, family: Family, name: str) -> None:
    """An owner whose name has special characters must be found by exactly that name."""
    written = family.owner(f"{name} {family.name}")
    said = app.owner(f"{name} {family.name}")
    assert (said.status, said.body) == (200, written)


@pytest.mark.parametrize(
    "name", ["alice", "ALICE", "aLice", "chidi anagonye", "Chidi  Anagonye", "Alice ", " Alice", "Alic"]
)
def test_a_name_is_found_as_it_is_written_only(app: Application, name: str) -> None:
    """Case, blanks and beginnings must make a difference."""
    assert app.owner(name).status == 404


def test_names_that_differ_in_case_are_two_owners(app: Application, family: Family) -> None:
    """Two owners whose names differ only in case must each be found."""
    lower, upper = family.owner(f"{family.name} kim"), family.owner(f"{family.name} KIM")
    assert app.owner(f"{family.name} kim").body == lower
    assert app.owner(f"{family.name} KIM").body == upper


def test_a_long_name_is_only_unknown(app: Application) -> None:
    """A name of thousands of characters must be answered like any other that is unknown."""
    assert app.owner("Al" * 4000).status == 404


def test_a_path_that_is_not_there_is_404_in_json(app: Application) -> None:
    """A path that the application does not have must be answered in JSON, too."""
    assert app.ask("GET", "/owners").status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/", "GET"),
        ("DELETE", "/owner/Alice", "GET"),
        ("PUT", "/owner/Alice/pets", "POST"),
        ("PATCH", "/owner/Alice", "GET"),
    ],
)
def test_a_method_that_is_not_allowed_is_405(app: Application, method: str, path: str, allowed: str) -> None:
    """A method that a path does not have must be 405, with those that it has, and change nothing."""
    said = app.ask(method, path)
    assert said.status == 405
    assert allowed in said.headers["Allow"].split(", ")
    assert app.owner("Alice").status == 200


def test_a_name_is_read_once_from_its_percent_signs(app: Application, family: Family) -> None:
    """A name with a percent sign in it must be decoded once, not twice."""
    family.owner(f"%41 {family.name}")
    assert app.owner(f"%41 {family.name}").status == 200
    assert app.ask("GET", f"/owner/{quote(f'A {family.name}')}").status == 404
