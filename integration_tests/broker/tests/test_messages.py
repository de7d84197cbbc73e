"""Messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
)

from harness.clock import Deadline
from integration_tests.broker.client import PATIENCE, code_of, numbered, offsets, take, values

if TYPE_CHECKING:
    from integration_tests.broker.client import Broker

MB = 1_000_000
# An hour ago: what is older than a topic's retention may be deleted at once.
TIME = int(time.time() * 1000) - 3_600_000


def test_key_and_value(broker: Broker, ns: str) -> None:
    """Key and value arrive as sent: bytes of any kind, empty ones, and none."""
    sent = [(b"key", b"value"), (b"", b""), (None, b"\x00\xff"), (b"key", None), (None, None)]
    broker.create(ns)
    for key, value in sent:
        broker.send(ns, [value], key=key)
    assert [(one.key(), one.value()) for one in broker.read(ns)] == sent


def test_headers(broker: Broker, ns: str) -> None:
    """Headers arrive in their order, with names that occur twice and values that are none."""
    headers = [("a", b"1"), ("b", None), ("a", b"2"), ("c", b"")]
    broker.create(ns)
    broker.send(ns, [b"with"], headers=headers)
    broker.send(ns, [b"without"])
    assert [one.headers() for one in broker.read(ns)] == [headers, None]


def test_timestamp_of_the_producer(broker: Broker, ns: str) -> None:
    """A message keeps the timestamp that its producer gave it."""
    broker.create(ns)
    broker.send(ns, [b""], timestamp=TIME)
    (found,) = broker.read(ns)
    assert found.timestamp() == (TIMESTAMP_CREATE_TIME, TIME)


def test_timestamp_of_the_broker(broker: Broker, ns: str) -> None:
    """In a topic with message.timestamp.type=LogAppendTime a message has the broker's time."""
    broker.create(ns, config={"message.timestamp.type": "LogAppendTime"})
    broker.send(ns, [b""], timestamp=TIME)
    (found,) = broker.read(ns)
    kind, stamp = found.timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert stamp > TIME


def test_compression(broker: Broker, ns: str) -> None:
    """Batches that were compressed with gzip, snappy, lz4 or zstd arrive as sent."""
    broker.create(ns)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        producer = broker.producer(compression_type=codec, linger_ms=100)
        broker.send(ns, [codec.encode() * 100] * 10, producer=producer)
    found = broker.read(ns)
    assert offsets(found) == list(range(40))
    assert values(found) == [word * 100 for word in (b"gzip", b"snappy", b"lz4", b"zstd") for _ in range(10)]


def test_order_by_key(broker: Broker, ns: str) -> None:
    """Of 5,000 messages over 2 partitions, those with one key arrive once each and in their order."""
    broker.create(ns, 2)
    producer = broker.producer()
    refusals: list[str] = []

    def told(error: object, _: object) -> None:
        refusals.extend([str(error)] if error else [])

    for number in range(5000):
        producer.produce(ns, b"%d" % number, key=b"%d" % (number % 10), on_delivery=told)
        producer.poll(0)
    assert (producer.flush(PATIENCE), refusals) == (0, [])
    by_key: dict[bytes, list[int]] = {}
    for partition in (0, 1):
        records = broker.read(ns, partition=partition)
        assert offsets(records) == list(range(broker.watermarks(ns, partition)[1])), f"partition {partition}"
        for record in records:
            by_key.setdefault(record.key(), []).append(int(record.value()))
    assert by_key == {b"%d" % key: list(range(key, 5000, 10)) for key in range(10)}


def test_waiting_fetch(broker: Broker, ns: str) -> None:
    """A consumer that waits gets a message when it comes, not when the time of its request is over."""
    broker.create(ns)
    producer = broker.producer(linger_ms=0)
    consumer = broker.at(ns, 0, fetch_wait_max_ms=30000)
    deadline = Deadline.after(20)
    # The first may be there before the first request; those after it find one that waits.
    for value in (b"one", b"two", b"three"):
        broker.send(ns, [value], producer=producer)
        assert values(take(consumer, 1)) == [value]
    assert deadline.remaining() > 0


def test_large_message(broker: Broker, ns: str) -> None:
    """A message of 0.9 MB arrives."""
    broker.create(ns)
    broker.send(ns, [b"x" * 900_000])
    (found,) = broker.read(ns)
    assert found.value() == b"x" * 900_000


def test_too_large_message(broker: Broker, ns: str) -> None:
    """A message of 2 MB is refused by default, as too large."""
    broker.create(ns)
    with pytest.raises(KafkaException) as caught:
        broker.send(ns, [b"x" * 2 * MB], producer=broker.producer(message_max_bytes=5 * MB))
    assert code_of(caught.value) == KafkaError.MSG_SIZE_TOO_LARGE
    assert broker.watermarks(ns) == (0, 0)


def test_larger_limit_of_a_topic(broker: Broker, ns: str) -> None:
    """A topic with max.message.bytes takes messages up to that size, and no larger ones."""
    broker.create(ns, config={"max.message.bytes": str(3 * MB)})
    producer = broker.producer(message_max_bytes=5 * MB)
    broker.send(ns, [b"x" * 2 * MB], producer=producer)
    with pytest.raises(KafkaException) as caught:
        broker.send(ns, [b"x" * 4 * MB], producer=producer)
    assert code_of(caught.value) == KafkaError.MSG_SIZE_TOO_LARGE
    assert [len(one.value()) for one in broker.read(ns)] == [2 * MB]


def test_idempotent_producer(broker: Broker, ns: str) -> None:
    """An idempotent producer's 1,000 messages arrive once each and in order."""
    broker.create(ns)
    broker.send(ns, numbered(1000), producer=broker.producer(enable_idempotence=True, batch_num_messages=50))
    assert values(broker.read(ns)) == numbered(1000)


def test_no_acknowledgement(broker: Broker, ns: str) -> None:
    """Messages of a producer with acks=0 arrive."""
    broker.create(ns)
    broker.send(ns, numbered(10), producer=broker.producer(acks=0))
    assert values(take(broker.at(ns, 0), 10)) == numbered(10)
