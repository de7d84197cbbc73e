"""What collections come to, computed by the parties and, independently, here."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from harness import clock
from harness.helpers.dap import Collected, Count, Histogram, Interval, Sum
from integration_tests.dap.tests.suite import PATIENCE, deployment_of, stays_in_progress

if TYPE_CHECKING:
    import harness
    from harness.helpers.dap import Deployment, Task, Vdaf

TENS = Histogram((10, 20, 30))
MOST = (1 << 64) - 1
CASES: dict[str, tuple[Vdaf, list[int]]] = {
    "count-one": (Count(), [1]),
    "count-one-zero": (Count(), [0]),
    "count-zeros": (Count(), [0] * 8),
    "count-ones": (Count(), [1] * 8),
    "count-mixed": (Count(), [1, 0, 1, 1, 0, 1, 0, 0, 1, 1]),
    "sum-one": (Sum(8), [42]),
    "sum-zeros": (Sum(8), [0] * 5),
    "sum-largest": (Sum(8), [255] * 5),
    "sum-mixed": (Sum(16), [65535, 1, 0, 32768, 77]),
    "sum-of-a-bit": (Sum(1), [1, 0, 1]),
    "sum-beyond-64-bits": (Sum(64), [MOST, MOST, 1]),
    "histogram-one": (TENS, [15]),
    "histogram-each": (TENS, [0, 10, 11, 20, 21, 30, 31]),
    "histogram-at-the-ends": (TENS, [0, 0, MOST]),
    "histogram-of-two": (Histogram((0,)), [0, 1, 0, 2]),
}


def collected(task: Task, now: int, windows: int = 1) -> Collected:
    """Return what a collection of the windows from now on comes to."""
    return task.collect(task.interval(now, windows), timeout=PATIENCE)


@pytest.mark.parametrize(("vdaf", "measurements"), CASES.values(), ids=CASES)
def test_an_aggregate_is_what_was_measured(
    deployment: Deployment, now: int, vdaf: Vdaf, measurements: list[int]
) -> None:
    """A collection must have each report once, and come to what plain arithmetic makes of their measurements."""
    task = deployment.add(vdaf, min_batch_size=len(measurements))
    for measured in measurements:
        task.upload(measured, at=now)
    assert collected(task, now) == task.expect(measurements)


@pytest.mark.parametrize("dialect", ["02", "07"])
@pytest.mark.parametrize("vdaf", [Count(), Sum(4), Histogram((1, 3))], ids=lambda vdaf: vdaf.kind)
def test_every_dialect_is_spoken(stack: harness.Stack, now: int, vdaf: Vdaf, dialect: str) -> None:
    """Commands in the words of each dialect must come to the same."""
    task = deployment_of(stack, dialect).add(vdaf, min_batch_size=3)
    task.upload_all([1, 0, 1], at=now)
    assert collected(task, now) == task.expect([1, 0, 1])


def test_a_thousand_reports_are_all_counted(deployment: Deployment, now: int) -> None:
    """Of a thousand reports, which take many aggregations, each must be counted once."""
    measurements = random.Random(7).choices(range(256), k=1000)  # noqa: S311 - numbers for a test
    task = deployment.add(Sum(8), min_batch_size=1000)
    task.upload_all(measurements, at=now)
    assert collected(task, now) == task.expect(measurements)


def test_a_batch_below_the_least_is_not_given_away(deployment: Deployment, now: int) -> None:
    """A collection must wait while one report is missing, and come to all of them once it is there."""
    task = deployment.add(Count(), min_batch_size=10)
    task.upload_all([1] * 9, at=now)
    handle = task.start(task.interval(now))
    assert stays_in_progress(task, handle)
    task.upload(1, at=now)
    assert task.wait(handle, timeout=PATIENCE) == Collected(10, 10)


def test_more_than_the_least_is_given_away(deployment: Deployment, now: int) -> None:
    """A collection must have all reports that were aggregated, also beyond the least number."""
    task = deployment.add(Sum(8), min_batch_size=7)
    task.upload_all([1, 2, 3, 4, 5, 6, 7], at=now)
    assert collected(task, now) == Collected(7, 28)


def test_two_tasks_are_kept_apart(deployment: Deployment, now: int) -> None:
    """Of two tasks of the same kind, whose reports come in turn, each collection must have its own."""
    small, large = (deployment.add(Sum(16), min_batch_size=5) for _ in range(2))
    for measured in range(1, 6):
        small.upload(measured, at=now)
        large.upload(1000 * measured, at=now)
    assert collected(small, now) == Collected(5, 15)
    assert collected(large, now) == Collected(5, 15000)


def test_tasks_of_all_kinds_at_once(deployment: Deployment, now: int) -> None:
    """Tasks of several kinds that are reported to and collected at the same time must all be right."""
    vdafs = [Count(), Sum(8), TENS, Count(), Sum(32), Histogram((5,))]
    measurements = [[1, 0, 1], [7, 8, 9], [5, 25, 99], [0, 0, 0], [1 << 31, 5, 6], [5, 6, 7]]

    def run(vdaf: Vdaf, measured: list[int]) -> tuple[Collected, Collected]:
        task = deployment.add(vdaf, min_batch_size=3)
        task.upload_all(measured, at=now)
        return collected(task, now), task.expect(measured)

    with ThreadPoolExecutor(len(vdafs)) as pool:
        for found, expected in pool.map(run, vdafs, measurements):
            assert found == expected


def test_a_window_has_its_own_reports(deployment: Deployment, now: int) -> None:
    """Of reports of two windows each collection must have those of its window only."""
    task = deployment.add(Sum(8), min_batch_size=2)
    earlier = now - task.time_precision
    for measured in (1, 2):
        task.upload(measured, at=earlier)
        task.upload(10 * measured, at=now)
    assert collected(task, earlier) == Collected(2, 3)
    assert collected(task, now) == Collected(2, 30)


def test_an_interval_has_all_its_windows(deployment: Deployment, now: int) -> None:
    """A collection of two windows must have the reports of both, and not those beside."""
    task = deployment.add(Sum(8), min_batch_size=4)
    windows = [now - number * task.time_precision for number in range(3)]
    for measured, at in enumerate(windows):
        task.upload(1 + measured, at=at)
        task.upload(10 * (1 + measured), at=at)
    assert collected(task, windows[1], 2) == Collected(4, 11 + 22)


def test_the_edges_of_a_window(deployment: Deployment, now: int) -> None:
    """The first second of a window must belong to it, and that after its last one to the next."""
    task = deployment.add(Sum(8), min_batch_size=2)
    first = now - now % task.time_precision - task.time_precision
    for at, measured in {
        first - 1: 100,
        first: 1,
        first + task.time_precision - 1: 2,
        first + task.time_precision: 50,
    }.items():
        task.upload(measured, at=at)
    assert collected(task, first) == Collected(2, 3)


def test_an_empty_interval_stays_in_progress(deployment: Deployment, now: int) -> None:
    """A collection of a window without reports must not be answered, whatever others have."""
    task = deployment.add(Count(), min_batch_size=1)
    task.upload(1, at=now)
    handle = task.start(task.interval(now - 5 * task.time_precision))
    assert stays_in_progress(task, handle)
    assert collected(task, now) == Collected(1, 1)


def test_collections_asked_for_before_their_reports(deployment: Deployment, now: int) -> None:
    """Collections of several windows that were asked for first must each be answered when their reports are there."""
    task = deployment.add(Sum(8), min_batch_size=1)
    windows = [now - number * task.time_precision for number in range(3)]
    handles = [task.start(task.interval(at)) for at in windows]
    for number in (1, 0, 2):
        task.upload(number + 1, at=windows[number])
        assert task.wait(handles[number], timeout=PATIENCE) == Collected(1, number + 1)


def test_an_answer_stays_the_same(deployment: Deployment, now: int) -> None:
    """A collection that is asked for again by its handle must be the same."""
    task = deployment.add(Count(), min_batch_size=2)
    task.upload_all([1, 1], at=now)
    handle = task.start(task.interval(now))
    first = task.wait(handle, timeout=PATIENCE)
    assert first == Collected(2, 2)
    assert [task.poll(handle) for _ in range(3)] == [first] * 3


def test_precision_of_a_second(deployment: Deployment, now: int) -> None:
    """Windows of one second must be told apart."""
    task = deployment.add(Sum(8), min_batch_size=1, time_precision=1)
    for number in range(3):
        task.upload(number + 1, at=now - number)
    assert collected(task, now - 1) == Collected(1, 2)
    assert task.collect(Interval(now, 1), timeout=PATIENCE) == Collected(1, 1)


def test_it_is_quick(deployment: Deployment, now: int) -> None:
    """Ten reports must be aggregated and collected while somebody waits for it."""
    task = deployment.add(Count(), min_batch_size=10)
    begun = clock.now()
    task.upload_all([1] * 10, at=now)
    assert collected(task, now) == Collected(10, 10)
    assert clock.now() - begun < 20
