"""Clients of draft 09 against aggregators that keep what they are sent: what is uploaded, and how errors are told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import harness
from harness import clock
from harness.helpers.dap import DIALECTS, Count, DapFailure, Histogram, Sum
from harness.helpers.dap.tasks import decoded
from harness.helpers.http_plain import address_of, ask
from integration_tests.dap.tests.hpke import Key, Unopened, config
from integration_tests.dap.tests.prio3 import prio3_of
from integration_tests.dap.tests.recording import CLIENTS, SILENT, TAKEN, Answer, Recording, keys, problem, recording_of
from integration_tests.dap.tests.reports import CONFIGS, HELPER, ID_LENGTH, LEADER, REPORT
from integration_tests.dap.tests.suite import party

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.helpers.dap import Dialect, Vdaf
    from integration_tests.dap.tests.recording import Client
    from integration_tests.dap.tests.reports import Report

dap09 = harness.stack_fixture("dap09", scope="module")

UNKNOWN_KEM = 0x7FFF
TOLD_WITHIN = 10.0
"""Seconds in which a client tells that an aggregator is not there, or says nothing."""
SERVICES = ("leader", "helper", *CLIENTS)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    """What is known of each client."""
    return CLIENTS[request.param]


@pytest.fixture
def record(dap09: harness.Stack, client: Client) -> Callable[..., Recording]:
    """A function that gives a new task of a VDAF, of which the aggregators are still to be told."""
    return lambda vdaf, **options: recording_of(dap09, client, vdaf, **options)


@pytest.fixture
def counting(record: Callable[..., Recording]) -> Recording:
    """A task that counts, of which the aggregators are still to be told."""
    return record(Count())


def refused(recording: Recording, **changed: object) -> DapFailure:
    """Return how the client tells that a report came to nothing; ``changed`` are other values of the command."""
    client = recording.task.deployment.client
    with pytest.raises(DapFailure) as failure:
        client.command("upload", {**recording.task.report_values(1), **changed})
    assert failure.value.status == 200, "the client is well, and says so"
    return failure.value


# -- what is uploaded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vdaf", "measurement", "value"),
    [
        (Count(), 0, 0),
        (Count(), 1, 1),
        (Sum(1), 1, 1),
        (Sum(8), 0, 0),
        (Sum(8), 200, 200),
        (Sum(8), 255, 255),
        (Sum(53), (1 << 53) - 1, (1 << 53) - 1),
        (Sum(64), (1 << 64) - 1, (1 << 64) - 1),
        (Histogram((10, 20, 30)), 0, 0),
        (Histogram((10, 20, 30)), 20, 1),
        (Histogram((10, 20, 30)), 31, 3),
        (Histogram(()), 7, 0),
        (Histogram(tuple(range(99))), 98, 98),
    ],
    ids=str,
)
def test_both_shares_come_to_what_was_measured(
    record: Callable[..., Recording], vdaf: Vdaf, measurement: int, value: int
) -> None:
    """Both shares must add up to the measurement, have the VDAF's lengths, and be those that the public share is of."""
    recording = record(vdaf)
    recording.tell()
    recording.task.upload(measurement)
    report = recording.report()
    assert recording.measured(report) == value
    prio3, (leader, helper) = prio3_of(vdaf), recording.shares(report)
    assert (len(leader.payload), len(helper.payload)) == (prio3.leader_length, prio3.helper_length)
    assert len(report.public_share) == prio3.public_length
    assert report.public_share == prio3.public_share(leader.payload, helper.payload, report.id)
    assert leader.extensions == helper.extensions == b""


def test_a_report_goes_where_the_draft_has_it(counting: Recording) -> None:
    """A report must be put once, below the leader's path, with its media type, and nothing of it go to the helper."""
    counting.tell()
    counting.task.upload(1)
    (upload,) = counting.uploads()
    path = counting.task.deployment.dialect.upload.format(task=counting.task.id).replace(" ", " /dap/")
    assert (upload.line, upload.query) == (path, "")
    assert upload.headers["content-type"] == REPORT
    assert [request.line for request in counting.requests("helper")] == ["GET /dap/hpke_config"]


