from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psutil
import pytest
from checkout import ROOT
from confluent_kafka import Consumer, Producer, TopicPartition
from servers import free_port, raw_server

import harness
from harness import BrokenStack, HarnessError, WaitTimeout, clock
from harness.clock import Deadline, add_guard, now, remove_guard
from harness.helpers import flatbuffers
from harness.helpers.kafka import Kafka, KafkaConsumer, KafkaFailure, UnexpectedMessage, missing_leaders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from projects import Project


kafka_stack = harness.stack_fixture("kafka", scope="module")


@pytest.fixture(scope="module")
def kafka(kafka_stack: harness.Stack) -> Iterator[Kafka]:
    """The broker."""
    with Kafka(kafka_stack.endpoint("kafka", 9092), patience=5) as client:
        yield client


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[str]:
    """A topic of two partitions that only this test has."""
    name = f"test-{uuid.uuid4().hex}"
    kafka.create_topics({name: 2})
    yield name
    kafka.delete_topics(name)


# -- topics -------------------------------------------------------------------------------------------------------


def test_a_topic_is_created_and_deleted(kafka: Kafka) -> None:
    """A created topic must have its partitions with leaders, and be gone when it is deleted."""
    name = f"test-{uuid.uuid4().hex}"
    kafka.create_topics({name: 3})
    assert kafka.topics()[name] == 3
    assert kafka.leaders()[name] == {0: True, 1: True, 2: True}
    kafka.delete_topics(name)
    assert name not in kafka.topics()


def test_the_broker_says_what_is_too_large(kafka: Kafka, topic: str) -> None:
    """A message that the topic takes must arrive, however large; one that it does not take must be refused."""
    value = os.urandom(3_000_000)
    with pytest.raises(KafkaFailure, match="Message size too large"):
        kafka.send(topic, value)
    name = f"test-{uuid.uuid4().hex}"
    kafka.create_topics({name: 1}, config={"max.message.bytes": "4000000"})
    kafka.send(name, value)
    assert [message.value for message in kafka.messages(name)] == [value]
    kafka.delete_topics(name)


def test_a_topic_that_exists_is_left_as_it_is(kafka: Kafka, topic: str) -> None:
    """Creating a topic again must be no error and keep its messages."""
    kafka.send(topic, "kept", partition=0)
    kafka.create_topics({topic: 2})
    kept = kafka.last_message(topic)
    assert kept is not None
    assert kept.value == b"kept"


def test_nothing_to_create_or_delete_is_no_error(kafka: Kafka) -> None:
    """Empty lists and unknown topics must change nothing."""
    before = kafka.topics()
    kafka.create_topics({})
    kafka.delete_topics()
    kafka.delete_topics(f"unknown-{uuid.uuid4().hex}")
    assert kafka.topics() == before


def test_missing_partitions_are_told_at_the_deadline(kafka: Kafka, topic: str) -> None:
    """A topic that exists with fewer partitions than asked for must be told after the time-out."""
    with Kafka(kafka.bootstrap, timeout=0.3) as hasty, pytest.raises(WaitTimeout) as caught:
        hasty.create_topics({topic: 3})
    assert caught.value.summary == (
        f"Broker {kafka.bootstrap}: topic {topic!r} has 2 of 3 partitions 0.3 s after it was created"
    )


def test_a_refused_topic_is_an_error(kafka: Kafka) -> None:
    """A name that the broker refuses must be named with the broker's words."""
    with pytest.raises(KafkaFailure) as caught:
        kafka.create_topics({"bad name!": 1})
    assert caught.value.summary.startswith(f"Broker {kafka.bootstrap} did not create topic 'bad name!': ")


@pytest.mark.parametrize(
    ("leaders", "words"),
    [
        ({"t": {0: True, 1: True}}, ""),
        ({"t": {0: True, 1: True, 2: True}}, ""),
        ({}, "topic 't' does not exist"),
        ({"t": {0: True}}, "topic 't' has 1 of 2 partitions"),
        ({"t": {0: True, 1: False}}, "topic 't' has no leader for partition 1"),
    ],
)
def test_what_is_missing_is_put_into_words(leaders: dict[str, dict[int, bool]], words: str) -> None:
    """The first thing that a list of topics lacks must be named."""
    assert missing_leaders(leaders, {"t": 2}) == words


# -- producing ----------------------------------------------------------------------------------------------------


def test_a_message_arrives_as_it_was_sent(kafka: Kafka, topic: str) -> None:
    """Key, value, partition and headers, repeated and empty ones too, must arrive unchanged."""
    headers = (("h", b"1"), ("h", None), ("other", b"\xff"))
    with kafka.consumer(topic) as consumer:
        kafka.send(topic, b"\x00\xff", key="key", partition=1, headers=headers)
        message = consumer.wait_for(lambda _: True)
    assert (message.topic, message.partition, message.offset) == (topic, 1, 0)
    assert (message.key, message.value, message.headers) == (b"key", b"\x00\xff", headers)
    assert message.timestamp > 1_600_000_000_000
    assert str(message) == f"{topic}[1]@0 key=b'key' 2 bytes"


