"""The helper of DAP, on small servers that answer as parties of DAP do, or otherwise."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from checkout import ROOT
from hypothesis import given
from hypothesis import strategies as st
from servers import Web, free_port

from harness.clock import add_guard, now, remove_guard
from harness.errors import BrokenStack, ConfigError, HarnessError, WaitTimeout
from harness.helpers.dap import (
    DIALECTS,
    Batch,
    Collected,
    Count,
    DapFailure,
    Deployment,
    Histogram,
    Interval,
    Party,
    Sum,
    copy_logs,
)
from harness.helpers.dap.tasks import decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.helpers.dap import Task, Vdaf

MOST = (1 << 64) - 1
ALL = {"status": "success", "endpoint": "/v02/", "collector_hpke_config": "QUJD", "handle": "7", "batch_ids": ["QQ"]}
"""An answer that every command can do with."""


def said(**values: object) -> tuple[int, bytes]:
    return 200, json.dumps(values).encode()


def deployment(web: Web, dialect: str = "02") -> Deployment:
    """Return a deployment whose four parties are one server."""
    names = ("client", "leader", "helper", "collector")
    return Deployment.of({name: Party(name, web.endpoint, f"{name}:8080") for name in names}, dialect)


@pytest.fixture
def web() -> Iterator[Web]:
    """A server that is content with every command."""
    with Web(said(**ALL)).running() as web:
        yield web


def asked(web: Web) -> list[tuple[str, dict[str, Any]]]:
    """Return the commands that a server was given, with their values."""
    assert {method for method, _, _ in web.asked} <= {"POST"}
    return [(path.removeprefix("/internal/test/"), json.loads(body)) for _, path, body in web.asked]


# -- what is expected -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vdaf", "measurements", "result"),
    [
        (Count(), [], 0),
        (Count(), [0, 0], 0),
        (Count(), [1, 0, 1], 2),
        (Sum(8), [], 0),
        (Sum(8), [255, 255], 510),
        (Sum(64), [MOST, MOST], 2 * MOST),
        (Histogram((10, 20)), [], [0, 0, 0]),
        (Histogram((10, 20)), [0, 10, 11, 20, 21, MOST], [2, 2, 2]),
        (Histogram((0,)), [0, 1], [1, 1]),
    ],
)
def test_aggregates_by_hand(vdaf: Vdaf, measurements: list[int], result: int | list[int]) -> None:
    """An aggregate must be what counting on one's fingers comes to."""
    assert vdaf.aggregate(measurements) == result


@given(st.lists(st.integers(0, MOST)), st.lists(st.integers(0, MOST), min_size=1, unique=True).map(sorted))
def test_a_histogram_has_each_measurement_once(measurements: list[int], boundaries: list[int]) -> None:
    """Each measurement must be in one bucket: as many are up to a boundary as its buckets and those before have."""
    counts = Histogram(tuple(boundaries)).aggregate(measurements)
    assert isinstance(counts, list)
    assert sum(counts) == len(measurements)
    for number, boundary in enumerate(boundaries):
        assert sum(counts[: number + 1]) == sum(measured <= boundary for measured in measurements)


@pytest.mark.parametrize(
    ("vdaf", "measured"),
    [(Count(), 2), (Count(), -1), (Sum(8), 256), (Sum(1), 2), (Histogram((1,)), 1 << 64)],
)
def test_what_is_no_measurement_has_no_aggregate(vdaf: Vdaf, measured: int) -> None:
    """A measurement that a VDAF does not have must be an error that names it and what there is."""
    with pytest.raises(ValueError, match=rf"{measured} is no measurement of it; 0 to {vdaf.largest} are"):
        vdaf.aggregate([0, measured])


# -- telling --------------------------------------------------------------------------------------------------------


