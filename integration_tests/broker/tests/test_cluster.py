"""The broker as a whole: its description, its settings, who may come in, more than one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

import harness
from integration_tests.broker.client import PATIENCE, Broker, numbered, only, refused, result, values

if TYPE_CHECKING:
    from collections.abc import Iterator


def setting(broker: Broker, topic: str, name: str) -> ConfigEntry:
    """Return a setting of a topic."""
    return only(broker.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))[name]


def test_describe_cluster(broker: Broker) -> None:
    """The cluster has an id, and one node, its controller, with the address that clients connect to."""
    found = result(broker.admin.describe_cluster(request_timeout=PATIENCE))
    assert found.cluster_id
    assert [f"{one.host}:{one.port}" for one in found.nodes] == [broker.bootstrap]
    assert found.controller.id == found.nodes[0].id


def test_describe_topic(broker: Broker, ns: str) -> None:
    """A topic's settings are told: what was set, and the defaults of the others."""
    broker.create(ns, config={"retention.ms": "1234567"})
    found = setting(broker, ns, "retention.ms")
    assert (found.value, found.is_default) == ("1234567", False)
    found = setting(broker, ns, "cleanup.policy")
    assert (found.value, found.is_default) == ("delete", True)


def test_alter_topic(broker: Broker, ns: str) -> None:
    """One setting of a topic can be changed; the others stay."""
    broker.create(ns, config={"retention.ms": "1234567"})
    change = ConfigEntry("max.message.bytes", "2000000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, ns, incremental_configs=[change])
    only(broker.admin.incremental_alter_configs([resource]))
    assert [setting(broker, ns, name).value for name in ("max.message.bytes", "retention.ms")] == ["2000000", "1234567"]


def test_describe_unknown_topic(broker: Broker, ns: str) -> None:
    """To ask for the settings of a topic that is not there is refused as such."""
    asked = broker.admin.describe_configs([ConfigResource(ResourceType.TOPIC, ns)])
    assert refused(asked) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_describe_broker(broker: Broker) -> None:
    """The broker's own settings are told, auto.create.topics.enable=false among them."""
    (node,) = result(broker.admin.describe_cluster(request_timeout=PATIENCE)).nodes
    found = only(broker.admin.describe_configs([ConfigResource(ResourceType.BROKER, str(node.id))]))
    assert found["auto.create.topics.enable"].value == "false"


def test_log_in(broker: Broker) -> None:
    """A client with a password (SASL) is not let in where no log-in was set up."""
    login = {"sasl_mechanism": "PLAIN", "sasl_username": "nobody", "sasl_password": "wrong"}
    stranger = broker.producer(security_protocol="SASL_PLAINTEXT", **login)
    with pytest.raises(KafkaException):
        stranger.list_topics(timeout=2)


@pytest.fixture(scope="module")
def other(
    stack: harness.Stack, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[harness.Stack]:
    """A second broker, from the same file on the same engine, beside the first."""
    with pytest.MonkeyPatch.context() as patch:
        # A run of its own; ``latest`` among the logs stays the run of the suite.
        patch.setenv("HARNESS_LOGS", str(tmp_path_factory.mktemp("other")))
        with harness.stack_up(pytestconfig.getoption("harness_stack") or stack.name, engine=stack.engine) as other:
            yield other


def test_side_by_side(broker: Broker, other: harness.Stack, ns: str) -> None:
    """Two brokers on one machine have equal ports on two addresses, and neither sees the other's topics."""
    with Broker(other.endpoint("kafka", 9092)) as second:
        assert broker.bootstrap != second.bootstrap
        for one, payload in ((broker, b"first"), (second, b"second")):
            one.create(ns)
            one.send(ns, [payload])
        assert [values(one.read(ns)) for one in (broker, second)] == [[b"first"], [b"second"]]
        only(second.admin.delete_topics([ns]))
        second.wait_until_gone(ns)
        assert ns in broker.topics()


def test_kill(other: harness.Stack, ns: str) -> None:
    """Topics and their messages are still there after the broker was killed and started again."""
    with Broker(other.endpoint("kafka", 9092)) as before:
        before.create(ns)
        before.send(ns, numbered(3))
    other.service("kafka").kill()
    other.service("kafka").start()
    with Broker(other.endpoint("kafka", 9092)) as after:
        # Apache Kafka takes nobody in before the session of the dead broker is over (broker.session.timeout.ms, 9 s).
        assert ns in after.topics(4 * PATIENCE)
        assert values(after.read(ns)) == numbered(3)