def test_a_tombstone_arrives_as_none(kafka: Kafka, topic: str) -> None:
    """A message without a payload must have the value None, and say that it is a tombstone."""
    kafka.send(topic, None, key="k", partition=0)
    message = kafka.last_message(topic)
    assert message is not None
    assert (message.value, message.schema) == (None, "")
    assert str(message) == f"{topic}[0]@0 key=b'k' tombstone"


def test_many_messages_arrive_in_order(kafka: Kafka, topic: str) -> None:
    """Messages of one partition must arrive complete and in the order in which they were sent."""
    sent = [str(number).encode() for number in range(2000)]
    with kafka.consumer(topic) as consumer:
        kafka.send_all((topic, value, None, 0, ()) for value in sent)
        came = consumer.wait_for_n(len(sent))
    assert [message.value for message in came] == sent


@pytest.mark.parametrize(("size", "config"), [(5000, {"max.message.bytes": "1000"}), (2_000_000, {})])
def test_a_message_that_is_too_large_is_an_error(kafka: Kafka, size: int, config: dict[str, str]) -> None:
    """A message over the limit of its topic, or of the client, must raise; the next one must be taken."""
    name = f"test-{uuid.uuid4().hex}"
    kafka.create_topics({name: 1}, config=config)
    with pytest.raises(KafkaFailure, match=r"did not take a message: .*Message size too large"):
        kafka.send(name, b"x" * size)
    kafka.send(name, "small")
    last = kafka.last_message(name)
    kafka.delete_topics(name)
    assert last is not None
    assert last.value == b"small"


def test_an_unknown_partition_is_an_error(kafka: Kafka, topic: str) -> None:
    """Sending to a partition that does not exist must raise with the client's words."""
    with pytest.raises(KafkaFailure, match=r"(?s)did not take a message: .*Unknown partition"):
        kafka.send(topic, "v", partition=7)


# -- a broker that is not there -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda kafka: kafka.send("t", "v"), "did not take a message: t: Local: Message timed out"),
        (lambda kafka: kafka.topics(), "did not list its topics: "),
        (lambda kafka: kafka.consumer("t"), "did not list its topics: "),
        (lambda kafka: kafka.create_topics({"t": 1}), "did not create topic 't' in 0.3 s"),
        (lambda kafka: kafka.delete_topics("t"), "did not delete topic 't' in 0.3 s"),
    ],
    ids=["send", "topics", "consumer", "create", "delete"],
)
def test_a_broker_that_is_not_there_is_an_error(act: Callable[[Kafka], object], words: str) -> None:
    """Every request to a broker that is not there must raise KafkaFailure with its address, soon after the time-out."""
    bootstrap = f"127.0.0.1:{free_port()}"
    start = now()
    with Kafka(bootstrap, timeout=0.3) as kafka, pytest.raises(KafkaFailure) as caught:
        act(kafka)
    assert caught.value.summary.startswith(f"Broker {bootstrap} {words}")
    assert now() - start < 8  # before the ten seconds that it has by default


def test_a_coordinator_answers_only_where_a_broker_is(kafka: Kafka) -> None:
    """The question for a group coordinator must be answered yes by a broker and no by a port where nothing listens."""
    assert kafka.committed_reachable(5)
    with Kafka(f"127.0.0.1:{free_port()}") as nobody:
        assert not nobody.committed_reachable(0.2)


# -- consuming ----------------------------------------------------------------------------------------------------


def test_a_consumer_at_the_end_sees_only_what_comes_later(kafka: Kafka, topic: str) -> None:
    """Its place must be fixed before it is returned: earlier messages never come, and every later one does."""
    for number in range(5):
        kafka.send(topic, f"early {number}", partition=number % 2)
        with kafka.consumer(topic) as consumer:
            kafka.send(topic, f"late {number}", partition=number % 2)
            assert consumer.wait_for(lambda _: True).value == f"late {number}".encode()


def test_a_consumer_at_the_start_sees_everything(kafka: Kafka, topic: str) -> None:
    """From the start, all messages of all partitions must come."""
    for number in range(4):
        kafka.send(topic, str(number), partition=number % 2)
    with kafka.consumer(topic, start="start") as consumer:
        assert sorted(message.value or b"" for message in consumer.drain()) == [b"0", b"1", b"2", b"3"]
        for _ in clock.poll(Deadline.after(30), pause=False):
            assert consumer.poll() is None
            if consumer.at_end:
                break
        assert consumer.at_end


