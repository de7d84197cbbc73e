"""What users see when the platform is restarted, and when its database is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import clock
from integration_tests.platform.tests.suite import FLAT, PRICES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import harness
    from integration_tests.platform.tests.suite import Deployer, Model, Platform

GONE = 5.0
"""Seconds without a database."""
BACK = 20.0
"""Seconds in which the platform or its database is back."""
SAYS = "the database cannot be reached; try again later"


@pytest.fixture
def django(stack: harness.Stack, platform: Platform) -> Iterator[harness.Service]:
    """The platform's process for a test that disturbs it; afterwards it serves."""
    service = stack.service("django")
    yield service
    service.start()
    platform.web.wait_for("/ready", timeout=BACK)


@pytest.fixture
def db(stack: harness.Stack, platform: Platform) -> Iterator[harness.Service]:
    """The database for a test that takes it away; afterwards it is back."""
    if "db" not in stack.services:
        pytest.skip("a file is the database of this stack, which cannot be away")
    service = stack.service("db")
    yield service
    service.start()
    platform.web.wait_for("/api/quota", timeout=BACK)


def test_a_restarted_platform_knows_what_is_deployed(django: harness.Service, model: Model, deployer: Deployer) -> None:
    """After a restart of the platform, what was deployed must be as it was, on the same servers, with the same key."""
    asleep, second = model.deploy("price-1.onnx"), model.deploy("price-2.onnx")
    second.act("promote")
    asleep.scale(0)
    before, running, pid = model.platform.get(model.path), deployer.running, django.pid
    django.restart()
    model.platform.web.wait_for("/ready", timeout=BACK)
    assert django.pid != pid
    assert model.platform.get(model.path) == before
    assert deployer.running == running
    assert model.says() == (PRICES["price-2.onnx"], 2)
    assert asleep.invoke().body["outputs"] == [PRICES["price-1.onnx"]]


def test_a_killed_platform_can_still_delete(django: harness.Service, model: Model, deployer: Deployer) -> None:
    """After the platform was killed, what was deployed before must be deleted as ever."""
    version = model.deploy()
    instance = version.instance
    django.kill()
    assert instance in deployer.running
    django.start()
    model.platform.web.wait_for("/ready", timeout=BACK)
    version.delete()
    assert instance not in deployer.running


def test_without_a_database_it_says_so_and_recovers(
    stack: harness.Stack, platform: Platform, db: harness.Service, starter: Model
) -> None:
    """While the database is gone every request must be 503 in words, and once it is back all must be as before."""
    told, pid = platform.get(starter.path), stack.service("django").pid
    db.stop()
    gone = clock.Deadline.after(GONE)
    for _ in clock.poll(gone, longest=0.25):
        assert platform.ask("GET", starter.path).told == (503, SAYS)
        assert starter.invoke([FLAT]).told == (503, SAYS)
    assert platform.ask("GET", "/ready").status == 200
    db.start()
    platform.web.wait_for(starter.path, timeout=BACK)
    assert platform.get(starter.path) == told
    assert starter.says() == (PRICES["price-1.onnx"], 1)
    assert stack.service("django").pid == pid


def test_nothing_is_deployed_without_a_database(model: Model, db: harness.Service, deployer: Deployer) -> None:
    """A deployment while the database is gone must be 503, and leave neither a server nor a version."""
    before = deployer.running
    db.stop()
    assert model.try_to_deploy().told == (503, SAYS)
    db.start()
    model.platform.web.wait_for(model.path, timeout=BACK)
    assert model.platform.get(model.path)["versions"] == []
    assert deployer.running == before
