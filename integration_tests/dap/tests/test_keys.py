"""Who may ask for what: tokens, and the key that proofs are verified with."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from harness.helpers.dap import Collected, Count, DapFailure, Sum
from harness.helpers.dap.tasks import decoded, encoded
from harness.helpers.http_plain import ask
from integration_tests.dap.tests.suite import (
    COLLECT,
    CONTINUE,
    INIT,
    PATIENCE,
    SHARE,
    Dap,
    collect_request,
    problem_of,
    stays_in_progress,
)

if TYPE_CHECKING:
    from harness.helpers.dap import Deployment, Task


@pytest.fixture
def task(deployment: Deployment) -> Task:
    """A task whose batches have two reports or more."""
    return deployment.add(Sum(8), min_batch_size=2)


def test_a_collector_with_a_wrong_token(deployment: Deployment, task: Task, now: int) -> None:
    """A collector whose token is another must be refused, and get the aggregate with the right one."""
    task.upload_all([1, 2], at=now)
    task.add_token(deployment.collector, "collector", "another")
    with pytest.raises(DapFailure) as refused:
        task.collect(task.interval(now))
    assert refused.value.problem == "unauthorizedRequest"
    task.add_token(deployment.collector, "collector", task.collector_token)
    assert task.collect(task.interval(now), timeout=PATIENCE) == Collected(2, 3)


def test_a_leader_with_a_wrong_token(deployment: Deployment, now: int) -> None:
    """A leader whose token the helper does not know must get no aggregate; with the right one none of it is lost."""
    task = deployment.add(Sum(8), min_batch_size=2)
    task.add_token(deployment.helper, "leader", "another")
    task.upload_all([1, 2], at=now)
    handle = task.start(task.interval(now))
    assert stays_in_progress(task, handle)
    task.add_token(deployment.helper, "leader", task.leader_token)
    assert task.wait(handle, timeout=PATIENCE) == Collected(2, 3)


@pytest.mark.parametrize("token", [None, "", "another"], ids=["none", "empty", "another"])
def test_requests_need_their_token(task: Task, now: int, token: str | None) -> None:
    """A request of DAP without its token must be refused on every path that has one."""
    leader, helper = Dap(task, "leader"), Dap(task, "helper")
    assert leader.collect(task.interval(now), token) == "unauthorizedRequest"
    assert leader.collect(task.interval(now), task.leader_token) == "unauthorizedRequest"
    for path, media_type in (("aggregate", INIT), ("aggregate", CONTINUE), ("aggregate_share", SHARE)):
        assert problem_of(helper.post(path, media_type, decoded(task.id), token)) == "unauthorizedRequest"
        said = helper.post(path, media_type, decoded(task.id), task.collector_token)
        assert problem_of(said) == "unauthorizedRequest"


def test_an_aggregate_is_for_its_collector(task: Task, now: int) -> None:
    """Who knows where a collection is, and has not its token, must not be given it; who has must."""
    asked = Dap(task, "leader").post(
        "collect", COLLECT, collect_request(task.id, task.interval(now)), task.collector_token
    )
    assert asked.status == 303, asked
    place = urlsplit(asked.headers["location"]).path
    host, _, port = task.deployment.leader.endpoint.rpartition(":")
    for headers in ({}, {"DAP-Auth-Token": "another"}):
        assert problem_of(ask(host, int(port), place, headers=headers)) == "unauthorizedRequest"
    assert ask(host, int(port), place, headers={"DAP-Auth-Token": task.collector_token}).status == 202


def test_a_token_of_another_task(deployment: Deployment, task: Task, now: int) -> None:
    """The token of one task must not open another."""
    other = deployment.add(Count())
    assert Dap(task, "leader").collect(task.interval(now), other.collector_token) == "unauthorizedRequest"


def test_aggregators_with_different_verify_keys(deployment: Deployment, now: int) -> None:
    """Where leader and helper verify with different keys no report must be counted."""
    task = deployment.task(Sum(8), min_batch_size=1)
    task.locate()
    task.add_to_collector()
    task.add_to("leader")
    task.add_to("helper", verify_key=encoded(bytes(range(16))))
    task.upload_all([1, 2, 3], at=now)
    assert stays_in_progress(task, task.start(task.interval(now)))


def test_aggregators_with_different_collectors(deployment: Deployment, now: int) -> None:
    """A share that is encrypted to another key than the collector's must be the collector's error, and no number."""
    other = deployment.add(Count())
    task = deployment.task(Sum(8), min_batch_size=1)
    task.locate()
    task.add_to_collector()
    task.add_to("leader")
    task.add_to("helper", collector_hpke_config=other.collector_key)
    task.upload(1, at=now)
    with pytest.raises(DapFailure, match="HPKE"):
        task.collect(task.interval(now), timeout=PATIENCE)


def test_tokens_are_for_those_who_need_them(deployment: Deployment, task: Task) -> None:
    """A token of a role that a party has nothing to do with, or of an unknown task, must be an error."""
    for party, role in ((deployment.helper, "collector"), (deployment.collector, "leader")):
        with pytest.raises(DapFailure, match="token"):
            task.add_token(party, role, "x")
    for party in (deployment.leader, deployment.helper, deployment.collector):
        with pytest.raises(DapFailure, match="unknown task"):
            deployment.task(Count()).add_token(party, "collector", "x")
