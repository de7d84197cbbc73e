"""Positions in a partition."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, TopicPartition
from confluent_kafka.admin import OffsetSpec

from integration_tests.broker.client import (
    PATIENCE,
    events,
    is_end,
    numbered,
    offsets,
    only,
    take,
    to_end,
    values,
)

if TYPE_CHECKING:
    from integration_tests.broker.client import Broker

# An hour ago, in milliseconds: what is older than a topic's retention may be deleted at once.
START = int(time.time() * 1000) - 3_600_000
STEP = 1000


def timed(broker: Broker, topic: str) -> str:
    """Create a topic with one batch of 10 records, a second apart, and return its name."""
    broker.create(topic)
    producer = broker.producer(linger_ms=100)
    for number, value in enumerate(numbered(10)):
        producer.produce(topic, value, partition=0, timestamp=START + number * STEP)
    assert producer.flush(PATIENCE) == 0
    return topic


def offset_at(broker: Broker, topic: str, when: int) -> int:
    """Return the offset that the broker gives for a time."""
    (found,) = broker.consumer().offsets_for_times([TopicPartition(topic, 0, when)], timeout=PATIENCE)
    assert found.error is None
    return int(found.offset)


def test_watermark_after_a_batch(broker: Broker, ns: str) -> None:
    """After a batch of 10 records the high watermark is 10 higher."""
    broker.create(ns)
    assert broker.watermarks(ns) == (0, 0)
    broker.send(ns, numbered(10))
    assert broker.watermarks(ns) == (0, 10)
    broker.send(ns, numbered(10))
    assert broker.watermarks(ns) == (0, 20)


def test_offsets_in_a_batch(broker: Broker, ns: str) -> None:
    """The records of two batches have the offsets 0, 1, 2 ... without a gap, told to producer and consumer alike."""
    broker.create(ns)
    sent = [*broker.send(ns, numbered(10)), *broker.send(ns, numbered(5, 10))]
    found = broker.read(ns)
    assert offsets(sent) == offsets(found) == list(range(15))
    assert values(found) == numbered(15)


def test_start_in_a_batch(broker: Broker, ns: str) -> None:
    """A consumer that starts in the middle of a batch gets that record first."""
    broker.create(ns)
    broker.send(ns, numbered(10))
    assert offsets(broker.read(ns, 4)) == [4, 5, 6, 7, 8, 9]


def test_seek_in_a_batch(broker: Broker, ns: str) -> None:
    """A consumer that seeks back into a batch which it has read gets its records again from there."""
    broker.create(ns)
    broker.send(ns, numbered(10))
    consumer = broker.at(ns, 0)
    to_end(consumer)
    consumer.seek(TopicPartition(ns, 0, 7))
    assert offsets(to_end(consumer)) == [7, 8, 9]


def test_start_at_the_end(broker: Broker, ns: str) -> None:
    """A consumer that starts at the end gets each later message once and no earlier one."""
    broker.create(ns)
    broker.send(ns, numbered(10))
    consumer = broker.at(ns, OFFSET_END)
    assert to_end(consumer) == []
    for number in range(10, 13):
        broker.send(ns, [b"%d" % number])
        assert values(to_end(consumer)) == [b"%d" % number]


def test_reset_to_latest(broker: Broker, ns: str) -> None:
    """A new group with auto.offset.reset=latest gets each later message once and no earlier one."""
    broker.create(ns)
    broker.send(ns, numbered(10))
    consumer = broker.member(f"{ns}_group", ns, auto_offset_reset="latest")
    assert to_end(consumer) == []
    for number in range(10, 13):
        broker.send(ns, [b"%d" % number])
        assert values(to_end(consumer)) == [b"%d" % number]


def test_reset_to_earliest(broker: Broker, ns: str) -> None:
    """A new group with auto.offset.reset=earliest gets everything from the first record on."""
    broker.create(ns)
    broker.send(ns, numbered(10))
    assert offsets(to_end(broker.member(f"{ns}_group", ns))) == list(range(10))


def test_time_in_a_batch(broker: Broker, ns: str) -> None:
    """The offset for a time is that of the first record at it or after it, inside a batch as well."""
    topic = timed(broker, ns)
    assert offset_at(broker, topic, START + 6 * STEP) == 6
    assert offset_at(broker, topic, START + 6 * STEP + 1) == 7


def test_time_before_the_first(broker: Broker, ns: str) -> None:
    """The offset for a time before the first record is that of the first."""
    assert offset_at(broker, timed(broker, ns), START - STEP) == 0


def test_time_after_the_end(broker: Broker, ns: str) -> None:
    """For a time after the last record there is no offset (-1, the end)."""
    assert offset_at(broker, timed(broker, ns), START + 10 * STEP) == OFFSET_END


def test_out_of_range_resets(broker: Broker, ns: str) -> None:
    """A consumer at an offset that is not there goes on where auto.offset.reset says."""
    broker.create(ns)
    broker.send(ns, numbered(3))
    assert offsets(broker.read(ns, 1000, auto_offset_reset="earliest")) == [0, 1, 2]


def test_out_of_range_is_an_error(broker: Broker, ns: str) -> None:
    """With auto.offset.reset=error an offset that is not there is an error."""
    broker.create(ns)
    broker.send(ns, numbered(3))
    consumer = broker.at(ns, 1000, auto_offset_reset="error")
    told = events(consumer, lambda one: one.error() is not None, "error")[-1]
    assert told.error().code() == KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - its public name


def test_end_is_told(broker: Broker, ns: str) -> None:
    """A consumer is told of a partition's end each time it reaches it, an empty one's at once."""
    broker.create(ns)
    consumer = broker.at(ns, 0)
    (end,) = events(consumer, is_end, "end of the partition")
    assert end.offset() == 0
    broker.send(ns, numbered(2))
    *records, end = events(consumer, is_end, "end of the partition")
    assert (offsets(records), end.offset()) == ([0, 1], 2)


def test_two_partitions(broker: Broker, ns: str) -> None:
    """Each partition has offsets of its own."""
    broker.create(ns, 2)
    broker.send(ns, numbered(3), partition=0)
    broker.send(ns, numbered(2, 10), partition=1)
    consumer = broker.consumer()
    consumer.assign([TopicPartition(ns, 0, 1), TopicPartition(ns, 1, 0)])
    found = {(one.partition(), one.offset(), one.value()) for one in take(consumer, 4)}
    assert found == {(0, 1, b"1"), (0, 2, b"2"), (1, 0, b"10"), (1, 1, b"11")}


def test_list_offsets(broker: Broker, ns: str) -> None:
    """The admin client is told the earliest and the latest offset, and the one for a time."""
    topic = TopicPartition(timed(broker, ns), 0)
    found = {
        name: only(broker.admin.list_offsets({topic: spec}, request_timeout=PATIENCE)).offset
        for name, spec in (
            ("earliest", OffsetSpec.earliest()),
            ("latest", OffsetSpec.latest()),
            ("time", OffsetSpec.for_timestamp(START + 3 * STEP)),
        )
    }
    assert found == {"earliest": 0, "latest": 10, "time": 3}


def test_list_offset_of_newest(broker: Broker, ns: str) -> None:
    """The admin client is told the offset of the record with the highest timestamp, wherever in a batch it is."""
    broker.create(ns)
    producer = broker.producer(linger_ms=100)
    for later in (1, 9, 4):
        producer.produce(ns, b"", partition=0, timestamp=START + later)
    assert producer.flush(PATIENCE) == 0
    found = only(broker.admin.list_offsets({TopicPartition(ns, 0): OffsetSpec.max_timestamp()}))
    assert (found.offset, found.timestamp) == (1, START + 9)


def test_delete_records(broker: Broker, ns: str) -> None:
    """After records were deleted up to an offset the partition begins there."""
    broker.create(ns)
    broker.send(ns, numbered(10))
    only(broker.admin.delete_records([TopicPartition(ns, 0, 4)]))
    assert broker.watermarks(ns) == (4, 10)
    assert offsets(broker.read(ns, OFFSET_BEGINNING)) == [4, 5, 6, 7, 8, 9]
