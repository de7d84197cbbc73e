"""Owners and pets as the search engine has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opensearchpy import ConflictError, ConnectionTimeout, NotFoundError, OpenSearch, OpenSearchException
from opensearchpy import ConnectionError as NoConnection

OWNERS, PETS = "owners", "pets"
WINDOW = 10_000
"""As far as an engine counts from the first hit to that of a page (``index.max_result_window``)."""


class UnknownOwnerError(Exception):
    """There is no owner of that name."""


class PetExistsError(Exception):
    """The owner has a pet of that name."""


class EngineDownError(Exception):
    """The search engine cannot be asked; the words say why."""


@dataclass(frozen=True)
class Page:
    """A part of what an owner has: ``total`` is how many there are of all."""

    total: int
    pets: list[dict[str, Any]]


class Store:
    """What the application asks the search engine for; every request has the time-out that was given."""

    def __init__(self, url: str, timeout: float) -> None:
        # A connection that the engine closed when it was restarted is tried once more; one that is slow is not.
        self._engine = OpenSearch(url, timeout=timeout, max_retries=1, retry_on_timeout=False)
        self._timeout = timeout

    def owner(self, name: str) -> dict[str, Any]:
        """Return the owner of exactly that name. Raises UnknownOwnerError, EngineDownError."""
        found = self._search(OWNERS, {"query": {"term": {"name": name}}, "size": 1})
        if not found["hits"]:
            raise UnknownOwnerError(name)
        return dict(found["hits"][0]["_source"])

    def pets(self, owner: str, page: int, size: int) -> Page:
        """Return a page (from 1 on) of an owner's pets, sorted by name. Raises UnknownOwnerError, EngineDownError."""
        self.owner(owner)
        body = {
            "query": {"term": {"owner": owner}},
            "sort": ["name", "tag"],
            "from": (page - 1) * size,
            "size": size,
            "track_total_hits": True,
        }
        found = self._search(PETS, body)
        return Page(found["total"]["value"], [hit["_source"] for hit in found["hits"]])

    def add(self, owner: str, name: str, kind: str) -> dict[str, Any]:
        """Give an owner a pet and return it; it is found from then on.

        Raises:
            UnknownOwnerError: there is no such owner.
            PetExistsError: the owner has one of that name.
            EngineDownError: the engine cannot be asked.
        """
        self.owner(owner)
        # An engine would make an index that is not there, and without its mapping.
        body = {"query": {"bool": {"filter": [{"term": {"owner": owner}}, {"term": {"name": name}}]}}, "size": 0}
        if self._search(PETS, {**body, "track_total_hits": True})["total"]["value"]:
            raise PetExistsError(name)
        tag = hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:16]
        pet = {"name": name, "kind": kind, "owner": owner, "tag": tag}
        with self._told():
            try:
                self._engine.index(index=PETS, body=pet, id=tag, op_type="create", refresh=True)
            except ConflictError as error:
                raise PetExistsError(name) from error
        return pet

    def _search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._told():
            return dict(self._engine.search(index=index, body=body)["hits"])

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except NotFoundError as error:
            raise EngineDownError(f"the search engine lacks an index: {error.error}") from error
        except ConnectionTimeout as error:
            raise EngineDownError(f"the search engine did not answer in {self._timeout:g} s") from error
        except NoConnection as error:
            raise EngineDownError("the search engine cannot be reached") from error
        except OpenSearchException as error:
            raise EngineDownError(f"the search engine refused: {error}") from error
