"""Fixtures of the search suite: the application, the engine behind it, and an owner of each test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration_tests.search.tests.suite import Application, Engine, Family

if TYPE_CHECKING:
    from collections.abc import Iterator

    import harness


@pytest.fixture
def app(stack: harness.Stack) -> Iterator[Application]:
    """The application."""
    with Application(stack.url("app", 8080)) as application:
        yield application


@pytest.fixture
def engine(stack: harness.Stack) -> Iterator[Engine]:
    """The search engine behind the application."""
    with Engine(stack.url("search", 9200)) as engine:
        yield engine


@pytest.fixture
def disturbed(engine: Engine, app: Application) -> Iterator[Engine]:
    """The engine for a test that disturbs it: afterwards it holds what it held, and the application answers."""
    yield engine
    engine.wait_green()
    engine.restore()
    app.is_back()


@pytest.fixture
def family(engine: Engine, ns: str) -> Iterator[Family]:
    """An owner whose name no other test has, without pets; what the test wrote of it is removed."""
    family = Family(engine, ns)
    family.owner(ns)
    yield family
    engine.remove("owners", city=ns)
    engine.remove("pets", owner=ns)
