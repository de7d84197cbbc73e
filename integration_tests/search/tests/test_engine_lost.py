"""What the application does when its engine has lost something, is slow, or is not there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from opensearchpy import RequestError

from integration_tests.search.tests.suite import ALLOWED, PATIENCE, declared

if TYPE_CHECKING:
    import harness
    from integration_tests.search.tests.suite import Application, Engine

acts = pytest.mark.needs("compose", "embedded")  # what somebody else started is not ours to stop, restart or pause
LATE = 3.0
"""Seconds that a machine with much to do may take beside what the application is given."""


def test_a_lost_index_is_told_and_comes_back(app: Application, disturbed: Engine) -> None:
    """While the index of owners is gone the answer must be 503 with its name, not "unknown"; once it is back, 200."""
    disturbed.drop("owners")
    said = app.owner("Alice")
    assert said.status == 503
    assert "index" in said.error
    assert "lacks" in said.error
    disturbed.restore()
    assert app.owner("Alice").status == 200


def test_lost_pets_are_not_no_pets(app: Application, disturbed: Engine) -> None:
    """While the index of pets is gone an owner must not look as if without pets, and must be found."""
    disturbed.drop("pets")
    assert app.pets("Alice").status == 503
    assert app.owner("Alice").status == 200


def test_a_lost_index_is_not_made_by_a_new_pet(app: Application, disturbed: Engine) -> None:
    """A pet that comes while the index is gone must not have the engine make one, which would lack its mapping."""
    disturbed.drop("pets")
    assert app.add("Alice", "Kim").status == 503
    assert not disturbed.client.indices.exists(index="pets")


def test_documents_written_twice_are_there_once(app: Application, disturbed: Engine) -> None:
    """What the stack was made with must be the same when it is written once more."""
    before = {index: disturbed.count(index) for index in ("owners", "pets")}
    disturbed.restore()
    assert {index: disturbed.count(index) for index in ("owners", "pets")} == before
    assert app.pets("Alice").body["total"] == sum(pet["owner"] == "Alice" for pet in declared("pets"))


def test_malformed_json_is_the_senders_fault(app: Application, engine: Engine) -> None:
    """An engine that is sent half a query must refuse it with 400, and go on for the application."""
    with pytest.raises(RequestError) as refused:
        engine.client.search(index="owners", body='{"query": {')
    assert refused.value.status_code == 400
    assert app.owner("Alice").status == 200


@acts
def test_the_engine_may_be_restarted(stack: harness.Stack, app: Application, disturbed: Engine) -> None:
    """After the engine was restarted under it the application must answer again, without a restart of its own."""
    before = stack.service("app").pid
    assert app.owner("Alice").status == 200
    stack.service("search").restart()
    disturbed.wait_green()
    disturbed.restore()  # an engine may have had its documents in memory only
    app.is_back()
    assert app.names("Alice") == ["Bo", "Kit", "Mia", "Rex", "Zoë"]
    assert stack.service("app").pid == before


@acts
def test_without_an_engine_it_says_so_in_time(stack: harness.Stack, app: Application, disturbed: Engine) -> None:
    """While there is no engine the answer must be 503 within the application's own time-out; its root greets."""
    stack.service("search").kill()
    try:
        said = app.owner("Alice")
        assert (said.status, "search engine" in said.error) == (503, True)
        assert said.seconds < 2 * ALLOWED + LATE
        assert app.ask("GET", "/").status == 200
    finally:
        stack.service("search").start()
    disturbed.wait_green()
    disturbed.restore()
    app.is_back()


@acts
def test_a_slow_engine_is_left_in_time(stack: harness.Stack, app: Application, disturbed: Engine) -> None:
    """When the engine does not answer the application must: 503 after its own time-out, for many at a time."""
    stack.service("search").pause()
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: app.owner("Alice"), range(8)))
    finally:
        stack.service("search").unpause()
    assert {said.status for said in answers} == {503}
    assert {said.error for said in answers} == {f"the search engine did not answer in {ALLOWED:g} s"}
    assert all(ALLOWED * 0.9 < said.seconds < ALLOWED + LATE for said in answers), answers
    app.is_back()
    assert disturbed.count("owners") >= len(declared("owners"))


@acts
def test_it_ends_when_it_is_asked_to(stack: harness.Stack, app: Application) -> None:
    """TERM must end the application with exit code 0; started again it answers as before."""
    service = stack.service("app")
    service.stop()
    code = service.exit_code
    service.start()
    app.web.wait_for("/", timeout=PATIENCE)
    assert code == 0
    assert app.owner("Alice").status == 200
