"""Kafka for tests: topics, a producer that raises, a consumer that waits within a deadline and says what it saw.

Needs the extra ``kafka`` (confluent-kafka).
"""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from harness.clock import Deadline, check_guards, poll
from harness.errors import HarnessError, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Without these a client that comes before its broker waits 100 ms to 10 s between two tries and fills standard error.
_TUNED = {
    "reconnect.backoff.ms": 5,
    "reconnect.backoff.max.ms": 20,
    "retry.backoff.ms": 5,
    "topic.metadata.refresh.fast.interval.ms": 10,
    "socket.timeout.ms": 5000,
    "broker.address.family": "v4",
    "log_level": 0,
}
# Errors that pass by themselves ("Error codes" of the Kafka protocol): a broker tells of a partition's leader before it
# has become that, or has just handed it on. The client library marks errors as retriable for transactions only.
_PASSING = frozenset(
    [
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError._TRANSPORT,  # noqa: SLF001 - its public name
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    ]
)
_SLICE = 0.1  # seconds a poll may block: a dead service must be noticed between two
_BATCH = 100  # messages looked at between two looks at the clock
_KEPT = 20  # messages that a time-out lists


class KafkaFailure(HarnessError):
    """The broker refused a request or could not be reached."""


@dataclass(frozen=True)
class Message:
    """A message as it was received.

    Attributes:
        topic: its topic.
        partition: its partition.
        offset: its offset there.
        key: its key, None without one.
        value: its payload, None for a tombstone.
        timestamp: milliseconds since the epoch, as the broker or producer set it.
        headers: its headers, in order.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def schema(self) -> str:
        """The FlatBuffers file identifier of the payload (bytes 4 to 8), "" where there can be none."""
        head = (self.value or b"")[4:8]
        return head.decode("ascii", errors="replace") if len(head) == 4 else ""  # noqa: PLR2004 - its length by format

    def __str__(self) -> str:
        what = "tombstone" if self.value is None else f"{len(self.value)} bytes"
        if self.schema.isalnum():
            what += f", schema {self.schema}"
        return f"{self.topic}[{self.partition}]@{self.offset} key={self.key!r} {what}"


def _received(raw: Any) -> Message:  # noqa: ANN401 - the library has no public type for it
    return Message(
        topic=raw.topic(),
        partition=raw.partition(),
        offset=raw.offset(),
        key=raw.key(),
        value=raw.value(),
        timestamp=raw.timestamp()[1],
        headers=tuple(raw.headers() or ()),
    )


class Kafka:
    """A broker, by its bootstrap servers (``host:port``). Close it, or use it in ``with``.

    Args:
        bootstrap: ``host:port``.
        timeout: seconds for one request.
        patience: seconds that consumers wait for messages unless told otherwise.
    """

    def __init__(self, bootstrap: str, *, timeout: float = 10.0, patience: float = 10.0) -> None:
        self.bootstrap = bootstrap
        self.timeout = timeout
        self.patience = patience
        self._admin_made: Any = None
        self._producer: Any = None
        self._consumers: list[KafkaConsumer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its consumers, send what its producer still holds, and disconnect."""
        for consumer in self._consumers:
            consumer.close()
        self._consumers.clear()
        if self._producer is not None:
            self._producer.flush(1)
        # Their threads would go on connecting to a broker that is gone until the garbage collector comes by.
        self._producer = self._admin_made = None

    @property
    def _admin(self) -> Any:  # noqa: ANN401 - untyped library
        if self._admin_made is None:
            self._admin_made = AdminClient({**_TUNED, "bootstrap.servers": self.bootstrap})
        return self._admin_made

    # -- topics -------------------------------------------------------------------------------------------------

    def leaders(self, timeout: float | None = None) -> dict[str, dict[int, bool]]:
        """Return topic -> partition -> whether it has a leader, from the full list.

        Asking for one topic by name creates it on some brokers, so that is never done.

        Raises:
            KafkaFailure: no broker answered in ``timeout`` seconds.
        """
        try:
            metadata = self._admin.list_topics(timeout=self.timeout if timeout is None else timeout)
        except KafkaException as error:
            raise KafkaFailure(f"Broker {self.bootstrap} did not list its topics: {error.args[0].str()}") from error
        return {
            name: {number: part.leader >= 0 and part.error is None for number, part in topic.partitions.items()}
            for name, topic in metadata.topics.items()
        }

    def topics(self, timeout: float | None = None) -> dict[str, int]:
        """Return topic -> number of partitions. Raises KafkaFailure."""
        return {name: len(partitions) for name, partitions in self.leaders(timeout).items()}

    def create_topics(self, topics: Mapping[str, int], *, config: Mapping[str, str] | None = None) -> None:
        """Create topics (name -> partitions) and wait for all their leaders; existing ones are left as they are.

        Raises:
            KafkaFailure: the broker refused one.
            WaitTimeout: a leader is missing at the deadline.
        """
        if not topics:
            return
        deadline = Deadline.after(self.timeout)
        new = [NewTopic(name, count, 1, config=dict(config or {})) for name, count in topics.items()]
        for name, future in self._admin.create_topics(new, operation_timeout=self.timeout).items():
            self._finish(future, f"create topic {name!r}", ignore=KafkaError.TOPIC_ALREADY_EXISTS)
        missing = ""
        for _ in poll(deadline):
            missing = missing_leaders(self.leaders(), topics)
            if not missing:
                return
        raise WaitTimeout(f"Broker {self.bootstrap}: {missing} {self.timeout:g} s after it was created")

    def delete_topics(self, *names: str) -> None:
        """Delete topics; unknown ones are no error. Raises KafkaFailure."""
        if not names:
            return
        for name, future in self._admin.delete_topics(list(names), operation_timeout=self.timeout).items():
            self._finish(future, f"delete topic {name!r}", ignore=KafkaError.UNKNOWN_TOPIC_OR_PART)

    def _finish(self, future: Any, what: str, ignore: int | None = None) -> None:  # noqa: ANN401 - untyped library
        try:
            future.result(self.timeout)
        except KafkaException as error:
            if error.args[0].code() != ignore:
                raise KafkaFailure(f"Broker {self.bootstrap} did not {what}: {error.args[0].str()}") from error
        except TimeoutError as error:
            raise KafkaFailure(f"Broker {self.bootstrap} did not {what} in {self.timeout:g} s") from error

    # -- producing ----------------------------------------------------------------------------------------------

    def send(
        self,
        topic: str,
        value: bytes | str | None,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        headers: Iterable[tuple[str, bytes | None]] = (),
    ) -> None:
        """Send one message and wait until the broker has it. Raises KafkaFailure when it does not take it."""
        self.send_all([(topic, value, key, partition, tuple(headers))])

    def send_all(
        self,
        messages: Iterable[
            tuple[str, bytes | str | None, bytes | str | None, int | None, tuple[tuple[str, bytes | None], ...]]
        ],
    ) -> None:
        """Send (topic, value, key, partition, headers) in order and wait until the broker has them all.

        Raises:
            KafkaFailure: the first delivery error, or that not all were delivered before the time-out.
        """
        if self._producer is None:
            self._producer = Producer(
                {**_TUNED, "bootstrap.servers": self.bootstrap, "message.timeout.ms": int(self.timeout * 1000)}
            )
        errors: list[str] = []

        def delivered(error: Any, message: Any) -> None:  # noqa: ANN401 - untyped library
            if error is not None:
                errors.append(f"{message.topic()}: {error.str()}")

        for topic, value, key, partition, headers in messages:
            extra = {} if partition is None else {"partition": partition}
            try:
                self._produce(topic, value, key=key, headers=list(headers), on_delivery=delivered, **extra)
            except (KafkaException, BufferError) as error:
                errors.append(f"{topic}: {error.args[0].str() if isinstance(error, KafkaException) else error}")
                break
        deadline = Deadline.after(self.timeout + 1)
        for _ in poll(deadline, pause=False):
            if not self._producer.flush(_SLICE):
                break
        left = len(self._producer)
        if errors or left:
            raise KafkaFailure(
                f"Broker {self.bootstrap} did not take a message: {errors[0] if errors else f'{left} undelivered'}"
            )

    def _produce(self, topic: str, value: bytes | str | None, **more: Any) -> None:  # noqa: ANN401 - as the library
        """Queue one message; while the queue is full, wait for it to empty."""
        for _ in poll(Deadline.after(self.timeout), pause=False):
            try:
                self._producer.produce(topic, value, **more)
            except BufferError:
                self._producer.poll(_SLICE)
            else:
                return
        raise BufferError("the queue of messages to send stays full")

    # -- consuming ----------------------------------------------------------------------------------------------

    def consumer(self, *topics: str, start: str = "end") -> KafkaConsumer:
        """Return a consumer of all partitions of ``topics``, without a group, placed at ``start`` or ``end``.

        "end" is fixed before this returns: every later message is seen.

        Raises:
            KafkaFailure: a topic does not exist, or the broker does not answer.
        """
        made = KafkaConsumer(self, topics, start)
        self._consumers.append(made)
        return made

    def last_message(self, topic: str, partition: int = 0) -> Message | None:
        """Return the newest message of a partition, None when it has none."""
        with self.consumer(topic, start="start") as consumer:
            low, high = consumer.watermarks(topic, partition)
            # Control records and compaction leave gaps, so the last offset may hold no message: step back over them.
            for offset in range(high - 1, max(low, high - 1000) - 1, -1):
                consumer.assign({(topic, partition): offset})
                for _ in poll(Deadline.after(2.0), pause=False):
                    message = consumer.poll()
                    if message or consumer.at_end:
                        break
                if message:
                    return message
        return None

    def committed_reachable(self, timeout: float) -> bool:
        """Return whether a group coordinator answers, by asking for the offsets of a group that does not exist."""
        probe = Consumer({**_TUNED, "bootstrap.servers": self.bootstrap, "group.id": f"harness-{uuid.uuid4().hex}"})
        try:
            probe.committed([TopicPartition("harness-none", 0)], timeout=timeout)
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART)
        finally:
            probe.close()
        return True