def test_a_consumer_can_be_placed_again(kafka: Kafka, topic: str) -> None:
    """After assign and seek, reading must go on from there and from nowhere else."""
    for number in range(4):
        kafka.send(topic, str(number), partition=0)
        kafka.send(topic, "other", partition=1)
    with kafka.consumer(topic) as consumer:
        consumer.assign({(topic, 0): 2})
        assert [message.value for message in consumer.drain()] == [b"2", b"3"]
        consumer.seek_to_start()
        assert len(consumer.drain()) == 8
        consumer.seek_to_end()
        kafka.send(topic, "new", partition=1)
        assert consumer.wait_for(lambda _: True).value == b"new"


def test_watermarks_tell_first_and_next_offset(kafka: Kafka, topic: str) -> None:
    """Watermarks must follow what is sent and what is deleted."""
    with kafka.consumer(topic) as consumer:
        assert consumer.watermarks(topic) == (0, 0)
        for _ in range(3):
            kafka.send(topic, "v", partition=0)
        assert (consumer.watermarks(topic), consumer.watermarks(topic, 1)) == ((0, 3), (0, 0))
        kafka.delete_records(topic, 2)
        assert consumer.watermarks(topic) == (2, 3)
        with pytest.raises(KafkaFailure) as caught:
            consumer.watermarks(topic, 9)
    assert caught.value.summary.startswith(f"No watermarks of {topic}[9]: ")


def test_the_last_message_of_an_empty_partition_is_none(kafka: Kafka, topic: str) -> None:
    """An empty partition beside a full one must have no last message, and one whose messages were deleted neither."""
    kafka.send(topic, "v", partition=0)
    assert kafka.last_message(topic, 1) is None
    kafka.delete_records(topic, 1)
    assert kafka.last_message(topic, 0) is None


def test_the_last_message_is_the_newest(kafka: Kafka, topic: str) -> None:
    """Of several messages, some of them deleted, the newest must be returned."""
    for number in range(4):
        kafka.send(topic, str(number), partition=0)
    kafka.delete_records(topic, 2)
    last = kafka.last_message(topic)
    assert last is not None
    assert (last.value, last.offset) == (b"3", 3)


