"""Whole topics: from where they are read, up to their ends, and the last messages of each partition."""

from __future__ import annotations

import uuid
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Protocol, Self

from confluent_kafka import Consumer, KafkaError, TopicPartition

from harness.clock import Deadline, check_guards, poll
from harness.errors import WaitTimeout
from harness.helpers.kafka.connection import PASSING, SLICE, Connection, KafkaFailure, Part
from harness.helpers.kafka.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_BATCH = 100  # messages looked at between two looks at the clock
_KEPT = 20  # messages that a time-out lists


class Journal(Protocol):
    """Who notes which topics are read, and what came."""

    def touch(self, topics: Iterable[str]) -> None:
        """Note that somebody waits for messages of ``topics``."""

    def note(self, message: Message) -> None:
        """Note a message that was received."""


class TopicReader:
    """Reads whole topics, from places that are given to it, and sees committed transactions only."""

    def __init__(
        self,
        connection: Connection,
        topics: tuple[str, ...],
        *,
        patience: float,
        journal: Journal | None = None,
        on_close: Callable[[TopicReader], None] | None = None,
    ) -> None:
        self.topics = topics
        self._connection = connection
        self._patience = patience
        self._journal = journal
        self._on_close = on_close
        self._closed = False
        self._ends: set[Part] = set()
        self._next: dict[Part, int] = {}  # the place in each assigned partition
        self._seen: deque[Message] = deque(maxlen=_KEPT)
        self._count = 0
        self._parts = connection.partitions(topics)
        self._consumer = connection.open_client(
            Consumer,
            group_id=f"harness-{uuid.uuid4().hex}",
            enable_auto_commit=False,
            auto_offset_reset="error",
            enable_partition_eof=True,
            fetch_wait_max_ms=50,
            fetch_error_backoff_ms=10,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker; twice is no error."""
        if not self._closed:
            self._closed = True
            self._consumer.close()
            if self._on_close:
                self._on_close(self)

    def _check(self) -> None:
        if self._closed:
            raise KafkaFailure(f"The consumer of {self._name} is closed")
        self._connection.check()

    @property
    def _name(self) -> str:
        return ", ".join(self.topics)

    # -- where it reads -----------------------------------------------------------------------------------------

    def watermarks(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """Return (first offset, offset after the last).

        After an error that passes by itself it is asked again until the deadline.

        Raises:
            KafkaFailure: the broker does not say.
        """
        part = (topic, partition)
        return self._connection.starts([part])[part], self._connection.ends([part])[part]

    def assign(self, offsets: Mapping[Part, int]) -> None:
        """Read from these offsets, by (topic, partition), and from nothing else."""
        self._check()
        self._ends.clear()
        self._next = dict(offsets)
        self._consumer.assign([TopicPartition(topic, number, at) for (topic, number), at in offsets.items()])

    def seek_to_start(self) -> None:
        """Read everything from the first message on."""
        # Not OFFSET_BEGINNING: the client resolves that by a timer of half a second while it knows no leader yet.
        self.assign(self._connection.starts(self._parts))

    def seek_to_end(self) -> None:
        """Read what comes from now on. The place is fixed when this returns."""
        self.assign(self._connection.ends(self._parts))

    def seek_to_time(self, timestamp: int) -> None:
        """Read from the first message of each partition whose time is ``timestamp`` (ms since the epoch) or later.

        A partition without one is read from its end. Producers set the times, so after that first message some
        with an earlier time may come.
        """
        self.assign(self._connection.first_at(self._parts, timestamp))

    @property
    def at_end(self) -> bool:
        """Whether every partition was read to its end."""
        return self._ends >= set(self._next)

    # -- reading ------------------------------------------------------------------------------------------------

    def poll(self, timeout: float = SLICE) -> Message | None:
        """Return the next message, or None after ``timeout`` seconds or at the end of a partition.

        Raises:
            KafkaFailure: the broker reports an error, or does not let this client in.
        """
        self._check()
        raw = self._consumer.poll(timeout)
        self._connection.check()
        if raw is None:
            return None
        error = raw.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self._ends.add((raw.topic(), raw.partition()))
                self._next[raw.topic(), raw.partition()] = raw.offset()
                return None
            if error.code() in PASSING:
                check_guards()
                return None
            raise KafkaFailure(f"Consuming {self._name}: {error.str()}")
        message = Message.of(raw)
        self._ends.discard((message.topic, message.partition))
        self._next[message.topic, message.partition] = message.offset + 1
        self._seen.append(message)
        self._count += 1
        if self._journal:
            self._journal.note(message)
        return message

    def _look(self, deadline: Deadline, wanted: Callable[[Message], object]) -> bool:
        """Show every message that comes before ``deadline`` to ``wanted``; return whether it said true to one."""
        if self._journal:
            self._journal.touch(self.topics)
        for _ in poll(deadline, pause=False):
            # Bounded: a topic that fills faster than it is read must not put off the deadline and the guards.
            for number in range(_BATCH):
                message = self.poll(0 if number else min(SLICE, deadline.remaining()))
                if message is None:
                    break
                if wanted(message):
                    return True
        return False

    def _look_to_end(self, deadline: Deadline, wanted: Callable[[Message], object]) -> bool:
        """Show every message up to the present end of all partitions to ``wanted``, until it says true to one.

        Returns:
            Whether it said true, or the ends were reached; False at the deadline.
        """
        if self._journal:
            self._journal.touch(self.topics)
        # Not at_end: the client may still have to tell of an end that has moved on since. Nor numbers of messages:
        # what is at an offset may be gone, or be a mark of a transaction; the client then tells of the end alone.
        ends = self._connection.ends(self._next, committed=True)
        for _ in poll(deadline, pause=False):
            for _ in range(_BATCH):
                if all(self._next[part] >= end for part, end in ends.items()):
                    return True
                message = self.poll()
                if message is None:
                    break
                if wanted(message):
                    return True
        return False

    def drain(self, timeout: float | None = None, *, count: int | None = None) -> list[Message]:
        """Return what is there up to the present end of every partition.

        It ends there also where offsets have no message: in compacted topics, behind deleted records, at the marks
        that transactions leave.

        Args:
            timeout: seconds; ``patience`` by default.
            count: messages after which it ends; what follows is left for the next call.

        Raises:
            WaitTimeout: the ends were not reached in time. What came is not returned: it would look like everything.
        """
        messages: list[Message] = []

        def keep(message: Message) -> bool:
            messages.append(message)
            return len(messages) == count

        timeout = self._patience if timeout is None else timeout
        if count != 0 and not self._look_to_end(Deadline.after(timeout), keep):
            raise WaitTimeout(
                f"Topic {self._name}: its end was not reached in {timeout:g} s; {len(messages)} messages came"
            )
        return messages

    def tail(self, count: int, partition: int | None = None) -> list[Message]:
        """Return the last ``count`` messages of every partition, or of one; those of a partition in their order.

        Messages that come meanwhile may be among them.

        Raises:
            KafkaFailure: the ends were not reached in ``patience`` seconds.
        """
        parts = [part for part in self._parts if partition in (None, part[1])]
        if not parts:
            numbers = ", ".join(str(part[1]) for part in self._parts)
            raise KafkaFailure(f"Topic {self._name} has no partition {partition}; there are: {numbers}")
        starts, ends = self._connection.starts(parts), self._connection.ends(parts, committed=True)
        messages: defaultdict[Part, deque[Message]] = defaultdict(lambda: deque(maxlen=count))

        def keep(message: Message) -> None:
            messages[message.topic, message.partition].append(message)

        unread = {part for part in parts if ends[part] > starts[part]}
        step = count
        deadline = Deadline.after(self._patience)
        while unread:
            # Offsets without a message may lie before the end, so step back, farther each time.
            self.assign({part: max(starts[part], ends[part] - step) for part in unread})
            for part in unread:
                messages[part].clear()
            if not self._look_to_end(deadline, keep):
                raise KafkaFailure(
                    f"Topic {self._name} was not read to its end in {self._patience:g} s",
                    details=self._connection.trouble(),
                )
            unread = {part for part in unread if len(messages[part]) < count and ends[part] - step > starts[part]}
            step *= 8
        return [message for part in parts for message in messages[part]]
