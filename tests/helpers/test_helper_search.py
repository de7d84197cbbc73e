"""The helper of search engines, on the engine that the preset starts."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT
from projects import Project

from harness import procs, witnesses
from harness.clock import Deadline, add_guard, remove_guard
from harness.errors import BrokenStack, WaitTimeout
from harness.helpers.search import Search, SearchFailure
from harness.runs import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Stack

ENGINE = {"search": {"image": "opensearch", "ports": ["9200"], "x-harness": {"embedded": {"preset": "search"}}}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with an engine."""
    root = tmp_path_factory.mktemp("search")
    project = Project(root, root / "state")
    project.stack("s", ENGINE)
    run = project.run()
    with running(run):
        yield run.bring("s")


@pytest.fixture
def search(stack: Stack, ns: str) -> Iterator[Search]:
    """A client whose indices are this test's own."""
    with Search(stack.endpoint("search", 9200), prefix=ns) as search:
        yield search
        search.drop()


def test_documents_are_put_counted_found_and_dropped(search: Search) -> None:
    """What was put in bulk must be found by its id, and be gone with its index."""
    pets = search.index("pets", {"properties": {"name": {"type": "keyword"}}})
    assert pets == f"{search.prefix}-pets"
    assert search.bulk(pets, [{"_id": "rex", "name": "Rex"}, {"name": "Zoë"}]) == 2
    search.wait_green()
    search.wait_count(pets, 2)
    assert search.count(pets) == 2
    assert search.count(pets, {"term": {"name": "Zoë"}}) == 1
    assert search.find(pets, {"term": {"name": "Rex"}}) == [{"_id": "rex", "name": "Rex"}]
    search.client.indices.put_settings(index=pets, body={"index.blocks.read_only": True})
    search.drop()
    assert not search.client.indices.exists(index=pets)
    search.drop(pets)


def test_many_documents_go_in_many_requests(search: Search) -> None:
    """Documents beyond one request must all be there, from an iterator too."""
    assert search.bulk(search.index(), ({"n": number} for number in range(2500))) == 2500
    assert search.count(search.prefix) == 2500


def test_a_wait_says_what_lacked(search: Search) -> None:
    """A wait in vain must end with the numbers, or the health and the index that is to blame."""
    index = search.index("twins", number_of_replicas=1)
    with pytest.raises(WaitTimeout) as caught:
        search.wait_green(timeout=0.1)
    assert f"in 0.1 s: health is yellow, green was needed: index '{index}' is yellow" in caught.value.summary
    with pytest.raises(WaitTimeout) as counted:
        search.wait_count(index, 3, timeout=0.1)
    assert f"index '{index}' has 0 of 3 documents" in counted.value.summary


def test_refusals_are_told_in_the_engines_words(search: Search) -> None:
    """What the engine refuses must be told with its word, its reason and its status."""
    index = search.index("pets", {"properties": {"age": {"type": "integer"}}})
    with pytest.raises(SearchFailure) as second:
        search.bulk(index, [{"age": 1}, {"age": "old"}, {"age": "older"}])
    told = "document number 2: mapper_parsing_exception: failed to parse field [age] of type [integer]"
    assert told in second.value.summary
    with pytest.raises(SearchFailure) as named:
        search.bulk(index, [{"_id": "x", "age": "old"}, {"age": "older"}])
    assert "document 'x': mapper_parsing_exception: " in named.value.summary
    assert named.value.summary.endswith("(and 1 more)")
    with pytest.raises(SearchFailure) as twice:
        search.index("pets")
    assert (twice.value.status, twice.value.kind) == (400, "resource_already_exists_exception")
    with pytest.raises(SearchFailure) as missing:
        search.find(f"{index}-none")
    assert (missing.value.status, missing.value.kind) == (404, "index_not_found_exception")
    search.client.indices.put_settings(index=index, body={"index.blocks.read_only": True})
    with pytest.raises(SearchFailure) as closed:
        search.bulk(index, [{"age": 1}])
    assert (closed.value.status, closed.value.kind) == (403, "cluster_block_exception")
    assert "read-only" in closed.value.summary


def test_all_indices_are_never_dropped(stack: Stack) -> None:
    """Without a prefix the client must not delete what it was not told to."""
    with Search(stack.endpoint("search", 9200)) as search, pytest.raises(SearchFailure, match="needs a prefix"):
        search.drop()


def test_the_last_requests_are_evidence(search: Search) -> None:
    """A failed test's report must show what was asked, how it was answered, and nothing from before the test."""
    index = search.index()
    since = witnesses.begin()
    search.bulk(index, [{"_id": "a", "n": 1, "password": "hush"}])
    search.find(index, {"match": {"n": 1}})
    with pytest.raises(SearchFailure):
        search.find("none")
    told = witnesses.hear(since)[f"search {search.url}"]
    lines = told.splitlines()
    assert lines[0] == "its last requests:"
    assert "hush" not in told
    assert any(f'POST /{index}/_search {{"query": {{"match": {{"n": 1}}}}}} -> 200' in line for line in lines)
    assert "1 hits (a), took: " in told
    assert "POST /none/_search {} -> 404" in lines[-1]
    assert "index_not_found_exception" in lines[-1]
    assert witnesses.hear(witnesses.begin()).get(f"search {search.url}") is None


def test_an_engine_that_died_is_a_broken_stack(project: Project) -> None:
    """A wait and a request must end with the death of the engine's service, not with a time-out."""
    project.stack("s", ENGINE)
    run = project.run()
    with pytest.raises(BrokenStack), running(run):  # noqa: PT012 - all of it is about the end
        stack = run.bring("s")
        with Search(stack.endpoint("search", 9200)) as search:
            os.kill(stack.service("search").pid, signal.SIGKILL)
            with pytest.raises(BrokenStack, match="search"):
                search.wait_count("pets", 1, timeout=20)
        raise BrokenStack("as seen")


def test_a_guard_ends_requests() -> None:
    """What a guard raises must be the reason why a request failed."""

    def dead() -> None:
        raise BrokenStack("service 'search' has died")

    with Search("127.0.0.1:1", evidence=False) as search:
        with pytest.raises(SearchFailure, match=r"count of 'a' at http://127\.0\.0\.1:1: "):
            search.count("a")
        add_guard(dead)
        try:
            with pytest.raises(BrokenStack, match="has died"):
                search.count("a")
        finally:
            remove_guard(dead)


def test_the_library_is_loaded_by_who_uses_it() -> None:
    """Probes and seeds of a search engine must not load opensearch-py, which takes half a second."""
    code = "import sys, harness, harness.seeding, harness.readiness; sys.exit('opensearchpy' in sys.modules)"
    assert procs.run([sys.executable, "-c", code], timeout=Deadline.patient(60).remaining(), cwd=ROOT).code == 0
