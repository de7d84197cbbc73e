"""As much of a search engine's protocol (OpenSearch, over HTTP) as probes and seeds need, without a library."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness.errors import HarnessError
from harness.helpers.http_plain import Line, ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

CHUNK = 4 << 20  # bytes of one bulk request: an engine takes no more than 100 MB, and holds it in memory
SHOWN = 500
_GREENER = ("red", "yellow", "green")
_BODY = {"settings", "mappings", "aliases"}
_LINES = {"Content-Type": "application/x-ndjson"}
_JSON = {"Content-Type": "application/json"}
_REPLICAS = "number_of_replicas"
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_OUT_OF_HEAP = ("circuit_breaking_exception", "out_of_memory_error")
_EXISTS = "resource_already_exists_exception"


class SearchRefusal(HarnessError):
    """An engine refused a request, or did not answer it.

    Attributes:
        status: the HTTP status, 0 without an answer.
        kind: the engine's word for it, such as ``mapper_parsing_exception``.
    """

    def __init__(self, summary: str, *, status: int = 0, kind: str = "") -> None:
        super().__init__(summary)
        self.status = status
        self.kind = kind


def reason_of(error: object) -> tuple[str, str]:
    """Return the engine's word for an error, and its reason with what caused it at last, as one line."""
    if not isinstance(error, dict):
        return "", str(error)[:SHOWN]
    kind, reason = str(error.get("type") or ""), str(error.get("reason") or "")
    cause = error
    while isinstance(cause.get("caused_by"), dict):
        cause = cause["caused_by"]
    last = str(cause.get("reason") or "")
    words = f"{reason}: {last}" if last and last not in reason else reason
    if kind in _OUT_OF_HEAP or str(cause.get("type")) in _OUT_OF_HEAP:
        words = f"the engine is out of heap: {words}"
    return kind, f"{kind}: {' '.join(words.split())}"[:SHOWN]


@dataclass(frozen=True)
class PlainSearch:
    """An engine at an address.

    Attributes:
        host: its address.
        port: its port.
        timeout: seconds for each answer.
        line: the connection to it that is kept, None for one for each request.
    """

    host: str
    port: int
    timeout: float = 5.0
    line: Line | None = None

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = _JSON
    ) -> dict[str, Any]:
        """Make a request and return the JSON object that answers it.

        Raises:
            SearchRefusal: with the engine's reason, or why there is no answer that an engine would give.
        """
        line = self.line.ask if self.line else partial(ask, self.host, self.port, timeout=self.timeout)
        answer = line(path, method=method, body=body, headers=headers if body else {})
        if answer.problem:
            raise SearchRefusal(f"{self.host}:{self.port}: {answer.problem}")
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise SearchRefusal(f"it does not answer as a search engine: {answer}", status=answer.status)
        if answer.status >= 400:  # noqa: PLR2004 - an error of HTTP
            kind, words = reason_of(document.get("error", answer.text))
            raise SearchRefusal(words, status=answer.status, kind=kind)
        return document

    def unmet(self, status: str, indices: Mapping[str, int]) -> str:
        """Return what lacks for a health and for numbers of documents (index -> at least), "" when nothing does.

        Raises:
            SearchRefusal: it did not answer that.
        """
        missing = self._health(status)
        for index, wanted in indices.items():
            if missing:
                break
            missing = self._documents(index, wanted)
        return missing

    def _health(self, wanted: str) -> str:
        health = self.request("GET", "/_cluster/health?level=indices")
        status = str(health.get("status"))
        if status in _GREENER and _GREENER.index(status) >= _GREENER.index(wanted):
            return ""
        worst = sorted(
            (name, facts) for name, facts in health.get("indices", {}).items() if facts.get("status") == status
        )
        why = ""
        if worst:
            name, facts = worst[0]
            replicas, nodes = facts.get(_REPLICAS, 0), health.get("number_of_data_nodes", 1)
            why = f": index {name!r} is {status}"
            if replicas and nodes <= replicas:
                why += f", since it wants {replicas} replica{'s'[: replicas > 1]} on {nodes} node{'s'[: nodes > 1]}"
        return f"health is {status}, {wanted} was needed{why}"

    def _documents(self, index: str, wanted: int) -> str:
        path = f"/{quote(index, safe='')}"
        try:
            self.request("POST", f"{path}/_refresh")
            count = self.request("GET", f"{path}/_count").get("count")
        except SearchRefusal as refusal:
            if refusal.status == 404:  # noqa: PLR2004 - no such index
                return f"index {index!r} does not exist"
            raise
        if isinstance(count, int) and count >= wanted:
            return ""
        return f"index {index!r} has {count} of {wanted} documents"

    def make(self, index: str, body: Mapping[str, Any]) -> None:
        """Make an index; one that is there gets the mappings only. Raises SearchRefusal."""
        path = f"/{quote(index, safe='')}"
        try:
            self.request("PUT", path, json.dumps(body).encode())
        except SearchRefusal as refusal:
            if refusal.kind != _EXISTS:
                raise
            if body.get("mappings"):
                self.request("PUT", f"{path}/_mapping", json.dumps(body["mappings"]).encode())

    def drop(self, index: str) -> None:
        """Delete an index, if it is there, also one that was made read-only. Raises SearchRefusal."""
        path = f"/{quote(index, safe='')}"
        blocks = {"index.blocks.read_only": None, "index.blocks.read_only_allow_delete": None}
        try:
            self.request("PUT", f"{path}/_settings", json.dumps(blocks).encode())
            self.request("DELETE", path)
        except SearchRefusal as refusal:
            if refusal.status != 404:  # noqa: PLR2004 - no such index
                raise

    def bulk(self, index: str, actions: bytes) -> list[tuple[int, str]]:
        """Send the lines of a bulk request; return (place among its items, reason) of each that was refused.

        Raises:
            SearchRefusal: all of it was.
        """
        query = "filter_path=errors,items.*.status,items.*.error"  # a status has each item: their places stay
        answer = self.request("POST", f"/{quote(index, safe='')}/_bulk?{query}", actions, _LINES)
        if not answer.get("errors"):
            return []
        parts = [part for item in answer.get("items", ()) for part in item.values()]
        return [(place, reason_of(part["error"])[1]) for place, part in enumerate(parts) if "error" in part]