@pytest.mark.parametrize("role", ["leader", "helper"])
def test_each_aggregator_is_asked_for_its_keys(counting: Recording, role: str) -> None:
    """Each aggregator must be asked for its own keys, with the task's ID, without which it may refuse."""
    counting.tell()
    counting.task.upload(1)
    (asked, *_) = counting.requests(role)
    assert (asked.line, asked.query) == ("GET /dap/hpke_config", f"task_id={counting.task.id}")


@pytest.mark.parametrize(
    ("time", "precision", "rounded"),
    [
        (1_700_000_100, 300, 1_700_000_100),
        (1_700_000_099, 300, 1_699_999_800),
        (1_700_000_399, 300, 1_700_000_100),
        (1_700_000_001, 1, 1_700_000_001),
        (86_399, 86_400, 0),
        ((1 << 32) - 1, 3600, 4_294_965_600),
    ],
)
def test_times_are_rounded_down(record: Callable[..., Recording], time: int, precision: int, rounded: int) -> None:
    """A report must tell its time as the begin of a window of the task's precision, and no more precisely."""
    recording = record(Count(), time_precision=precision)
    recording.tell()
    recording.task.upload(1, at=time)
    assert recording.report().time == rounded


def test_a_share_is_for_one_aggregator(counting: Recording) -> None:
    """A share must be opened by its own aggregator's key only, in its own role, task and report, and draft."""
    counting.tell()
    counting.task.upload(1)
    counting.task.upload(1)
    report, other = counting.reports()
    task, dialect = decoded(counting.task.id), counting.task.deployment.dialect
    assert (report.leader.key, report.helper.key) == (counting.leader_key.number, counting.helper_key.number)
    assert counting.measured(report) == counting.measured(other) == 1
    assert report.leader.encapsulated != report.helper.encapsulated
    attempts: list[tuple[Report, int, Key, bytes, Dialect]] = [
        (report, LEADER, counting.helper_key, task, dialect),
        (report, HELPER, counting.leader_key, task, dialect),
        (report, LEADER, Key(17), task, dialect),
        (report, LEADER, counting.leader_key, bytes(32), dialect),
        (report, LEADER, counting.leader_key, task, DIALECTS["07"]),
        (replace(report, id=other.id), LEADER, counting.leader_key, task, dialect),
        (replace(report, time=report.time + 300), LEADER, counting.leader_key, task, dialect),
        (replace(report, leader=report.helper), LEADER, counting.helper_key, task, dialect),
    ]
    for opened, role, key, whose, spoken in attempts:
        with pytest.raises(Unopened):
            opened.open(role, key, task=whose, dialect=spoken)


def test_reports_at_once_are_kept_apart(record: Callable[..., Recording]) -> None:
    """Many reports at once must all come, each under an ID of its own and with what it measured."""
    recording = record(Sum(8))
    recording.tell()
    listed = list(range(40))
    recording.task.upload_all(listed)
    reports = recording.reports()
    assert sorted(recording.measured(report) for report in reports) == listed
    assert len({report.id for report in reports}) == len({report.leader.encapsulated for report in reports}) == 40
    assert {len(report.id) for report in reports} == {ID_LENGTH}


@pytest.mark.parametrize(
    ("vdaf", "told"),
    [
        (Count(), "2"),
        (Count(), "-1"),
        (Sum(8), "256"),
        (Sum(8), "1.5"),
        (Histogram((10, 20)), "3"),
        (Sum(8), ""),
    ],
    ids=str,
)
def test_what_is_no_measurement_is_not_uploaded(record: Callable[..., Recording], vdaf: Vdaf, told: str) -> None:
    """A measurement that the VDAF does not have must be an error, and nothing be uploaded."""
    recording = record(vdaf)
    recording.tell()
    assert refused(recording, measurement=told).said
    assert recording.uploads() == []


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_of_a_known_kind_is_taken(counting: Recording) -> None:
    """Of several keys the first of a kind that the client knows must be taken, whatever stands before it."""
    unknown = config(1, UNKNOWN_KEM, bytes(57))
    later = Key(3)
    counting.tell(leader=[keys(unknown, counting.leader_key.config, later.config)])
    counting.task.upload(1)
    report = counting.report()
    assert report.leader.key == counting.leader_key.number
    assert counting.measured(report) == 1


