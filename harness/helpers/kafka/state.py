"""What a broker has that a test may leave: told cheaply, listed, and removed by how its name begins."""

from __future__ import annotations

from concurrent.futures import TimeoutError as NoAnswerError
from typing import TYPE_CHECKING

from confluent_kafka import ConsumerGroupState, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from harness.clock import Deadline, poll
from harness.errors import HarnessError, WaitTimeout
from harness.helpers.kafka import admin
from harness.helpers.kafka.connection import Connection, KafkaFailure

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from harness.helpers.kafka.connection import Part

INTERNAL = "__"  # how names of the broker's own topics begin
OURS = "harness-"  # and of groups that only ask
WITHOUT_MEMBERS = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD, ConsumerGroupState.UNKNOWN)
MANY = 200  # partitions; beyond them open transactions are not looked for


class KafkaState:
    """The topics, consumer groups and open transactions of a broker.

    Args:
        bootstrap: ``host:port``.
        within: seconds for each answer.

    Raises:
        KafkaFailure: it cannot be reached.
    """

    def __init__(self, bootstrap: str, *, within: float) -> None:
        self._within = within
        self._connection = Connection(bootstrap, within)
        try:
            self._connection.leaders()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def glance(self) -> Hashable:
        """Return what ``look`` does: no counter of a broker tells of its topics."""
        return tuple(sorted(self.look().items()))

    def look(self) -> Mapping[str, str]:
        """Return thing -> its detail, of what lasts. Raises KafkaFailure."""
        counts = {name: len(parts) for name, parts in self._topics().items()}
        return {f"topic {name}": f"{count} partition{'s' if count != 1 else ''}" for name, count in counts.items()}

    def passing(self) -> Mapping[str, str]:
        """Return thing -> its detail, of what is to end by itself. Raises KafkaFailure."""
        found: dict[str, str] = {}
        for name, state in self._groups().items():
            found[f"group {name}"] = ""
            if state not in WITHOUT_MEMBERS:
                found[f"members of group {name}"] = ""
        parts = [(name, number) for name, numbers in self._topics().items() for number in numbers]
        for (name, number), offset in self._open_transactions(parts[:MANY]).items():
            found[f"open transaction in {name}[{number}] from {offset} on"] = ""
        return found

    def _topics(self) -> dict[str, list[int]]:
        """Return topic -> its partitions, without those of the broker itself."""
        listed = self._connection.leaders()
        return {name: sorted(parts) for name, parts in listed.items() if not name.startswith(INTERNAL)}

    def _groups(self) -> dict[str, ConsumerGroupState]:
        """Return group -> its state."""
        answer = self._connection.ask(
            lambda client, seconds: client.list_consumer_groups(request_timeout=seconds), "list its groups"
        )
        if answer.errors:
            raise KafkaFailure(f"Broker {self._connection.bootstrap} did not list its groups: {answer.errors[0]}")
        listed = {group.group_id: group.state for group in answer.valid}
        return {name: state for name, state in sorted(listed.items()) if not name.startswith(OURS)}

    def _open_transactions(self, parts: Sequence[Part]) -> dict[Part, int]:
        """Return the partitions in which a transaction is open -> where it begins.

        What consumers of committed messages see ends there; the client library has no request that lists transactions.
        """
        committed = self._ends(parts, IsolationLevel.READ_COMMITTED)
        ends = self._ends(parts, IsolationLevel.READ_UNCOMMITTED)
        return {part: offset for part, offset in committed.items() if offset < ends.get(part, offset)}

    def _ends(self, parts: Sequence[Part], level: IsolationLevel) -> dict[Part, int]:
        """Return the ends of partitions, of those that have a leader now."""
        if not parts:
            return {}
        asked = {TopicPartition(*part): OffsetSpec.latest() for part in parts}
        futures = self._connection.admin.list_offsets(asked, isolation_level=level, request_timeout=self._within)
        deadline = Deadline.after(self._within)
        ends = {}
        for part, future in futures.items():
            try:
                ends[part.topic, part.partition] = int(future.result(deadline.remaining()).offset)
            except NoAnswerError:
                raise KafkaFailure(f"Broker {self._connection.bootstrap}: no answer in {self._within:g} s") from None
            except KafkaException:  # it was deleted in between, or has no leader yet
                continue
        return ends

    def remove(self, prefix: str) -> Mapping[str, str]:
        """Remove groups and topics whose names begin so.

        Returns:
            What could not be removed, by its name as ``look`` has it -> why.

        Raises:
            KafkaFailure: the broker did not say what there is.
        """
        refused: dict[str, str] = {}
        deadline = Deadline.after(self._within)  # for all groups
        for name in [name for name in self._groups() if name.startswith(prefix)]:
            reason = self._remove_group(name, deadline)
            if reason:
                refused[f"group {name}"] = reason
        topics = [name for name in self._topics() if name.startswith(prefix)]
        deadline = Deadline.after(self._within)
        try:
            if topics:
                admin.delete(self._connection, topics, deadline)
                admin.wait_until_gone(self._connection, topics, deadline)
        except (KafkaFailure, WaitTimeout) as failure:
            left = [name for name in topics if name in self._connection.leaders()]
            refused |= {f"topic {name}": failure.summary for name in left}
        return refused

    def _remove_group(self, name: str, deadline: Deadline) -> str:
        """Remove a group, also one whose last member is just leaving; return why it is still there."""
        reason = ""
        for _ in poll(deadline):
            try:
                self._connection.ask(
                    lambda client, seconds: client.delete_consumer_groups([name], request_timeout=seconds)[name],
                    f"delete group {name!r}",
                    accept=KafkaError.GROUP_ID_NOT_FOUND,
                    deadline=deadline,
                )
            except HarnessError as failure:
                reason = failure.summary
                cause = failure.__cause__
                if not isinstance(cause, KafkaException) or cause.args[0].code() != KafkaError.NON_EMPTY_GROUP:
                    return reason
            else:
                return ""
        return reason
