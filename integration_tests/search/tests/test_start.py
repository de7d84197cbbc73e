"""What is there when the stack counts as ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration_tests.search.tests.suite import INDICES, declared, without_id

if TYPE_CHECKING:
    from integration_tests.search.tests.suite import Application, Engine


def test_it_says_hello(app: Application) -> None:
    """The root must answer 200 with a greeting."""
    said = app.ask("GET", "/")
    assert (said.status, said.body) == (200, {"message": "hello"})


@pytest.mark.parametrize("index", INDICES)
def test_every_document_is_there_from_the_start(engine: Engine, index: str) -> None:
    """Each index must hold every document that the stack was made with, and each of them as it was written."""
    ids = [document["_id"] for document in declared(index)]
    found = engine.web.post(f"/{index}/_mget", json={"ids": ids}).json()["docs"]
    assert {one["_id"]: one.get("_source") for one in found} == {one["_id"]: without_id(one) for one in declared(index)}
    terms = engine.web.post(f"/{index}/_search", json={"query": {"ids": {"values": ids}}, "size": 0}).json()
    assert terms["hits"]["total"]["value"] == len(ids)


@pytest.mark.parametrize("index", INDICES)
def test_names_are_kept_as_they_are_written(engine: Engine, index: str) -> None:
    """The indices must have the mappings that were declared: a name is one keyword, not words."""
    mapping = engine.web.get(f"/{index}/_mapping").json()[index]["mappings"]["properties"]
    assert mapping["name"]["type"] == "keyword"


def test_the_cluster_is_green(engine: Engine) -> None:
    """A stack that is ready must have every shard where it belongs."""
    assert engine.web.get("/_cluster/health").json()["status"] == "green"
