"""Transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from integration_tests.broker.client import PATIENCE, code_of, numbered, offsets, take, values

if TYPE_CHECKING:
    from integration_tests.broker.client import Broker


def transactional(broker: Broker, name: str) -> Any:
    """Return a producer that is ready for transactions under this name."""
    producer = broker.producer(transactional_id=name, transaction_timeout_ms=int(PATIENCE * 1000))
    producer.init_transactions(PATIENCE)
    return producer


def transact(broker: Broker, producer: Any, topic: str, payloads: list[bytes], *, commit: bool = True) -> None:
    """Send messages in one transaction and commit or abort it."""
    producer.begin_transaction()
    broker.send(topic, payloads, producer=producer)
    (producer.commit_transaction if commit else producer.abort_transaction)(PATIENCE)
    broker.wait_until_decided(topic)


def read_committed(broker: Broker, topic: str) -> list[Any]:
    """Return what a consumer of committed messages gets."""
    return broker.read(topic, isolation_level="read_committed")


def test_commit(broker: Broker, ns: str) -> None:
    """The messages of a transaction that was committed are read."""
    broker.create(ns)
    transact(broker, transactional(broker, ns), ns, numbered(3))
    assert values(read_committed(broker, ns)) == numbered(3)


def test_abort(broker: Broker, ns: str) -> None:
    """The messages of a transaction that was aborted are hidden from read_committed consumers, and only from them."""
    broker.create(ns)
    producer = transactional(broker, ns)
    transact(broker, producer, ns, [b"aborted"], commit=False)
    transact(broker, producer, ns, [b"committed"])
    assert values(read_committed(broker, ns)) == [b"committed"]
    assert values(broker.read(ns, isolation_level="read_uncommitted")) == [b"aborted", b"committed"]


def test_open(broker: Broker, ns: str) -> None:
    """While a transaction is open, read_committed consumers get nothing from its first message on."""
    broker.create(ns)
    broker.send(ns, [b"before"])
    producer = transactional(broker, ns)
    producer.begin_transaction()
    broker.send(ns, [b"inside"], producer=producer)
    broker.send(ns, [b"after"])
    assert values(read_committed(broker, ns)) == [b"before"]
    producer.commit_transaction(PATIENCE)
    broker.wait_until_decided(ns)
    assert values(read_committed(broker, ns)) == [b"before", b"inside", b"after"]


def test_gaps(broker: Broker, ns: str) -> None:
    """The end of each transaction takes an offset, so that those of messages have gaps."""
    broker.create(ns)
    producer = transactional(broker, ns)
    for value in (b"one", b"two"):
        transact(broker, producer, ns, [value])
    assert offsets(read_committed(broker, ns)) == [0, 2]
    assert broker.watermarks(ns) == (0, 4)


def test_two_topics(broker: Broker, ns: str) -> None:
    """A transaction over two topics is committed or aborted in both."""
    topics = [broker.create(f"{ns}_{name}") for name in ("a", "b")]
    producer = transactional(broker, ns)
    for payload, end in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        for topic in topics:
            broker.send(topic, [payload], producer=producer)
        end(PATIENCE)
        for topic in topics:
            broker.wait_until_decided(topic)
    assert [values(read_committed(broker, topic)) for topic in topics] == [[b"committed"], [b"committed"]]


def test_offsets_in_a_transaction(broker: Broker, ns: str) -> None:
    """Offsets that were sent in a transaction are the group's when it is committed, not when it is aborted."""
    broker.create(ns)
    broker.send(ns, numbered(5))
    member = broker.member(f"{ns}_group", ns)
    take(member, 5)
    producer = transactional(broker, ns)
    seen = []
    for offset, end in ((3, producer.abort_transaction), (5, producer.commit_transaction)):
        producer.begin_transaction()
        told = [TopicPartition(ns, 0, offset)]
        producer.send_offsets_to_transaction(told, member.consumer_group_metadata(), PATIENCE)
        end(PATIENCE)
        seen.append(member.committed([TopicPartition(ns, 0)], timeout=PATIENCE)[0].offset)
    assert [seen[0] < 0, seen[1]] == [True, 5]


def test_fencing(broker: Broker, ns: str) -> None:
    """When a second producer takes a transactional id, the first can no longer commit."""
    broker.create(ns)
    first = transactional(broker, ns)
    first.begin_transaction()
    broker.send(ns, [b"first"], producer=first)
    second = transactional(broker, ns)
    with pytest.raises(KafkaException) as caught:
        first.commit_transaction(PATIENCE)
    assert code_of(caught.value) == KafkaError._FENCED  # noqa: SLF001 - its public name
    transact(broker, second, ns, [b"second"])
    assert values(read_committed(broker, ns)) == [b"second"]
