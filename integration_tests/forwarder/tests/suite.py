"""What the tests of the forwarder share: its commands in all dialects, what its messages mean, and which it is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from streaming_data_types.fbschemas.forwarder_config_update_fc00.Protocol import Protocol
from streaming_data_types.fbschemas.forwarder_config_update_fc00.UpdateType import UpdateType
from streaming_data_types.fbschemas.logdata_f142 import LogData, Value
from streaming_data_types.fbschemas.logdata_f144 import Value as F144Value
from streaming_data_types.fbschemas.logdata_f144 import f144_LogData
from streaming_data_types.forwarder_config_update_fc00 import StreamInfo as Fc00Stream
from streaming_data_types.forwarder_config_update_rf5k import StreamInfo as Rf5kStream
from subjects import DEFAULT, Subject, chosen

from harness.clock import Deadline
from harness.errors import ConfigError
from harness.helpers import flatbuffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness import Service
    from harness.helpers.kafka import Kafka, KafkaConsumer, Message

# Seconds to wait for a message. A broken subject keeps every test waiting that long, so its runs give less.
PATIENCE = float(os.environ.get("FORWARDER_PATIENCE", "10"))


def _choose() -> tuple[Subject, str]:
    """Return the subject that is tested, and what is wrong with the choice of it, which conftest.py tells."""
    try:
        return chosen(os.environ), ""
    except ConfigError as error:
        return Subject(DEFAULT, ("json",), "f142", 0, ""), str(error)


SUBJECT, PROBLEM = _choose()
_PROTOCOLS = {"pva": Protocol.PVA, "ca": Protocol.CA, "fake": Protocol.FAKE}


@dataclass(frozen=True)
class Stream:
    """A stream as commands name it."""

    channel: str
    provider: str
    topic: str
    periodic: bool = True


class Json:
    """Commands in JSON."""

    name = "json"

    def add(self, *streams: Stream) -> bytes:
        """Return the command that adds streams."""
        written = [
            {
                "channel": one.channel,
                "channel_provider_type": one.provider,
                "converter": {"schema": SUBJECT.data, "topic": one.topic},
            }
            for one in streams
        ]
        return json.dumps({"cmd": "add", "streams": written}).encode()

    def remove(self, channel: str) -> bytes:
        """Return the command that removes a channel."""
        return json.dumps({"cmd": "stop_channel", "channel": channel}).encode()

    def remove_all(self) -> bytes:
        """Return the command that removes everything."""
        return b'{"cmd": "stop_all"}'


@dataclass(frozen=True)
class Binary:
    """Commands in FlatBuffers: ``rf5k``, or ``fc00``, which can replace too."""

    name: str

    def _message(self, change: int, streams: Iterable[Any] = ()) -> bytes:
        return flatbuffers.encode(self.name, config_change=change, streams=list(streams))

    def _stream(self, channel: str, topic: str, protocol: int, *, periodic: bool = True) -> Any:
        schema = SUBJECT.data if topic else ""
        if self.name == "rf5k":
            return Rf5kStream(channel, schema, topic, protocol)
        return Fc00Stream(channel, schema, topic, protocol, int(periodic))

    def _streams(self, streams: Iterable[Stream]) -> list[Any]:
        return [
            self._stream(one.channel, one.topic, _PROTOCOLS[one.provider], periodic=one.periodic) for one in streams
        ]

    def add(self, *streams: Stream) -> bytes:
        """Return the command that adds streams."""
        return self._message(UpdateType.ADD, self._streams(streams))

    def remove(self, channel: str = "", topic: str = "") -> bytes:
        """Return the command that removes what matches; ``*`` and ``?`` are wildcards."""
        schema = SUBJECT.data if topic else ""
        one = Rf5kStream(channel, schema, topic, 0) if self.name == "rf5k" else Fc00Stream(channel, schema, topic, 0, 0)
        return self._message(UpdateType.REMOVE, [one])

    def remove_all(self) -> bytes:
        """Return the command that removes everything."""
        return self._message(UpdateType.REMOVEALL)

    def replace(self, *streams: Stream) -> bytes:
        """Return the command that replaces everything by streams."""
        return self._message(UpdateType.REPLACE, self._streams(streams))


JSON, RF5K, FC00 = Json(), Binary("rf5k"), Binary("fc00")
ANY: Json | Binary = {one.name: one for one in (JSON, RF5K, FC00)}[SUBJECT.commands[0]]
"""Commands as the subject takes them, for tests in which their dialect does not matter."""


class Data:
    """A consumer of updates, which passes over what the subject sends beside them."""

    def __init__(self, consumer: KafkaConsumer, beside: Iterable[str]) -> None:
        self._consumer = consumer
        self._beside = frozenset(beside)
        self.seek_to_start, self.seek_to_end = consumer.seek_to_start, consumer.seek_to_end

    def __enter__(self) -> Self:
        self._consumer.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def _is_update(self, message: Message) -> bool:
        return not self._beside or flatbuffers.file_identifier(message.value or b"") not in self._beside

    def wait_for(self, wanted: Callable[[Message], object], timeout: float | None = None, *, what: str) -> Message:
        """Return the first update for which ``wanted`` is true. Raises WaitTimeout."""
        return self.wait_for_n(1, wanted, timeout, what=what)[0]

    def wait_for_n(
        self,
        count: int,
        wanted: Callable[[Message], object] = lambda _: True,
        timeout: float | None = None,
        *,
        what: str,
    ) -> list[Message]:
        """Return the first ``count`` updates for which ``wanted`` is true. Raises WaitTimeout."""
        __tracebackhide__ = True
        return self._consumer.wait_for_n(count, lambda one: self._is_update(one) and wanted(one), timeout, what=what)

    def collect_until(self, wanted: Callable[[Message], object], *, what: str) -> list[Message]:
        """Return every update up to and with the first for which ``wanted`` is true. Raises WaitTimeout."""
        __tracebackhide__ = True
        came = self._consumer.collect_until(lambda one: self._is_update(one) and wanted(one), what=what)
        return [message for message in came if self._is_update(message)]

    def drain(self) -> list[Message]:
        """Return the updates that are there."""
        return [message for message in self._consumer.drain() if self._is_update(message)]

    def poll(self, seconds: float) -> Message | None:
        """Return the next update, None when none comes in time."""
        end = Deadline.after(seconds)
        while True:
            message = self._consumer.poll(end.remaining())
            if message is None or self._is_update(message):
                return message


@dataclass
class Forwarder:
    """A running forwarder, as its users see it: commands go in, data and status come out."""

    kafka: Kafka
    prefix: str

    @property
    def data_topic(self) -> str:
        """Where its data goes unless a stream says otherwise."""
        return f"{self.prefix}Data"

    def send(self, command: bytes) -> None:
        """Send a command."""
        self.kafka.send(f"{self.prefix}Config", command)

    def streams(self, channels: Iterable[str], provider: str, topic: str = "") -> list[Stream]:
        """Return the streams of several channels."""
        return [Stream(name, provider, topic or self.data_topic) for name in channels]

    def add(self, channels: Iterable[str], provider: str, topic: str = "") -> None:
        """Send one add command for several channels."""
        self.send(ANY.add(*self.streams(channels, provider, topic)))

    def data(self, topic: str = "") -> Data:
        """Return a consumer of the data that comes from now on."""
        return Data(self.kafka.consumer(topic or self.data_topic), SUBJECT.beside)

    def status(self) -> KafkaConsumer:
        """Return a consumer of the status messages that come from now on."""
        return self.kafka.consumer(f"{self.prefix}Status")

    def status_after(self, command: bytes, wanted: Callable[[set[str]], object], what: str) -> set[str]:
        """Send a command; return the channels of the first status after it for which ``wanted`` is true."""
        with self.status() as consumer:
            self.send(command)
            return channels_in(consumer.wait_for(lambda one: wanted(channels_in(one)), what=f"status {what}"))

    def reset(self) -> None:
        """Take all its streams away."""
        self.status_after(ANY.remove_all(), lambda channels: not channels, "without streams")

    def next_life(self, service: Service) -> Message:
        """End it, start it again, and return its first status: from then on it takes commands."""
        service.stop()
        with self.status() as consumer:
            service.start()
            return consumer.wait_for(lambda _: True, what="status of a new life", timeout=60)

    def running(self) -> set[str]:
        """Wait for a sign of life; return the channels in its status."""
        with self.status() as consumer:
            return channels_in(consumer.wait_for(lambda _: True, what="status"))


def channels_in(message: Message) -> set[str]:
    """Return the channels that a status message lists, in whichever form it is."""
    data = message.value or b""
    text = data if data.startswith(b"{") else flatbuffers.decode(data, schema="x5f2").value.status_json
    return {one["channel_name"] for one in json.loads(text)["streams"]}


def update_of(message: Message) -> Any:
    """Return the decoded update in a message."""
    return flatbuffers.decode(message.value or b"", schema=SUBJECT.data).value


def value_type(message: Message) -> str:
    """Return the type of the value in an update as the buffer names it, such as Double or ArrayFloat."""
    f144 = SUBJECT.data == "f144"
    root = f144_LogData.f144_LogData.GetRootAsf144_LogData if f144 else LogData.LogData.GetRootAsLogData
    number = root(message.value, 0).ValueType()
    names = vars(F144Value.Value if f144 else Value.Value)
    return next(str(name) for name, value in names.items() if value == number)


def of(channel: str, value: Any = None) -> Callable[[Message], bool]:
    """Return a condition: a message of ``channel``, with ``value`` if one is given."""

    def wanted(message: Message) -> bool:
        if message.key != channel.encode():
            return False
        return value is None or np.array_equal(update_of(message).value, value)

    return wanted


def each_of(*channels: str) -> Callable[[Message], bool]:
    """Return a condition that becomes true with the message that completes ``channels``."""
    left = {channel.encode() for channel in channels}

    def wanted(message: Message) -> bool:
        left.discard(message.key or b"")
        return not left

    return wanted


def needs(*names: str) -> pytest.MarkDecorator:
    """Mark a test that is for subjects with these dialects and features only."""
    return pytest.mark.subject(*names)
