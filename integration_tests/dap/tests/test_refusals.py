"""Commands and messages that are none, at each party."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.helpers.dap import Count, DapFailure
from harness.helpers.dap.tasks import decoded, encoded
from harness.helpers.http_plain import address_of, ask
from integration_tests.dap.tests.suite import COLLECT, CONTINUE, INIT, PARTIES, REPORT, SHARE, Dap, party, problem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import harness
    from harness.helpers.dap import Deployment
    from harness.helpers.http_plain import Answer

COMMANDS = {
    "client": ["upload"],
    "leader": ["endpoint_for_task", "add_task", "add_authentication_token", "fetch_batch_ids"],
    "helper": ["endpoint_for_task", "add_task", "add_authentication_token"],
    "collector": ["add_task", "add_authentication_token", "collect_start", "collect_poll", "collection_start"],
}
NONE = {
    "nothing": b"",
    "half": b'{"task_id": "',
    "list": b"[]",
    "empty": b"{}",
    "no-base64": b'{"task_id": "***"}',
    "short-id": b'{"task_id": "AAAA"}',
    "number": b'{"task_id": 7, "handle": 7}',
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize(
    ("name", "command"), [(name, command) for name, commands in COMMANDS.items() for command in commands]
)
def test_what_is_no_command_is_refused(stack: harness.Stack, name: str, command: str) -> None:
    """A command whose body is none must be 400 with the status error and a reason, and the party go on."""
    seen = party(stack, name)
    for kind, body in NONE.items():
        answer = seen.post(command, body)
        assert answer.status == 400, (kind, answer)
        assert answer.json()["status"] == "error", (kind, answer)
        assert answer.json()["error"], (kind, answer)
    seen.wait_ready()


@pytest.mark.parametrize("name", PARTIES)
def test_a_command_that_nobody_knows(stack: harness.Stack, name: str) -> None:
    """A command of another draft must be 404, so that new ones can be tried."""
    seen = party(stack, name)
    assert seen.post("no_such_thing", b"{}").status == 404
    assert seen.post("", b"{}").status == 404


@pytest.mark.parametrize("name", PARTIES)
def test_commands_are_posted(stack: harness.Stack, name: str) -> None:
    """A command that is not POSTed must be refused, and ready answered with an object when it is."""
    seen = party(stack, name)
    host, port, _ = address_of(seen.endpoint)
    assert ask(host, port, "/internal/test/ready").status == 405
    assert seen.command("ready", {}) == {}


@pytest.mark.parametrize(
    "vdaf",
    [
        {"type": "Poplar1", "bits": "8"},
        {"type": "Prio3Aes128Sum", "bits": 8},
        {"type": "Prio3Aes128Sum", "bits": "0"},
        {"type": "Prio3Aes128Sum", "bits": "65"},
        {"type": "Prio3Aes128Sum"},
        {"type": "Prio3Aes128Histogram", "buckets": ["2", "1"]},
        {"type": "Prio3Aes128Histogram", "buckets": []},
        {},
        None,
    ],
    ids=str,
)
def test_a_vdaf_that_is_not_supported(deployment: Deployment, vdaf: Any) -> None:
    """A VDAF that is none or not supported must be an error with a reason and not one of HTTP, at whoever needs it."""
    task = deployment.task(Count())
    task.locate()
    task.collector_key = "AAAA"
    said = []
    tells: list[Callable[[], None]] = [
        lambda: task.add_to_collector(vdaf=vdaf),
        lambda: task.add_to("leader", vdaf=vdaf),
        lambda: task.upload(1, vdaf=vdaf),
    ]
    for tell in tells:
        with pytest.raises(DapFailure) as refused:
            tell()
        said.append((refused.value.party, refused.value.status))
    assert said == [("collector", 200), ("leader", 200), ("client", 200)]


@pytest.mark.parametrize(
    "changed",
    [
        {"query_type": 3},
        {"query_type": 2},
        {"max_batch_size": 10},
        {"query_type": 2, "max_batch_size": 4, "min_batch_size": 5},
        {"time_precision": 0},
        {"min_batch_size": 0},
        {"verify_key": "AAAA"},
        {"collector_hpke_config": "AAAA"},
        {"role": "collector"},
    ],
    ids=str,
)
def test_a_task_that_is_none(deployment: Deployment, changed: dict[str, object]) -> None:
    """A task whose values do not go together must be refused by both aggregators with a reason, and not be there."""
    task = deployment.task(Count())
    task.locate()
    task.add_to_collector()
    for role in ("leader", "helper"):
        with pytest.raises(DapFailure) as refused:
            task.add_to(role, **changed)
        assert refused.value.status == 200
        assert problem_of(Dap(task, role).get(f"hpke_config?task_id={task.id}")) == "unrecognizedTask"
        task.add_to(role)


def test_a_task_is_told_once(deployment: Deployment) -> None:
    """A task that is told again must be refused by each that knows it: its key would be another."""
    task = deployment.add(Count())
    tells: list[Callable[[], None]] = [
        task.add_to_collector,
        lambda: task.add_to("leader"),
        lambda: task.add_to("helper"),
    ]
    for tell in tells:
        with pytest.raises(DapFailure, match="there already"):
            tell()


def test_what_the_collector_does_not_know(deployment: Deployment) -> None:
    """A collection of an unknown task, and a handle that was never given out, must be errors with the reason."""
    task = deployment.task(Count())
    with pytest.raises(DapFailure, match="unknown task"):
        task.start(task.interval(0))
    for handle in ("99999", "", "x", "-1"):
        with pytest.raises(DapFailure, match="unknown handle"):
            task.poll(handle)


# -- DAP -------------------------------------------------------------------------------------------------------------

MESSAGES = {
    "upload": ("leader", "upload", REPORT),
    "collect": ("leader", "collect", COLLECT),
    "begin": ("helper", "aggregate", INIT),
    "continue": ("helper", "aggregate", CONTINUE),
    "share": ("helper", "aggregate_share", SHARE),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_no_message_is_refused(deployment: Deployment, message: str) -> None:
    """A message of DAP that ends too early, or goes on, must be refused as a message or a task that is none."""
    task = deployment.add(Count())
    role, path, media_type = MESSAGES[message]
    token = {"leader": task.collector_token, "helper": task.leader_token}[role]
    whole = decoded(task.id)
    for body in (whole, whole + b"\x01", whole + bytes(7), whole + b"\xff" * 200):
        said = problem_of(Dap(task, role).post(path, media_type, body, token))
        assert said == "unrecognizedMessage", body
    for body in (b"", b"\0" * 10, b"\0" * 64):
        said = problem_of(Dap(task, role).post(path, media_type, body, token))
        assert said in {"unrecognizedMessage", "unrecognizedTask", "unauthorizedRequest"}, body


def test_keys_are_told_for_a_task(deployment: Deployment) -> None:
    """The key of an aggregator must be told for a task that it has, and a problem be told without one."""
    task = deployment.add(Count())
    for role in ("leader", "helper"):
        dap = Dap(task, role)
        assert dap.key()[1:7] == bytes.fromhex("002000010001"), "X25519, HKDF-SHA256, AES-128-GCM"
        assert problem_of(dap.get("hpke_config")) == "missingTaskID"
        assert problem_of(dap.get(f"hpke_config?task_id={encoded(bytes(32))}")) == "unrecognizedTask"
        assert problem_of(dap.get("hpke_config?task_id=AAAA")) == "unrecognizedMessage"


def test_paths_that_are_none(deployment: Deployment) -> None:
    """A path that DAP does not have must be 404 at both aggregators."""
    task = deployment.add(Count())

    def asked(role: str) -> list[Answer]:
        dap = Dap(task, role)
        return [dap.get(path) for path in ("", "upload", "nothing", "collect/task/x/req/y", "collections/x/y")]

    assert {answer.status for role in ("leader", "helper") for answer in asked(role)} == {404}
