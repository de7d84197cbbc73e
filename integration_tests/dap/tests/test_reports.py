"""Reports that must not be counted: replayed, too early, too late, not for this task, or not to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.helpers.dap import Collected, Count, DapFailure, Histogram, Sum
from harness.helpers.dap.tasks import decoded, encoded
from integration_tests.dap.tests.suite import PATIENCE, Dap, canned, deployment_of, party, stays_in_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    import harness
    from harness.helpers.dap import Deployment, Task, Vdaf
    from integration_tests.dap.tests.suite import Aggregator


@pytest.fixture
def task(deployment: Deployment) -> Task:
    """A task whose batches have three reports or more."""
    return deployment.add(Sum(8), min_batch_size=3)


def counted(task: Task, now: int) -> Collected:
    """Return what is counted when two good reports, of 1 and 2, have come after all others."""
    task.upload(1, at=now)
    task.upload(2, at=now)
    return task.collect(task.interval(now), timeout=PATIENCE)


def test_a_report_of_the_test_counts_as_one_of_the_client(task: Task, now: int, dap: Callable[[Task], Dap]) -> None:
    """A report that the client made and a test uploads must be counted: what follows is no fault of the test's."""
    assert dap(task).upload(canned(task, 40, at=now)) == ""
    assert counted(task, now) == Collected(3, 43)


def test_a_replayed_report_is_counted_once(task: Task, now: int, leads: Aggregator, dap: Callable[[Task], Dap]) -> None:
    """A report that is uploaded again, at once and after it was aggregated, must be counted once."""
    report = canned(task, 40, at=now)
    assert dap(task).upload(report) == ""
    assert dap(task).upload(report) == leads.replay
    task.upload(1, at=now)
    assert dap(task).upload(report) == leads.replay
    handle = task.start(task.interval(now))
    assert stays_in_progress(task, handle)
    task.upload(2, at=now)
    assert task.wait(handle, timeout=PATIENCE) == Collected(3, 43)


def test_a_report_after_the_end_of_its_task(stack: harness.Stack, now: int) -> None:
    """A report that was made when its task had ended must be refused, one before that be counted."""
    task = deployment_of(stack, "07").add(Sum(8), min_batch_size=1, expiration=now - 600)
    with pytest.raises(DapFailure) as refused:
        task.upload(40, at=now)
    assert refused.value.problem == "reportTooLate"
    before = now - 1200
    task.upload(1, at=before)
    assert task.collect(task.interval(before), timeout=PATIENCE) == Collected(1, 1)


def test_a_report_from_the_future(task: Task, now: int, leads: Aggregator, dap: Callable[[Task], Dap]) -> None:
    """A report of the day after tomorrow must be no report of today, whether the leader takes it or not."""
    assert dap(task).upload(canned(task, 40, at=now + 2 * 86400)) == leads.early
    task.upload(3, at=now)
    assert counted(task, now) == Collected(3, 6)


def test_a_report_of_a_batch_that_was_collected(task: Task, now: int, leads: Aggregator) -> None:
    """A report of a batch that was given away must be refused, and leave what was given away as it was."""
    task.upload_all([1, 2, 3], at=now)
    handle = task.start(task.interval(now))
    assert task.wait(handle, timeout=PATIENCE) == Collected(3, 6)
    with pytest.raises(DapFailure) as refused:
        task.upload(40, at=now)
    assert refused.value.problem == leads.collected
    assert task.poll(handle) == Collected(3, 6)


def test_a_share_to_an_unknown_key_of_the_leader(task: Task, now: int, leads: Aggregator) -> None:
    """A report whose leader's share is encrypted to a key of another number must be refused at once."""
    with pytest.raises(DapFailure) as refused:
        task.upload(40, at=now, leader_hpke_config=encoded(Dap(task, "helper").key()))
    assert refused.value.problem == leads.unknown_key
    task.upload(3, at=now)
    assert counted(task, now) == Collected(3, 6)


