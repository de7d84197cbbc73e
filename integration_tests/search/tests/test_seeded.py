"""The same application on an engine that starts empty and is seeded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import harness
from integration_tests.search.tests.suite import INDICES, Application, Engine, declared

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("compose", "embedded")  # a second stack, which nobody else has started
seeded = harness.stack_fixture("search_seeded", scope="session")


@pytest.fixture
def seeded_engine(seeded: harness.Stack) -> Iterator[Engine]:
    """The engine that was seeded."""
    with Engine(seeded.url("search", 9200)) as engine:
        yield engine


@pytest.mark.parametrize("index", INDICES)
def test_a_seeded_engine_holds_what_one_with_data_holds(seeded_engine: Engine, index: str) -> None:
    """Seeds must leave every document, under its id and with its values, as the image with data has it."""
    assert seeded_engine.made_with(index) == declared(index)


def test_the_application_answers_from_what_was_seeded(seeded: harness.Stack) -> None:
    """Names must be found exactly and pets be sorted, which takes the mapping that was declared, too."""
    with Application(seeded.url("app", 8080)) as app:
        assert app.names("Alice") == ["Bo", "Kit", "Mia", "Rex", "Zoë"]
        assert app.owner("Chidi").status == 404
