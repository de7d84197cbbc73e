"""What the tests of the contract say to a broker, in terms of confluent-kafka alone.

The toolkit's own Kafka helper is left out on purpose: the contract is about the broker as any client sees it.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Self

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from harness.clock import Deadline, poll
from harness.errors import WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PATIENCE = 8.0
"""Seconds that anything which must come is waited for."""
SLICE = 0.1

# Clients that come before a connection wait 100 ms and more between tries.
_TUNED = {"reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 50, "log_level": 0, "broker.address.family": "v4"}
# The smallest session that Apache Kafka takes by default (group.min.session.timeout.ms).
_GROUP = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 100}


def code_of(error: BaseException) -> int:
    """Return the error code of the Kafka protocol (or of librdkafka, below 0) in an exception."""
    assert isinstance(error, KafkaException), error
    return int(error.args[0].code())


def result(future: Any) -> Any:
    """Return what a future of the admin client gives. Raises KafkaException when the broker refuses."""
    return future.result(PATIENCE)


def only(futures: dict[Any, Any]) -> Any:
    """Return the result of a request about one thing. Raises KafkaException when the broker refuses."""
    (future,) = futures.values()
    return result(future)


def refused(futures: dict[Any, Any]) -> int:
    """Return the code with which the broker refuses a request about one thing."""
    with pytest.raises(KafkaException) as caught:
        only(futures)
    return code_of(caught.value)


class Broker:
    """Clients of one broker (``host:port``); all of them are closed at the end of the ``with`` block."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin: Any = AdminClient(self.config())
        self._consumers: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for consumer in self._consumers:
            consumer.close()

    def config(self, **config: object) -> dict[str, object]:
        """Return the configuration of a client; ``_`` in names stands for ``.``."""
        named = {name.replace("_", "."): value for name, value in config.items()}
        return {**_TUNED, "bootstrap.servers": self.bootstrap, **named}

    # -- topics -------------------------------------------------------------------------------------------------

    def create(self, topic: str, partitions: int = 1, *, config: Mapping[str, str] | None = None) -> str:
        """Create a topic, wait until all its partitions have a leader, and return its name."""
        only(self.admin.create_topics([NewTopic(topic, partitions, 1, config=dict(config or {}))]))
        for _ in poll(Deadline.patient(PATIENCE)):
            found = self.topics().get(topic)
            if found is not None and [one.leader >= 0 for one in found.partitions.values()] == [True] * partitions:
                return topic
        raise WaitTimeout(f"Topic {topic!r} has no {partitions} leaders {PATIENCE:g} s after it was created")

    def topics(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """Return name -> metadata of all topics; to ask for one by name would have some brokers create it."""
        return dict(self.admin.list_topics(timeout=timeout).topics)

    def wait_until_gone(self, topic: str) -> None:
        """Wait until metadata no longer lists a topic."""
        for _ in poll(Deadline.patient(PATIENCE)):
            if topic not in self.topics():
                return
        raise WaitTimeout(f"Topic {topic!r} is listed {PATIENCE:g} s after it was deleted")

    def watermarks(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """Return the first offset of a partition, and the one that its next record gets."""
        low, high = self.consumer().get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE)
        return low, high

    def wait_until_decided(self, topic: str, partition: int = 0) -> None:
        """Wait until no transaction is open on a partition.

        A commit or abort returns when the coordinator has noted it; the partitions are told after that, so that a
        consumer of committed messages may be at its end (the last stable offset) before them.
        """
        for _ in poll(Deadline.patient(PATIENCE)):
            stable, end = (
                self.consumer(isolation_level=level).get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=PATIENCE
                )[1]
                for level in ("read_committed", "read_uncommitted")
            )
            if stable == end:
                return
        raise WaitTimeout(f"Topic {topic!r} has a transaction that is open {PATIENCE:g} s after it ended")

    # -- producing ----------------------------------------------------------------------------------------------

    def producer(self, **config: object) -> Any:
        """Return a producer."""
        return Producer(self.config(**{"message_timeout_ms": int(PATIENCE * 1000), **config}))

    def send(self, topic: str, values: Iterable[bytes | None], *, producer: Any = None, **fields: Any) -> list[Any]:
        """Send values to partition 0, as one batch when a new producer does it; return them as delivered.

        Args:
            topic: where to.
            values: payloads.
            producer: the producer; default: a new one that holds messages back until it has them all.
            fields: of each message: ``key``, ``partition``, ``timestamp``, ``headers``.

        Raises:
            KafkaException: the broker did not take one.
        """
        mine = producer or self.producer(linger_ms=100)
        delivered: list[Any] = []
        errors: list[Any] = []

        def told(error: Any, message: Any) -> None:
            (errors.append(error) if error else delivered.append(message))

        for value in values:
            mine.produce(topic, value, on_delivery=told, **{"partition": 0, **fields})
        left = mine.flush(PATIENCE + 1)
        if errors:
            raise KafkaException(errors[0])
        assert left == 0, f"{left} messages were neither delivered nor refused"
        return delivered

    # -- consuming ----------------------------------------------------------------------------------------------

    def consumer(self, **config: object) -> Any:
        """Return a consumer that tells the end of a partition and commits nothing by itself."""
        preset: dict[str, object] = {
            "group_id": uuid.uuid4().hex,
            "enable_auto_commit": False,
            "enable_partition_eof": True,
            # The end of a partition is told by an empty answer, which is given after this time.
            "fetch_wait_max_ms": 20,
        }
        named = {**preset, **config}
        # With the next generation of the group protocol these two are the broker's to say.
        session = {} if named.get("group_protocol") == "consumer" else _GROUP
        made = Consumer({**session, **self.config(**named)})
        self._consumers.append(made)
        return made

    def member(self, group: str, topic: str, **config: object) -> Any:
        """Return a consumer that has subscribed to a topic as a member of a group."""
        made = self.consumer(**{"group_id": group, "auto_offset_reset": "earliest", **config})
        made.subscribe([topic])
        return made

    def at(self, topic: str, offset: int, *, partition: int = 0, **config: object) -> Any:
        """Return a consumer that is assigned a partition from an offset on."""
        made = self.consumer(**config)
        made.assign([TopicPartition(topic, partition, offset)])
        return made

    def read(self, topic: str, offset: int = 0, *, partition: int = 0, **config: object) -> list[Any]:
        """Return the records of a partition from an offset to its end."""
        consumer = self.at(topic, offset, partition=partition, **config)
        found = to_end(consumer)
        consumer.unassign()
        return found