@pytest.mark.parametrize("role", ["leader", "helper"])
@pytest.mark.parametrize(
    "answer",
    [
        keys(),
        keys(config(1, UNKNOWN_KEM, bytes(32))),
        Answer(200, CONFIGS, b"\0\xff\1"),
        Answer(200, CONFIGS),
        keys(config(1, 0x0020, bytes(31))),
        Answer(200, "text/html", b"<p>Welcome</p>"),
        Answer(404),
        problem("unrecognizedTask", 404),
    ],
    ids=["none", "unknown", "cut", "empty", "short", "page", "missing", "problem"],
)
def test_useless_keys(counting: Recording, role: str, answer: Answer) -> None:
    """An aggregator whose keys are of no use must be told of in words, and nothing be uploaded."""
    wrong: dict[str, Any] = {role: [answer]}
    counting.tell(**wrong)
    assert refused(counting).said
    assert counting.uploads() == []


def test_outdated_keys(counting: Recording, client: Client) -> None:
    """A report that was refused for its key must be made anew for a new one, as draft 09 has it, or that be told."""
    newer = Key(18)
    leader = [keys(counting.leader_key.config), keys(newer.config)]
    counting.tell(leader=leader, upload=[problem("outdatedConfig", taskid=counting.task.id), TAKEN])
    if not client.takes_new_keys:
        refused(counting)
        assert len(counting.uploads()) == 1
        return
    counting.task.upload(1, at=1_700_000_100)
    first, second = counting.reports()
    assert first.time == 1_700_000_100
    assert second.time > first.time, "@divviup/dap 0.9.1 is known to forget the time that it was told"
    assert (first.leader.key, second.leader.key) == (counting.leader_key.number, newer.number)
    assert first.id != second.id
    counting.leader_key = newer
    assert counting.measured(second) == 1


def test_ever_outdated_keys(counting: Recording, client: Client) -> None:
    """A leader that calls every key outdated must not be asked for ever."""
    counting.tell(upload=[problem("outdatedConfig", taskid=counting.task.id)])
    refused(counting)
    assert len(counting.uploads()) == 1 + client.takes_new_keys


# -- refusals, and aggregators that are not there ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reportRejected", "reportTooEarly", "unrecognizedTask", "invalidMessage"])
def test_a_refusal_is_told(counting: Recording, name: str) -> None:
    """A report that the leader refuses must be an error by the problem's name, and not be sent again."""
    counting.tell(upload=[problem(name, taskid=counting.task.id)])
    failure = refused(counting)
    assert failure.problem == name
    assert "400" in failure.said
    assert len(counting.uploads()) == 1


def test_a_problem_without_its_task(counting: Recording, client: Client) -> None:
    """A problem document without the task's ID is an error all the same, if not one that the client has understood."""
    counting.tell(upload=[problem("reportRejected")])
    failure = refused(counting)
    assert failure.problem == ("" if client.needs_task else "reportRejected")


@pytest.mark.parametrize("answer", [Answer(400), Answer(404, "text/html", b"<p>no</p>"), Answer(403), Answer(301)])
def test_a_refusal_without_a_problem(counting: Recording, answer: Answer) -> None:
    """An answer that is no success must be an error, whatever comes with it."""
    counting.tell(upload=[answer])
    assert refused(counting).said
    assert len(counting.uploads()) == 1


@pytest.mark.parametrize("answer", [TAKEN, Answer(200), Answer(204)], ids=lambda answer: str(answer.status))
def test_every_success_is_one(counting: Recording, answer: Answer) -> None:
    """Any status of success must be taken for one, though draft 09 has 201."""
    counting.tell(upload=[answer])
    counting.task.upload(1)
    assert counting.measured(counting.report()) == 1