def index_body(document: object) -> dict[str, Any]:
    """Return what an index is made with from the JSON of a mapping file: mappings alone, or a whole body.

    Without a word of the file an index has no replicas: an engine of tests is a single node, on which an index with
    replicas never becomes green.
    """
    if not isinstance(document, dict):
        raise HarnessError("it is no JSON object")
    body = dict(document) if _BODY & document.keys() else {"mappings": document} if document else {}
    settings = body.get("settings") or {}
    index = settings.get("index")
    inner = index if isinstance(index, dict) else {}
    if not {_REPLICAS, f"index.{_REPLICAS}", "auto_expand_replicas"} & (settings.keys() | inner.keys()):
        body["settings"] = {**settings, f"index.{_REPLICAS}": 0}
    return body


def plant(engine: PlainSearch, index: str, *, file: Path | None = None, mapping: Path | None = None) -> int:
    """Make an index and put the documents of a file into it, so many at a time; return how many.

    Done twice it gives the same documents: each has the id that it is given there, or the number of its line.

    Args:
        engine: where to.
        index: its name. One that is there gets the mappings of ``mapping`` and the documents besides what it has.
        file: JSON objects, one a line; ``_id`` of one is its id and no part of it.
        mapping: JSON of mappings, or of a whole body (``settings``, ``mappings``, ``aliases``).

    Raises:
        HarnessError: a file is none of that, or the engine refused something; with file and line.
        OSError: a file cannot be read.
    """
    body = _read_mapping(mapping) if mapping else index_body({})
    try:
        engine.make(index, body)
    except SearchRefusal as refusal:
        raise HarnessError(f"{mapping.name if mapping else f'index {index!r}'}: {refusal.summary}") from refusal
    count = 0
    for lines, actions in _chunks(file) if file else ():
        _send(engine, index, str(file.name if file else ""), lines, actions)
        count += len(lines)
    engine.request("POST", f"/{quote(index, safe='')}/_refresh")
    return count


def _read_mapping(mapping: Path) -> dict[str, Any]:
    try:
        return index_body(json.loads(mapping.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{mapping.name}: it is no JSON: {error}") from error
    except HarnessError as error:
        raise HarnessError(f"{mapping.name}: {error.summary}") from error


def _send(engine: PlainSearch, index: str, name: str, lines: Sequence[int], actions: bytes) -> None:
    """Send documents. Raises HarnessError with the line of the first that was refused, or of the first of them all."""
    try:
        refused = engine.bulk(index, actions)
    except SearchRefusal as refusal:
        raise HarnessError(f"{name}:{lines[0]}-{lines[-1]}: {refusal.summary}") from refusal
    if refused:
        place, reason = refused[0]
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise HarnessError(f"{name}:{lines[place]}: {reason}{more}")


def _chunks(file: Path) -> Iterator[tuple[list[int], bytes]]:
    """Give the documents of a file as lines of bulk requests, with the numbers of their lines there."""
    numbers: list[int] = []
    parts: list[bytes] = []
    size = 0
    for number, action in _actions(file):
        numbers.append(number)
        parts.append(action)
        size += len(action)
        if size >= CHUNK:
            yield numbers, b"".join(parts)
            numbers, parts, size = [], [], 0
    if numbers:
        yield numbers, b"".join(parts)


def _actions(file: Path) -> Iterator[tuple[int, bytes]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if text:
                yield number, _action(text, number, file.name)


def _action(line: bytes, number: int, name: str) -> bytes:
    """Return the two lines of a bulk request for a document. Raises HarnessError when it is none."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{name}:{number}: it is no JSON: {error}: {line[:80].decode(errors='replace')}") from error
    if not isinstance(document, dict):
        raise HarnessError(f"{name}:{number}: a JSON object was needed: {line[:80].decode(errors='replace')}")
    given = document.pop("_id", None)
    if given is not None and not isinstance(given, str | int):
        raise HarnessError(f"{name}:{number}: _id is {given!r}, a text or a number was needed")
    source = line if given is None else _ENCODER.encode(document).encode()
    name = json.dumps(str(number if given is None else given))
    return b'{"index":{"_id":%s}}\n%s\n' % (name.encode(), source)
