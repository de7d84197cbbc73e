"""Reading 20,000 messages of 100 bytes from the embedded broker: the helper against the client library itself."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, TopicPartition

from bench.project import scratch_project
from bench.rounds import alternate
from harness import clock
from harness.errors import BrokenStack
from harness.helpers.kafka import Kafka

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.series import Series

TITLE = "reading 20,000 Kafka messages of 100 bytes from the embedded broker"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 7
LIMITS = (
    "Ours: one `poll`, several looks for errors and one Message with all its fields for each message, in Python; the "
    "raw loop does the `poll` and takes the value. `consume` shows how much of that is the step into the library."
)
COUNT, SIZE = 20_000, 100
BATCH = 1_000
BUDGET = 60.0
TOPIC = "many"


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Read the same topic from its beginning, with a new consumer each time; its making counts."""
    with scratch_project(scratch) as project:
        project.include_kafka()
        with project.stack_up("kafka", "embedded") as stack:
            bootstrap = stack.endpoint("kafka", 9092)
            with Kafka(bootstrap, timeout=BUDGET) as kafka:
                kafka.create_topics({TOPIC: 1})
                kafka.send_all([(TOPIC, b"x" * SIZE, None, 0, ())] * COUNT)
                ways = {
                    "raw poll": partial(raw, bootstrap, batch=1),
                    f"raw consume({BATCH})": partial(raw, bootstrap, batch=BATCH),
                    "drain": partial(drained, kafka),
                    "wait_for_n": partial(waited, kafka),
                }
                seen = alternate(ways, rounds, say)
    return [
        seen.series("raw poll", float, unit="s"),
        seen.series(f"raw consume({BATCH})", float, unit="s", against="raw poll"),
        seen.series("drain", float, unit="s", against="raw poll"),
        seen.series("wait_for_n", float, unit="s", against="raw poll"),
    ]


def raw(bootstrap: str, *, batch: int) -> float:
    """Read with the client library, message by message or in batches."""
    began = clock.now()
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "raw", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        left, size, deadline = COUNT, 0, clock.Deadline.after(BUDGET)
        while left:
            found = consumer.consume(batch, 1.0) if batch > 1 else [consumer.poll(1.0)]
            for message in found:
                if message is not None and message.error() is None:
                    size += len(message.value())
                    left -= 1
            if deadline.expired():
                raise BrokenStack(f"{left} of {COUNT} messages did not come in {BUDGET:g} s")
        seconds = clock.now() - began
    finally:
        consumer.close()
    return _whole(seconds, size)


def drained(kafka: Kafka) -> float:
    """Read with ``drain``."""
    began = clock.now()
    with kafka.consumer(TOPIC, start="start") as consumer:
        found = consumer.drain(BUDGET)
        return _whole(clock.now() - began, sum(len(message.value or b"") for message in found))


def waited(kafka: Kafka) -> float:
    """Read with ``wait_for_n``."""
    began = clock.now()
    with kafka.consumer(TOPIC, start="start") as consumer:
        found = consumer.wait_for_n(COUNT, timeout=BUDGET)
        return _whole(clock.now() - began, sum(len(message.value or b"") for message in found))


def _whole(seconds: float, size: int) -> float:
    if size != COUNT * SIZE:
        raise BrokenStack(f"{size} bytes came, {COUNT * SIZE} were sent")
    return seconds


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "kafka_consume", "--no-history", *sys.argv[1:]]))