def test_a_task_is_told_in_the_words_of_draft_02(web: Web) -> None:
    """All parties must be told a task in the draft's order, tokens by commands of their own, each what concerns it."""
    task = deployment(web).add(Sum(8), min_batch_size=3, time_precision=60, queries=2)
    told = asked(web)
    assert [command for command, _ in told] == [
        "endpoint_for_task",
        "endpoint_for_task",
        "add_task",
        "add_authentication_token",
        "add_task",
        "add_authentication_token",
        "add_authentication_token",
        "add_task",
        "add_authentication_token",
    ]
    assert [values["role"] for _, values in told if "hostname" in values] == ["leader", "helper"]
    assert [values["hostname"] for _, values in told if "hostname" in values] == ["leader", "helper"]
    vdaf = {"type": "Prio3Aes128Sum", "bits": "8"}
    assert told[2][1] == {"task_id": task.id, "leader": "http://leader:8080/v02/", "vdaf": vdaf, "query_type": 1}
    assert told[4][1] == {
        "task_id": task.id,
        "leader": "http://leader:8080/v02/",
        "helper": "http://helper:8080/v02/",
        "vdaf": vdaf,
        "role": "leader",
        "verify_key": encoded(task.verify_key),
        "max_batch_query_count": 2,
        "query_type": 1,
        "min_batch_size": 3,
        "time_precision": 60,
        "collector_hpke_config": "QUJD",
    }
    assert told[7][1] == {**told[4][1], "role": "helper"}
    tokens = [(values["role"], values["token"]) for command, values in told if command == "add_authentication_token"]
    leaders, collectors = ("leader", task.leader_token), ("collector", task.collector_token)
    assert tokens == [collectors, leaders, collectors, leaders]


def test_a_task_is_told_in_the_words_of_draft_07(web: Web) -> None:
    """Tokens, which the helper has one of, and the end must be told with the task, under the names of later drafts."""
    task = deployment(web, "07").add(Histogram((1, 2)), max_batch_size=9, expiration=1234)
    told = asked(web)
    assert [command for command, _ in told] == ["endpoint_for_task"] * 2 + ["add_task"] * 3
    collector, leader, helper = (values for _, values in told[2:])
    assert collector["collector_authentication_token"] == task.collector_token
    assert leader["vdaf"] == {"type": "Prio3Histogram", "buckets": ["1", "2"]}
    assert (leader["vdaf_verify_key"], leader["task_expiration"]) == (encoded(task.verify_key), 1234)
    assert (leader["query_type"], leader["max_batch_size"]) == (2, 9)
    assert leader["leader_authentication_token"] == helper["leader_authentication_token"] == task.leader_token
    assert leader["collector_authentication_token"] == task.collector_token
    assert "collector_authentication_token" not in helper


def test_a_histogram_is_told_by_its_size_in_draft_09(web: Web) -> None:
    """A histogram must be told by the number of its buckets, and a measurement by its bucket's, as later drafts do."""
    task = deployment(web, "09").add(Histogram((10, 20, 30)))
    task.upload(20)
    task.upload(31)
    told = [values for command, values in asked(web) if command in {"add_task", "upload"}]
    vdaf = {"type": "Prio3Histogram", "length": "4", "chunk_length": "2"}
    assert [values["vdaf"] for values in told] == [vdaf] * 5
    assert [values["measurement"] for values in told[3:]] == ["1", "3"]


@pytest.mark.parametrize(
    ("dialect", "path"), [("02", "POST upload"), ("07", "PUT tasks/A/reports"), ("09", "PUT tasks/A/reports")]
)
def test_uploads_go_elsewhere_in_later_drafts(dialect: str, path: str) -> None:
    """Each dialect must know where its reports go, and what it calls itself where shares are encrypted."""
    assert DIALECTS[dialect].upload.format(task="A") == path
    assert DIALECTS[dialect].version == f"dap-{dialect}"


def test_a_task_without_end_ends_later(web: Web) -> None:
    """A task that was given no end must be told one in the years to come, where the dialect wants one."""
    deployment(web, "07").add(Count())
    assert asked(web)[-1][1]["task_expiration"] > time.time() + 365 * 86400