def test_the_last_message_is_found_behind_control_records(kafka: Kafka, topic: str) -> None:
    """Offsets without a message after the newest one, which transactions leave, must be passed over."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": uuid.uuid4().hex, "log_level": 0})
    producer.init_transactions(30)
    for value, end in (("kept", producer.commit_transaction), ("dropped", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        producer.flush(30)
        end(5)
    last = kafka.last_message(topic)
    with kafka.consumer(topic) as consumer:
        assert consumer.watermarks(topic) == (0, 4)
    assert last is not None
    assert (last.value, last.offset) == (b"kept", 0)


def test_an_unknown_topic_is_told_and_not_created(kafka: Kafka, topic: str) -> None:
    """The error must list what exists, and asking must not create the topic."""
    unknown = f"unknown-{uuid.uuid4().hex}"
    there = sorted(kafka.topics())
    with pytest.raises(KafkaFailure) as caught:
        kafka.consumer(topic, unknown)
    assert caught.value.summary == (
        f"Topic {unknown!r} does not exist on {kafka.bootstrap}; there are: {', '.join(there)}"
    )
    assert unknown not in kafka.topics()


def test_a_wait_returns_the_first_match(kafka: Kafka, topic: str) -> None:
    """Messages that do not match must be passed over, and those after the match kept for the next wait."""
    with kafka.consumer(topic) as consumer:
        for value in ("a", "b", "c"):
            kafka.send(topic, value, partition=0)
        assert consumer.wait_for(lambda message: message.value == b"b").offset == 1
        assert consumer.wait_for(lambda _: True).value == b"c"


def test_a_wait_for_several_returns_exactly_these(kafka: Kafka, topic: str) -> None:
    """Of the matching messages the first ones must come, in their order, and no more than asked for."""
    with kafka.consumer(topic) as consumer:
        for number in range(6):
            kafka.send(topic, str(number), partition=0)
        came = consumer.wait_for_n(2, lambda message: int(message.value or b"0") % 2 == 1)
        assert [message.value for message in came] == [b"1", b"3"]
        assert consumer.wait_for(lambda _: True).value == b"4"


def test_everything_up_to_a_message_is_collected(kafka: Kafka, topic: str) -> None:
    """All messages up to and with the wanted one must be returned."""
    with kafka.consumer(topic) as consumer:
        for value in ("a", "b", "c"):
            kafka.send(topic, value, partition=0)
        assert [message.value for message in consumer.collect_until(lambda message: message.value == b"b")] == [
            b"a",
            b"b",
        ]


def test_a_wait_for_a_schema_passes_over_others(kafka: Kafka, topic: str) -> None:
    """The first message with the wanted file identifier must be returned, whatever came before it."""
    wanted = flatbuffers.encode("f142", value=1.5, source_name="PV")
    with kafka.consumer(topic) as consumer:
        for value in (
            b"short",
            None,
            b"\0\0\0\0\xff\xff\xff\xff",
            flatbuffers.encode("f144", source_name="PV", value=1),
        ):
            kafka.send(topic, value, partition=0)
        kafka.send(topic, wanted, partition=0)
        message = consumer.wait_for_schema("f142")
    assert (message.value, message.schema) == (wanted, "f142")


def test_a_wait_that_fails_lists_what_came(kafka: Kafka, topic: str) -> None:
    """At the deadline the error must hold the topic, the numbers, the time and each message that came."""
    with kafka.consumer(topic) as consumer:
        kafka.send(topic, flatbuffers.encode("f144", source_name="PV", value=1), key="PV", partition=0)
        kafka.send(topic, None, partition=0)
        with pytest.raises(WaitTimeout) as caught:
            consumer.wait_for_schema("f142", 2)
    size = len(flatbuffers.encode("f144", source_name="PV", value=1))
    assert caught.value.details == (
        f"  {topic}[0]@0 key=b'PV' {size} bytes, schema f144",
        f"  {topic}[0]@1 key=None tombstone",
    )
    assert caught.value.summary == f"Topic {topic}: 0 of 1 message with schema f142 came in 2 s, 2 in all"


@pytest.mark.parametrize(("what", "words"), [("", "messages"), ("answers", "answers")])
def test_a_wait_in_a_silent_topic_says_so(kafka: Kafka, topic: str, what: str, words: str) -> None:
    """When nothing came at all, the error must say that, and use the given words."""
    with kafka.consumer(topic) as consumer, pytest.raises(WaitTimeout) as caught:
        consumer.wait_for_n(2, timeout=0.2, what=what)
    assert str(caught.value) == f"Topic {topic}: 0 of 2 {words} came in 0.2 s, 0 in all\n  none at all"


def test_a_wait_lists_only_what_came_during_it(kafka: Kafka, topic: str) -> None:
    """What an earlier wait took must not be listed, and of many messages the last twenty must be."""
    with kafka.consumer(topic) as consumer:
        kafka.send(topic, "first", partition=0)
        consumer.wait_for(lambda _: True)
        for number in range(25):
            kafka.send(topic, str(number), partition=0)
        with pytest.raises(WaitTimeout) as caught:
            consumer.wait_for(lambda _: False, 2)
    assert caught.value.summary == f"Topic {topic}: 0 of 1 matching message came in 2 s, 25 in all"
    assert [line.split()[0] for line in caught.value.details] == [f"{topic}[0]@{offset}" for offset in range(6, 26)]


class Flood:
    """A topic that fills faster than anybody reads it, from a thread."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self._over = threading.Event()
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5, "log_level": 0})
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            for _ in range(200):
                self._producer.produce(self._topic, b"x", partition=0)
            self._producer.flush(30)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_drain_that_is_cut_short_is_an_error(kafka: Kafka, topic: str) -> None:
    """A part of what is there must never be returned as if it were all."""
    kafka.send_all((topic, b"x", None, 0, ()) for _ in range(5000))
    with (
        kafka.consumer(topic, start="start") as consumer,
        pytest.raises(WaitTimeout, match=rf"^Topic {topic}: its end was not reached in 0 s; \d+ messages came$"),
    ):
        consumer.drain(0)


def test_a_flood_does_not_put_off_the_deadline(kafka: Kafka, topic: str) -> None:
    """A wait and a drain must end although messages never cease to come."""
    with kafka.consumer(topic) as consumer, Flood(kafka, topic):
        consumer.wait_for(lambda _: True)
        start = now()
        with pytest.raises(WaitTimeout, match=r"0 of 1 matching message came in 0.4 s, \d+ in all"):
            consumer.wait_for(lambda _: False, 0.4)
        waited = now()
        consumer.seek_to_start()
        came = [message.offset for message in consumer.drain()]
    assert waited - start < 30
    assert came == sorted(came)


def test_a_backlog_does_not_put_off_the_deadline(kafka: Kafka, topic: str) -> None:
    """A wait must end in time although looking at all the messages that are there already would take much longer."""
    kafka.send_all((topic, b"x", None, 0, ()) for _ in range(5000))
    never = threading.Event()
    with kafka.consumer(topic, start="start") as consumer:
        start = now()
        with pytest.raises(WaitTimeout):
            consumer.wait_for(lambda _: never.wait(0.02), 0.2)
    assert now() - start < 30


def test_a_drain_returns_all_that_was_sent_before_it(kafka: Kafka, topic: str) -> None:
    """What was sent before a drain must be in it, also when the consumer was at the end shortly before."""
    with kafka.consumer(topic) as consumer:
        for number in range(50):
            kafka.send(topic, f"waited for {number}", partition=number % 2)
            consumer.wait_for(lambda _: True)
            kafka.send(topic, f"drained {number}", partition=number % 2)
            assert [message.value for message in consumer.drain()] == [f"drained {number}".encode()]


