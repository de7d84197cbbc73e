"""What the tests of the contract say to an engine, in terms of its HTTP interface alone.

The toolkit's helper and opensearch-py are left out on purpose: the contract is about the engine as any client sees it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.helpers.http_plain import ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PATIENCE = 60.0
"""Seconds that an answer may take."""


@dataclass(frozen=True)
class Reply:
    """What an engine answered: HTTP status, JSON (None for none) and text."""

    status: int
    json: Any
    text: str

    @property
    def kind(self) -> str:
        """The engine's word for an error."""
        error = self.json.get("error") if isinstance(self.json, dict) else None
        return str(error.get("type")) if isinstance(error, dict) else ""


@dataclass(frozen=True)
class Client:
    """A client of one engine, with one index of its own that is called ``name``."""

    endpoint: str
    name: str

    def send(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> Reply:
        """Make a request; ``body``: bytes as they are, else as JSON."""
        host, _, port = self.endpoint.rpartition(":")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        answer = ask(
            host,
            int(port),
            path,
            method=method,
            body=data,
            headers={"Content-Type": kind} if data is not None else {},
            timeout=PATIENCE,
        )
        assert not answer.problem, f"{method} {path}: {answer.problem}"
        try:
            return Reply(answer.status, answer.json(), answer.text)
        except ValueError:
            return Reply(answer.status, None, answer.text)

    def must(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> Any:
        """Make a request that must succeed; return its JSON."""
        reply = self.send(method, path, body, kind=kind)
        assert reply.status in (200, 201), f"{method} {path}: {reply.status} {reply.text[:500]}"
        return reply.json

    def create(self, properties: Mapping[str, Any] | None = None, index: str = "", **settings: Any) -> str:
        """Make an index of one shard without replicas; return its name."""
        name = index or self.name
        body: dict[str, Any] = {"settings": {"number_of_shards": 1, "number_of_replicas": 0, **settings}}
        if properties is not None:
            body["mappings"] = {"properties": properties}
        self.must("PUT", f"/{name}", body)
        return name

    def bulk(self, documents: Iterable[Mapping[str, Any]], index: str = "") -> Any:
        """Put documents into an index, by the id that ``_id`` says, and refresh it; return the answer."""
        lines = []
        for document in documents:
            rest = {key: value for key, value in document.items() if key != "_id"}
            action = {"_id": document["_id"]} if "_id" in document else {}
            lines += [json.dumps({"index": action}), json.dumps(rest)]
        body = "".join(f"{line}\n" for line in lines).encode()
        return self.must("POST", f"/{index or self.name}/_bulk?refresh=true", body, kind="application/x-ndjson")

    def search(self, query: object = None, index: str = "", **body: Any) -> Any:
        """Search an index; return the answer."""
        return self.must("POST", f"/{index or self.name}/_search", {**({"query": query} if query else {}), **body})

    def ids(self, query: object = None, **body: Any) -> list[str]:
        """Return the ids of the documents that a query finds, in the order of the answer."""
        return [hit["_id"] for hit in self.search(query, **body)["hits"]["hits"]]

    def found(self, query: object) -> set[str]:
        """Return the ids of the documents that a query finds."""
        return set(self.ids(query, size=1000))

    def count(self, index: str = "") -> int:
        """Return the number of documents that searches see."""
        return int(self.must("GET", f"/{index or self.name}/_count")["count"])