def test_a_leader_in_trouble(counting: Recording, client: Client) -> None:
    """A leader in trouble must be asked again with the same report, or that be told."""
    counting.tell(upload=[Answer(503), TAKEN])
    if client.is_stubborn:
        counting.task.upload(1)
        first, second = counting.uploads()
        assert first.body == second.body
    else:
        refused(counting)
        assert len(counting.uploads()) == 1


@pytest.mark.parametrize("role", ["leader", "helper"])
def test_an_aggregator_that_is_not_there(counting: Recording, role: str) -> None:
    """An aggregator at whose port nobody listens must be told of, soon, and nothing be uploaded."""
    counting.tell()
    url = getattr(counting.task, f"{role}_url")
    host, port, path = address_of(url)
    nobody: dict[str, Any] = {role: f"http://{host}:{port + 1}{path}"}
    watch = clock.Deadline.after(TOLD_WITHIN)
    assert refused(counting, **nobody).said
    assert watch.remaining() > 0
    assert counting.uploads() == []


@pytest.mark.parametrize("part", ["leader", "helper", "upload"])
def test_an_aggregator_that_says_nothing(counting: Recording, part: str) -> None:
    """An aggregator that takes a request and never answers must be told of within a deadline."""
    silent: dict[str, Any] = {part: [SILENT]}
    counting.tell(**silent)
    watch = clock.Deadline.after(TOLD_WITHIN)
    assert refused(counting).said
    assert watch.remaining() > 0


# -- the test API ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vdaf",
    [
        {"type": "Prio3Aes128Count"},
        {"type": "Poplar1", "bits": "8"},
        {"type": "Prio3Sum"},
        {"type": "Prio3Sum", "bits": 8},
        {"type": "Prio3Histogram", "buckets": ["1", "2"]},
        {"type": "Prio3Histogram", "length": "0", "chunk_length": "1"},
        {"type": "Prio3Histogram", "length": "3", "chunk_length": "0"},
        {},
    ],
    ids=str,
)
def test_vdafs_of_other_drafts(counting: Recording, vdaf: dict[str, object]) -> None:
    """A VDAF by the words of another draft, or that is none, must be refused before anything is uploaded."""
    counting.tell()
    assert refused(counting, vdaf=vdaf).said
    assert counting.uploads() == []


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    "body",
    [b"", b'{"task_id": "', b"[]", b"{}", b'{"task_id": "***"}', b'{"task_id": 7}', b"\xff\xfe\x00"],
    ids=["nothing", "half", "list", "empty", "no-base64", "number", "bytes"],
)
def test_what_is_no_command(dap09: harness.Stack, name: str, body: bytes) -> None:
    """A body that is no command must be 400 with a reason, and the party go on."""
    seen = party(dap09, name)
    answer = seen.post("upload" if name in CLIENTS else "add_task", body)
    assert answer.status == 400, answer
    assert answer.json()["status"] == "error"
    assert answer.json()["error"]
    seen.wait_ready()


@pytest.mark.parametrize("name", SERVICES)
def test_each_party_speaks_the_api(dap09: harness.Stack, name: str) -> None:
    """Each party must say that it is ready when it is asked by POST, and know no commands of other drafts."""
    seen = party(dap09, name)
    assert seen.command("ready", {}) == {}
    host, port, _ = address_of(seen.endpoint)
    assert ask(host, port, "/internal/test/ready").status == 405
    assert seen.post("no_such_thing", b"{}").status == 404


@pytest.mark.parametrize("name", SERVICES)
def test_each_party_stops_at_term(dap09: harness.Stack, name: str) -> None:
    """A party must end at TERM with 0, and serve again when it is started."""
    service = dap09.service(name)
    service.stop()
    assert service.exit_code == 0
    service.start()
    party(dap09, name).wait_ready(timeout=60)