def test_a_drain_ends_behind_control_records(kafka: Kafka, topic: str) -> None:
    """Offsets without a message at the end of a partition must not keep a drain waiting."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": uuid.uuid4().hex, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, "v", partition=0)
    producer.commit_transaction(30)
    start = now()
    with kafka.consumer(topic, start="start") as consumer:
        assert [message.value for message in consumer.drain(60)] == [b"v"]
        assert consumer.drain(60) == []
    assert now() - start < 30


def test_a_drain_of_an_empty_topic_is_empty(kafka: Kafka, topic: str) -> None:
    """A drain must end at the end of all partitions, long before its time-out."""
    start = now()
    with kafka.consumer(topic, start="start") as consumer:
        assert consumer.drain(60) == []
    assert now() - start < 30


def test_a_closed_client_says_so(kafka: Kafka, topic: str) -> None:
    """Closing twice must be no error, and whatever is asked of a closed client or consumer one clear one."""
    with Kafka(kafka.bootstrap) as client:
        consumer, other = client.consumer(topic), client.consumer(topic)
        client.send(topic, "v")
        consumer.close()
        consumer.close()
        with pytest.raises(KafkaFailure, match=rf"^The consumer of {topic} is closed$"):
            consumer.poll()
    client.close()
    acts: list[Callable[[], object]] = [
        client.topics,
        lambda: client.create_topics({"t": 1}),
        lambda: client.send(topic, "v"),
        lambda: client.consumer(topic),
        lambda: client.last_message(topic),
        lambda: client.lag("g", topic),
        lambda: client.committed_reachable(1),
        lambda: other.watermarks(topic),
    ]
    for act in acts:
        with pytest.raises(KafkaFailure) as caught:
            act()
        assert caught.value.summary == f"The Kafka client of {kafka.bootstrap} is closed"
    for act in (other.seek_to_end, other.drain, lambda: other.wait_for(lambda _: True), lambda: other.expect_none(0.1)):
        with pytest.raises(KafkaFailure, match=r"is closed$"):
            act()


def test_a_closed_client_has_no_threads_left() -> None:
    """Closing a client must end its threads: they would go on connecting to a broker that is gone."""
    before = psutil.Process().num_threads()
    client = Kafka(f"127.0.0.1:{free_port()}", timeout=0.2)
    for act in (client.topics, lambda: client.send("t", "v")):
        with pytest.raises(KafkaFailure):
            act()
    assert psutil.Process().num_threads() > before
    client.close()
    assert psutil.Process().num_threads() <= before


def test_a_wait_that_is_broken_off_leaves_no_thread_that_asks() -> None:
    """Whoever stops waiting for a list of topics must not leave the thread that asks, for the rest of its minute."""

    def guard() -> None:
        if asking():
            raise HarnessError("the stack is dead")

    def asking() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "harness-kafka-request"]

    with Kafka(f"127.0.0.1:{free_port()}", timeout=60) as kafka:
        add_guard(guard)
        try:
            with pytest.raises(HarnessError, match=r"^the stack is dead$"):
                kafka.topics()
        finally:
            remove_guard(guard)
        for thread in asking():
            thread.join(10)
        assert not asking()


def test_an_offset_that_does_not_exist_is_an_error(kafka: Kafka, topic: str) -> None:
    """Reading from an offset that the broker does not have must raise, not wait."""
    with kafka.consumer(topic) as consumer:
        consumer.assign({(topic, 0): 50})
        with pytest.raises(KafkaFailure, match=rf"^Consuming {topic}: (?s:.*)Offset out of range"):
            consumer.wait_for(lambda _: True, 5)


# -- a wait that has become pointless -----------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["wait_for_n", "drain"])
def test_a_guard_that_raises_ends_a_wait(kafka: Kafka, topic: str, act: str) -> None:
    """A guard's error must come out of a wait at once, instead of its time-out."""
    turns: list[float] = []

    def guard() -> None:
        turns.append(now())
        if len(turns) > 1:
            raise HarnessError("the stack is dead")

    kafka.send_all((topic, b"x", None, 0, ()) for _ in range(1000))
    start = now()
    with kafka.consumer(topic, start="start") as consumer:
        add_guard(guard)
        try:
            with pytest.raises(HarnessError, match=r"^the stack is dead$"):
                consumer.wait_for_n(2000, timeout=60) if act == "wait_for_n" else consumer.drain(60)
        finally:
            remove_guard(guard)
    assert now() - start < 30


