"""What a failed test's report shows of Kafka: the last messages of the topics that the test had to do with, decoded."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from harness.clock import Deadline, now
from harness.errors import HarnessError
from harness.helpers.http_plain import mask
from harness.helpers.kafka.connection import Connection, in_background
from harness.helpers.kafka.messages import short
from harness.helpers.kafka.reader import TopicReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.helpers.kafka.messages import Message

SHOWN = 5  # messages of each topic
_WIDTH = 1000  # characters of a decoded message
_HEAD = 32  # bytes of one that nobody can decode
_LARGE = 100_000  # bytes from which on only the head is kept
_TOPICS = 20  # topics that are shown
_HELD = 100  # topics that are remembered: a client may live for thousands of tests, each with topics of its own


@dataclass
class _Traffic:
    """What a test had to do with one topic."""

    touched: float = 0.0
    last: deque[tuple[float, Message]] = field(default_factory=lambda: deque(maxlen=SHOWN))


class Journal:
    """The last messages that the clients of one ``Kafka`` sent and received: a witness in ``harness.witnesses``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._topics: dict[str, _Traffic] = {}
        self._lock = threading.Lock()
        self._left = False
        self.subject = f"kafka {connection.bootstrap}"

    @property
    def over(self) -> bool:
        """Whether its clients are closed."""
        return self._left or self._connection.closed

    def leave(self) -> None:
        """Note that nobody has the ``Kafka`` any more."""
        self._left = True

    def touch(self, topics: Iterable[str]) -> None:
        """Note that somebody waits for messages of ``topics``."""
        with self._lock:
            for topic in topics:
                self._use(topic)

    def note(self, message: Message) -> None:
        """Note a message that was received, or that the broker has taken."""
        if message.value is not None and len(message.value) > _LARGE:
            message = replace(message, value=_Cut(message.value[:_HEAD], len(message.value)))
        with self._lock:
            traffic = self._topics.get(message.topic) or self._use(message.topic)
            traffic.touched = now()
            traffic.last.append((traffic.touched, message))

    def _use(self, topic: str) -> _Traffic:
        """Return the traffic of a topic, which is now the last one used; the one not used for longest makes room."""
        traffic = self._topics.pop(topic, None) or _Traffic()
        traffic.touched = now()
        self._topics[topic] = traffic
        if len(self._topics) > _HELD:
            del self._topics[next(iter(self._topics))]
        return traffic

    def tell(self, since: float, deadline: Deadline | None) -> str:
        """Return the last messages of each topic that was used since ``since``, "" when none was.

        Args:
            since: a moment on the monotonic clock.
            deadline: until when the broker may be asked for the ends of the topics; None: not at all.
        """
        with self._lock:
            used = {name: traffic for name, traffic in self._topics.items() if traffic.touched >= since}
            kept = {name: [message for at, message in traffic.last if at >= since] for name, traffic in used.items()}
        names = sorted(list(used)[-_TOPICS:])  # the last ones used
        if not names:
            return ""
        fetched: dict[str, list[Message]] = {}
        reason = "the broker was not asked"
        if deadline is not None:
            reason = self._fetch(names, fetched, deadline)
        lines = []
        for name in names:
            if name in fetched:
                lines += _block(f"topic {name}: its last messages", fetched[name])
            else:
                lines += _block(f"topic {name}: last sent or received by the test ({reason})", kept[name])
        dropped = len(used) - len(names)
        return "\n".join([*lines, *([f"and {dropped} more topics"] if dropped else [])])

    def _fetch(self, names: list[str], into: dict[str, list[Message]], deadline: Deadline) -> str:
        """Read the ends of topics before ``deadline``; return why some are missing."""
        # In a thread: nothing that the library does there can hold up the report, and no guard ends it.
        future = in_background(lambda: _tails(self._connection, names, into, deadline))
        try:
            future.result(max(deadline.remaining(), 0.01))
        except TimeoutError:
            return "the broker did not answer in time"
        except HarnessError as error:
            return error.summary
        return "the topic is gone"


class _Cut(bytes):
    """The head of a long payload, which knows how long it was."""

    full: int

    def __new__(cls, head: bytes, full: int) -> Self:
        """Return the head of ``full`` bytes."""
        cut = super().__new__(cls, head)
        cut.full = full
        return cut


def _tails(about: Connection, names: list[str], into: dict[str, list[Message]], deadline: Deadline) -> None:
    """Put the last messages of topics into ``into``, topic by topic."""
    connection = Connection(about.bootstrap, max(deadline.remaining(), 0.05), about.security)
    try:
        topics = connection.leaders()
        for name in names:
            if name not in topics or deadline.expired():
                continue
            with TopicReader(connection, (name,), patience=deadline.remaining()) as consumer:
                messages = consumer.tail(SHOWN)
            if not deadline.expired():
                into[name] = in_order(messages)[-SHOWN:]
    finally:
        connection.close()


def in_order(messages: Iterable[Message]) -> list[Message]:
    """Return messages by time; those of one partition keep its order, whatever time stamps their producer gave them."""
    latest: dict[int, int] = {}
    placed = []
    for message in sorted(messages, key=lambda message: (message.partition, message.offset)):
        part = message.partition
        latest[part] = max(message.timestamp, latest.get(part, message.timestamp))
        placed.append((latest[part], part, message.offset, message))
    return [message for *_, message in sorted(placed, key=lambda place: place[:3])]


def _block(title: str, messages: list[Message]) -> list[str]:
    lines = [title]
    for message in messages:
        place = f"[{message.partition}]@{message.offset} {_time(message.timestamp)}"
        lines.append(f"  {place} key={short(message.key)} {decoded(message.value)}")
    return lines if messages else [f"{title}: none"]


def _time(timestamp: int) -> str:
    try:
        return f"{datetime.fromtimestamp(timestamp / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z"
    except (ValueError, OverflowError, OSError):  # a producer may set any, nanoseconds as well
        return f"{timestamp} ms"


def decoded(value: bytes | None) -> str:
    """Return a payload in words: as JSON or FlatBuffers where it is that, else as text, else its head in hex.

    Members and parameters whose names say that they are secret are left out, as in what HTTP's errors show.
    """
    if value is None:
        return "tombstone"
    if isinstance(value, _Cut):
        return f"{value.full} bytes, head {value.hex(' ')}"
    words = mask((_as_json(value) or _as_flatbuffer(value) or _as_text(value))[: 4 * _WIDTH])  # cut: it takes its time
    if words:
        return words if len(words) <= _WIDTH else f"{words[:_WIDTH]}... ({len(value)} bytes)"
    return f"{len(value)} bytes, head {value[:_HEAD].hex(' ')}"


def _as_json(value: bytes) -> str:
    if not value.lstrip().startswith((b"{", b"[")):
        return ""
    try:
        return "json " + json.dumps(json.loads(value), ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""


def _as_text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return ""
    return f"text {text!r} ({len(value)} bytes)" if text.isprintable() else ""


def _as_flatbuffer(value: bytes) -> str:
    if not value[4:8].isalnum():
        return ""
    try:
        from harness.helpers import flatbuffers  # noqa: PLC0415 - with numpy, for messages that look like it only

        message: Any = flatbuffers.decode(value)
    except (ImportError, HarnessError):
        return ""
    return f"{message.schema} {' '.join(repr(flatbuffers.in_words(message)).split())}"