def test_tasks_differ(web: Web) -> None:
    """Two tasks must share neither ID nor key nor token, and not show these when they are printed."""
    first, second = (deployment(web).task(Count()) for _ in range(2))
    assert len(decoded(first.id)) == 32
    assert re.fullmatch("[A-Za-z0-9_-]{43}", first.id), "base64url without padding"
    assert len(first.verify_key) == 16
    for name in ("id", "verify_key", "leader_token", "collector_token"):
        assert getattr(first, name) != getattr(second, name), name
    assert first.leader_token not in repr(first)
    assert first.collector_token not in repr(first)


@pytest.mark.parametrize(
    ("endpoint", "inside", "url"),
    [
        ("/", "", "http://127.0.0.1:80/"),
        ("/v02/", "leader:8080", "http://leader:8080/v02/"),
        ("v02", "leader:8080", "http://leader:8080/v02"),
        ("http://other:99/x", "leader:8080", "http://other:99/x"),
    ],
)
def test_endpoints_become_whole(endpoint: str, inside: str, url: str) -> None:
    """A relative endpoint must be one at the party as the others see it, a whole one stay as it is."""
    assert Party("leader", "127.0.0.1:80", inside).url(endpoint) == url


def test_a_deployment_has_four_parties(web: Web) -> None:
    """A deployment without one of the parties must be refused, as must be a dialect that there is not."""
    parties = {name: Party(name, web.endpoint) for name in ("client", "leader")}
    with pytest.raises(ConfigError, match="needs a helper and a collector"):
        Deployment.of(parties)
    with pytest.raises(ConfigError, match="called '03'; 02, 07, 09 are"):
        deployment(web, "03")


# -- reporting ------------------------------------------------------------------------------------------------------


def test_reports_are_told_to_the_client(web: Web) -> None:
    """An upload must have the task's values, the measurement as a text, and a time only if it was given one."""
    task = deployment(web).add(Count())
    web.asked.clear()
    task.upload(1)
    task.upload(0, at=900, helper_hpke_config="QQ")
    first, second = asked(web)
    values = {
        "task_id": task.id,
        "leader": "http://leader:8080/v02/",
        "helper": "http://helper:8080/v02/",
        "vdaf": {"type": "Prio3Aes128Count"},
        "time_precision": 300,
    }
    assert first == ("upload", {**values, "measurement": "1"})
    assert second == ("upload", {**values, "measurement": "0", "time": 900, "helper_hpke_config": "QQ"})


def test_many_reports_are_all_told(web: Web) -> None:
    """Each of many measurements must be uploaded once, and the failure of one be raised."""
    task = deployment(web).add(Sum(8))
    web.asked.clear()
    task.upload_all(range(40))
    assert sorted(int(values["measurement"]) for _, values in asked(web)) == list(range(40))
    web.answers = [said(**ALL)] * 3 + [said(status="error", error="no")]
    with pytest.raises(DapFailure, match="client: upload: no"):
        task.upload_all(range(5))


# -- collecting -----------------------------------------------------------------------------------------------------


@pytest.fixture
def task(web: Web) -> Task:
    """A task that all parties know."""
    task = deployment(web).add(Sum(8))
    web.asked.clear()
    return task


def test_a_collection_is_asked_for_until_it_is_complete(web: Web, task: Task) -> None:
    """A collection must be begun once, polled by its handle while it goes on, and come to what was told."""
    going, done = said(status="in progress"), said(status="complete", report_count=2, result="511")
    web.answers = [said(status="success", handle="h"), going, going, done]
    assert task.collect(Interval(600, 300)) == Collected(2, 511)
    begin, *polls = asked(web)
    query = {"type": 1, "batch_interval_start": 600, "batch_interval_duration": 300}
    assert begin == ("collect_start", {"task_id": task.id, "agg_param": "", "query": query})
    assert polls == [("collect_poll", {"handle": "h"})] * 3