def test_a_broker_that_falls_silent_confirms_nothing(kafka_stack: harness.Stack, topic: str) -> None:
    """Where a broker does not say what it has, there must be an error, never "nothing came" or "nothing is there"."""
    acts: list[Callable[[KafkaConsumer], object]] = [
        lambda consumer: consumer.expect_none(0),
        lambda consumer: consumer.drain(20),
    ]
    # More than the five seconds after which the client library gives up a connection.
    with Kafka(kafka_stack.endpoint("kafka", 9092), timeout=6) as kafka:
        kafka.send(topic, "there")
        consumers = [kafka.consumer(topic) for _ in acts]
        for consumer in consumers:
            consumer.drain()
        broker = kafka_stack.service("kafka")
        broker.pause()
        try:
            with ThreadPoolExecutor(len(acts)) as pool:
                done = [pool.submit(act, consumer) for act, consumer in zip(acts, consumers, strict=True)]
                for future in done:
                    with pytest.raises(KafkaFailure, match=rf"^No watermarks of {topic}"):
                        future.result(60)
        finally:
            broker.unpause()


def test_a_broker_that_dies_ends_a_wait(project: Project) -> None:
    """When the broker is killed from outside, a wait must raise BrokenStack with the signal, long before its end."""
    shutil.copy(ROOT / "compose" / "kafka.yaml", project.root / "compose")
    stack = project.run().bring("kafka")
    with Kafka(stack.endpoint("kafka", 9092), timeout=60) as kafka:
        kafka.create_topics({"t": 1})
        consumer = kafka.consumer("t")
        start = now()
        os.kill(stack.service("kafka").pid, signal.SIGKILL)
        with pytest.raises(BrokenStack) as caught:
            consumer.wait_for(lambda _: True, 60)
        spent = now() - start
    assert (caught.value.service, caught.value.exit_code_seen) == ("kafka", -9)
    assert spent < 30


# -- places, ends and groups ----------------------------------------------------------------------------------------


def test_a_deleted_topic_is_gone_and_can_be_made_again(kafka: Kafka) -> None:
    """After a deletion the topic must be out of the list; the new one of that name must be empty and usable."""
    name = f"test-{uuid.uuid4().hex}"
    for turn in range(5):
        kafka.create_topics({name: turn + 1})
        assert kafka.watermarks(name) == dict.fromkeys(range(turn + 1), (0, 0))
        kafka.send(name, f"{turn}", partition=turn)
        assert [message.value for message in kafka.messages(name)] == [f"{turn}".encode()]
        kafka.delete_topics(name)
        assert name not in kafka.topics()


def test_a_consumer_starts_at_a_time(kafka: Kafka, topic: str) -> None:
    """A message at the exact time and later ones must be seen, earlier ones not; without any, what comes later."""
    base = an_hour_ago()
    for stamp in (1, 2, 3):
        for partition in (0, 1):
            kafka.send(topic, f"{stamp}", partition=partition, timestamp=base + stamp)
    for start, seen in ((2, b"2233"), (3, b"33"), (0, b"112233"), (4, b"")):
        with kafka.consumer(topic, start=base + start) as consumer:
            assert b"".join(sorted(message.value or b"" for message in consumer.drain())) == seen
    with kafka.consumer(topic) as consumer:
        consumer.seek_to_time(base + 5)
        kafka.send(topic, "later", timestamp=base + 6)
        assert consumer.wait_for(lambda _: True).value == b"later"


def an_hour_ago() -> int:
    """Return a time in ms since the epoch at which no broker takes a message for one to be thrown away."""
    return int((datetime.now(UTC).timestamp() - 3600) * 1000)


def test_a_start_that_is_none_is_refused(kafka: Kafka, topic: str) -> None:
    """A word that is neither start nor end must be told with what is valid."""
    with pytest.raises(ValueError, match=r"^start is 'begin'; 'start', 'end' or a time in ms was needed$"):
        kafka.consumer(topic, start="begin")


def test_the_last_message_of_a_topic_has_the_latest_time(kafka: Kafka, topic: str) -> None:
    """Over all partitions the latest timestamp must win; of equal ones the higher offset, then the partition."""
    base = an_hour_ago()
    assert kafka.last_message(topic) is None
    kafka.send(topic, "late", partition=0, timestamp=base + 2000)
    kafka.send(topic, "early", partition=1, timestamp=base + 1000)
    kafka.send(topic, "again", partition=1, timestamp=base + 1500)
    last = kafka.last_message(topic)
    assert last is not None
    assert last.value == b"late"
    kafka.send(topic, "same", partition=1, timestamp=base + 2000)
    last = kafka.last_message(topic)
    assert last is not None
    assert (last.value, last.offset) == (b"same", 2)
    with pytest.raises(KafkaFailure) as caught:
        kafka.last_message(topic, 7)
    assert caught.value.summary == f"Topic {topic} has no partition 7; there are: 0, 1"


