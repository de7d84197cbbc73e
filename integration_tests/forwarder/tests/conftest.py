"""Fixtures of the forwarder suite: stacks, clients, and a forwarder that each test finds without streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from suite import PATIENCE, Forwarder

import harness
from harness.helpers.epics import Epics
from harness.helpers.kafka import Kafka

if TYPE_CHECKING:
    from collections.abc import Iterator

kafka_stack = harness.stack_fixture("kafka", scope="session")
ioc_stack = harness.stack_fixture("ioc", scope="session")
forwarding = harness.stack_fixture("forwarding", scope="module")
fake_pvs = harness.stack_fixture("fake_pvs", scope="module")


@pytest.fixture
def forwarder(forwarding: harness.Stack) -> Iterator[Forwarder]:
    """The forwarder of the stack ``forwarding``, without streams."""
    with Kafka(forwarding.endpoint("kafka", 9092), patience=PATIENCE) as kafka:
        subject = Forwarder(kafka, "TEST_forwarderConfig", "TEST_forwarderStatus", "TEST_forwarderData")
        yield subject
        subject.status_after(lambda channels: not channels, "without streams", cmd="stop_all")


@pytest.fixture
def fake_forwarder(fake_pvs: harness.Stack) -> Iterator[Forwarder]:
    """The forwarder of the stack ``fake_pvs``, without streams."""
    with Kafka(fake_pvs.endpoint("kafka", 9092), patience=PATIENCE) as kafka:
        subject = Forwarder(kafka, "TEST_fakeConfig", "TEST_fakeStatus", "TEST_fakeData")
        yield subject
        subject.status_after(lambda channels: not channels, "without streams", cmd="stop_all")


@pytest.fixture(scope="module")
def ioc(ioc_stack: harness.Stack) -> Iterator[Epics]:
    """The IOC."""
    with Epics(ca=ioc_stack.endpoint("ioc", 5064), pva=ioc_stack.endpoint("ioc", 5075)) as client:
        yield client


@pytest.fixture(params=["ca", "pva"])
def provider(request: pytest.FixtureRequest) -> str:
    """Channel Access and pvAccess in turn."""
    return str(request.param)