def test_other_dialects_collect_by_other_words(web: Web) -> None:
    """The commands of a collection must be those of the dialect, and a batch be asked for by its ID."""
    task = deployment(web, "07").add(Count(), max_batch_size=3)
    (batch,) = task.batches()
    assert batch == Batch("QQ")
    web.asked.clear()
    web.answers = [said(status="success", handle="h"), said(status="complete", report_count=1, result="1")]
    assert task.collect(batch) == Collected(1, 1)
    assert [command for command, _ in asked(web)] == ["collection_start", "collection_poll"]
    assert asked(web)[0][1]["query"] == {"type": 2, "subtype": 0, "batch_id": "QQ"}


def test_a_collection_ends_at_one_deadline(web: Web, task: Task) -> None:
    """A collection that goes on must end at the deadline that was given for all of it, with the handle."""
    web.answers = [said(status="success", handle="h"), said(status="in progress")]
    begun = now()
    with pytest.raises(WaitTimeout, match="The collection h of task"):
        task.collect(Interval(0, 300), timeout=0.3)
    assert 0.25 < now() - begun < 5


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "complete"},
        {"status": "complete", "report_count": "2", "result": "1"},
        {"status": "complete", "report_count": 2},
        {"status": "complete", "report_count": 2, "result": 1},
        {"status": "complete", "report_count": 2, "result": "-1"},
        {"status": "complete", "report_count": 2, "result": "1e3"},
        {"status": "complete", "report_count": 2, "result": ["1", 2]},
        {"status": "done", "report_count": 2, "result": "1"},
    ],
    ids=str,
)
def test_an_answer_that_is_no_collection(web: Web, task: Task, answer: dict[str, object]) -> None:
    """An answer with a wrong status, number or result must be the party's failure, and show what came."""
    web.answers = [said(**answer)]
    with pytest.raises(DapFailure, match=re.escape("collector: collect_poll: {'status'")):
        task.poll("h")


def test_a_collection_without_handle(web: Web, task: Task) -> None:
    """A collection that was begun without a handle must be the party's failure."""
    web.answers = [said(status="success", handle=7)]
    with pytest.raises(DapFailure, match="handle 7 is no text"):
        task.start(Interval(0, 300))


def test_windows_begin_at_the_precision(task: Task) -> None:
    """An interval must begin with the window of the moment, and be as long as its windows."""
    assert task.interval(999) == Interval(900, 300)
    assert task.interval(900, 3) == Interval(900, 900)


def test_what_is_expected_is_computed_here(task: Task) -> None:
    """What measurements must come to must have their number and their aggregate."""
    assert task.expect(iter([1, 2, 3])) == Collected(3, 6)


class Stack:
    """A stack whose services are all one server."""

    def __init__(self, web: Web) -> None:
        self.web = web

    def endpoint(self, service: str, port: int) -> str:
        """Return where it is."""
        assert (service in {"client", "leader", "helper", "collector"}, port) == (True, 8080)
        return self.web.endpoint


def test_the_example_of_the_documentation_runs(web: Web) -> None:
    """The test that docs/dap.md shows must pass where all is right, and fail where the sum is another."""
    text = (ROOT / "docs/dap.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shown: dict[str, Any] = {"time": time}
    exec("from harness.helpers.dap import Count, Deployment, Histogram, Party, Sum\n" + code, shown)  # noqa: S102
    before = [said(**ALL)] * (4 + 9 + 3 + 1)  # ready, the task, its reports, a collection
    web.answers = [*before, said(status="complete", report_count=3, result="258")]
    shown["test_sum"](Stack(web))
    web.answers = [*before, said(status="complete", report_count=3, result="257")]
    with pytest.raises(AssertionError):
        shown["test_sum"](Stack(web))


# -- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (said(status="error", error="HTTP 400: urn:ietf:params:ppm:dap:error:batchOverlap"), 200, "batchOverlap"),
        (said(status="error"), 200, "status 200"),
        ((400, b'{"status": "error", "error": "the command cannot be read"}'), 400, "the command cannot be read"),
        ((404, b"{}"), 404, "status 404"),
        ((500, b"<html>oh</html>"), 500, "the answer is no JSON object"),
        ((200, b"[]"), 200, "the answer is no JSON object"),
        ((200, b'{"handle": "h"}'), 200, "the answer has no status"),
    ],
)
def test_failures_are_told_with_their_party(web: Web, answer: tuple[int, bytes], status: int, words: str) -> None:
    """A refusal, and an answer that is none, must name party and command, and have the HTTP status."""
    web.answers = [answer]
    with pytest.raises(DapFailure) as caught:
        Party("leader", web.endpoint).command("add_task", {})
    assert str(caught.value).startswith("leader: add_task: ")
    assert words in str(caught.value)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("HTTP 400: urn:ietf:params:ppm:dap:error:batchOverlap", "batchOverlap"),
        ('{"type":"urn:ietf:params:ppm:dap:error:missingTaskID","status":400}', "missingTaskID"),
        ("connection refused", ""),
    ],
)
def test_the_problem_of_dap_is_found(words: str, problem: str) -> None:
    """The name that DAP has for a failure must be told, wherever a party's words have it."""
    assert DapFailure("leader", "upload", words).problem == problem


