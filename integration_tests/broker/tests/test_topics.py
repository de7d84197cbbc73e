"""Topics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, ResourceType

from harness.clock import Deadline, poll
from integration_tests.broker.client import PATIENCE, code_of, events, is_end, numbered, offsets, only, refused, values

if TYPE_CHECKING:
    from integration_tests.broker.client import Broker

START = int(time.time() * 1000) - 3_600_000  # milliseconds since the epoch
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
    "min.compaction.lag.ms": "0",
}


def test_create(broker: Broker, ns: str) -> None:
    """A topic that was created is listed with its partitions, numbered from 0."""
    broker.create(ns, 3)
    assert sorted(broker.topics()[ns].partitions) == [0, 1, 2]


def test_create_twice(broker: Broker, ns: str) -> None:
    """To create a topic that is there is refused as such, and leaves it as it is."""
    broker.create(ns, 2)
    assert refused(broker.admin.create_topics([NewTopic(ns, 5, 1)])) == KafkaError.TOPIC_ALREADY_EXISTS
    assert len(broker.topics()[ns].partitions) == 2


def test_create_with_a_bad_name(broker: Broker) -> None:
    """A topic's name with a character that none may have is refused as such."""
    assert refused(broker.admin.create_topics([NewTopic("with blank", 1, 1)])) == KafkaError.TOPIC_EXCEPTION


def test_create_with_too_many_replicas(broker: Broker, ns: str) -> None:
    """More replicas than there are brokers are refused as such."""
    assert refused(broker.admin.create_topics([NewTopic(ns, 1, 3)])) == KafkaError.INVALID_REPLICATION_FACTOR
    assert ns not in broker.topics()


def test_create_with_an_unknown_setting(broker: Broker, ns: str) -> None:
    """A setting of a topic that is none is refused as such."""
    new = NewTopic(ns, 1, 1, config={"no.such.setting": "1"})
    assert refused(broker.admin.create_topics([new])) == KafkaError.INVALID_CONFIG


def test_only_validate(broker: Broker, ns: str) -> None:
    """A request that only asks whether a topic could be created creates none."""
    only(broker.admin.create_topics([NewTopic(ns, 1, 1)], validate_only=True))
    assert ns not in broker.topics()


def test_add_partitions(broker: Broker, ns: str) -> None:
    """Partitions can be added to a topic, and take messages; what it has stays."""
    broker.create(ns)
    broker.send(ns, numbered(3))
    only(broker.admin.create_partitions([NewPartitions(ns, 3)]))
    for _ in poll(Deadline.patient(PATIENCE)):
        if len(broker.topics()[ns].partitions) == 3:
            break
    broker.send(ns, numbered(2), partition=2)
    assert (offsets(broker.read(ns)), offsets(broker.read(ns, partition=2))) == ([0, 1, 2], [0, 1])


def test_fewer_partitions(broker: Broker, ns: str) -> None:
    """Partitions cannot be taken away from a topic."""
    broker.create(ns, 3)
    assert refused(broker.admin.create_partitions([NewPartitions(ns, 2)])) == KafkaError.INVALID_PARTITIONS


def test_delete(broker: Broker, ns: str) -> None:
    """A topic that was deleted is no longer listed."""
    broker.create(ns)
    broker.send(ns, numbered(3))
    only(broker.admin.delete_topics([ns]))
    broker.wait_until_gone(ns)


def test_delete_unknown(broker: Broker, ns: str) -> None:
    """To delete a topic that is not there is refused as such."""
    assert refused(broker.admin.delete_topics([ns])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_delete_and_create_again(broker: Broker, ns: str) -> None:
    """A topic that was deleted and created again is empty, and its offsets begin at 0."""
    broker.create(ns, 2)
    broker.send(ns, numbered(5))
    only(broker.admin.delete_topics([ns]))
    broker.wait_until_gone(ns)
    broker.create(ns)
    assert broker.watermarks(ns) == (0, 0)
    broker.send(ns, [b"new"])
    assert [(one.offset(), one.value()) for one in broker.read(ns)] == [(0, b"new")]


def test_metadata_creates_nothing(broker: Broker, ns: str) -> None:
    """A producer that asks for the metadata of an unknown topic does not create it (auto creation is off)."""
    found = broker.producer().list_topics(ns, timeout=PATIENCE).topics[ns]
    assert found.error is not None
    assert found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert ns not in broker.topics()


def test_produce_creates_nothing(broker: Broker, ns: str) -> None:
    """A message to an unknown topic is an error and does not create it (auto creation is off)."""
    with pytest.raises(KafkaException) as caught:
        broker.send(ns, [b""], producer=broker.producer(message_timeout_ms=1000))
    # librdkafka's words, by what it has learnt when the time is over; all of them are its public names.
    unknown = (KafkaError._UNKNOWN_TOPIC, KafkaError._MSG_TIMED_OUT)  # noqa: SLF001
    assert code_of(caught.value) in (*unknown, KafkaError.UNKNOWN_TOPIC_OR_PART)
    assert ns not in broker.topics()


def test_consume_creates_nothing(broker: Broker, ns: str) -> None:
    """To subscribe to an unknown topic is an error and does not create it (auto creation is off)."""
    consumer = broker.member(f"{ns}_group", ns, allow_auto_create_topics=True)
    told = events(consumer, lambda one: one.error() is not None, "error")[-1]
    assert told.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert ns not in broker.topics()


def compacted(broker: Broker, topic: str) -> list[Any]:
    """Write keys several times into a compacted topic; return its records once the cleaner has been there."""
    # By default the cleaner pauses for 15 s when it finds nothing to do.
    (node,) = broker.admin.list_topics(timeout=PATIENCE).brokers
    often = ConfigEntry("log.cleaner.backoff.ms", "100", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.BROKER, str(node), incremental_configs=[often])
    only(broker.admin.incremental_alter_configs([resource]))
    broker.create(topic, config=COMPACTED)
    producer = broker.producer()
    written = [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"c", b"1"), (b"b", None), (b"a", b"3"), (b"end", b"")]
    for number, (key, value) in enumerate(written):
        # Ten seconds apart: each record closes the segment before it, and only closed ones are cleaned.
        broker.send(topic, [value], producer=producer, key=key, timestamp=START + number * 10_000)
    records: list[Any] = []
    for _ in poll(Deadline.patient(PATIENCE)):
        records = broker.read(topic)
        if len({one.key() for one in records}) == len(records):  # one pass of the cleaner need not take all
            break
    return records


def test_compaction(broker: Broker, ns: str) -> None:
    """A compacted topic keeps the last value of each key, and its log, now with gaps, is read to its end."""
    records = compacted(broker, ns)
    assert {one.key(): one.value() for one in records if one.value() is not None} == {
        b"a": b"3",
        b"c": b"1",
        b"end": b"",
    }
    assert [one.offset() for one in records if one.key() == b"a"] == [5]
    assert broker.watermarks(ns) == (0, 7)
    *_, end = events(broker.at(ns, 0), is_end, "end of the partition")
    assert end.offset() == 7


def test_compacted_topic_needs_keys(broker: Broker, ns: str) -> None:
    """A message without a key is refused by a compacted topic."""
    broker.create(ns, config=COMPACTED)
    with pytest.raises(KafkaException) as caught:
        broker.send(ns, [b""])
    assert code_of(caught.value) == KafkaError.INVALID_RECORD
    assert values(broker.read(ns)) == []
