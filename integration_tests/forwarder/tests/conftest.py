"""Fixtures of the forwarder suite: stacks, clients, and a forwarder that each test finds without streams."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from subjects import DIALECTS, FEATURES
from suite import FC00, JSON, PATIENCE, PROBLEM, RF5K, SUBJECT, Forwarder

import harness
from harness.errors import CONFIGURATION
from harness.helpers.epics import Epics
from harness.helpers.kafka import Kafka

if TYPE_CHECKING:
    from collections.abc import Iterator

    from suite import Binary, Json

kafka_stack = harness.stack_fixture("kafka", scope="session")
ioc_stack = harness.stack_fixture("ioc", scope="session")
forwarding = harness.stack_fixture("forwarding", scope="module")
config_file = harness.stack_fixture("config_file", scope="module")
fake_pvs = harness.stack_fixture("fake_pvs", scope="module")
idle_updates = harness.stack_fixture("idle_updates", scope="module")
stored_config = harness.stack_fixture("stored_config", scope="module")
sasl = harness.stack_fixture("sasl", scope="module")
long_run = harness.stack_fixture("long_run", scope="module")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare what the long run is measured by."""
    group = parser.getgroup("forwarder")
    group.addoption("--long-run", default="8s", metavar="DURATION", help="how long the tests marked long run")
    group.addoption("--long-memory", type=float, default=32, metavar="MIB", help="by how much the subject may grow")
    group.addoption("--long-missed", type=int, default=0, metavar="N", help="how many updates may be missed")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and have stacks start the subject that was chosen."""
    config.addinivalue_line("markers", "long: runs as long as --long-run says")
    config.addinivalue_line("markers", "subject(dialect or feature, ...): is for forwarders that have these")
    if PROBLEM:
        pytest.exit(PROBLEM, returncode=CONFIGURATION)
    SUBJECT.set_in(os.environ)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, tests of what the subject does not have, before anything is started for them."""
    for item in items:
        needed = [name for marker in item.iter_markers("subject") for name in marker.args]
        if unknown := [name for name in needed if name not in (*DIALECTS, *FEATURES)]:
            raise pytest.UsageError(f"{item.nodeid}: mark.subject knows no {unknown[0]!r}")
        parameters = getattr(item, "callspec", None)
        given = parameters.params if parameters else {}
        needed += [given[name].name for name in ("dialect", "binary") if name in given]
        if reason := SUBJECT.lacks(needed):
            item.add_marker(pytest.mark.skip(reason=reason))


@contextmanager
def subject_of(stack: harness.Stack, prefix: str) -> Iterator[Forwarder]:
    """Give the forwarder of a stack; afterwards it has no streams."""
    with Kafka(stack.endpoint("kafka", 9092), patience=PATIENCE) as kafka:
        subject = Forwarder(kafka, prefix)
        yield subject
        subject.reset()


@pytest.fixture
def forwarder(forwarding: harness.Stack) -> Iterator[Forwarder]:
    """The forwarder of the stack ``forwarding``, without streams."""
    with subject_of(forwarding, "TEST_forwarder") as subject:
        yield subject


@pytest.fixture
def fake_forwarder(fake_pvs: harness.Stack) -> Iterator[Forwarder]:
    """The forwarder of the stack ``fake_pvs``, without streams."""
    with subject_of(fake_pvs, "TEST_fake") as subject:
        yield subject


@pytest.fixture
def idle_forwarder(idle_updates: harness.Stack) -> Iterator[Forwarder]:
    """The forwarder of the stack ``idle_updates``, without streams."""
    with subject_of(idle_updates, "TEST_idle") as subject:
        yield subject


@pytest.fixture(scope="module")
def ioc(ioc_stack: harness.Stack) -> Iterator[Epics]:
    """The IOC."""
    with Epics(ca=ioc_stack.endpoint("ioc", 5064), pva=ioc_stack.endpoint("ioc", 5075)) as client:
        yield client


@pytest.fixture(params=["ca", "pva"])
def provider(request: pytest.FixtureRequest) -> str:
    """Channel Access and pvAccess in turn."""
    return str(request.param)


@pytest.fixture(params=[JSON, RF5K, FC00], ids=lambda one: one.name)
def dialect(request: pytest.FixtureRequest) -> Json | Binary:
    """Each dialect of the commands in turn."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=[RF5K, FC00], ids=lambda one: one.name)
def binary(request: pytest.FixtureRequest) -> Binary:
    """Each dialect that knows wildcards in turn."""
    return request.param  # type: ignore[no-any-return]
