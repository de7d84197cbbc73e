"""What the tests of the forwarder share: its commands, and what its messages mean."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streaming_data_types.fbschemas.logdata_f142 import LogData, Value

from harness.helpers import flatbuffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.helpers.kafka import Kafka, KafkaConsumer, Message

# Seconds to wait for a message. A broken subject keeps every test waiting that long, so its runs give less.
PATIENCE = float(os.environ.get("FORWARDER_PATIENCE", "10"))


def stream(channel: str, provider: str, topic: str) -> dict[str, Any]:
    """Return a stream as commands write it."""
    return {"channel": channel, "channel_provider_type": provider, "converter": {"schema": "f142", "topic": topic}}


@dataclass
class Forwarder:
    """A running forwarder, as its users see it: commands go in, data and status come out."""

    kafka: Kafka
    config_topic: str
    status_topic: str
    data_topic: str

    def command(self, **command: Any) -> None:
        """Send a JSON command."""
        self.kafka.send(self.config_topic, json.dumps(command))

    def add(self, channels: Iterable[str], provider: str, topic: str = "") -> None:
        """Send one add command for several channels."""
        self.command(cmd="add", streams=[stream(name, provider, topic or self.data_topic) for name in channels])

    def data(self, topic: str = "") -> KafkaConsumer:
        """Return a consumer of the data that comes from now on."""
        return self.kafka.consumer(topic or self.data_topic)

    def status_after(self, wanted: Callable[[set[str]], object], what: str, **command: Any) -> set[str]:
        """Send a command; return the channels of the first status after it for which ``wanted`` is true."""
        with self.kafka.consumer(self.status_topic) as consumer:
            self.command(**command)
            message = consumer.wait_for(lambda one: wanted(channels_in(one)), what=f"status {what}")
            return channels_in(message)

    def add_command(self, channels: Iterable[str], provider: str) -> dict[str, Any]:
        """Return an add command for ``status_after``."""
        return {"cmd": "add", "streams": [stream(name, provider, self.data_topic) for name in channels]}


def channels_in(message: Message) -> set[str]:
    """Return the channels that a status message lists."""
    status = flatbuffers.decode(message.value or b"", schema="x5f2").value
    return {one["channel_name"] for one in json.loads(status.status_json)["streams"]}


def update_of(message: Message) -> Any:
    """Return the decoded f142 update in a message."""
    return flatbuffers.decode(message.value or b"", schema="f142").value


def value_type(message: Message) -> str:
    """Return the type of the value in an f142 message as the buffer names it, such as Double or ArrayFloat."""
    number = LogData.LogData.GetRootAsLogData(message.value, 0).ValueType()
    return next(str(name) for name, value in vars(Value.Value).items() if value == number)