def test_the_last_message_is_found_behind_many_gaps(kafka: Kafka, topic: str) -> None:
    """Hundreds of aborted transactions after it must neither hide the last message nor take long."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": uuid.uuid4().hex, "log_level": 0})
    kafka.send(topic, "kept", partition=0)
    producer.init_transactions(30)
    for _ in range(100):
        producer.begin_transaction()
        producer.produce(topic, "dropped", partition=0)
        producer.flush(30)
        producer.abort_transaction(30)
    start = now()
    last = kafka.last_message(topic)
    assert last is not None
    assert last.value == b"kept"
    assert [message.value for message in kafka.messages(topic)] == [b"kept"]
    assert now() - start < 15


def test_an_open_transaction_does_not_hold_up_a_drain(kafka: Kafka, topic: str) -> None:
    """Messages of a transaction under way are not there yet: a drain must end before them, at once."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": uuid.uuid4().hex, "log_level": 0})
    producer.init_transactions(30)
    kafka.send(topic, "before", partition=0)
    producer.begin_transaction()
    producer.produce(topic, "open", partition=0)
    producer.flush(30)
    start = now()
    with kafka.consumer(topic, start="start") as consumer:
        assert [message.value for message in consumer.drain(60)] == [b"before"]
        assert now() - start < 30
        producer.commit_transaction(30)
        assert consumer.wait_for(lambda _: True).value == b"open"


def test_a_consumer_outlives_the_name_of_its_client(kafka: Kafka, topic: str) -> None:
    """A consumer must go on when nobody keeps the client that made it."""
    with Kafka(kafka.bootstrap).consumer(topic) as consumer:
        kafka.send(topic, "v")
        assert consumer.wait_for(lambda _: True).value == b"v"


def test_a_drain_of_some_messages_leaves_the_others(kafka: Kafka, topic: str) -> None:
    """With a count exactly so many messages must come, and the next drain go on behind them."""
    kafka.send_all((topic, f"{number}", None, 0, ()) for number in range(250))
    with kafka.consumer(topic, start="start") as consumer:
        assert [len(consumer.drain(count=count)) for count in (0, 3, 120)] == [0, 3, 120]
        rest = consumer.drain()
    assert [message.value for message in rest] == [f"{number}".encode() for number in range(123, 250)]
    assert len(kafka.messages(topic, count=7)) == 7


def test_deleted_records_are_gone(kafka: Kafka, topic: str) -> None:
    """Records before an offset, and all with none, must be gone; an offset beyond the end must be refused."""
    kafka.send_all((topic, f"{number}", None, 1, ()) for number in range(5))
    assert kafka.delete_records(topic, 3, partition=1) == 3
    assert [message.value for message in kafka.messages(topic)] == [b"3", b"4"]
    with pytest.raises(KafkaFailure, match=rf"did not delete records of {topic}\[1\]: .*Offset out of\b"):
        kafka.delete_records(topic, 99, partition=1)
    assert kafka.delete_records(topic, partition=1) == 5
    assert kafka.messages(topic) == []
    assert kafka.watermarks(topic) == {0: (0, 0), 1: (5, 5)}


