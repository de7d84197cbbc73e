"""Consumer groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_INVALID, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import OffsetSpec

from harness.clock import Deadline, poll
from harness.errors import WaitTimeout
from integration_tests.broker.client import PATIENCE, SLICE, numbered, offsets, only, refused, take, to_end, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration_tests.broker.client import Broker


def wait_for_assignment(members: list[Any], holds: Callable[[list[set[int]]], bool]) -> list[set[int]]:
    """Poll members until their partitions are as wanted, and return them."""
    held: list[set[int]] = []
    for _ in poll(Deadline.patient(2 * PATIENCE), pause=False):
        for one in members:
            one.poll(SLICE / 5)
        held = [{part.partition for part in one.assignment()} for one in members]
        if holds(held):
            return held
    raise WaitTimeout(f"Members of the group hold {held} after {2 * PATIENCE:g} s")


def share(held: list[set[int]]) -> bool:
    """Return whether two members have two partitions each, of four."""
    return [len(one) for one in held] == [2, 2] and set.union(*held) == {0, 1, 2, 3}


def commit(consumer: Any, topic: str, offset: int, partition: int = 0) -> None:
    """Commit an offset and wait until the broker has it."""
    (done,) = consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
    assert done.error is None


def stored(broker: Broker, group: str, topic: str, partition: int = 0) -> int:
    """Return the offset that the broker has for a group, as the admin client is told."""
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition)])
    (found,) = only(broker.admin.list_consumer_group_offsets([asked])).topic_partitions
    return int(found.offset)


def test_one_member(broker: Broker, ns: str) -> None:
    """The only member of a group gets the messages of all partitions."""
    broker.create(ns, 3)
    for partition in range(3):
        broker.send(ns, [b"%d" % partition], partition=partition)
    found = take(broker.member(f"{ns}_group", ns), 3)
    assert sorted(values(found)) == [b"0", b"1", b"2"]


def test_regular_expression(broker: Broker, ns: str) -> None:
    """A member that subscribes to a regular expression gets the messages of all topics that match."""
    for name in ("a", "b"):
        broker.create(f"{ns}_{name}")
        broker.send(f"{ns}_{name}", [name.encode()])
    found = take(broker.member(f"{ns}_group", f"^{ns}_.*"), 2)
    assert sorted(values(found)) == [b"a", b"b"]


def test_commit(broker: Broker, ns: str) -> None:
    """A group goes on after what it has committed, also with another member."""
    broker.create(ns)
    broker.send(ns, numbered(10))
    first = broker.member(f"{ns}_group", ns)
    take(first, 4)
    commit(first, ns, 4)
    first.close()
    assert offsets(to_end(broker.member(f"{ns}_group", ns))) == list(range(4, 10))


def test_groups_are_apart(broker: Broker, ns: str) -> None:
    """Each group gets every message, whatever another has committed."""
    broker.create(ns)
    broker.send(ns, numbered(3))
    first = broker.member(f"{ns}_first", ns)
    assert len(to_end(first)) == 3
    commit(first, ns, 3)
    assert len(to_end(broker.member(f"{ns}_second", ns))) == 3


def test_what_is_committed_is_told(broker: Broker, ns: str) -> None:
    """A committed offset is told with its metadata; where nothing was committed there is none (-1001)."""
    broker.create(ns, 2)
    consumer = broker.consumer(group_id=f"{ns}_group")
    note = TopicPartition(ns, 0, 7, metadata="a note")
    consumer.commit(offsets=[note], asynchronous=False)
    first, second = consumer.committed([TopicPartition(ns, 0), TopicPartition(ns, 1)], timeout=PATIENCE)
    assert (first.offset, first.metadata, second.offset) == (7, "a note", OFFSET_INVALID)


def test_two_members_share(broker: Broker, ns: str) -> None:
    """When a second member joins, each of two gets two of four partitions, and the messages of these."""
    broker.create(ns, 4)
    members = [broker.member(f"{ns}_group", ns)]
    wait_for_assignment(members, lambda held: held == [{0, 1, 2, 3}])
    members.append(broker.member(f"{ns}_group", ns))
    held = wait_for_assignment(members, share)
    for partition in range(4):
        broker.send(ns, [b"%d" % partition], partition=partition)
    got = [{one.partition() for one in take(member, 2)} for member in members]
    assert got == held


def test_take_over(broker: Broker, ns: str) -> None:
    """When one of two members leaves, the other gets its partitions, and goes on where that had committed."""
    broker.create(ns, 4)
    members = [broker.member(f"{ns}_group", ns) for _ in range(2)]
    wait_for_assignment(members, share)
    stays, leaves = members
    (theirs, *_) = sorted(part.partition for part in leaves.assignment())
    broker.send(ns, numbered(3), partition=theirs)
    take(leaves, 3)
    commit(leaves, ns, 2, theirs)
    leaves.close()
    (found,) = take(stays, 1)
    assert (found.partition(), found.offset()) == (theirs, 2)
    wait_for_assignment([stays], lambda held: held == [{0, 1, 2, 3}])


def test_next_generation_protocol(broker: Broker, ns: str) -> None:
    """A member with group.protocol=consumer (KIP-848) gets messages."""
    broker.create(ns)
    broker.send(ns, numbered(3))
    assert values(take(broker.member(f"{ns}_group", ns, group_protocol="consumer"), 3)) == numbered(3)


def test_lag(broker: Broker, ns: str) -> None:
    """A group's lag can be told from outside: the latest offset less the committed one."""
    broker.create(ns)
    broker.send(ns, numbered(10))
    member = broker.member(f"{ns}_group", ns)
    take(member, 4)
    commit(member, ns, 4)
    end = only(broker.admin.list_offsets({TopicPartition(ns, 0): OffsetSpec.latest()})).offset
    assert (end, stored(broker, f"{ns}_group", ns)) == (10, 4)


