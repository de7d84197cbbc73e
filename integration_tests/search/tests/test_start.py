"""What is there when the stack counts as ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration_tests.search.tests.suite import INDICES, declared

if TYPE_CHECKING:
    from integration_tests.search.tests.suite import Application, Engine


def test_it_says_hello(app: Application) -> None:
    """The root must answer 200 with a greeting."""
    said = app.ask("GET", "/")
    assert (said.status, said.body) == (200, {"message": "hello"})


@pytest.mark.parametrize("index", INDICES)
def test_every_document_is_there_from_the_start(engine: Engine, index: str) -> None:
    """Each index must hold every document that the stack was made with, and each of them as it was written."""
    assert engine.made_with(index) == declared(index)


@pytest.mark.parametrize("index", INDICES)
def test_names_are_kept_as_they_are_written(engine: Engine, index: str) -> None:
    """The indices must have the mappings that were declared: a name is one keyword, not words."""
    mapping = engine.client.indices.get_mapping(index=index)[index]["mappings"]["properties"]
    assert mapping["name"]["type"] == "keyword"


def test_the_cluster_is_green(engine: Engine) -> None:
    """A stack that is ready must have every shard where it belongs."""
    assert engine.client.cluster.health()["status"] == "green"
