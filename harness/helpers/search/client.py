"""A search engine: its health, its indices, what is put into them, and what searches find."""

from __future__ import annotations

import json
import weakref
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from opensearchpy import OpenSearch, OpenSearchException

from harness import witnesses
from harness.clock import Deadline, check_guards, now, poll
from harness.errors import WaitTimeout
from harness.helpers.http_plain import address_of
from harness.helpers.search.evidence import Journal
from harness.helpers.search.failures import SearchFailure, failure
from harness.helpers.search_plain import PlainSearch, SearchRefusal, index_body, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CHUNK = 2000
"""Documents of one bulk request."""


class Search:
    """A search engine (OpenSearch), by ``host:port`` or URL. Close it, or use it in ``with``.

    ``client`` is opensearch-py's own for all else, with the same time-out, and seen by a failed test's report too.

    Args:
        endpoint: where it is, such as ``stack.endpoint("search", 9200)``.
        timeout: seconds for one request.
        patience: seconds that anything is waited for unless told otherwise.
        prefix: what the names of indices begin with that ``index`` makes: the fixture ``ns`` makes them a test's own.
        evidence: whether a failed test's report shows the last requests.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout: float = 10.0,
        patience: float = 10.0,
        prefix: str = "",
        evidence: bool = True,
    ) -> None:
        host, port, _ = address_of(endpoint)
        self.url = f"http://{host}:{port}"
        self.timeout = timeout
        self.patience = patience
        self.prefix = prefix.lower()
        self._plain = PlainSearch(host, port, timeout)
        self.client: Any = OpenSearch(
            hosts=[{"host": host, "port": port}],
            timeout=timeout,
            max_retries=0,
            retry_on_timeout=False,
            http_compress=False,
        )
        self._journal = Journal(self.url) if evidence else None
        if self._journal:
            _watch(self.client.transport, self._journal)
            witnesses.call(self._journal)
            weakref.finalize(self, self._journal.leave)  # for those who forget to close it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; twice is no error."""
        self.client.close()
        if self._journal:
            self._journal.leave()

    # -- waiting ------------------------------------------------------------------------------------------------

    def wait_green(self, *, timeout: float | None = None) -> None:
        """Wait until the health is green.

        Raises:
            WaitTimeout: with the health that it had, and the index that is to blame.
            BrokenStack: the engine's service has died.
        """
        self._wait({}, "green", timeout)

    def wait_count(self, index: str, count: int, *, timeout: float | None = None) -> None:
        """Wait until an index has ``count`` documents or more, after a refresh.

        Raises:
            WaitTimeout: with the number that it had.
            BrokenStack: the engine's service has died.
        """
        self._wait({index: count}, "red", timeout)

    def _wait(self, indices: Mapping[str, int], status: str, timeout: float | None) -> None:
        __tracebackhide__ = True
        seconds = self.patience if timeout is None else timeout
        missing = "it was not asked"
        for _ in poll(Deadline.patient(seconds)):
            try:
                missing = self._plain.unmet(status, indices)
            except SearchRefusal as refusal:
                missing = refusal.summary
            if not missing:
                return
        raise WaitTimeout(f"Search engine {self.url} in {seconds:g} s: {missing}")

    # -- indices ------------------------------------------------------------------------------------------------

    def index(self, name: str = "", mappings: Mapping[str, Any] | None = None, **settings: Any) -> str:  # noqa: ANN401 - of the engine
        """Make an index whose name begins with ``prefix``, without replicas unless told; return its name.

        Args:
            name: what follows the prefix.
            mappings: its mappings.
            settings: its settings, such as ``number_of_replicas=1``.

        Raises:
            SearchFailure: the engine refused, as where it is there.
        """
        full = "-".join(part for part in (self.prefix, name) if part)
        body = index_body({"settings": settings, **({"mappings": dict(mappings)} if mappings else {})})
        self._call(f"index {full!r}", lambda: self.client.indices.create(index=full, body=body))
        return full

    def drop(self, *names: str) -> None:
        """Delete indices, read-only ones too; one that is not there is no error. Without names: all with the prefix.

        Raises:
            SearchFailure: the engine refused.
        """
        try:
            for name in names or self._own():
                self._plain.drop(name)
        except SearchRefusal as refusal:
            raise SearchFailure(f"drop: {refusal.summary}", status=refusal.status, kind=refusal.kind) from refusal

    def _own(self) -> list[str]:
        if not self.prefix:
            raise SearchFailure("drop without names needs a prefix: it deletes the indices whose names begin with that")
        found = self._call("indices", lambda: self.client.indices.get(index=f"{self.prefix}*"))
        return sorted(found)

    def refresh(self, index: str = "_all") -> None:
        """Have searches see what was put into an index. Raises SearchFailure."""
        self._call(f"refresh of {index!r}", lambda: self.client.indices.refresh(index=index))

    # -- documents ----------------------------------------------------------------------------------------------

    def bulk(self, index: str, documents: Iterable[Mapping[str, Any]], *, refresh: bool = True) -> int:
        """Put documents into an index, so many at a time; return how many. ``_id`` of one is its id.

        Raises:
            SearchFailure: one was refused: which, and the engine's reason; those before it may be there.
            BrokenStack: the engine's service has died.
        """
        count, rest = 0, iter(documents)
        while part := list(islice(rest, CHUNK)):
            check_guards()
            body = "".join(map(_lines, part))
            # The library makes no more of an answer than is needed: with all of it, reading takes as long as writing.
            answer = self._call(
                f"bulk of {index!r}",
                lambda body=body: self.client.bulk(
                    index=index, body=body, params={"filter_path": "errors,items.*.status,items.*.error"}
                ),
            )
            if answer.get("errors"):
                raise _refused(index, part, answer, count)
            count += len(part)
        if refresh:
            self.refresh(index)
        return count

    def count(self, index: str, query: Mapping[str, Any] | None = None) -> int:
        """Return how many documents searches see. Raises SearchFailure."""
        body = {"query": query} if query else None
        return int(self._call(f"count of {index!r}", lambda: self.client.count(index=index, body=body))["count"])

    def find(self, index: str, query: Mapping[str, Any] | None = None, **body: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - of the engine
        """Return the documents that a query finds, each with its ``_id``.

        Args:
            index: where.
            query: what; None finds all.
            body: more of the request, such as ``size`` (10 without it) and ``sort``.

        Raises:
            SearchFailure: the engine refused it.
        """
        whole = {**({"query": query} if query else {}), **body}
        answer = self._call(f"search of {index!r}", lambda: self.client.search(index=index, body=whole))
        return [{"_id": hit["_id"], **hit.get("_source", {})} for hit in answer["hits"]["hits"]]

    def _call(self, what: str, request: Any) -> Any:  # noqa: ANN401 - whatever the library answers
        __tracebackhide__ = True
        try:
            return request()
        except OpenSearchException as error:
            check_guards()  # that the engine died is the better reason
            raise failure(error, f"{what} at {self.url}") from error


def _lines(document: Mapping[str, Any]) -> str:
    """Return a document as two lines of a bulk request."""
    if "_id" not in document:
        return f'{{"index":{{}}}}\n{json.dumps(document)}\n'
    rest = dict(document)
    return f'{{"index":{{"_id":{json.dumps(str(rest.pop("_id")))}}}}}\n{json.dumps(rest)}\n'


def _refused(index: str, part: list[Mapping[str, Any]], answer: Mapping[str, Any], before: int) -> SearchFailure:
    """Return the error for the first document of a bulk request that was refused."""
    items = [item for line in answer["items"] for item in line.values()]
    refused = [(place, item) for place, item in enumerate(items) if "error" in item]
    place, item = refused[0]
    kind, words = reason_of(item["error"])
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    name = repr(part[place]["_id"]) if "_id" in part[place] else f"number {before + place + 1}"
    return SearchFailure(f"bulk of {index!r}: document {name}: {words}{more}", status=int(item["status"]), kind=kind)


def _watch(transport: Any, journal: Journal) -> None:  # noqa: ANN401 - of the library
    """Have a journal note each request of a transport of the library."""
    perform = transport.perform_request

    def noting(method: str, url: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the library calls it
        begun, body = now(), options.get("body")
        try:
            answer = perform(method, url, *args, **options)
        except OpenSearchException as error:
            told = failure(error, "")
            journal.note(f"{method} {url}", body, told.status, begun, told.summary.removeprefix(": "))
            raise
        journal.note(f"{method} {url}", body, 200, begun, answer)
        return answer

    transport.perform_request = noting