def commit(kafka: Kafka, topic: str, group: str, *offsets: int) -> None:
    """Have a group commit a place in each partition."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "log_level": 0})
    try:
        places = [TopicPartition(topic, number, at) for number, at in enumerate(offsets)]
        consumer.commit(offsets=places, asynchronous=False)
    finally:
        consumer.close()


def test_the_lag_of_a_group_is_told(kafka: Kafka, topic: str) -> None:
    """It must be the number of offsets to the end; from the first one that is there where nothing was committed."""
    group = f"group-{uuid.uuid4().hex}"
    kafka.send_all((topic, "v", None, number % 2, ()) for number in range(10))
    kafka.delete_records(topic, 2)
    assert kafka.lag(group, topic) == {0: 3, 1: 5}
    commit(kafka, topic, group, 4)
    assert kafka.lag(group, topic) == {0: 1, 1: 5}
    commit(kafka, topic, group, 5, 5)
    assert kafka.wait_for_lag(group, topic) == {0: 0, 1: 0}


def test_a_lag_that_stays_is_told(kafka: Kafka, topic: str) -> None:
    """At the deadline the error must name group, topic, the lag and that of each partition."""
    kafka.send_all((topic, "v", None, number, ()) for number in (0, 1, 1))
    with pytest.raises(WaitTimeout) as caught:
        kafka.wait_for_lag("nobody", topic, 2, 0.3)
    assert caught.value.summary == f"Group 'nobody' is 3 behind in topic {topic} after 0.3 s, 2 or less was needed"
    assert caught.value.details == (f"  {topic}[0]: 1 behind", f"  {topic}[1]: 2 behind")


def test_a_group_that_catches_up_ends_the_wait(kafka: Kafka, topic: str) -> None:
    """A commit that comes while it is waited for must end the wait, long before its time-out."""
    group = f"group-{uuid.uuid4().hex}"
    kafka.send(topic, "v", partition=0)
    later = threading.Timer(0.3, commit, (kafka, topic, group, 1, 0))
    start = now()
    later.start()
    assert kafka.wait_for_lag(group, topic, timeout=60) == {0: 0, 1: 0}
    assert 0.2 < now() - start < 30
    later.join()


# -- what must come, what may, and what must not --------------------------------------------------------------------


def test_schemas_to_skip_are_passed_over_and_others_told(kafka: Kafka, topic: str) -> None:
    """Messages of skipped schemas must be passed over; any other that is not wanted must end the wait and be named."""
    status = b"\0\0\0\0x5f2" + bytes(8)
    with kafka.consumer(topic) as consumer:
        for value in (status, flatbuffers.encode("f142", value=1.5, source_name="PV"), status):
            kafka.send(topic, value, partition=0)
        assert consumer.wait_for_schema("f142", skip=("x5f2",)).offset == 1
        kafka.send(topic, flatbuffers.encode("f144", value=1, source_name="PV"), partition=0)
        start = now()
        with pytest.raises(UnexpectedMessage) as caught:
            consumer.wait_for_schema("f142", 60, skip="x5f2")
        assert caught.value.summary == f"Topic {topic}: a message of schema 'f144' came, f142 or x5f2 was needed"
        assert caught.value.message.offset == 3
        kafka.send(topic, b"text", partition=0)
        with pytest.raises(UnexpectedMessage, match=r"a message of no schema came, f142 was needed"):
            consumer.wait_for_schema("f142", 60, skip=())
        assert now() - start < 30


def test_silence_is_confirmed_at_the_end_of_the_window(kafka: Kafka, topic: str) -> None:
    """Without a message it must last for the window and return; messages that are not wanted must not matter."""
    with kafka.consumer(topic) as consumer:
        kafka.send(topic, "other", partition=0)
        start = now()
        consumer.expect_none(0.5, lambda message: message.value == b"bad", what="bad message")
        assert 0.5 <= now() - start < 30
        kafka.send(topic, "next", partition=0)
        assert consumer.wait_for(lambda _: True).value == b"next"


def test_a_message_breaks_the_silence_at_once(kafka: Kafka, topic: str) -> None:
    """The first message that must not come must end the window with that message."""
    with kafka.consumer(topic) as consumer:
        kafka.send(topic, "bad", key="k", partition=0)
        start = now()
        with pytest.raises(UnexpectedMessage) as caught:
            consumer.expect_none(60, what="alarm")
    assert now() - start < 30
    assert re.fullmatch(
        rf"Topic {topic}: a alarm came after \d+\.\d+ s, none was to come in 60 s", caught.value.summary
    )
    assert caught.value.details[0] == f"  {topic}[0]@0 key=b'k' 3 bytes"


def test_what_was_sent_before_the_window_ended_is_seen(kafka: Kafka, topic: str) -> None:
    """A message that the broker has when the window ends must be seen, however short the window."""
    for number in range(20):
        with kafka.consumer(topic) as consumer:
            kafka.send(topic, f"{number}", partition=number % 2)
            with pytest.raises(UnexpectedMessage):
                consumer.expect_none(0)


def test_several_threads_share_a_client(kafka: Kafka, topic: str) -> None:
    """Threads that send, list and read through one client, each with a consumer of its own, must all succeed."""

    def work(number: int) -> list[bytes | None]:
        with kafka.consumer(topic) as consumer:
            for turn in range(20):
                kafka.send(topic, f"{number}-{turn}", key=f"{number}")
            mine = consumer.wait_for_n(20, lambda message: message.key == f"{number}".encode())
        return [message.value for message in mine]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert results == [[f"{number}-{turn}".encode() for turn in range(20)] for number in range(4)]


@pytest.mark.parametrize("act", ["expect_none", "lag", "topics", "send", "create", "last_message"])
def test_a_dead_service_ends_every_request(act: str) -> None:
    """A guard's error must come out of every request to a broker that does not answer, at once."""

    def guard() -> None:
        if now() - start > 0.3:
            raise HarnessError("the stack is dead")

    def accept(_: object, over: threading.Event) -> None:
        over.wait()  # says nothing

    with raw_server(accept) as port, Kafka(f"127.0.0.1:{port}", timeout=60) as kafka:
        acts: dict[str, Callable[[], object]] = {
            "expect_none": lambda: kafka.consumer("t").expect_none(60),
            "lag": lambda: kafka.wait_for_lag("g", "t", timeout=60),
            "topics": kafka.topics,
            "send": lambda: kafka.send("t", "v"),
            "create": lambda: kafka.create_topics({"t": 1}),
            "last_message": lambda: kafka.last_message("t"),
        }
        start = now()
        add_guard(guard)
        try:
            with pytest.raises(HarnessError, match=r"^the stack is dead$"):
                acts[act]()
        finally:
            remove_guard(guard)
        assert now() - start < 30