def test_a_party_that_is_not_there() -> None:
    """A party that does not answer must be told as that, without a status."""
    with pytest.raises(DapFailure) as caught:
        Party("helper", f"127.0.0.1:{free_port()}").command("add_task", {})
    assert caught.value.status == 0
    assert "helper: add_task: ConnectionRefusedError" in str(caught.value)


def test_a_dead_service_is_the_better_reason() -> None:
    """Where the stack knows that a party's service died, that must be raised, and no failed command."""

    def died() -> None:
        raise BrokenStack("Service 'helper' ended with exit code 3")

    add_guard(died)
    try:
        with pytest.raises(BrokenStack, match="exit code 3"):
            Party("helper", f"127.0.0.1:{free_port()}").command("add_task", {})
    finally:
        remove_guard(died)


def test_parties_are_waited_for() -> None:
    """Each party must be asked until it is ready, within one deadline; who is not must be named with its answer."""
    with Web((503, b"{}"), (503, b"{}"), (200, b"{}")).running() as web:
        deployment(web).wait_ready()
        assert [command for command, _ in asked(web)] == ["ready"] * 6
    with Web((503, b'{"error": "not yet"}')).running() as web:
        begun = now()
        with pytest.raises(WaitTimeout, match=r"DAP client at .* is not ready in 0.3 s: status 503"):
            deployment(web).wait_ready(timeout=0.3)
        assert now() - begun < 5


# -- logs -----------------------------------------------------------------------------------------------------------


class Service:
    """A service whose logs are some files, or cannot be had."""

    def __init__(self, name: str, **files: str) -> None:
        self.name = name
        self.files = files

    def copy_out(self, path: str, to: Path) -> Path:
        """Write the files."""
        assert path == "/logs"
        if not self.files:
            raise HarnessError(f"{path} of service {self.name!r} cannot be copied: it is not there")
        to.mkdir()
        for name, text in self.files.items():
            (to / name).write_text(text)
        return to


def test_logs_of_all_are_copied(tmp_path: Path) -> None:
    """Logs of each service must be in a folder by its name, and who has none be told, without harm to the others."""
    services = [Service("leader", a="1"), Service("helper"), Service("client", b="2")]
    problems = copy_logs(services, tmp_path / "logs")
    assert problems == ["helper: /logs of service 'helper' cannot be copied: it is not there"]
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"logs/leader/a": "1", "logs/client/b": "2"}


@pytest.mark.parametrize("name", ["/", "/tmp/x", "..", "a/b", "../x", "", "."])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    """A name that is absolute, leads upwards or is no name of a folder must be refused, and nothing be written."""
    assert copy_logs([Service(name, a="1")], tmp_path) == [f"{name!r} is no name of a folder"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Where logs cannot be written that must be told, and not raised."""
    (tmp_path / "logs").write_text("a file")
    (problem,) = copy_logs([Service("leader", a="1")], tmp_path / "logs")
    assert problem.startswith("leader: ")
    assert "logs" in problem