def test_list(broker: Broker, ns: str) -> None:
    """A group is listed, as stable while it has a member and as empty later."""
    broker.create(ns)
    broker.send(ns, numbered(1))
    member = broker.member(f"{ns}_group", ns)
    take(member, 1)
    commit(member, ns, 1)

    def state() -> ConsumerGroupState | None:
        listed = broker.admin.list_consumer_groups(request_timeout=PATIENCE).result(PATIENCE).valid
        return next((one.state for one in listed if one.group_id == f"{ns}_group"), None)

    assert state() == ConsumerGroupState.STABLE
    member.close()
    assert state() == ConsumerGroupState.EMPTY


def test_describe(broker: Broker, ns: str) -> None:
    """A group's description has its state, and each member with its client id and partitions."""
    broker.create(ns, 2)
    member = broker.member(f"{ns}_group", ns, client_id="the-client")
    wait_for_assignment([member], lambda held: held == [{0, 1}])
    found = only(broker.admin.describe_consumer_groups([f"{ns}_group"]))
    (one,) = found.members
    assert (found.state, one.client_id) == (ConsumerGroupState.STABLE, "the-client")
    assert sorted(part.partition for part in one.assignment.topic_partitions) == [0, 1]


def test_alter_offsets(broker: Broker, ns: str) -> None:
    """The offset of a group without members can be set from outside, and its next member begins there."""
    broker.create(ns)
    broker.send(ns, numbered(10))
    group = f"{ns}_group"
    commit(broker.consumer(group_id=group), ns, 2)
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(ns, 0, 6)])
    only(broker.admin.alter_consumer_group_offsets([wanted]))
    assert stored(broker, group, ns) == 6
    assert offsets(to_end(broker.member(group, ns))) == [6, 7, 8, 9]


def test_delete(broker: Broker, ns: str) -> None:
    """A group without members can be deleted, and what it had committed is gone."""
    broker.create(ns)
    group = f"{ns}_group"
    commit(broker.consumer(group_id=group), ns, 2)
    assert stored(broker, group, ns) == 2
    only(broker.admin.delete_consumer_groups([group]))
    listed = broker.admin.list_consumer_groups(request_timeout=PATIENCE).result(PATIENCE).valid
    assert group not in [one.group_id for one in listed]
    assert broker.consumer(group_id=group).committed([TopicPartition(ns, 0)], timeout=PATIENCE)[0].offset < 0


def test_delete_with_a_member(broker: Broker, ns: str) -> None:
    """To delete a group that has a member is refused as such."""
    broker.create(ns)
    member = broker.member(f"{ns}_group", ns)
    wait_for_assignment([member], lambda held: held == [{0}])
    assert refused(broker.admin.delete_consumer_groups([f"{ns}_group"])) == KafkaError.NON_EMPTY_GROUP


def test_delete_unknown(broker: Broker, ns: str) -> None:
    """To delete a group that is not there is refused as such."""
    assert refused(broker.admin.delete_consumer_groups([f"{ns}_group"])) == KafkaError.GROUP_ID_NOT_FOUND