@pytest.mark.parametrize("role", ["leader", "helper"])
def test_a_share_to_a_wrong_key(deployment: Deployment, task: Task, now: int, role: str) -> None:
    """A share that is encrypted to another key of the same number must cost its own report, and no other."""
    other = deployment.add(Sum(8))
    key = Dap(other, role).key()
    assert key != Dap(task, role).key()
    wrong: dict[str, Any] = {f"{role}_hpke_config": encoded(key)}
    task.upload(40, at=now, **wrong)
    handle = task.start(task.interval(now))
    task.upload_all([1, 2], at=now)
    assert stays_in_progress(task, handle)
    task.upload(3, at=now)
    assert task.wait(handle, timeout=PATIENCE) == Collected(3, 6)


def test_a_share_to_an_unknown_key_of_the_helper(task: Task, now: int) -> None:
    """A report whose helper's share is encrypted to a key that it does not have must cost itself only."""
    task.upload(40, at=now, helper_hpke_config=encoded(Dap(task, "leader").key()))
    task.upload(3, at=now)
    assert counted(task, now) == Collected(3, 6)


def test_a_client_that_reads_the_draft_otherwise(stack: harness.Stack, task: Task, now: int) -> None:
    """Reports that authenticate input shares without a length, as draft 02 can be read, are taken and never counted."""
    other = party(stack, "client_other")
    for _ in range(4):
        task.upload(40, at=now, client=other)
    handle = task.start(task.interval(now))
    assert stays_in_progress(task, handle)
    task.upload_all([1, 2, 3], at=now)
    assert task.wait(handle, timeout=PATIENCE) == Collected(3, 6)


@pytest.mark.parametrize("place", [-1, 60], ids=["last", "within"])
def test_a_changed_report_is_not_counted(task: Task, now: int, place: int, dap: Callable[[Task], Dap]) -> None:
    """A report of which one bit was changed must not be counted, and harm no other."""
    report = bytearray(canned(task, 40, at=now))
    report[place] ^= 1
    problem = dap(task).upload(bytes(report))
    assert problem in {"", "unrecognizedMessage"}
    task.upload(3, at=now)
    assert counted(task, now) == Collected(3, 6)


def test_a_report_for_another_task_is_not_counted(
    deployment: Deployment, task: Task, now: int, dap: Callable[[Task], Dap]
) -> None:
    """A report that is given another task's ID must be counted by neither."""
    other = deployment.add(Sum(8), min_batch_size=3)
    report = canned(other, 40, at=now)
    assert dap(task).upload(decoded(task.id) + report[32:]) == ""
    for one in (task, other):
        one.upload(3, at=now)
        assert counted(one, now) == Collected(3, 6)


def test_a_report_at_another_time_is_not_counted(task: Task, now: int, dap: Callable[[Task], Dap]) -> None:
    """A report whose time was changed must not be counted in the window that it was moved to."""
    earlier = now - task.time_precision
    report = bytearray(canned(task, 40, at=earlier))
    there = (now - now % task.time_precision).to_bytes(8)
    assert report[48:56] == (earlier - earlier % task.time_precision).to_bytes(8)
    report[48:56] = there
    assert dap(task).upload(bytes(report)) == ""
    task.upload(3, at=now)
    assert counted(task, now) == Collected(3, 6)


@pytest.mark.parametrize(
    ("vdaf", "measured"),
    [(Count(), "2"), (Sum(8), "256"), (Sum(8), "-1"), (Sum(8), "+1"), (Histogram((1,)), str(1 << 64)), (Count(), "")],
)
def test_what_is_no_measurement_is_not_reported(deployment: Deployment, vdaf: Vdaf, measured: str) -> None:
    """A measurement that the VDAF does not have must be refused by the client, with the measurement named."""
    task = deployment.add(vdaf)
    with pytest.raises(DapFailure, match="measurement") as refused:
        deployment.client.command("upload", {**task.report_values(0), "measurement": measured})
    assert refused.value.status == 200


def test_a_task_that_the_leader_does_not_know(deployment: Deployment, now: int) -> None:
    """A report for a task that was never told to anybody must be refused, with the reason."""
    known, unknown = deployment.add(Count()), deployment.task(Count())
    unknown.leader_url, unknown.helper_url = known.leader_url, known.helper_url
    with pytest.raises(DapFailure) as refused:
        unknown.upload(1, at=now)
    assert refused.value.problem == "unrecognizedTask"
