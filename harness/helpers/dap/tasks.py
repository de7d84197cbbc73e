"""Tasks of DAP: told to all four parties, reported to, and collected."""

from __future__ import annotations

import base64
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.clock import Deadline, poll
from harness.errors import ConfigError, WaitTimeout
from harness.helpers.dap.dialects import Dialect, dialect_of
from harness.helpers.dap.failures import DapFailure
from harness.helpers.dap.vdafs import Vdaf, reported, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.helpers.dap.party import Party
    from harness.helpers.dap.vdafs import Result

AT_ONCE = 8
"""Reports that are uploaded at the same time."""
TIME_INTERVAL, FIXED_SIZE = 1, 2
"""Types of query."""
_ID_BYTES = 32
_KEY_BYTES = 16


def encoded(data: bytes) -> str:
    """Return bytes as the API has them: base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """Return the bytes of a text of the API. Raises ValueError when it is none."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


@dataclass(frozen=True)
class Interval:
    """All reports of a stretch of time.

    Attributes:
        start: seconds since the epoch.
        duration: seconds.
    """

    start: int
    duration: int

    @property
    def query(self) -> dict[str, object]:
        """As the API has it."""
        return {
            "type": TIME_INTERVAL,
            "batch_interval_start": self.start,
            "batch_interval_duration": self.duration,
        }


@dataclass(frozen=True)
class Batch:
    """A batch that the leader has filled, by its base64url ID."""

    batch_id: str

    @property
    def query(self) -> dict[str, object]:
        """As the API has it."""
        return {"type": FIXED_SIZE, "subtype": 0, "batch_id": self.batch_id}


@dataclass(frozen=True)
class Collected:
    """What a collection came to.

    Attributes:
        count: how many reports are in it.
        result: their aggregate.
    """

    count: int
    result: Result


@dataclass(frozen=True)
class Deployment:
    """Four parties that know each other's addresses.

    Attributes:
        client: makes reports.
        leader: takes them, and talks to the helper.
        helper: the other aggregator.
        collector: asks the leader for aggregates.
        dialect: how all of them are spoken to.
    """

    client: Party
    leader: Party
    helper: Party
    collector: Party
    dialect: Dialect

    @classmethod
    def of(cls, parties: Mapping[str, Party], dialect: str | Dialect = "02") -> Deployment:
        """Return the deployment of ``client``, ``leader``, ``helper`` and ``collector``.

        Raises:
            ConfigError: one is missing, or there is no such dialect.
        """
        names = ("client", "leader", "helper", "collector")
        if missing := [name for name in names if name not in parties]:
            raise ConfigError(f"A deployment of DAP needs a {' and a '.join(missing)}")
        client, leader, helper, collector = (parties[name] for name in names)
        return cls(client, leader, helper, collector, dialect_of(dialect))

    @property
    def parties(self) -> tuple[Party, ...]:
        """All four."""
        return (self.client, self.leader, self.helper, self.collector)

    def wait_ready(self, *, timeout: float = 10.0) -> None:
        """Wait until all four are ready, within one deadline. Raises WaitTimeout and BrokenStack, as a party does."""
        deadline = Deadline.patient(timeout)
        for party in self.parties:
            party.wait_ready(timeout=deadline.remaining())

    def task(self, vdaf: Vdaf, **options: Any) -> Task:  # noqa: ANN401 - the attributes of Task
        """Return a new task of random ID, keys and tokens, which nobody knows yet; ``options`` are its attributes."""
        return Task(self, vdaf, **options)

    def add(self, vdaf: Vdaf, **options: Any) -> Task:  # noqa: ANN401 - as above
        """Return a new task that all parties know. Raises DapFailure."""
        __tracebackhide__ = True
        task = self.task(vdaf, **options)
        task.add()
        return task


def _token() -> str:
    return secrets.token_urlsafe(12)


