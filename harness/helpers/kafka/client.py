"""A broker: its topics, what is sent to it, who reads it, and how far groups have come."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Self

from harness import witnesses
from harness.clock import Deadline, poll
from harness.errors import WaitTimeout
from harness.helpers.kafka import admin
from harness.helpers.kafka.connection import Connection
from harness.helpers.kafka.consumer import KafkaConsumer
from harness.helpers.kafka.evidence import Journal
from harness.helpers.kafka.reader import TopicReader
from harness.helpers.kafka.sending import Sender, Sent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.helpers.kafka.messages import Message
    from harness.helpers.kafka.security import Security


class Kafka:
    """A broker, by its bootstrap servers (``host:port``). Close it, or use it in ``with``.

    Several threads may use one at once; its consumers belong to one thread each.

    Args:
        bootstrap: ``host:port``, several with commas.
        timeout: seconds for one request.
        patience: seconds that consumers wait for messages unless told otherwise.
        security: how to log in.
        evidence: whether a failed test's report shows what went through this client.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        timeout: float = 10.0,
        patience: float = 10.0,
        security: Security | None = None,
        evidence: bool = True,
    ) -> None:
        self.bootstrap = bootstrap
        self.timeout = timeout
        self.patience = patience
        self._connection = Connection(bootstrap, timeout, security)
        self._consumers: set[TopicReader] = set()
        self._journal = Journal(self._connection) if evidence else None
        self._sender = Sender(self._connection, self._journal)
        if self._journal:
            witnesses.call(self._journal)
            weakref.finalize(self, self._journal.leave)  # for those who forget to close it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its consumers, send what its producer still holds, and disconnect; twice is no error.

        Whatever is asked of it later raises KafkaFailure.
        """
        for consumer in list(self._consumers):
            consumer.close()
        self._sender.drop()
        self._connection.close()

    # -- topics -------------------------------------------------------------------------------------------------

    def leaders(self, timeout: float | None = None) -> dict[str, dict[int, bool]]:
        """Return topic -> partition -> whether it has a leader, from the full list.

        Asking for one topic by name creates it on some brokers, so that is never done.

        Raises:
            KafkaFailure: no broker answered in ``timeout`` seconds.
        """
        return self._connection.leaders(timeout)

    @property
    def advertised(self) -> list[tuple[str, int]]:
        """Host and port of every broker, as they told this client last to reach them; none before it has asked."""
        return self._connection.advertised

    def topics(self, timeout: float | None = None) -> dict[str, int]:
        """Return topic -> number of partitions. Raises KafkaFailure."""
        return {name: len(partitions) for name, partitions in self.leaders(timeout).items()}

    def create_topics(self, topics: Mapping[str, int], *, config: Mapping[str, str] | None = None) -> None:
        """Create topics (name -> partitions) and wait for all their leaders; existing ones are left as they are.

        Args:
            topics: names and numbers of partitions.
            config: the topics' settings, as in ``{"cleanup.policy": "compact"}``.

        Raises:
            KafkaFailure: the broker refused one.
            WaitTimeout: a leader is missing at the deadline.
        """
        if topics:
            admin.create(self._connection, topics, config or {}, Deadline.after(self.timeout))

    def delete_topics(self, *names: str) -> None:
        """Delete topics and wait until the broker lists them no more; unknown ones are no error.

        Raises:
            KafkaFailure: the broker refused one.
            WaitTimeout: one is still listed at the deadline.
        """
        if not names:
            return
        deadline = Deadline.after(self.timeout)
        admin.delete(self._connection, names, deadline)
        # A producer goes on believing in the partitions that it knows, also when a topic of that name is made again.
        self._sender.drop()
        admin.wait_until_gone(self._connection, names, deadline)

    def watermarks(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return partition -> (first offset, offset after the last) of all partitions. Raises KafkaFailure."""
        parts = self._connection.partitions([topic])
        starts, ends = self._connection.starts(parts), self._connection.ends(parts)
        return {part[1]: (starts[part], ends[part]) for part in parts}

    def delete_records(self, topic: str, before: int | None = None, *, partition: int = 0) -> int:
        """Delete the messages of a partition before an offset; return the first offset that is left.

        Args:
            topic: the topic.
            before: the offset, at most the one after the last message; None for all messages.
            partition: the partition.

        Raises:
            KafkaFailure: the broker refused it.
        """
        return admin.delete_records(self._connection, topic, before, partition)

    # -- groups -------------------------------------------------------------------------------------------------

    def lag(self, group: str, topic: str) -> dict[int, int]:
        """Return partition -> how many offsets the committed place of ``group`` is behind the end.

        Where the group has committed nothing, or a place that is gone, it counts from the first offset that is there.
        The mark that ends a transaction takes an offset too.

        Raises:
            KafkaFailure: the topic does not exist, or the broker does not say.
        """
        return admin.lags(self._connection, group, topic)

    def wait_for_lag(self, group: str, topic: str, at_most: int = 0, timeout: float | None = None) -> dict[int, int]:
        """Wait until ``group`` is at most ``at_most`` offsets behind, over all partitions; return the lags then.

        Raises:
            WaitTimeout: it is further behind after ``timeout`` seconds (default: ``patience``).
        """
        __tracebackhide__ = True
        timeout = self.patience if timeout is None else timeout
        lags: dict[int, int] = {}
        for _ in poll(Deadline.patient(timeout)):
            lags = self.lag(group, topic)
            if sum(lags.values()) <= at_most:
                return lags
        raise WaitTimeout(
            f"Group {group!r} is {sum(lags.values())} behind in topic {topic} after {timeout:g} s, "
            f"{at_most} or less was needed",
            details=[f"  {topic}[{number}]: {lag} behind" for number, lag in lags.items()],
        )

    def committed_reachable(self, timeout: float) -> bool:
        """Return whether a group coordinator answers, by asking for the offsets of a group that does not exist."""
        return admin.is_coordinated(self._connection, timeout)

    # -- producing ----------------------------------------------------------------------------------------------

    def send(
        self,
        topic: str,
        value: bytes | str | None,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        headers: Iterable[tuple[str, bytes | None]] = (),
        timestamp: int | None = None,
    ) -> None:
        """Send one message and wait until the broker has it.

        Args:
            topic: the topic.
            value: the payload, None for a tombstone.
            key: the key, which chooses the partition where none is given.
            partition: the partition.
            headers: headers, in order.
            timestamp: ms since the epoch, now by default.

        Raises:
            KafkaFailure: the broker does not take it.
        """
        self._sender.send([(topic, value, key, partition, tuple(headers))], self.timeout, timestamp)

    def send_all(self, messages: Iterable[Sent]) -> None:
        """Send (topic, value, key, partition, headers) in order and wait until the broker has them all.

        Raises:
            KafkaFailure: the first delivery error, or that not all were delivered before the time-out.
        """
        self._sender.send(messages, self.timeout)

    # -- consuming ----------------------------------------------------------------------------------------------

    def consumer(self, *topics: str, start: str | int = "end") -> KafkaConsumer:
        """Return a consumer of all partitions of ``topics``, without a group.

        Args:
            topics: names.
            start: "start", "end", or a time in ms since the epoch (see ``KafkaConsumer.seek_to_time``). "end" is fixed
                before this returns: every later message is seen.

        Raises:
            KafkaFailure: a topic does not exist, or the broker does not answer.
        """
        if not isinstance(start, int) and start not in ("start", "end"):
            raise ValueError(f"start is {start!r}; 'start', 'end' or a time in ms was needed")
        consumer = KafkaConsumer(
            self._connection,
            topics,
            patience=self.patience,
            journal=self._journal,
            on_close=self._consumers.discard,
        )
        self._consumers.add(consumer)
        try:
            if isinstance(start, int):
                consumer.seek_to_time(start)
            elif start == "end":
                consumer.seek_to_end()
            else:
                consumer.seek_to_start()
        except BaseException:
            consumer.close()
            raise
        return consumer

    def messages(self, topic: str, *, timeout: float | None = None, count: int | None = None) -> list[Message]:
        """Return the messages that a topic has now, from its start on; see ``KafkaConsumer.drain``."""
        with self.consumer(topic, start="start") as consumer:
            return consumer.drain(timeout, count=count)

    def last_message(self, topic: str, partition: int | None = None) -> Message | None:
        """Return the newest message of a topic, or of one of its partitions; None when it has none.

        Of each partition the message with the highest offset counts, which may be far before the end: compaction,
        deleted records and transactions leave offsets without one. Of these, the one with the latest timestamp is
        returned; of equal ones that with the higher offset, then with the higher partition.

        Raises:
            KafkaFailure: the topic does not exist, or it could not be read to its end in ``timeout`` seconds.
        """
        with TopicReader(self._connection, (topic,), patience=self.timeout, journal=self._journal) as consumer:
            newest = {message.partition: message for message in consumer.tail(1, partition)}
        return max(
            newest.values(), key=lambda message: (message.timestamp, message.offset, message.partition), default=None
        )
