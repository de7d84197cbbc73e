"""What the tests of DAP share: the parties of a stack, DAP's own endpoints, and how implementations differ."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from harness import clock
from harness.helpers.dap import Deployment, Party
from harness.helpers.dap.tasks import decoded
from harness.helpers.http_plain import address_of, ask

if TYPE_CHECKING:
    import harness
    from harness.helpers.dap import Batch, Interval, Task
    from harness.helpers.http_plain import Answer

PARTIES = ("client", "leader", "helper", "collector")
PATIENCE = 60.0
"""Seconds for a command, and for a collection that has all it needs."""
STAYS = 1.0
"""Seconds in which what must not come about is looked for."""

REPORT = "application/dap-report"
INIT = "application/dap-aggregate-initialize-req"
CONTINUE = "application/dap-aggregate-continue-req"
SHARE = "application/dap-aggregate-share-req"
COLLECT = "application/dap-collect-req"


@dataclass(frozen=True)
class Lack:
    """What an implementation does not do, so that tests are expected to fail.

    Attributes:
        roles: who must be of this implementation for that, such as ``leader``; any of them.
        tests: how the IDs of these tests begin, from the file's name on.
        why: the reason, in words.
        always: whether these tests fail each time.
    """

    roles: str
    tests: tuple[str, ...]
    why: str
    always: bool = True


WORKER_LACKS = (
    Lack(
        "leader helper",
        (
            "test_aggregates.py::test_an_aggregate_is_what_was_measured[histogram",
            "test_aggregates.py::test_every_dialect_is_spoken[histogram",
            "test_aggregates.py::test_tasks_of_all_kinds_at_once",
            "test_fixed_size.py::test_a_batch_is_what_was_measured[histogram",
            "test_reports.py::test_what_is_no_measurement_is_not_reported[vdaf4",
        ),
        "its add_task knows no histogram",
    ),
    Lack(
        "leader",
        (
            "test_fixed_size.py::test_reports_go_into_batches_as_they_come",
            "test_fixed_size.py::test_a_batch_that_is_collected_takes_no_more",
        ),
        "it tells of the oldest batch only",
    ),
    Lack(
        "leader",
        ("test_keys.py::test_a_leader_with_a_wrong_token",),
        "reports leave its storage before the helper has them, and are lost when that refuses",
    ),
    Lack(
        "leader",
        ("test_keys.py::test_an_aggregate_is_for_its_collector",),
        "a collection is given to whoever knows where it is, without a token",
    ),
    Lack(
        "leader helper",
        tuple(
            f"test_refusals.py::test_a_task_that_is_none[{{'{key}'"
            for key in ("query_type", "max_batch_size", "time_precision", "min_batch_size")
        ),
        "it takes tasks whose numbers cannot be, and of one that it refuses it keeps the token, which refuses the next",
    ),
    Lack("leader helper", ("test_refusals.py::test_a_task_is_told_once",), "it refuses without a reason"),
    Lack("leader helper", ("test_refusals.py::test_keys_are_told_for_a_task",), "it tells its key without a task"),
    Lack("leader helper", ("test_refusals.py::test_paths_that_are_none",), "some are 400 or 405"),
    Lack(
        "leader",
        ("test_reports.py::test_a_replayed_report_is_counted_once",),
        "a report that was aggregated is taken again, and not counted",
        always=False,
    ),
    Lack(
        "leader",
        ("test_reports.py::test_a_report_of_a_batch_that_was_collected",),
        "a report of a batch that was collected is taken, and not counted",
    ),
    Lack("leader", ("test_reports.py::test_a_share_to_a_wrong_key[leader]",), "it has one key for all tasks"),
    Lack("helper", ("test_reports.py::test_a_share_to_a_wrong_key[helper]",), "it has one key for all tasks"),
)


@dataclass(frozen=True)
class Aggregator:
    """What an implementation of leader and helper makes of what draft 02 leaves open, or names too late.

    Attributes:
        name: its program.
        replay: how an upload of a report that was uploaded before is answered: "" is success.
        early: the same of a report from the future.
        collected: the same of one of a batch that was collected.
        unknown_key: the same of a leader's share to a key that the leader does not have.
        again: how a second collection of the same batch is answered, where reports may be collected once.
        mismatch: how a query of another type than the task's is answered.
        past_end: the same of a report that was made after the task's end.
        lacks: what it does not do.
    """

    name: str
    replay: str
    early: str
    collected: str
    unknown_key: str
    again: str
    mismatch: str
    past_end: str = "reportTooLate"
    lacks: tuple[Lack, ...] = ()


DAPHNE = Aggregator(
    "dap-daphne",
    replay="replayedReport",
    early="",
    collected="staleReport",
    unknown_key="unrecognizedHpkeConfig",
    again="batchOverlap",
    mismatch="queryMismatch",
)
AGGREGATORS = {
    aggregator.name: aggregator
    for aggregator in (
        DAPHNE,
        replace(DAPHNE, name="dap-worker", lacks=WORKER_LACKS),
        Aggregator(
            "dap-ours",
            replay="",
            early="reportTooEarly",
            collected="reportTooLate",
            unknown_key="outdatedConfig",
            again="batchQueriedTooManyTimes",
            mismatch="unrecognizedMessage",
        ),
    )
}
"""By the name of the program, as ``DAP_LEADER`` and ``DAP_HELPER`` have it."""


def implementing(role: str) -> Aggregator:
    """Return what is known of the implementation of the ``leader`` or the ``helper``.

    Raises:
        pytest.UsageError: one was chosen that nothing is known of.
    """
    variable = f"DAP_{role.upper()}"
    chosen = os.environ.get(variable) or DAPHNE.name
    if chosen not in AGGREGATORS:
        raise pytest.UsageError(f"{variable}={chosen}: there are {', '.join(AGGREGATORS)}")
    return AGGREGATORS[chosen]


def lack(test: str) -> Lack | None:
    """Return why a test, by its ID, is expected to fail with the chosen implementations; None where it is not."""
    name = test.rpartition("/")[2]
    for role in ("leader", "helper"):
        for lacking in implementing(role).lacks:
            if role in lacking.roles.split() and name.startswith(lacking.tests):
                return lacking
    return None


def in_containers(stack: harness.Stack) -> bool:
    """Return whether the parties of a stack are containers: these listen on each address that they have."""
    return stack.service("leader").env["LISTEN"].startswith("0.0.0.0:")


def party(stack: harness.Stack, name: str) -> Party:
    """Return a party of a stack. Containers know each other by their names, processes by their addresses."""
    inside = f"{name}:8080" if in_containers(stack) else ""
    return Party(name, stack.endpoint(name, 8080), inside, timeout=PATIENCE)


def deployment_of(stack: harness.Stack, dialect: str = "02") -> Deployment:
    """Return the four parties of a stack."""
    return Deployment.of({name: party(stack, name) for name in PARTIES}, dialect)


def stays_in_progress(task: Task, handle: str) -> bool:
    """Return whether a collection is in progress, and stays so."""
    return all(task.poll(handle) is None for _ in clock.poll(clock.Deadline.after(STAYS)))


# -- DAP itself ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dap:
    """DAP's own endpoints of an aggregator, for a task."""

    task: Task
    role: str

    @property
    def _address(self) -> tuple[str, int, str]:
        deployment = self.task.deployment
        seen, told = (
            (deployment.leader, self.task.leader_url)
            if self.role == "leader"
            else (deployment.helper, self.task.helper_url)
        )
        host, port, _ = address_of(seen.endpoint)  # from here it may be another than the one that parties use
        return host, port, address_of(told)[2]

    def post(self, path: str, media_type: str, body: bytes, token: str | None = None) -> Answer:
        """Post a message."""
        host, port, prefix = self._address
        headers = {"Content-Type": media_type, **({} if token is None else {"DAP-Auth-Token": token})}
        return ask(host, port, f"{prefix}/{path}", method="POST", body=body, headers=headers, timeout=PATIENCE)

    def get(self, path: str) -> Answer:
        """Get a path."""
        host, port, prefix = self._address
        return ask(host, port, f"{prefix}/{path}", timeout=PATIENCE)

    def key(self) -> bytes:
        """Return the key that shares for this aggregator are encrypted to, as DAP encodes it."""
        answer = self.get(f"hpke_config?task_id={self.task.id}")
        assert answer.status == 200, answer
        return answer.body

    def upload(self, report: bytes) -> str:
        """Upload a report; return the name of the leader's problem with it, "" for none."""
        return problem_of(self.post("upload", REPORT, report))

    def collect(self, query: Interval | Batch, token: str | None) -> str:
        """Ask for a collection; return the name of the leader's problem with it, "" for none."""
        return problem_of(self.post("collect", COLLECT, collect_request(self.task.id, query), token))


