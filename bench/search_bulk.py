"""Documents put into a search engine by ``harness.helpers.search`` and by a seed, beside a loop of bulk requests."""

from __future__ import annotations

import http.client
import json
import sys
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING

from bench.project import EMBEDDED, ROOT, scratch_project
from bench.rounds import alternate
from harness import clock
from harness.helpers.search import Search
from harness.helpers.search.client import CHUNK
from harness.helpers.search_plain import PlainSearch, plant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.series import Series

TITLE = "100,000 documents into a search engine"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 2
LIMITS = (
    "The search engine: osmem-server takes a third of a millisecond for each document, some twenty times what the "
    "helper or a seed does. The helper notes each request for a failed test's report, a seed reads its lines."
)
DOCUMENTS, FEW = 100_000, 10_000  # FEW before what counts, and in a run of one round, as a quick one is
STACK, SERVICE, PORT = "opensearch", "search", 9200
FLOOR, HELPER, SEED = "bulk requests in a loop", "harness.helpers.search", "seed from a file"
GOAL = 1.25  # of the floor: 0.8 of its documents a second
ANSWER = 60.0


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Put the same documents into an index of its own each time, which is deleted afterwards."""
    counted = DOCUMENTS if rounds > 1 else FEW
    say(f"{counted:,} documents each time that counts")
    files = {count: _write(scratch / f"{count}.ndjson", count) for count in {FEW, counted}}
    with scratch_project(scratch, ROOT) as project, project.stack_up(STACK, EMBEDDED) as stack:
        endpoint = stack.endpoint(SERVICE, PORT)
        host, _, port = endpoint.partition(":")
        plain = PlainSearch(host, int(port), ANSWER)
        with Search(endpoint, timeout=ANSWER) as search:
            ways: dict[str, Callable[[str, int], object]] = {
                FLOOR: partial(_loop, host, int(port)),
                HELPER: lambda index, count: search.bulk(index, _with_ids(count)),
                SEED: lambda index, count: plant(plain, index, file=files[count]),
            }
            turns = {name: chain([FEW], repeat(counted)) for name in ways}
            seen = alternate(
                {name: partial(_timed, put, plain, turns[name]) for name, put in ways.items()}, rounds, say
            )
    return [seen.series(FLOOR, float), *(seen.series(way, float, against=FLOOR, goal=GOAL) for way in (HELPER, SEED))]


def _documents(count: int) -> Iterator[tuple[int, dict[str, object]]]:
    for number in range(count):
        yield number, {"name": f"name {number % 1000}", "city": f"city {number % 77}", "age": number % 90, "n": number}


def _with_ids(count: int) -> Iterator[dict[str, object]]:
    return ({"_id": str(number), **document} for number, document in _documents(count))


def _write(file: Path, count: int) -> Path:
    with file.open("w") as lines:
        lines.writelines(f"{json.dumps(document)}\n" for document in _with_ids(count))
    return file


def _loop(host: str, port: int, index: str, count: int) -> None:
    """Send as many documents at a time as the helper does, over one connection, and refresh the index at the end."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER)
    try:
        lines: list[str] = []
        for number, document in _documents(count):
            lines.append(f'{{"index":{{"_id":"{number}"}}}}\n{json.dumps(document)}\n')
            if len(lines) == CHUNK:
                _post(connection, f"/{index}/_bulk?filter_path=errors", "".join(lines))
                lines.clear()
        if lines:
            _post(connection, f"/{index}/_bulk?filter_path=errors", "".join(lines))
        _post(connection, f"/{index}/_refresh", "")
    finally:
        connection.close()


def _post(connection: http.client.HTTPConnection, path: str, body: str) -> None:
    connection.request("POST", path, body.encode(), {"Content-Type": "application/x-ndjson"})
    answer = connection.getresponse()
    document = json.loads(answer.read())
    assert answer.status == http.HTTPStatus.OK, document
    assert not document.get("errors"), document


def _timed(put: Callable[[str, int], object], plain: PlainSearch, counts: Iterator[int]) -> float:
    index, count = "bench", next(counts)
    plain.drop(index)
    plain.make(index, {"settings": {"index.number_of_replicas": 0}})
    began = clock.now()
    put(index, count)
    seconds = clock.now() - began
    missing = plain.unmet("green", {index: count})
    assert not missing, missing
    plain.drop(index)
    return seconds


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "search_bulk", "--no-history", *sys.argv[1:]]))
