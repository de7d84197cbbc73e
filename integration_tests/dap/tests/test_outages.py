"""Collections that are asked for again, and parties that go away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.helpers.dap import Collected, Count, DapFailure, Interval, Sum
from harness.helpers.dap.tasks import encoded
from integration_tests.dap.tests.suite import PARTIES, PATIENCE, Dap, deployment_of, party, stays_in_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import harness
    from harness.helpers.dap import Deployment
    from integration_tests.dap.tests.suite import Aggregator


@pytest.fixture
def disturbed(stack: harness.Stack) -> Iterator[Callable[[str], harness.Service]]:
    """A function that gives a party's service to a test that disturbs it; afterwards it is ready."""
    touched: list[harness.Service] = []

    def give(name: str) -> harness.Service:
        touched.append(stack.service(name))
        return touched[-1]

    yield give
    for service in touched:
        if service.state == "paused":
            service.unpause()
        start_again(stack, service)


def start_again(stack: harness.Stack, service: harness.Service) -> None:
    """Start a party's service, and wait until the party is ready."""
    service.start()
    party(stack, service.name).wait_ready(timeout=PATIENCE)


def works(stack: harness.Stack, now: int) -> bool:
    """Return whether a new task is right from its beginning to its end."""
    task = deployment_of(stack).add(Sum(8), min_batch_size=3)
    task.upload_all([1, 2, 3], at=now)
    return task.collect(task.interval(now), timeout=PATIENCE) == Collected(3, 6)


def test_a_batch_is_collected_once(deployment: Deployment, now: int, leads: Aggregator) -> None:
    """A second collection of the same interval must be refused with the reason, and the first stay as it was."""
    task = deployment.add(Count(), min_batch_size=1)
    task.upload(1, at=now)
    handle = task.start(task.interval(now))
    assert task.wait(handle, timeout=PATIENCE) == Collected(1, 1)
    with pytest.raises(DapFailure) as refused:
        task.collect(task.interval(now))
    assert refused.value.problem == leads.again
    assert task.poll(handle) == Collected(1, 1)


def test_intervals_do_not_overlap(deployment: Deployment, now: int) -> None:
    """An interval that has a window of one that was collected must be refused, one beside it be answered."""
    task = deployment.add(Sum(8), min_batch_size=1)
    earlier = now - task.time_precision
    task.upload(1, at=now)
    task.upload(2, at=earlier)
    assert task.collect(task.interval(now), timeout=PATIENCE) == Collected(1, 1)
    with pytest.raises(DapFailure) as refused:
        task.collect(task.interval(earlier, 2))
    assert refused.value.problem == "batchOverlap"
    assert task.collect(task.interval(earlier), timeout=PATIENCE) == Collected(1, 2)


@pytest.mark.parametrize(("start", "duration"), [(1, 300), (0, 301), (0, 0), (0, 299)])
def test_intervals_are_of_whole_windows(deployment: Deployment, now: int, start: int, duration: int) -> None:
    """An interval that begins or ends within a window, or has none, must be refused."""
    task = deployment.add(Count())
    begin = now - now % task.time_precision
    with pytest.raises(DapFailure) as refused:
        task.collect(Interval(begin + start, duration))
    assert refused.value.problem == "batchInvalid"


def test_a_helper_that_stands_still(
    stack: harness.Stack, deployment: Deployment, now: int, disturbed: Callable[[str], harness.Service]
) -> None:
    """While the helper stands still reports must be taken and nothing be given away; then all must be counted, once."""
    task = deployment.add(Sum(8), min_batch_size=4)
    task.upload(1, at=now)
    helper, key = disturbed("helper"), Dap(task, "helper").key()
    helper.pause()
    for measured in (2, 3, 4):
        task.upload(measured, at=now, helper_hpke_config=encoded(key))
    handle = task.start(task.interval(now))
    assert stays_in_progress(task, handle)
    helper.unpause()
    assert task.wait(handle, timeout=PATIENCE) == Collected(4, 10)
    assert works(stack, now)


