"""A broker that wants to know who comes: no embedded broker does, so Apache Kafka is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from suite import ANY, PATIENCE, Forwarder, needs, update_of

from harness.helpers.kafka import Kafka, KafkaFailure, Security
from integration_tests.forwarder.users import USER, password

if TYPE_CHECKING:
    from collections.abc import Iterator

    import harness

pytestmark = [pytest.mark.needs("compose"), needs("passwords")]
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


def security(mechanism: str, secret: str) -> Security:
    """Return how the broker of the stack ``sasl`` is logged in to."""
    return Security(protocol="SASL_PLAINTEXT", mechanism=mechanism, user=USER, password=secret)


@pytest.fixture
def forwarder(sasl: harness.Stack) -> Iterator[Forwarder]:
    """The forwarder of the stack ``sasl``, without streams."""
    broker = sasl.endpoint("kafka_sasl", 9094)
    with Kafka(broker, security=security("SCRAM-SHA-256", password()), patience=PATIENCE) as kafka:
        subject = Forwarder(kafka, "TEST_sasl")
        yield subject
        subject.reset()


def test_a_forwarder_with_a_password_does_its_work(forwarder: Forwarder) -> None:
    """Commands, status and data must go through a broker that asks for a password, each by another mechanism."""
    with forwarder.data() as data:
        command = ANY.add(*forwarder.streams(["FAKE:1"], "fake"))
        assert forwarder.status_after(command, bool, "with a stream") == {"FAKE:1"}
        assert [int(update_of(one).value) for one in data.wait_for_n(3, what="fake updates")] == [1, 2, 3]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_broker_takes_the_right_password(sasl: harness.Stack, mechanism: str) -> None:
    """Whoever knows the password must be let in, by each mechanism."""
    with Kafka(sasl.endpoint("kafka_sasl", 9094), security=security(mechanism, password())) as kafka:
        assert "TEST_saslData" in kafka.topics()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_broker_refuses_a_wrong_password(sasl: harness.Stack, mechanism: str) -> None:
    """Whoever has a wrong password must be told so, without the password."""
    with (
        Kafka(sasl.endpoint("kafka_sasl", 9094), security=security(mechanism, "far away")) as kafka,
        pytest.raises(KafkaFailure) as caught,
    ):
        kafka.topics()
    assert USER in str(caught.value)
    assert "far away" not in str(caught.value)


def test_no_password_is_in_the_folder_of_the_run(sasl: harness.Stack, forwarder: Forwarder) -> None:
    """What a run keeps, logs included, must not have the password of the forwarder in it."""
    forwarder.running()
    files = [path for path in sasl.run_dir.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if password().encode() in path.read_bytes()] == []
