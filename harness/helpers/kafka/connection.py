"""What the clients of one broker share: where it is, how to log in, its answers, and what went wrong in between."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from harness.clock import Deadline, poll
from harness.errors import HarnessError
from harness.helpers.kafka.security import Security

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")
Part = tuple[str, int]
"""A topic and the number of a partition."""

SLICE = 0.1
"""Seconds a call may block: a dead service must be noticed between two."""

# Without these a client that comes before its broker waits 100 ms to 10 s between two tries and fills standard error.
_TUNED = {
    "reconnect.backoff.ms": 5,
    "reconnect.backoff.max.ms": 20,
    "retry.backoff.ms": 5,
    "topic.metadata.refresh.fast.interval.ms": 10,
    "socket.timeout.ms": 5000,
    "broker.address.family": "v4",
    "log_level": 0,
}
# Errors that pass by themselves ("Error codes" of the Kafka protocol): a broker tells of a partition's leader before it
# has become that, or has just handed it on; a coordinator is being found, or reads its log. The client library marks
# errors as retriable for transactions only.
PASSING = frozenset(
    [
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_CONTROLLER,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError._TRANSPORT,  # noqa: SLF001 - its public name
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
    ]
)
_NOWHERE = -1  # what a broker says of a time after which there is no message
_NO_LEADER = KafkaError._NOENT  # noqa: SLF001 - said by the client library when its metadata has no leader
_NO_ANSWER = frozenset([KafkaError._TRANSPORT, KafkaError._TIMED_OUT])  # noqa: SLF001
_REFUSALS = frozenset(
    [
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
    ]
)
# OpenSSL's text for X509_V_ERR_*; other TLS faults have the same code, and some pass (a broker that is just starting).
_UNTRUSTED = "certificate verify failed"


class KafkaFailure(HarnessError):
    """The broker refused a request or could not be reached, or the client was closed."""


class Connection:
    """A broker that is asked, and the faults that its clients report.

    Args:
        bootstrap: ``host:port``, several with commas.
        timeout: seconds for one request.
        security: how to log in.
    """

    def __init__(self, bootstrap: str, timeout: float, security: Security | None = None) -> None:
        self.bootstrap = bootstrap
        self.timeout = timeout
        self.security = security or Security()
        self.closed = False
        self.advertised: list[tuple[str, int]] = []  # where brokers said last that they are
        self._refused = ""
        self._trouble = ""
        self._lock = threading.Lock()
        self._admin: Any = None

    def close(self) -> None:
        """Disconnect; every later request is an error."""
        self.closed = True
        # Its threads would go on connecting to a broker that is gone until the garbage collector comes by.
        self._admin = None

    def open_client(self, kind: Callable[[dict[str, Any]], T], **settings: object) -> T:
        """Return a client of the library with our settings. Raises KafkaFailure when it does not take them."""
        options = {
            **_TUNED,
            "bootstrap.servers": self.bootstrap,
            "error_cb": self._notice,
            **self.security.settings(),
            **{name.replace("_", "."): value for name, value in settings.items()},
        }
        try:
            return kind(options)
        except (KafkaException, ValueError, TypeError) as error:
            reason = error.args[0].str() if isinstance(error, KafkaException) else error
            # Not chained: the frames of the library hold the settings.
            raise KafkaFailure(f"No client for broker {self.bootstrap} ({self.security}): {reason}") from None

    def _notice(self, error: Any) -> None:  # noqa: ANN401 - untyped library
        """Remember what a client's thread reports; it is called while something waits in the library."""
        ssl = error.code() == KafkaError._SSL  # noqa: SLF001 - its public name
        if error.code() in _REFUSALS or (ssl and _UNTRUSTED in error.str()):
            self._refused = error.str()
        elif error.code() != KafkaError._ALL_BROKERS_DOWN or not self._trouble:  # noqa: SLF001 - says no more than others
            self._trouble = error.str()

    def check(self) -> None:
        """Raise KafkaFailure when the client is closed, or login or certificate were refused."""
        if self.closed:
            raise KafkaFailure(f"The Kafka client of {self.bootstrap} is closed")
        if self._refused:
            raise KafkaFailure(
                f"Broker {self.bootstrap} and this client do not trust each other ({self.security})",
                details=[f"  {self._refused}"],
                hint="see user, password, mechanism and CA file",
            )

    def trouble(self) -> list[str]:
        """Return what clients last reported, as details of an error."""
        return [f"  last seen: {self._trouble}"] if self._trouble else []

    # -- requests -----------------------------------------------------------------------------------------------

    @property
    def admin(self) -> Any:  # noqa: ANN401 - untyped library
        """The client for requests, made at the first one."""
        self.check()
        with self._lock:
            if self._admin is None:
                self._admin = self.open_client(AdminClient)
            return self._admin

    def wait(self, future: Any, deadline: Deadline) -> Any:  # noqa: ANN401 - untyped library
        """Return the result of a request, serving the client's reports meanwhile.

        Raises:
            KafkaException: the broker's answer is an error.
            TimeoutError: there is no answer at the deadline.
            KafkaFailure: the broker refuses this client.
        """
        admin = self.admin
        try:
            for _ in poll(deadline, pause=False):
                admin.poll(0)
                self.check()
                try:
                    return future.result(min(SLICE, max(deadline.remaining(), 0.01)))
                except TimeoutError:
                    continue
            raise TimeoutError
        finally:
            # The error's traceback has this frame, and the future the error: the client would live in that circle.
            del future, admin

    def ask(
        self,
        request: Callable[[Any, float], Any],
        action: str,
        *,
        accept: int | None = None,
        deadline: Deadline | None = None,
    ) -> Any:  # noqa: ANN401 - untyped library
        """Return the answer to ``request(admin, seconds)``, which gives a future; None for the error ``accept``.

        After an error that passes by itself it is asked again until the deadline.

        Raises:
            KafkaFailure: an error, or no answer in time.
        """
        deadline = deadline or Deadline.after(self.timeout)
        last: Any = None
        for _ in poll(deadline):
            try:
                return self.wait(request(self.admin, max(deadline.remaining(), SLICE)), deadline)
            except KafkaException as error:
                last = error.args[0]
                if last.code() == accept:
                    return None
                if last.code() not in PASSING:
                    raise KafkaFailure(f"Broker {self.bootstrap} did not {action}: {last.str()}") from error
            except TimeoutError:
                break
        reason = f": {last.str()}" if last is not None else f" in {deadline.budget:g} s"
        raise KafkaFailure(
            f"Broker {self.bootstrap} did not {action}{reason}", details=[f"  client: {self.security}", *self.trouble()]
        )

    def leaders(self, timeout: float | None = None) -> dict[str, dict[int, bool]]:
        """Return topic -> partition -> whether it has a leader, from the full list. Raises KafkaFailure."""
        left = threading.Event()
        try:
            listed = self.ask(
                lambda admin, seconds: in_background(lambda: _listing(admin, seconds, left)),
                "list its topics",
                deadline=Deadline.after(self.timeout if timeout is None else timeout),
            )
        finally:
            left.set()
        self.advertised = [(broker.host, broker.port) for broker in listed.brokers.values()]
        return {
            name: {number: part.leader >= 0 and part.error is None for number, part in topic.partitions.items()}
            for name, topic in listed.topics.items()
        }

    def partitions(self, topics: Iterable[str]) -> list[Part]:
        """Return all partitions of ``topics``. Raises KafkaFailure when one does not exist, and names those that do."""
        leaders = self.leaders()
        for topic in topics:
            if topic not in leaders:
                names = ", ".join(sorted(leaders)) or "none"
                raise KafkaFailure(f"Topic {topic!r} does not exist on {self.bootstrap}; there are: {names}")
        return [(topic, number) for topic in topics for number in sorted(leaders[topic])]

    def starts(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Return the first offsets. Raises KafkaFailure."""
        return self._offsets(dict.fromkeys(parts, OffsetSpec.earliest()))

    def ends(self, parts: Iterable[Part], *, committed: bool = False) -> dict[Part, int]:
        """Return the offsets after the last messages.

        Args:
            parts: partitions.
            committed: without messages of transactions that are under way, which consumers do not see yet.
        """
        return self._offsets(dict.fromkeys(parts, OffsetSpec.latest()), committed=committed)

    def first_at(self, parts: Iterable[Part], timestamp: int) -> dict[Part, int]:
        """Return the offsets of the first messages at ``timestamp`` (ms since the epoch) or later, else the ends."""
        parts = list(parts)
        ends = self.ends(parts)  # before: what comes in between must not be lost
        offsets = self._offsets(dict.fromkeys(parts, OffsetSpec.for_timestamp(timestamp)))
        return {part: at if at >= 0 else ends[part] for part, at in offsets.items()}

    def _offsets(self, wanted: Mapping[Part, Any], *, committed: bool = False) -> dict[Part, int]:
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        deadline = Deadline.after(self.timeout)
        offsets: dict[Part, int] = {}
        last = "no answer"
        for _ in poll(deadline):
            left = {part: spec for part, spec in wanted.items() if part not in offsets}
            if not left:
                return offsets
            futures = self.admin.list_offsets(
                {TopicPartition(*part): spec for part, spec in left.items()},
                isolation_level=level,
                request_timeout=max(deadline.remaining(), SLICE),
            )
            for part, future in futures.items():
                try:
                    offset = int(self.wait(future, deadline).offset)
                    # A broker that falls silent is no error to the client library: it then says -1001.
                    if offset >= _NOWHERE:
                        offsets[part.topic, part.partition] = offset
                except KafkaException as error:
                    last = error.args[0].str()
                    code = error.args[0].code()
                    if code == _NO_LEADER and part.partition not in self.leaders().get(part.topic, {}):
                        last = "there is no such partition"
                    elif code in PASSING or code == _NO_LEADER:
                        continue
                    raise KafkaFailure(f"No watermarks of {part.topic}[{part.partition}]: {last}") from error
                except TimeoutError:
                    break
        topic, number = next(part for part in wanted if part not in offsets)
        raise KafkaFailure(
            f"No watermarks of {topic}[{number}] in {self.timeout:g} s from {self.bootstrap}: {last}",
            details=self.trouble(),
        )


def _listing(admin: Any, seconds: float, left: threading.Event) -> Any:  # noqa: ANN401 - untyped library
    """Return the broker's list of topics; give up after ``seconds``, or soon after ``left`` is set.

    The library's call blocks, a refused login included, and nothing ends it. So it is made anew with twice the time,
    until a slow broker has had enough of it. Where no time is left for another one it ends with what the last one said,
    before who waits for it has only a time-out to tell.
    """
    deadline, share = Deadline.after(seconds), 2 * SLICE
    try:
        for _ in poll(deadline):
            try:
                return admin.list_topics(timeout=max(min(share, deadline.remaining()), SLICE))
            except KafkaException as error:
                is_late = left.is_set() or deadline.remaining() <= SLICE
                if is_late or error.args[0].code() not in _NO_ANSWER:
                    raise
                share *= 2
        raise TimeoutError
    finally:
        del admin  # as in ``wait``


def in_background(call: Callable[[], T]) -> Future[T]:
    """Return the future of a call that blocks; its thread ends with it, whether or not somebody waits for that."""
    future: Future[T] = Future()
    threading.Thread(target=_run, args=(future, call), name="harness-kafka-request", daemon=True).start()
    return future


def _run(future: Future[T], call: Callable[[], T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is raised where the future is asked
        future.set_exception(error)
    finally:
        del future, call  # as in ``wait``
