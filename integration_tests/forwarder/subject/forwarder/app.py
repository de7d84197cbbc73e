"""The forwarder itself: commands in, updates out, status always."""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from forwarder.commands import BadCommandError, Command, Stream, parse_command, stored, streams_from_json
from forwarder.config import BadConfigError
from forwarder.sources import CaSource, FakeSource, PvaSource, Source
from forwarder.updates import Converter, Update

if TYPE_CHECKING:
    from collections.abc import Callable

    from forwarder.config import Broker, Config, Topic

log = logging.getLogger("forwarder")
VERSION = "1.1.0"
_ANSWER = 10.0  # seconds for one answer of a broker
_STEPS_BACK = 100  # offsets looked at for the last message: control records and compaction leave gaps


class Idle:
    """When each stream is due to be sent again, with the update that it was sent last."""

    def __init__(self, period: float | None) -> None:
        self._period = period
        self._due: dict[Stream, tuple[float, Update]] = {}

    def sent(self, stream: Stream, update: Update) -> None:
        """Note that a stream was sent just now."""
        if self._period is not None and stream.periodic:
            self._due[stream] = (time.monotonic() + self._period, update)

    def forget(self, stream: Stream) -> None:
        """Send a stream no more."""
        self._due.pop(stream, None)

    def due(self) -> list[tuple[Stream, Update]]:
        """Return what must be sent again now."""
        now = time.monotonic()
        return [(stream, update) for stream, (at, update) in self._due.items() if at <= now]

    def wait(self) -> float | None:
        """Return the seconds until something is due, None when nothing ever is."""
        if not self._due:
            return None
        return max(0.0, min(at for at, _ in self._due.values()) - time.monotonic())