def test_a_helper_that_is_gone(
    stack: harness.Stack, deployment: Deployment, now: int, disturbed: Callable[[str], harness.Service]
) -> None:
    """A helper that is killed must cost what it alone knew; the leader must go on, and both do a new task right."""
    task = deployment.add(Sum(8), min_batch_size=4)
    task.upload_all([1, 2], at=now)
    helper = disturbed("helper")
    helper.kill()
    with pytest.raises(DapFailure):
        task.upload(3, at=now)
    handle = task.start(task.interval(now))
    assert stays_in_progress(task, handle)
    start_again(stack, helper)
    assert stays_in_progress(task, handle)
    assert works(stack, now)


def test_a_helper_that_goes_in_mid_aggregation(
    stack: harness.Stack, deployment: Deployment, now: int, disturbed: Callable[[str], harness.Service]
) -> None:
    """A helper that is killed while many reports are aggregated must not make a number of a part of them."""
    task = deployment.add(Sum(8), min_batch_size=200)
    helper = disturbed("helper")
    key = Dap(task, "helper").key()
    for number in range(200):
        if number == 60:
            helper.kill()
        task.upload(1, at=now, helper_hpke_config=encoded(key))
    handle = task.start(task.interval(now))
    assert stays_in_progress(task, handle)
    start_again(stack, helper)
    assert stays_in_progress(task, handle)
    assert works(stack, now)


def test_a_leader_that_was_restarted(
    stack: harness.Stack, deployment: Deployment, now: int, disturbed: Callable[[str], harness.Service]
) -> None:
    """A leader, which keeps tasks in its memory, must say of one from before its restart that it knows it not."""
    task = deployment.add(Sum(8), min_batch_size=2)
    task.upload(1, at=now)
    leader = disturbed("leader")
    pid = leader.pid
    leader.restart()
    deployment.leader.wait_ready(timeout=PATIENCE)
    assert leader.pid != pid
    with pytest.raises(DapFailure) as refused:
        task.upload(2, at=now)
    assert refused.value.problem == "unrecognizedTask"
    with pytest.raises(DapFailure) as asked:
        task.collect(task.interval(now))
    assert asked.value.problem in {"unrecognizedTask", "unauthorizedRequest"}
    assert works(stack, now)


def test_a_client_that_was_restarted(
    deployment: Deployment, now: int, disturbed: Callable[[str], harness.Service]
) -> None:
    """A client must need nothing but the command: one that was restarted must report as before."""
    task = deployment.add(Sum(8), min_batch_size=2)
    task.upload(1, at=now)
    disturbed("client").restart()
    deployment.client.wait_ready(timeout=PATIENCE)
    task.upload(2, at=now)
    assert task.collect(task.interval(now), timeout=PATIENCE) == Collected(2, 3)


def test_a_collector_that_was_restarted(
    stack: harness.Stack, deployment: Deployment, now: int, disturbed: Callable[[str], harness.Service]
) -> None:
    """A collector that was restarted must say that it knows neither handle nor task, and do a new one right."""
    task = deployment.add(Count(), min_batch_size=1)
    task.upload(1, at=now)
    handle = task.start(task.interval(now))
    assert task.wait(handle, timeout=PATIENCE) == Collected(1, 1)
    disturbed("collector").restart()
    deployment.collector.wait_ready(timeout=PATIENCE)
    with pytest.raises(DapFailure, match="unknown handle"):
        task.poll(handle)
    with pytest.raises(DapFailure, match="unknown task"):
        task.start(task.interval(now))
    assert works(stack, now)


@pytest.mark.parametrize("name", PARTIES)
def test_a_party_ends_when_told(stack: harness.Stack, disturbed: Callable[[str], harness.Service], name: str) -> None:
    """A party that is asked to stop must end by itself, with exit code 0, and be there again when it is started."""
    service = disturbed(name)
    service.stop()
    assert service.exit_code == 0
    start_again(stack, service)
    assert service.state == "running"
