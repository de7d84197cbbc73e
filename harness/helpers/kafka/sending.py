"""What is sent to a broker: queued in order, and waited for until the broker has it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, Producer

from harness.clock import Deadline, poll
from harness.helpers.kafka.connection import SLICE, Connection, KafkaFailure
from harness.helpers.kafka.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.helpers.kafka.reader import Journal

_ANY_SIZE = 1_000_000_000  # the most that the library can: what is too large is the broker's to say
Headers = tuple[tuple[str, bytes | None], ...]
Sent = tuple[str, bytes | str | None, bytes | str | None, int | None, Headers]
"""A message to send: topic, value, key, partition, headers."""


class Sender:
    """The one producer that the threads of a ``Kafka`` share, made for the first message."""

    def __init__(self, connection: Connection, journal: Journal | None) -> None:
        self._connection = connection
        self._journal = journal
        self._producer: Any = None
        self._lock = threading.Lock()

    def drop(self) -> None:
        """Send what the producer still holds, and have the next message go by a new one."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            producer.flush(1)

    def send(self, messages: Iterable[Sent], timeout: float, timestamp: int | None = None) -> None:
        """Send messages in order and wait until the broker has them all.

        Args:
            messages: what to send.
            timeout: seconds for each of them.
            timestamp: ms since the epoch, now by default.

        Raises:
            KafkaFailure: the first delivery error, or that not all were delivered before the time-out.
        """
        producer = self._open(timeout)
        errors: list[str] = []
        queued = 0
        reported: list[str] = []  # of our own messages: other threads use the same producer

        def delivered(error: Any, message: Any) -> None:  # noqa: ANN401 - untyped library
            reported.append(message.topic())
            if error is not None:
                errors.append(f"{message.topic()}: {error.str()}")
            elif self._journal:
                self._journal.note(Message.of(message))

        for topic, value, key, partition, headers in messages:
            options = {"partition": partition, "timestamp": timestamp}
            extra = {name: number for name, number in options.items() if number is not None}
            try:
                self._queue(
                    producer,
                    Deadline.after(timeout),
                    topic,
                    value,
                    key=key,
                    headers=list(headers),
                    on_delivery=delivered,
                    **extra,
                )
            except (KafkaException, BufferError) as error:
                errors.append(f"{topic}: {error.args[0].str() if isinstance(error, KafkaException) else error}")
                break
            queued += 1
        for _ in poll(Deadline.after(timeout + 1), pause=False):
            producer.flush(SLICE)
            self._connection.check()
            if len(reported) == queued:
                break
        undelivered = queued - len(reported)
        if errors or undelivered:
            reason = errors[0] if errors else f"{undelivered} undelivered"
            raise KafkaFailure(
                f"Broker {self._connection.bootstrap} did not take a message: {reason}",
                details=self._connection.trouble(),
            )

    def _open(self, timeout: float) -> Any:  # noqa: ANN401 - untyped library
        self._connection.check()
        with self._lock:
            if self._producer is None:
                self._producer = self._connection.open_client(
                    Producer, message_timeout_ms=int(timeout * 1000), message_max_bytes=_ANY_SIZE
                )
            return self._producer

    def _queue(self, producer: Any, deadline: Deadline, *message: object, **more: object) -> None:  # noqa: ANN401
        """Queue one message; while the queue is full, wait for it to empty."""
        for _ in poll(deadline, pause=False):
            try:
                producer.produce(*message, **more)
            except BufferError:
                producer.poll(SLICE)
                self._connection.check()
            else:
                return
        raise BufferError("the queue of messages to send stays full")