class Forwarder:
    """Runs until ``stop`` is called or an exit command comes. Raises BadConfigError when it cannot begin."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.streams: dict[Stream, Source] = {}
        self._converters: dict[Stream, Converter] = {}
        self._stopping = threading.Event()
        self._updates: queue.SimpleQueue[tuple[Stream, Callable[[], Update | None]] | None] = queue.SimpleQueue()
        self._idle = Idle(config.update_period)
        self._producers: dict[Broker, Any] = {}
        self._status_due = 0.0
        self._first = _streams_in(Path(config.streams_json)) if config.streams_json else ()

    def stop(self) -> None:
        """Ask it to end."""
        self._stopping.set()

    def run(self) -> None:
        """Forward until told to stop."""
        consumer = self._commands_from_now()
        sender = threading.Thread(target=self._send_updates, name="sender")
        sender.start()
        log.info("forwarding to %s, commands from %s", self.config.output.servers, self.config.commands.name)
        try:
            self._begin()
            self.publish_status()
            while not self._stopping.is_set():
                message = consumer.poll(0.05)
                while message is not None:
                    if message.error() is None:
                        self._take(message.value() or b"")
                    else:
                        log.warning("commands: %s", message.error())
                    message = consumer.poll(0)
                if time.monotonic() >= self._status_due:
                    self.publish_status()
        finally:
            for stream in list(self.streams):
                self._close(stream)
            self._updates.put(None)
            sender.join()
            for producer in self._producers.values():
                producer.flush(2)
            consumer.close()
            log.info("ended")

    def _begin(self) -> None:
        """Add the streams of an earlier life and of the start-up file."""
        if self.config.storage and (kept := self._last_stored(self.config.storage)):
            try:
                self.execute(parse_command(kept))
                log.info("%d streams restored from %s", len(self.streams), self.config.storage.name)
            except BadCommandError as error:
                log.warning("stored configuration refused: %s", error)
        for stream in self._first:
            self.add(stream)

    # -- Kafka --------------------------------------------------------------------------------------------------

    def _producer(self, broker: Broker) -> Any:
        if broker not in self._producers:
            self._producers[broker] = Producer({**broker.client_options(), "linger.ms": 1})
        return self._producers[broker]

    def _publish(self, topic: Topic, message: bytes, **more: Any) -> None:
        producer = self._producer(topic.broker)
        producer.produce(topic.name, message, **more)
        producer.poll(0)

    def _consumer(self, topic: Topic, **more: Any) -> tuple[Any, list[int]]:
        """Return a consumer for a topic and the numbers of its partitions."""
        options = {"group.id": f"forwarder-{os.getpid()}", "enable.auto.commit": False, **more}
        consumer = Consumer({**topic.broker.client_options(), **options})
        return consumer, list(consumer.list_topics(topic.name, timeout=_ANSWER).topics[topic.name].partitions)

    def _commands_from_now(self) -> Any:
        """Return a consumer placed behind the last command: older ones were for somebody else."""
        topic = self.config.commands
        consumer, partitions = self._consumer(topic)
        parts = [TopicPartition(topic.name, number) for number in partitions]
        for part in parts:
            part.offset = consumer.get_watermark_offsets(part, timeout=_ANSWER)[1]
        consumer.assign(parts)
        return consumer

    def _last_stored(self, topic: Topic) -> bytes | None:
        """Return the last message of the storage topic, None when there is none."""
        consumer, _ = self._consumer(topic, **{"enable.partition.eof": True})
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic.name, 0), timeout=_ANSWER)
            for offset in range(high - 1, max(low, high - _STEPS_BACK) - 1, -1):
                consumer.assign([TopicPartition(topic.name, 0, offset)])
                message = consumer.poll(_ANSWER)
                if message is not None and message.error() is None:
                    value: bytes | None = message.value()
                    return value
        except KafkaException as error:
            log.warning("stored configuration cannot be read: %s", error)
        finally:
            consumer.close()
        return None

    # -- commands -----------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        try:
            command = parse_command(data)
        except BadCommandError as error:
            log.warning("command refused: %s", error)
            return
        self.execute(command)
        if self.config.storage and command.kind != "exit":
            self._publish(self.config.storage, stored(self.streams))
        self._status_due = min(self._status_due, time.monotonic() + 0.02)

    def execute(self, command: Command) -> None:
        """Do what a command says."""
        log.info("command %s %s", command.kind, command.channel or command.patterns or len(command.streams))
        if command.kind == "exit":
            self.stop()
        for stream in [one for one in self.streams if command.removes(one)]:
            self._close(stream)
        for stream in command.streams:
            self.add(stream)

    def add(self, stream: Stream) -> None:
        """Begin to forward a stream; one that is there already is left alone."""
        if stream in self.streams:
            return
        self._converters[stream] = Converter(stream.channel)

        def put(make: Callable[[], Update | None]) -> None:
            self._updates.put((stream, make))

        if stream.provider == "fake":
            self.streams[stream] = FakeSource(put, self.config.fake_pv_period)
        elif stream.provider == "ca":
            self.streams[stream] = CaSource(stream.channel, put)
        else:
            self.streams[stream] = PvaSource(stream.channel, put)

    def _close(self, stream: Stream) -> None:
        self.streams.pop(stream).close()
        self._converters.pop(stream)

    # -- updates, in a thread of their own ----------------------------------------------------------------------

    def _send_updates(self) -> None:
        ca_ready = False
        while True:
            try:
                item = self._updates.get(timeout=self._idle.wait())
            except queue.Empty:
                item = None
            else:
                if item is None:
                    return
            if item is not None:
                stream, make = item
                if stream.provider == "ca" and not ca_ready:
                    import epics

                    epics.ca.use_initial_context()
                    ca_ready = True
                self._forward(stream, make)
            for stream, update in self._idle.due():
                self.repeat(stream, update)

    def _forward(self, stream: Stream, make: Callable[[], Update | None], *, again: bool = False) -> None:
        converter = self._converters.get(stream)
        if converter is None:
            self._idle.forget(stream)
            return
        try:
            update = make()
            if update is None:
                return
            self._idle.sent(stream, update)
            self.send(stream, converter.convert(update), time.time_ns() if again else update.timestamp)
        except Exception:
            log.exception("update of %s could not be sent", stream.channel)

    def repeat(self, stream: Stream, update: Update) -> None:
        """Send a value that has not changed once more: its own time stamp stays, that of the message is now."""
        self._forward(stream, lambda: update, again=True)

    def send(self, stream: Stream, message: bytes, nanoseconds: int) -> None:
        """Send a message; its key is the channel's name, so that one channel keeps its order in one partition."""
        producer = self._producer(self.config.output)
        producer.produce(stream.topic, message, key=self.key_of(stream), timestamp=nanoseconds // 1_000_000)
        producer.poll(0)

    def key_of(self, stream: Stream) -> bytes:
        """Return the message key of a stream."""
        return stream.channel.encode()

    # -- status -------------------------------------------------------------------------------------------------

    def listed(self) -> list[Stream]:
        """Return the streams that the status names."""
        return list(self.streams)

    def publish_status(self) -> None:
        """Send a status message that lists the streams."""
        from streaming_data_types import serialise_x5f2

        streams = [
            {
                "channel_name": stream.channel,
                "protocol": stream.provider,
                "output_topic": stream.topic,
                "schema": stream.schema,
            }
            for stream in self.listed()
        ]
        text = json.dumps({"streams": streams})
        message = (
            text.encode()
            if self.config.status_format == "json"
            else serialise_x5f2(
                software_name="forwarder",
                software_version=VERSION,
                service_id=f"forwarder-{os.getpid()}",
                host_name=socket.gethostname(),
                process_id=os.getpid(),
                update_interval=int(self.config.status_interval * 1000),
                status_json=text,
            )
        )
        self._publish(self.config.status, message)
        self._status_due = time.monotonic() + self.config.status_interval


def _streams_in(file: Path) -> tuple[Stream, ...]:
    """Return the streams in a JSON file. Raises BadConfigError."""
    try:
        return streams_from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, BadCommandError) as error:
        raise BadConfigError(f"streams-json {file}: {error}") from error
