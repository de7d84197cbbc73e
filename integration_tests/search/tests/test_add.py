"""New pets: there at once, once, and only if they mean something."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.search.tests.suite import Application, Engine, Family

MALFORMED = {
    "nothing": b"",
    "half": b'{"name": "Rex"',
    "comma": b'{"name": "Rex", "kind": "dog",}',
    "quotes": b"{'name': 'Rex', 'kind': 'dog'}",
    "list": b'["Rex", "dog"]',
    "text": b'"Rex"',
    "null": b"null",
    "two": b'{"name": "Rex", "kind": "dog"}{"name": "Bo", "kind": "dog"}',
    "latin-1": '{"name": "Zoë", "kind": "dog"}'.encode("latin-1"),
    "no-kind": b'{"name": "Rex"}',
    "number": b'{"name": 7, "kind": "dog"}',
    "blank": b'{"name": " ", "kind": "dog"}',
}


def test_a_new_pet_is_there_at_once(app: Application, family: Family) -> None:
    """A pet that was taken must be found by the next request."""
    said = app.add(family.name, "Rex", "dog")
    assert said.status == 201
    assert app.pets(family.name).body["pets"] == [said.body]
    assert (said.body["name"], said.body["kind"], said.body["owner"]) == ("Rex", "dog", family.name)


def test_a_pet_is_taken_once(app: Application, family: Family) -> None:
    """A pet of a name that the owner has must be 409, and change nothing."""
    first = app.add(family.name, "Rex", "dog").body
    said = app.add(family.name, "Rex", "cat")
    assert (said.status, said.error) == (409, "there is a pet 'Rex' already")
    assert app.pets(family.name).body["pets"] == [first]


def test_two_owners_may_have_pets_of_one_name(app: Application, family: Family) -> None:
    """What another owner calls its pet must not matter."""
    assert app.add(family.name, "Mia").status == 201
    assert "Mia" in app.names("Alice")


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_pet_is_refused(app: Application, family: Family, body: bytes) -> None:
    """A body that is no JSON object with a name and a kind must be 400 in words, and add nothing."""
    said = app.ask("POST", f"/owner/{family.name}/pets", body)
    assert (said.status, bool(said.error)) == (400, True)
    assert app.names(family.name) == []


def test_an_unknown_owner_gets_no_pet(app: Application, engine: Engine, ns: str) -> None:
    """A pet for somebody who is not there must be 404, and not be written."""
    assert app.add(ns, "Rex").status == 404
    assert engine.count("pets", {"term": {"owner": ns}}) == 0


def test_thirty_pets_are_thirty(app: Application, family: Family) -> None:
    """Of many pets that were taken one after the other, none must be lost."""
    names = [f"pet {number:03}" for number in range(30)]
    assert {app.add(family.name, name).status for name in names} == {201}
    assert app.names(family.name, size=1000) == names


def test_pets_that_come_together_all_stay(app: Application, family: Family) -> None:
    """Pets that are added at the same time must all be there."""
    names = [f"pet {number:02}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda name: app.add(family.name, name).status, names))
    assert said == [201] * len(names)
    assert app.names(family.name, size=1000) == names


def test_one_pet_that_comes_ten_times_at_once_is_one(app: Application, family: Family) -> None:
    """Of requests that add the same pet at the same time one must be taken and the others refused."""
    with ThreadPoolExecutor(10) as pool:
        said = sorted(pool.map(lambda _: app.add(family.name, "Rex").status, range(10)))
    assert said == [201] + [409] * 9
    assert app.names(family.name) == ["Rex"]


def test_requests_at_the_same_time_have_their_own_answers(app: Application, family: Family) -> None:
    """Each of many requests at the same time must be answered with what it asked for."""
    owners = {f"{number} {family.name}": family.owner(f"{number} {family.name}") for number in range(10)}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: (name, app.owner(name).body), [*owners] * 10))
    assert [body for _, body in answers] == [owners[name] for name, _ in answers]
