"""What the tests of the application share: the application as its users see it, the engine behind it, and its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from harness.helpers import http
from harness.helpers.search import Search

if TYPE_CHECKING:
    from collections.abc import Iterable

DATA = Path(__file__).parent.parent / "engine" / "data"
INDICES = ("owners", "pets")
ALLOWED = 5.0
"""Seconds that the application gives the engine for one answer (``SEARCH_TIMEOUT``)."""
PATIENCE = 60.0
"""Seconds in which an engine or an application is back."""


def declared(index: str) -> list[dict[str, Any]]:
    """Return the documents that an index holds when the stack is ready, each with its ``_id``."""
    lines = (DATA / f"{index}.ndjson").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def without_id(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document as the engine gives it back."""
    return {key: value for key, value in document.items() if key != "_id"}


@dataclass(frozen=True)
class Said:
    """An answer of the application."""

    status: int
    body: Any
    headers: dict[str, str]
    seconds: float

    @property
    def error(self) -> str:
        """Why it was no success."""
        return str(self.body["error"])


class Application:
    """The application, asked as its users ask it."""

    def __init__(self, url: str) -> None:
        self.web = http.Session(url, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.web.close()

    def ask(self, method: str, path: str, data: bytes | None = None) -> Said:
        """Ask for a path, which is sent as it is written. Every answer must be JSON."""
        answer = self.web.request(method, path, data=data)
        assert answer.headers["Content-Type"] == "application/json", answer.text
        return Said(answer.status_code, answer.json(), dict(answer.headers), answer.elapsed.total_seconds())

    def owner(self, name: str) -> Said:
        """Ask for an owner."""
        return self.ask("GET", f"/owner/{quote(name, safe='')}")

    def pets(self, owner: str, **paging: object) -> Said:
        """Ask for pets of an owner."""
        return self.ask("GET", f"/owner/{quote(owner, safe='')}/pets?{urlencode(paging)}")

    def add(self, owner: str, name: str, kind: str = "cat") -> Said:
        """Give an owner a pet."""
        body = json.dumps({"name": name, "kind": kind}).encode()
        return self.ask("POST", f"/owner/{quote(owner, safe='')}/pets", body)

    def names(self, owner: str, **paging: object) -> list[str]:
        """Return the names of an owner's pets on one page."""
        said = self.pets(owner, **paging)
        assert said.status == 200, said
        return [pet["name"] for pet in said.body["pets"]]

    def is_back(self) -> None:
        """Wait until it answers from what the stack was made with. Raises WaitTimeout."""
        self.web.wait_for("/owner/Alice", json={"city": "Lund"}, timeout=PATIENCE)


class Engine(Search):
    """The search engine behind the application."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout=PATIENCE, patience=2 * PATIENCE)

    def made_with(self, index: str) -> list[dict[str, Any]]:
        """Return those documents of an index that the stack was made with, as they are found now, by their ids."""
        ids = [document["_id"] for document in declared(index)]
        found = self.find(index, {"ids": {"values": ids}}, size=len(ids))
        return sorted(found, key=lambda document: ids.index(document["_id"]))

    def remove(self, index: str, **term: str) -> None:
        """Remove the documents with a value. Where there is no such index there are none."""
        body = {"query": {"term": term}}
        self.client.delete_by_query(index=index, body=body, refresh=True, conflicts="proceed", ignore_unavailable=True)

    def restore(self) -> None:
        """Have every index hold what it held when the stack was ready, where it lacks that."""
        for index in INDICES:
            if not self.client.indices.exists(index=index):
                definition = json.loads((DATA / f"{index}.json").read_text(encoding="utf-8"))
                self.client.indices.create(index=index, body=definition)
            self.bulk(index, declared(index))


@dataclass(frozen=True)
class Family:
    """An owner of one test and its pets, as they were written."""

    engine: Engine
    name: str

    def owner(self, name: str) -> dict[str, Any]:
        """Write one more owner, of whatever name, and return it as it must be given back."""
        document = {"name": name, "city": self.name, "joined": "2024-02-29"}
        self.engine.bulk("owners", [{"_id": f"{self.name}/{name}", **document}])
        return document

    def pets(self, names: Iterable[str], *, owner: str = "") -> None:
        """Write pets of the owner, or of another one."""
        of = owner or self.name
        self.engine.bulk(
            "pets",
            (
                {"_id": f"{of}/{name}", "name": name, "kind": "cat", "owner": of, "tag": f"{self.name}/{name}"}
                for name in names
            ),
        )
