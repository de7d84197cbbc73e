"""What the application makes of requests, on a store that is no engine."""

from __future__ import annotations

from typing import Any

import pytest
from petsearch.app import make_app
from petsearch.settings import BadSettingError, read_settings
from petsearch.store import EngineDownError, Page, PetExistsError, UnknownOwnerError


class Shelf:
    """A store of one owner with three pets."""

    def owner(self, name: str) -> dict[str, Any]:
        if name == "down":
            raise EngineDownError("the search engine cannot be reached")
        if name != "Ada":
            raise UnknownOwnerError(name)
        return {"name": "Ada", "city": "Lund"}

    def pets(self, owner: str, page: int, size: int) -> Page:
        self.owner(owner)
        return Page(3, [{"name": name} for name in ("Bo", "Kit", "Rex")][(page - 1) * size : page * size])

    def add(self, owner: str, name: str, kind: str) -> dict[str, Any]:
        self.owner(owner)
        if name == "Rex":
            raise PetExistsError(name)
        return {"name": name, "kind": kind, "owner": owner}


@pytest.fixture
def client() -> Any:
    """A client of the application."""
    return make_app(Shelf()).test_client()  # type: ignore[arg-type]


def test_hello(client: Any) -> None:
    """The root must answer without an engine."""
    assert client.get("/").get_json() == {"message": "hello"}


def test_an_owner_is_given_as_stored(client: Any) -> None:
    """An owner who is there must be given as the store has them."""
    assert client.get("/owner/Ada").get_json() == {"name": "Ada", "city": "Lund"}


@pytest.mark.parametrize("path", ["/owner/Eve", "/owner/Eve/pets", "/owner/", "/nowhere"])
def test_what_is_unknown_is_404_in_json(client: Any, path: str) -> None:
    """An owner or a path that is not there must be 404, in JSON."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.get_json()["error"]


def test_pages_are_cut_by_the_store(client: Any) -> None:
    """The second page of two must have the third pet, and how many there are of all."""
    found = client.get("/owner/Ada/pets?page=2&size=2").get_json()
    assert found == {"owner": "Ada", "page": 2, "size": 2, "total": 3, "pets": [{"name": "Rex"}]}


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "size=0", "size=1001", "size=", "page=11&size=1000"])
def test_paging_that_means_nothing_is_400(client: Any, query: str) -> None:
    """A page that cannot be had must be refused in words."""
    answer = client.get(f"/owner/Ada/pets?{query}")
    assert answer.status_code == 400
    assert "page" in answer.get_json()["error"] or "size" in answer.get_json()["error"]


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '"Rex"', "{}", '{"name": 1, "kind": "cat"}', '{"name": " ", "kind": ""}']
)
def test_a_pet_that_is_none_is_400(client: Any, body: str) -> None:
    """A body that is no JSON object with a name and a kind must be refused."""
    assert client.post("/owner/Ada/pets", data=body).status_code == 400


def test_a_pet_is_added_once(client: Any) -> None:
    """A new pet must be 201, one that is there 409."""
    assert client.post("/owner/Ada/pets", json={"name": "Kim", "kind": "cat"}).status_code == 201
    assert client.post("/owner/Ada/pets", json={"name": "Rex", "kind": "dog"}).status_code == 409


def test_an_engine_that_is_down_is_503(client: Any) -> None:
    """When the engine cannot be asked the answer must be 503 and say so."""
    answer = client.get("/owner/down")
    assert (answer.status_code, answer.get_json()) == (503, {"error": "the search engine cannot be reached"})


def test_a_method_that_is_not_allowed_names_those_that_are(client: Any) -> None:
    """405 must come with the methods that are allowed."""
    answer = client.delete("/owner/Ada/pets")
    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize(
    "environ", [{"SEARCH_URL": "search:9200"}, {"SEARCH_TIMEOUT": "0"}, {"SEARCH_TIMEOUT": "x"}, {"LISTEN": "8080"}]
)
def test_a_setting_that_means_nothing_is_named(environ: dict[str, str]) -> None:
    """A setting that means nothing must be refused by its name."""
    with pytest.raises(BadSettingError, match=next(iter(environ))):
        read_settings(environ)