@dataclass
class Task:
    """A task. Whoever tests what is not as it should be changes what a party is told of it.

    Attributes:
        deployment: whose task it is.
        vdaf: what its reports are aggregated to.
        min_batch_size: reports that a collection has at least.
        max_batch_size: reports that one has at most; a task that has it is collected by batches, one without by time.
        time_precision: seconds that reports' times are rounded to.
        queries: how often a report may be collected.
        expiration: when it ends, in seconds since the epoch; in a dialect that has no word for that it does not end.
        id: its base64url ID.
        verify_key: what both aggregators verify proofs with.
        leader_token: what the leader shows the helper.
        collector_token: what the collector shows the leader.
        leader_url: where the leader is for it, "" until it was asked.
        helper_url: the same of the helper.
        collector_key: what aggregates are encrypted to, base64url, "" until the collector was asked.
    """

    deployment: Deployment
    vdaf: Vdaf
    min_batch_size: int = 1
    max_batch_size: int | None = None
    time_precision: int = 300
    queries: int = 1
    expiration: int | None = None
    id: str = field(default_factory=lambda: encoded(secrets.token_bytes(_ID_BYTES)))
    verify_key: bytes = field(default_factory=lambda: secrets.token_bytes(_KEY_BYTES), repr=False)
    leader_token: str = field(default_factory=_token, repr=False)
    collector_token: str = field(default_factory=_token, repr=False)
    leader_url: str = ""
    helper_url: str = ""
    collector_key: str = ""

    @property
    def query_type(self) -> int:
        """How it is collected: 1 by time, 2 by batches."""
        return TIME_INTERVAL if self.max_batch_size is None else FIXED_SIZE

    # -- telling --------------------------------------------------------------------------------------------------

    def add(self) -> None:
        """Tell all parties of it, in the draft's order. Raises DapFailure when one refuses."""
        __tracebackhide__ = True
        self.locate()
        self.add_to_collector()
        self.add_to("leader")
        self.add_to("helper")

    def locate(self) -> None:
        """Ask both aggregators where they are for it. Raises DapFailure."""
        self.leader_url = self._endpoint("leader", self.deployment.leader)
        self.helper_url = self._endpoint("helper", self.deployment.helper)

    def _endpoint(self, role: str, party: Party) -> str:
        host = (party.inside or party.endpoint).rpartition(":")[0]
        said = party.command("endpoint_for_task", {"task_id": self.id, "role": role, "hostname": host})
        return party.url(str(said.get("endpoint") or ""))

    def add_to_collector(self, **changed: object) -> None:
        """Tell the collector, and learn its key; ``changed`` are other values of the command. Raises DapFailure."""
        dialect, party = self.deployment.dialect, self.deployment.collector
        values: dict[str, object] = {
            "task_id": self.id,
            "leader": self.leader_url,
            "vdaf": written(self.vdaf, dialect),
            "query_type": self.query_type,
        }
        if not dialect.tokens_apart:
            values["collector_authentication_token"] = self.collector_token
        said = party.command("add_task", {**values, **changed})
        self.collector_key = str(said.get("collector_hpke_config") or "")
        if dialect.tokens_apart:
            self.add_token(party, "collector", self.collector_token)

    def add_to(self, role: str, /, **changed: object) -> None:
        """Tell the ``leader`` or the ``helper``; ``changed`` are other values of the command. Raises DapFailure."""
        dialect = self.deployment.dialect
        party = self.deployment.leader if role == "leader" else self.deployment.helper
        tokens = {"leader": self.leader_token}
        if role == "leader":
            tokens["collector"] = self.collector_token
        values = self._told(role)
        if not dialect.tokens_apart:
            values |= {f"{owner}_authentication_token": token for owner, token in tokens.items()}
        party.command("add_task", {**values, **changed})
        if dialect.tokens_apart:
            for owner, token in tokens.items():
                self.add_token(party, owner, token)

    def _told(self, role: str) -> dict[str, object]:
        """Return what ``add_task`` tells an aggregator, but for tokens."""
        dialect = self.deployment.dialect
        values: dict[str, object] = {
            "task_id": self.id,
            "leader": self.leader_url,
            "helper": self.helper_url,
            "vdaf": written(self.vdaf, dialect),
            "role": role,
            dialect.verify_key: encoded(self.verify_key),
            "max_batch_query_count": self.queries,
            "query_type": self.query_type,
            "min_batch_size": self.min_batch_size,
            "time_precision": self.time_precision,
            "collector_hpke_config": self.collector_key,
        }
        if self.max_batch_size is not None:
            values["max_batch_size"] = self.max_batch_size
        if dialect.has_expiration:
            values["task_expiration"] = self.expiration or int(time.time()) + 10 * 365 * 86400
        return values

    def add_token(self, party: Party, role: str, token: str) -> None:
        """Tell a party a token of the ``leader`` or the ``collector``. Raises DapFailure."""
        party.command("add_authentication_token", {"task_id": self.id, "role": role, "token": token})

    # -- reporting ------------------------------------------------------------------------------------------------

    def upload(self, measurement: int, *, at: int | None = None, client: Party | None = None, **more: object) -> None:
        """Have the client upload a report.

        Args:
            measurement: what it measured. It is sent as it is, right or wrong.
            at: its time, seconds since the epoch; by default now.
            client: another client than the deployment's.
            more: further values of the command.

        Raises:
            DapFailure: the client could not; ``problem`` is the leader's reason.
        """
        __tracebackhide__ = True
        (client or self.deployment.client).command("upload", self.report_values(measurement, at=at, **more))

    def report_values(self, measurement: int, *, at: int | None = None, **more: object) -> dict[str, object]:
        """Return what ``upload`` tells a client."""
        dialect = self.deployment.dialect
        values: dict[str, object] = {
            "task_id": self.id,
            "leader": self.leader_url,
            "helper": self.helper_url,
            "vdaf": written(self.vdaf, dialect),
            "measurement": reported(self.vdaf, measurement, dialect),
            "time_precision": self.time_precision,
        }
        return {**values, **({} if at is None else {"time": at}), **more}

    def upload_all(self, measurements: Iterable[int], *, at: int | None = None) -> None:
        """Have the client upload a report of each, some at once, so in no order. Raises DapFailure for the first."""
        __tracebackhide__ = True
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(self.upload, measured, at=at) for measured in measurements]:
                done.result()

    # -- collecting -----------------------------------------------------------------------------------------------

    def interval(self, at: int, windows: int = 1) -> Interval:
        """Return the interval of so many windows of the task's precision that begins with the one of a moment."""
        return Interval(at - at % self.time_precision, windows * self.time_precision)

    def batches(self) -> list[Batch]:
        """Return the leader's batches in the order in which they were begun. Raises DapFailure."""
        said = self.deployment.leader.command("fetch_batch_ids", {"task_id": self.id})
        return [Batch(str(one)) for one in said.get("batch_ids") or ()]

    def start(self, query: Interval | Batch) -> str:
        """Have the collector begin a collection; return its handle. Raises DapFailure."""
        values = {"task_id": self.id, "agg_param": "", "query": query.query}
        party, command = self.deployment.collector, self.deployment.dialect.start
        handle = party.command(command, values).get("handle")
        if not isinstance(handle, str):
            raise DapFailure(party.name, command, f"handle {handle!r} is no text")
        return handle

    def poll(self, handle: str) -> Collected | None:
        """Return what a collection has come to, None while it goes on.

        Raises:
            DapFailure: it has failed, or the answer is none of this API.
        """
        __tracebackhide__ = True
        party, command = self.deployment.collector, self.deployment.dialect.poll
        said = party.command(command, {"handle": handle})
        if said["status"] == "in progress":
            return None
        count = said.get("report_count")
        try:
            if said["status"] != "complete" or not isinstance(count, int):
                raise ValueError("status and report_count are needed")  # noqa: TRY301 - with what came
            return Collected(count, self.vdaf.read(said.get("result")))
        except ValueError as error:
            raise DapFailure(party.name, command, f"{said!r}: {error}") from error

    def wait(self, handle: str, *, timeout: float = 30.0) -> Collected:
        """Return what a collection comes to.

        Raises:
            WaitTimeout: it goes on after ``timeout`` seconds.
            DapFailure: it has failed.
            BrokenStack: a party's service has died.
        """
        __tracebackhide__ = True
        for _ in poll(Deadline.patient(timeout)):
            if collected := self.poll(handle):
                return collected
        raise WaitTimeout(f"The collection {handle} of task {self.id} is in progress after {timeout:.3g} s")

    def collect(self, query: Interval | Batch, *, timeout: float = 30.0) -> Collected:
        """Begin a collection and return what it comes to, within one deadline. Raises as ``start`` and ``wait`` do."""
        __tracebackhide__ = True
        deadline = Deadline.patient(timeout)
        return self.wait(self.start(query), timeout=deadline.remaining())

    def expect(self, measurements: Iterable[int]) -> Collected:
        """Return what a collection of just these measurements must come to, computed here."""
        listed = list(measurements)
        return Collected(len(listed), self.vdaf.aggregate(listed))
