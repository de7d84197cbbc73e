"""Messages, and the order that they must have."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable

_LISTED = 10  # differences that an error lists for each key


@dataclass(frozen=True, slots=True)
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

    @classmethod
    def of(cls, raw: Any) -> Message:  # noqa: ANN401 - the library has no public type for it
        """Return what the client library gave."""
        return cls(
            topic=raw.topic(),
            partition=raw.partition(),
            offset=raw.offset(),
            key=raw.key(),
            value=raw.value(),
            timestamp=raw.timestamp()[1],
            headers=tuple(raw.headers() or ()),
        )

    @property
    def schema(self) -> str:
        """The FlatBuffers file identifier of the payload (bytes 4 to 8), "" where there can be none."""
        head = (self.value or b"")[4:8]
        return head.decode("ascii", errors="replace") if len(head) == 4 else ""  # noqa: PLR2004 - its length by format

    def __str__(self) -> str:
        payload = "tombstone" if self.value is None else f"{len(self.value)} bytes"
        if self.schema.isalnum():
            payload += f", schema {self.schema}"
        return f"{self.topic}[{self.partition}]@{self.offset} key={short(self.key)} {payload}"


class UnexpectedMessage(HarnessError):
    """A message came that must not come.

    Attributes:
        message: the message.
    """

    def __init__(self, summary: str, message: Message) -> None:
        super().__init__(summary, details=[f"  {message}", f"  head: {(message.value or b'')[:32].hex(' ')}"])
        self.message = message


class WrongOrder(HarnessError):
    """Messages of a key did not come as they were sent."""


def check_key_order(messages: Iterable[Message], sent: Iterable[tuple[bytes | str | None, bytes | str | None]]) -> None:
    """Do nothing when the messages of each key came from one partition, each once and in the producer's order.

    Messages without a key have no order and are passed over, on both sides.

    Args:
        messages: what was received, in the order of their arrival.
        sent: (key, value) of what was sent, in the producer's order.

    Raises:
        WrongOrder: they did not; it lists for each key what is wrong.
    """
    __tracebackhide__ = True
    came: defaultdict[bytes, list[Message]] = defaultdict(list)
    for message in messages:
        if message.key is not None:
            came[message.key].append(message)
    wanted: defaultdict[bytes, list[bytes | None]] = defaultdict(list)
    for key, value in sent:
        if key is not None:
            wanted[_raw(key)].append(None if value is None else _raw(value))
    wrong = {key: faults for key in dict.fromkeys([*wanted, *came]) if (faults := _differences(came[key], wanted[key]))}
    if wrong:
        key, faults = next(iter(wrong.items()))
        lines = [f"  key {key!r}: {line}" for key, faults in wrong.items() for line in faults]
        raise WrongOrder(
            f"{len(wrong)} of {len(came.keys() | wanted.keys())} keys out of order; key {key!r}: {faults[0]}",
            details=lines,
        )


def _raw(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def short(value: bytes | None) -> str:
    """Return a key or payload for a line of text."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}... ({len(value or b'')} bytes)"  # noqa: PLR2004 - fits a line


def _differences(came: list[Message], wanted: list[bytes | None]) -> list[str]:
    """Return what is wrong with the messages of one key, in words."""
    lines = []
    spread = Counter(f"{message.topic}[{message.partition}]" for message in came)
    if len(spread) > 1:
        lines.append(f"came from several partitions: {', '.join(f'{n} from {part}' for part, n in spread.items())}")
    values = [message.value for message in came]
    if values == wanted:
        return lines
    missing, extra = Counter(wanted) - Counter(values), Counter(values) - Counter(wanted)
    for value, count in missing.items():
        lines.append(f"{short(value)} was sent {Counter(wanted)[value]}x, {count} missing")
    for value, count in extra.items():
        where = ", ".join(f"[{message.partition}]@{message.offset}" for message in came if message.value == value)
        lines.append(f"{short(value)} was sent {Counter(wanted)[value]}x, {count} too many ({where})")
    if not missing and not extra:
        places = [at for at, (got, want) in enumerate(zip(values, wanted, strict=True)) if got != want]
        lines += [
            f"message {at + 1} of {len(wanted)} is {short(values[at])} ([{came[at].partition}]@{came[at].offset}), "
            f"{short(wanted[at])} was sent then"
            for at in places
        ]
    dropped = len(lines) - _LISTED
    return [*lines[:_LISTED], *([f"and {dropped} more differences"] if dropped > 0 else [])]