def missing_leaders(leaders: Mapping[str, Mapping[int, bool]], topics: Mapping[str, int]) -> str:
    """Return what of ``topics`` (name -> partitions) is not there with a leader, as words; "" when all is."""
    for name, count in topics.items():
        partitions = leaders.get(name)
        if partitions is None:
            return f"topic {name!r} does not exist"
        if len(partitions) < count:
            return f"topic {name!r} has {len(partitions)} of {count} partitions"
        without = [number for number, has in partitions.items() if not has]
        if without:
            return f"topic {name!r} has no leader for partition {without[0]}"
    return ""


class KafkaConsumer:
    """A consumer of whole topics, by assignment. Made by ``Kafka.consumer``."""

    def __init__(self, kafka: Kafka, topics: tuple[str, ...], start: str) -> None:
        self._kafka = kafka
        self.topics = topics
        self._closed = False
        self._ends: set[tuple[str, int]] = set()
        self._next: dict[tuple[str, int], int] = {}  # the place in each assigned partition
        self._seen: deque[Message] = deque(maxlen=_KEPT)
        self._count = 0
        self._consumer = Consumer(
            {
                **_TUNED,
                "bootstrap.servers": kafka.bootstrap,
                "group.id": f"harness-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                "fetch.error.backoff.ms": 10,
            }
        )
        try:
            self._place(start)
        except BaseException:
            self.close()
            raise

    def _place(self, start: str) -> None:
        known = self._kafka.topics()
        for topic in self.topics:
            if topic not in known:
                there = ", ".join(sorted(known)) or "none"
                raise KafkaFailure(f"Topic {topic!r} does not exist on {self._kafka.bootstrap}; there are: {there}")
        self._partitions = [(topic, number) for topic in self.topics for number in range(known[topic])]
        if start == "end":
            self.seek_to_end()
        else:
            self.seek_to_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker; twice is no error."""
        if not self._closed:
            self._closed = True
            self._consumer.close()

    def watermarks(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """Return (first offset, offset after the last).

        After an error that passes by itself it is asked again until the deadline.

        Raises:
            KafkaFailure: it does not say.
        """
        deadline = Deadline.after(self._kafka.timeout)
        for _ in poll(deadline):
            try:
                low, high = self._consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=max(deadline.remaining(), 0.1)
                )
            except KafkaException as error:
                if deadline.expired() or error.args[0].code() not in _PASSING:
                    raise KafkaFailure(f"No watermarks of {topic}[{partition}]: {error.args[0].str()}") from error
            else:
                return int(low), int(high)
        raise KafkaFailure(f"No watermarks of {topic}[{partition}] in {self._kafka.timeout:g} s")

    def assign(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Read from these offsets, by (topic, partition), and from nothing else."""
        self._ends.clear()
        self._next = dict(offsets)
        self._consumer.assign([TopicPartition(topic, number, at) for (topic, number), at in offsets.items()])

    def seek_to_start(self) -> None:
        """Read everything from the first message on."""
        # Not OFFSET_BEGINNING: the client resolves that by a timer of half a second while it knows no leader yet.
        self.assign({part: self.watermarks(*part)[0] for part in self._partitions})

    def seek_to_end(self) -> None:
        """Read what comes from now on. The place is fixed when this returns."""
        self.assign({part: self.watermarks(*part)[1] for part in self._partitions})

    @property
    def at_end(self) -> bool:
        """Whether every partition was read to its end."""
        return self._ends >= set(self._next)

    def poll(self, timeout: float = _SLICE) -> Message | None:
        """Return the next message, or None after ``timeout`` seconds or at the end of a partition.

        Raises:
            KafkaFailure: the broker reports an error.
        """
        raw = self._consumer.poll(timeout)
        if raw is None:
            return None
        error = raw.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self._ends.add((raw.topic(), raw.partition()))
                self._next[raw.topic(), raw.partition()] = raw.offset()
                return None
            if error.code() in _PASSING:
                check_guards()
                return None
            raise KafkaFailure(f"Consuming {', '.join(self.topics)}: {error.str()}")
        message = _received(raw)
        self._ends.discard((message.topic, message.partition))
        self._next[message.topic, message.partition] = message.offset + 1
        self._seen.append(message)
        self._count += 1
        return message

    def wait_for(
        self, wanted: Callable[[Message], object], timeout: float | None = None, *, what: str = "matching message"
    ) -> Message:
        """Return the first message for which ``wanted`` is true.

        Raises:
            WaitTimeout: none came in ``timeout`` seconds (default: ``patience``); it lists what came instead.
        """
        __tracebackhide__ = True
        return self.wait_for_n(1, wanted, timeout, what=what)[0]

    def wait_for_n(
        self,
        count: int,
        wanted: Callable[[Message], object] = lambda _: True,
        timeout: float | None = None,
        *,
        what: str = "",
    ) -> list[Message]:
        """Return the first ``count`` messages for which ``wanted`` is true, in the order of their arrival.

        Raises:
            WaitTimeout: fewer came in ``timeout`` seconds; the error lists what came.
        """
        __tracebackhide__ = True
        timeout = self._kafka.patience if timeout is None else timeout
        found: list[Message] = []
        before = self._count
        for _ in poll(Deadline.patient(timeout), pause=False):
            # Bounded: a topic that fills faster than it is read must not put off the deadline and the guards.
            for number in range(_BATCH):
                message = self.poll(0 if number else _SLICE)
                if message is None:
                    break
                if wanted(message):
                    found.append(message)
                    if len(found) == count:
                        return found
        came = self._count - before
        want = what or "messages"
        raise WaitTimeout(
            f"Topic {', '.join(self.topics)}: {len(found)} of {count} {want} came in {timeout:g} s, {came} in all",
            details=[f"  {message}" for message in list(self._seen)[-came:]] if came else ["  none at all"],
        )

    def collect_until(
        self, wanted: Callable[[Message], object], timeout: float | None = None, *, what: str = "matching message"
    ) -> list[Message]:
        """Return every message up to and with the first for which ``wanted`` is true. Raises WaitTimeout."""
        __tracebackhide__ = True
        came: list[Message] = []

        def keep(message: Message) -> object:
            came.append(message)
            return wanted(message)

        self.wait_for(keep, timeout, what=what)
        return came

    def wait_for_schema(self, schema: str, timeout: float | None = None) -> Message:
        """Return the first message whose FlatBuffers file identifier is ``schema``. Raises WaitTimeout."""
        __tracebackhide__ = True
        return self.wait_for(lambda message: message.schema == schema, timeout, what=f"message with schema {schema}")

    def drain(self, timeout: float = 10.0) -> list[Message]:
        """Return what is there up to the present end of every partition, at most for ``timeout`` seconds."""
        found: list[Message] = []
        # Not at_end: the client may still have to tell of an end that has moved on since.
        ends = {part: self.watermarks(*part)[1] for part in self._next}
        for _ in poll(Deadline.after(timeout), pause=False):
            if all(self._next[part] >= end for part, end in ends.items()):
                break
            message = self.poll()
            if message:
                found.append(message)
        return found
