"""What the tests of the application share: the application as its users see it, the engine behind it, and its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from harness.helpers import http

if TYPE_CHECKING:
    from collections.abc import Iterable

DATA = Path(__file__).parent.parent / "engine" / "data"
INDICES = ("owners", "pets")
ALLOWED = 5.0
"""Seconds that the application gives the engine for one answer (``SEARCH_TIMEOUT``)."""
PATIENCE = 60.0
"""Seconds in which an engine or an application is back."""
CHUNK = 5000


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


class Engine:
    """The search engine behind the application."""

    def __init__(self, url: str) -> None:
        self.web = http.Session(url, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.web.close()

    def count(self, index: str, **term: str) -> int:
        """Return how many documents of an index can be found, all or those with a value."""
        query = {"term": term} if term else {"match_all": {}}
        answer = self.web.post(f"/{index}/_count", json={"query": query})
        answer.raise_for_status()
        return int(answer.json()["count"])

    def put(self, index: str, documents: Iterable[dict[str, Any]]) -> None:
        """Write documents, each under its ``_id``; they are found from then on."""
        waiting = list(documents)
        while waiting:
            chunk, waiting = waiting[:CHUNK], waiting[CHUNK:]
            lines = []
            for document in chunk:
                lines += [json.dumps({"index": {"_id": document["_id"]}}), json.dumps(without_id(document))]
            answer = self.web.post(
                f"/{index}/_bulk?refresh=true",
                data="".join(f"{line}\n" for line in lines).encode(),
                headers={"Content-Type": "application/x-ndjson"},
            )
            assert answer.ok, answer.text
            assert not answer.json()["errors"], answer.text

    def remove(self, index: str, **term: str) -> None:
        """Remove the documents with a value."""
        self.web.post(f"/{index}/_delete_by_query?refresh=true&conflicts=proceed", json={"query": {"term": term}})

    def restore(self) -> None:
        """Have every index hold what it held when the stack was ready, where it lacks that."""
        for index in INDICES:
            if self.web.head(f"/{index}").status_code == 404:
                definition = json.loads((DATA / f"{index}.json").read_text(encoding="utf-8"))
                self.web.put(f"/{index}", json=definition).raise_for_status()
            self.put(index, declared(index))


@dataclass(frozen=True)
class Family:
    """An owner of one test and its pets, as they were written."""

    engine: Engine
    name: str

    def owner(self, name: str) -> dict[str, Any]:
        """Write one more owner, of whatever name, and return it as it must be given back."""
        document = {"name": name, "city": self.name, "joined": "2024-02-29"}
        self.engine.put("owners", [{"_id": f"{self.name}/{name}", **document}])
        return document

    def pets(self, names: Iterable[str], *, owner: str = "") -> None:
        """Write pets of the owner, or of another one."""
        of = owner or self.name
        self.engine.put(
            "pets",
            (
                {"_id": f"{of}/{name}", "name": name, "kind": "cat", "owner": of, "tag": f"{self.name}/{name}"}
                for name in names
            ),
        )
