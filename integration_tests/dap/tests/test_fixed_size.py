"""Tasks that are collected by batches, which the leader fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.helpers.dap import Batch, Collected, Count, DapFailure, Histogram, Sum
from harness.helpers.dap.tasks import encoded
from integration_tests.dap.tests.suite import PATIENCE, stays_in_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.helpers.dap import Deployment, Task, Vdaf
    from integration_tests.dap.tests.suite import Aggregator, Dap


@pytest.mark.parametrize(
    ("vdaf", "measurements"),
    [(Count(), [1, 0, 1, 1, 0]), (Sum(8), [0, 255, 1, 2, 3]), (Histogram((2, 4)), [0, 2, 3, 4, 5])],
    ids=["count", "sum", "histogram"],
)
def test_a_batch_is_what_was_measured(deployment: Deployment, vdaf: Vdaf, measurements: list[int]) -> None:
    """A batch must have as many reports as it takes, and come to what plain arithmetic makes of them."""
    task = deployment.add(vdaf, min_batch_size=5, max_batch_size=5)
    task.upload_all(measurements)
    (batch,) = task.batches()
    assert task.collect(batch, timeout=PATIENCE) == task.expect(measurements)


def test_reports_go_into_batches_as_they_come(deployment: Deployment) -> None:
    """Twelve reports must fill two batches of five, in their order, and begin a third that is not given away."""
    task = deployment.add(Sum(16), min_batch_size=5, max_batch_size=5)
    for number in range(12):
        task.upload(1 << number)
    first, second, third = task.batches()
    assert task.collect(second, timeout=PATIENCE) == Collected(5, 0b1111100000)
    assert task.collect(first, timeout=PATIENCE) == Collected(5, 0b11111)
    assert stays_in_progress(task, task.start(third))


def test_a_batch_is_no_matter_of_time(deployment: Deployment, now: int) -> None:
    """Reports of several windows must be in one batch."""
    task = deployment.add(Count(), min_batch_size=3, max_batch_size=3)
    for number in range(3):
        task.upload(1, at=now - number * task.time_precision)
    (batch,) = task.batches()
    assert task.collect(batch, timeout=PATIENCE) == Collected(3, 3)


def test_a_batch_that_is_collected_takes_no_more(deployment: Deployment) -> None:
    """A report after a collection must begin another batch, and leave the first as it was."""
    task = deployment.add(Sum(8), min_batch_size=2, max_batch_size=4)
    task.upload(1)
    task.upload(2)
    (batch,) = task.batches()
    handle = task.start(batch)
    assert task.wait(handle, timeout=PATIENCE) == Collected(2, 3)
    task.upload(100)
    assert len(task.batches()) == 2
    assert task.poll(handle) == Collected(2, 3)


def test_a_batch_is_collected_once(deployment: Deployment, leads: Aggregator) -> None:
    """A second collection of a batch must be refused with the reason."""
    task = deployment.add(Count(), min_batch_size=2, max_batch_size=2)
    task.upload_all([1, 1])
    (batch,) = task.batches()
    assert task.collect(batch, timeout=PATIENCE) == Collected(2, 2)
    with pytest.raises(DapFailure) as refused:
        task.collect(batch)
    assert refused.value.problem == leads.again


def test_a_batch_that_nobody_began(deployment: Deployment) -> None:
    """A collection of a batch that the leader does not have must be refused."""
    task = deployment.add(Count(), min_batch_size=1, max_batch_size=5)
    with pytest.raises(DapFailure) as refused:
        task.collect(Batch(encoded(bytes(32))))
    assert refused.value.problem == "batchInvalid"


def test_a_task_has_one_type_of_query(
    deployment: Deployment, leads: Aggregator, now: int, dap: Callable[[Task], Dap]
) -> None:
    """An interval of a task of batches, and a batch of a task of intervals, must be refused by collector and leader."""
    by_batch, by_time = deployment.add(Count(), max_batch_size=5), deployment.add(Count())
    for task, query in ((by_batch, by_batch.interval(now)), (by_time, Batch(encoded(bytes(32))))):
        with pytest.raises(DapFailure, match="query_type"):
            task.start(query)
        assert dap(task).collect(query, task.collector_token) == leads.mismatch


def test_without_reports_there_are_no_batches(deployment: Deployment) -> None:
    """A leader must tell of no batch before it has a report, and nothing of a task that it does not know."""
    assert deployment.add(Count(), max_batch_size=5).batches() == []
    with pytest.raises(DapFailure, match="unknown task"):
        deployment.task(Count(), max_batch_size=5).batches()
