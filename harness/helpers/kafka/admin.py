"""What a broker is asked about its topics and groups, and the waits until it has done it."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic

from harness.clock import Deadline, poll
from harness.errors import WaitTimeout
from harness.helpers.kafka.connection import Connection, KafkaFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def create(connection: Connection, topics: Mapping[str, int], config: Mapping[str, str], deadline: Deadline) -> None:
    """Create topics (name -> partitions) and wait for all their leaders. Raises KafkaFailure, WaitTimeout."""
    new = {name: NewTopic(name, count, 1, config=dict(config)) for name, count in topics.items()}

    def request(admin: Any, names: list[str], seconds: float) -> Any:  # noqa: ANN401 - untyped library
        return admin.create_topics([new[name] for name in names], operation_timeout=seconds)

    _ask_each(
        connection,
        request,
        {name: f"create topic {name!r}" for name in topics},
        KafkaError.TOPIC_ALREADY_EXISTS,
        deadline,
    )
    missing = ""
    for _ in poll(deadline):
        missing = missing_leaders(connection.leaders(), topics)
        if not missing:
            return
    raise WaitTimeout(f"Broker {connection.bootstrap}: {missing} {deadline.budget:g} s after it was created")


def delete(connection: Connection, names: Sequence[str], deadline: Deadline) -> None:
    """Delete topics; unknown ones are no error. Raises KafkaFailure."""

    def request(admin: Any, names: list[str], seconds: float) -> Any:  # noqa: ANN401 - untyped library
        return admin.delete_topics(names, operation_timeout=seconds)

    _ask_each(
        connection,
        request,
        {name: f"delete topic {name!r}" for name in names},
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        deadline,
    )


def wait_until_gone(connection: Connection, names: Sequence[str], deadline: Deadline) -> None:
    """Wait until the broker lists none of these topics. Raises WaitTimeout."""
    listed: list[str] = []
    for _ in poll(deadline):
        listed = sorted(set(names) & connection.leaders().keys())
        if not listed:
            return
    raise WaitTimeout(
        f"Broker {connection.bootstrap}: topic {listed[0]!r} is there {deadline.budget:g} s after its deletion"
    )


def _ask_each(
    connection: Connection,
    request: Callable[[Any, list[str], float], Any],
    actions: Mapping[str, str],
    accept: int,
    deadline: Deadline,
) -> None:
    """Ask about all topics (name -> what is asked) at once, and again about each whose error passes by itself.

    Raises:
        KafkaFailure: the broker's answer for one is an error other than ``accept``.
    """
    first = dict(request(connection.admin, list(actions), deadline.budget))  # a copy: the library needs its own

    def about(name: str, admin: Any, seconds: float) -> Any:  # noqa: ANN401 - untyped library
        return first.pop(name, None) or request(admin, [name], seconds)[name]

    for name, action in actions.items():
        connection.ask(partial(about, name), action, accept=accept, deadline=deadline)


def delete_records(connection: Connection, topic: str, before: int | None, partition: int) -> int:
    """Delete messages before an offset, None for all; return the first offset that is left. Raises KafkaFailure."""
    part = TopicPartition(topic, partition, -1 if before is None else before)
    answer = connection.ask(
        lambda admin, seconds: admin.delete_records([part], operation_timeout=seconds)[part],
        f"delete records of {topic}[{partition}]",
    )
    return int(answer.low_watermark)


def lags(connection: Connection, group: str, topic: str) -> dict[int, int]:
    """Return partition -> how many offsets the committed place of a group is behind the end. Raises KafkaFailure."""
    parts = connection.partitions([topic])
    request = ConsumerGroupTopicPartitions(group, [TopicPartition(*part) for part in parts])
    # Before the ends: a group that goes on meanwhile would seem to be ahead of them.
    answer = connection.ask(
        lambda admin, seconds: admin.list_consumer_group_offsets([request], request_timeout=seconds)[group],
        f"tell the offsets of group {group!r}",
    )
    failed = next((place for place in answer.topic_partitions if place.error is not None), None)
    if failed:
        raise KafkaFailure(f"No offsets of group {group!r} in {topic}[{failed.partition}]: {failed.error}")
    places = {place.partition: place.offset for place in answer.topic_partitions}
    starts, ends = connection.starts(parts), connection.ends(parts)
    return {part[1]: max(0, ends[part] - max(starts[part], places.get(part[1], -1))) for part in parts}


def is_coordinated(connection: Connection, timeout: float) -> bool:
    """Return whether a group coordinator answers, by asking for the offsets of a group that does not exist."""
    connection.check()
    probe: Any = connection.open_client(Consumer, group_id=f"harness-{uuid.uuid4().hex}")
    try:
        probe.committed([TopicPartition("harness-none", 0)], timeout=timeout)
    except KafkaException as error:
        return bool(error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART)
    finally:
        probe.close()
    return True


def missing_leaders(leaders: Mapping[str, Mapping[int, bool]], topics: Mapping[str, int]) -> str:
    """Return what of ``topics`` (name -> partitions) is not there with a leader, as words; "" when all is."""
    for name, count in topics.items():
        partitions = leaders.get(name)
        if partitions is None:
            return f"topic {name!r} does not exist"
        if len(partitions) < count:
            return f"topic {name!r} has {len(partitions)} of {count} partitions"
        without = [number for number, has in partitions.items() if not has]
        if without:
            return f"topic {name!r} has no leader for partition {without[0]}"
    return ""