def events(consumer: Any, wanted: Callable[[Any], bool], what: str) -> list[Any]:
    """Return what a consumer gets (errors are messages, too), up to and with the first one that is wanted."""
    found: list[Any] = []
    for _ in poll(Deadline.patient(PATIENCE), pause=False):
        message = consumer.poll(SLICE)
        if message is not None:
            found.append(message)
            if wanted(message):
                return found
    seen = [str(one.error() or one.offset()) for one in found[-5:]]
    raise WaitTimeout(f"Consumer got no {what} in {PATIENCE:g} s; {len(found)} other events, the last: {seen}")


def is_end(message: Any) -> bool:
    """Return whether a consumer was told that it has reached the end of a partition."""
    return message.error() is not None and message.error().code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - its name


def to_end(consumer: Any) -> list[Any]:
    """Return the records that a consumer gets before it is told of a partition's end.

    Raises:
        KafkaException: it is told of something else.
    """
    *records, _ = events(consumer, is_end, "end of the partition")
    for one in records:
        if one.error():
            raise KafkaException(one.error())
    return records


def take(consumer: Any, count: int) -> list[Any]:
    """Return the next records of a consumer, whatever ends of partitions it is told of between them."""
    found: list[Any] = []

    def enough(message: Any) -> bool:
        if message.error() is None:
            found.append(message)
        return len(found) == count

    events(consumer, enough, f"{count} records")
    return found


def offsets(records: Iterable[Any]) -> list[int]:
    """Return the offsets of records."""
    return [one.offset() for one in records]


def values(records: Iterable[Any]) -> list[Any]:
    """Return the payloads of records."""
    return [one.value() for one in records]


def numbered(count: int, start: int = 0) -> list[bytes]:
    """Return ``count`` payloads that tell their place."""
    return [b"%d" % number for number in range(start, start + count)]
