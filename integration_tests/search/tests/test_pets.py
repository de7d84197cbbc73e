"""Pets: all of an owner's, nobody else's, and in pages of which none is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration_tests.search.tests.suite import declared, without_id

if TYPE_CHECKING:
    from integration_tests.search.tests.suite import Application, Family

MANY = 10_050
"""More than an engine counts unless it is asked to, and than it pages through (10,000)."""


@pytest.mark.parametrize("owner", ["Alice", "Bjørn", "Chidi Anagonye"])
def test_pets_are_their_owners(app: Application, owner: str) -> None:
    """The pets of an owner must be those that were stored, each with its values, sorted by name, and nobody else's."""
    pets = sorted(
        (without_id(pet) for pet in declared("pets") if pet["owner"] == owner), key=lambda pet: pet["name"].encode()
    )
    said = app.pets(owner)
    assert said.status == 200
    assert said.body == {"owner": owner, "page": 1, "size": 10, "total": len(pets), "pets": pets}


def test_one_name_of_two_pets_is_two_pets(app: Application) -> None:
    """Pets of one name that have two owners must each be with its own."""
    tags = [
        next(pet["tag"] for pet in app.pets(owner).body["pets"] if pet["name"] == "Rex")
        for owner in ("Alice", "Chidi Anagonye")
    ]
    assert tags == ["p01", "p13"]


def test_an_owner_without_pets_has_none(app: Application) -> None:
    """An owner without pets must be answered with an empty list, not with 404."""
    said = app.pets("Nobody")
    assert (said.status, said.body["total"], said.body["pets"]) == (200, 0, [])


def test_pets_of_an_unknown_owner_are_404(app: Application, family: Family) -> None:
    """Pets whose owner is not there must not be found, even if they are in the index."""
    family.pets(["Kit"], owner=f"{family.name} gone")
    said = app.pets(f"{family.name} gone")
    family.engine.remove("pets", owner=f"{family.name} gone")
    assert said.status == 404


def test_pets_do_not_follow_the_case_of_a_name(app: Application, family: Family) -> None:
    """The pets of an owner whose name differs only in case must not be mixed in."""
    other = family.name.swapcase()
    family.owner(other)
    family.pets(["Kit"])
    family.pets(["Max"], owner=other)
    try:
        assert (app.names(family.name), app.names(other)) == (["Kit"], ["Max"])
    finally:
        family.engine.remove("pets", owner=other)


def test_pages_part_the_pets(app: Application, family: Family) -> None:
    """Pages must have every pet once, in order; the last one is shorter, and the next is empty."""
    names = [f"pet {number:02}" for number in range(25)]
    family.pets(names)
    pages = [app.names(family.name, page=page, size=10) for page in (1, 2, 3, 4)]
    assert pages == [names[:10], names[10:20], names[20:], []]
    assert app.pets(family.name, page=4).body["total"] == 25


def test_ten_is_a_page(app: Application, family: Family) -> None:
    """Without a word about it a page must be the first one of ten pets."""
    family.pets(f"pet {number:02}" for number in range(11))
    said = app.pets(family.name).body
    assert (said["page"], said["size"], said["total"], len(said["pets"])) == (1, 10, 11, 10)


def test_a_pet_of_an_owner_is_found_in_any_script(app: Application, family: Family) -> None:
    """Names of pets must come back by code point, sorted by their bytes."""
    names = ["Zoë", "Ål", "さくら", "🐱"]
    family.pets(reversed(names))
    assert app.names(family.name) == names


def test_ten_thousand_pets_are_all_there(app: Application, family: Family) -> None:
    """Of more than 10,000 pets the number must be right, and the pages must have the first 10,000, each once."""
    names = [f"pet {number:05}" for number in range(MANY)]
    family.pets(names)
    read = [name for page in range(1, 11) for name in app.names(family.name, page=page, size=1000)]
    assert app.pets(family.name, size=1).body["total"] == MANY
    assert read == names[:10_000]


def test_what_is_beyond_the_window_is_refused(app: Application) -> None:
    """A page behind the 10,000th pet must be refused in words, not fail in the engine."""
    assert app.pets("Alice", page=10, size=1000).status == 200
    said = app.pets("Alice", page=11, size=1000)
    assert (said.status, "10000" in said.error) == (400, True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, value)
        for key in ("page", "size")
        for value in ("0", "-1", "1.5", "x", "", "١", "1e3", "99999999999", " 1")
    ],
)
def test_paging_that_means_nothing_is_400(app: Application, key: str, value: str) -> None:
    """A page or a size that is no number from 1 on must be refused by its name, with what was seen."""
    said = app.pets("Alice", **{key: value})
    assert said.status == 400
    assert said.error.startswith(f"{key} is {value!r}, a number from 1 to ")