def problem_of(answer: Answer) -> str:
    """Return the name that DAP has for an answer's problem; "" where there is none.

    What is a problem must be an error of HTTP, and a document of a type that DAP has.
    """
    if answer.status in {200, 303}:
        assert b"urn:ietf:params:ppm:dap:error:" not in answer.body, f"a problem is told as success: {answer}"
        return ""
    assert 400 <= answer.status < 500, answer
    assert answer.headers.get("content-type") == "application/problem+json", answer
    kind = answer.json()["type"]
    prefix, _, name = kind.rpartition(":")
    assert prefix == "urn:ietf:params:ppm:dap:error", answer
    return str(name)


def collect_request(task_id: str, query: Interval | Batch) -> bytes:
    """Return a CollectReq as draft 02 encodes it: the task, the query, an empty aggregation parameter."""
    told = query.query
    if told["type"] == 1:
        asked = struct.pack(">BQQ", 1, told["batch_interval_start"], told["batch_interval_duration"])
    else:
        asked = b"\x02" + decoded(str(told["batch_id"]))
    return decoded(task_id) + asked + b"\0\0"


def canned(task: Task, measurement: int, *, at: int | None = None, **more: object) -> bytes:
    """Return a report that the client has made and not uploaded."""
    said = task.deployment.client.command("report", task.report_values(measurement, at=at, **more))
    return decoded(said["report"])
