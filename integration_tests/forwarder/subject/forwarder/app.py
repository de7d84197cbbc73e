"""The forwarder itself: commands in, updates out, status always."""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, Producer, TopicPartition

from forwarder.commands import BadCommandError, Command, Stream, parse_command
from forwarder.sources import CaSource, FakeSource, PvaSource, Source
from forwarder.updates import Converter, Update

if TYPE_CHECKING:
    from forwarder.config import Config

log = logging.getLogger("forwarder")
VERSION = "1.0.0"


class Forwarder:
    """Runs until ``stop`` is called or an exit command comes."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.streams: dict[Stream, Source] = {}
        self._converters: dict[Stream, Converter] = {}
        self._stopping = threading.Event()
        self._updates: queue.SimpleQueue[tuple[Stream, Any] | None] = queue.SimpleQueue()
        self._producer = Producer({"bootstrap.servers": config.output, "linger.ms": 1})
        self._status_due = 0.0

    def stop(self) -> None:
        """Ask it to end."""
        self._stopping.set()

    def run(self) -> None:
        """Forward until told to stop."""
        consumer = self._commands_from_now()
        sender = threading.Thread(target=self._send_updates, name="sender")
        sender.start()
        log.info("forwarding to %s, commands from %s", self.config.output, self.config.commands.name)
        try:
            self.publish_status()
            while not self._stopping.is_set():
                message = consumer.poll(0.05)
                while message is not None:
                    if message.error() is None:
                        self._take(message.value())
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
            self._producer.flush(2)
            consumer.close()
            log.info("ended")

    def _commands_from_now(self) -> Consumer:
        """Return a consumer placed behind the last command: older ones were for somebody else."""
        topic = self.config.commands
        consumer = Consumer(
            {"bootstrap.servers": topic.broker, "group.id": f"forwarder-{os.getpid()}", "enable.auto.commit": False}
        )
        partitions = consumer.list_topics(topic.name, timeout=10).topics[topic.name].partitions
        parts = [TopicPartition(topic.name, number) for number in partitions]
        for part in parts:
            part.offset = consumer.get_watermark_offsets(part)[1]
        consumer.assign(parts)
        return consumer

    def _take(self, data: bytes) -> None:
        try:
            command = parse_command(data)
        except BadCommandError as error:
            log.warning("command refused: %s", error)
            return
        self.execute(command)
        self._status_due = min(self._status_due, time.monotonic() + 0.02)

    def execute(self, command: Command) -> None:
        """Do what a command says."""
        log.info("command %s %s", command.kind, command.channel or len(command.streams))
        if command.kind == "add":
            for stream in command.streams:
                self.add(stream)
        elif command.kind == "exit":
            self.stop()
        else:
            for stream in list(self.streams):
                if command.kind == "stop_all" or stream.channel == command.channel:
                    self._close(stream)

    def add(self, stream: Stream) -> None:
        """Begin to forward a stream; one that is there already is left alone."""
        if stream in self.streams:
            return
        self._converters[stream] = Converter(stream.channel)

        def put(make: Any) -> None:
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

    def _send_updates(self) -> None:
        ca_ready = False
        while (item := self._updates.get()) is not None:
            stream, make = item
            if stream.provider == "ca" and not ca_ready:
                import epics

                epics.ca.use_initial_context()
                ca_ready = True
            converter = self._converters.get(stream)
            if converter is None:
                continue
            try:
                update = make()
                if update is not None:
                    self.send(stream, converter.convert(update), update)
            except Exception:
                log.exception("update of %s could not be sent", stream.channel)

    def send(self, stream: Stream, message: bytes, update: Update) -> None:
        """Send a message; its key is the channel's name, so that one channel keeps its order in one partition."""
        timestamp = update.timestamp // 1_000_000
        self._producer.produce(stream.topic, message, key=self.key_of(stream), timestamp=timestamp)
        self._producer.poll(0)

    def key_of(self, stream: Stream) -> bytes:
        """Return the message key of a stream."""
        return stream.channel.encode()

    def listed(self) -> list[Stream]:
        """Return the streams that the status names."""
        return list(self.streams)

    def publish_status(self) -> None:
        """Send an x5f2 status message that lists the streams."""
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
        message = serialise_x5f2(
            software_name="forwarder",
            software_version=VERSION,
            service_id=f"forwarder-{os.getpid()}",
            host_name=socket.gethostname(),
            process_id=os.getpid(),
            update_interval=int(self.config.status_interval * 1000),
            status_json=json.dumps({"streams": streams}),
        )
        self._producer.produce(self.config.status.name, message)
        self._producer.poll(0)
        self._status_due = time.monotonic() + self.config.status_interval
