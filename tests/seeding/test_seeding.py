from __future__ import annotations

import json
import sys
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from servers import Web, free_port

import harness
from harness import BrokenStack, HarnessError, procs, seeding
from harness.helpers.kafka import Kafka
from harness.stack import Login, Seed, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

kafka_stack = harness.stack_fixture("kafka", scope="module")


@dataclass
class Planted:
    """What the checks of this module are given as the running stack."""

    done: list[str] = field(default_factory=list)


def plant(stack: Planted) -> None:
    """Plant by Python."""
    stack.done.append("planted")


def refuse(_: Planted) -> None:
    """Refuse with an error of ours."""
    raise HarnessError("the store is full")


def leave(_: object) -> None:
    """A seed that is a script at heart."""
    sys.exit(0)


def stumble(_: Planted) -> None:
    """Fail as any code may."""
    raise ZeroDivisionError("division by zero")


@pytest.fixture
def around(tmp_path: Path) -> seeding.Surroundings:
    """Surroundings without a broker."""

    def execute(_: str, argv: tuple[str, ...], seconds: float) -> procs.Finished:
        return procs.run(argv, timeout=seconds, cwd=tmp_path)

    return seeding.Surroundings(
        folder=tmp_path,
        broker=lambda name: f"127.0.0.1:1 instead of {name}",
        address=lambda _, port: ("127.0.0.1", port),
        store=lambda kind, _: Store("store", Login(kind, 1), "127.0.0.1", 1),
        execute=execute,
        stack=Planted(),
    )


@pytest.fixture
def kafka(kafka_stack: harness.Stack) -> Iterator[Kafka]:
    """The broker."""
    with Kafka(kafka_stack.endpoint("kafka", 9092)) as client:
        yield client


@pytest.fixture
def with_broker(around: seeding.Surroundings, kafka: Kafka) -> seeding.Surroundings:
    """Surroundings with a broker, called broker:9092 or nothing."""
    names = {None: kafka.bootstrap, "broker:9092": kafka.bootstrap}
    return seeding.Surroundings(
        folder=around.folder,
        broker=names.__getitem__,
        address=around.address,
        store=around.store,
        execute=around.execute,
        stack=around.stack,
    )


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[str]:
    """A topic that only this test has."""
    name = f"test-{uuid.uuid4().hex}"
    kafka.create_topics({name: 1})
    yield name
    kafka.delete_topics(name)


def seed(**fields: Any) -> Seed:
    """Return a seed with the key ``s``."""
    return Seed.model_validate({"key": "s", **fields})


def test_topics_are_created(with_broker: seeding.Surroundings, kafka: Kafka) -> None:
    """Declared topics must exist with their partitions, and planting them twice must be no error."""
    nonce = uuid.uuid4().hex
    names = {f"test-{nonce}-one": 1, f"test-{nonce}-three": 3}
    for _ in range(2):
        seeding.apply(seed(topics=names), with_broker)
    there = kafka.topics()
    kafka.delete_topics(*names)
    assert {name: there[name] for name in names} == names


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"value": "text"}, b"text"),
        ({"value": ""}, b""),
        ({"json": {"a": [1, None]}}, b'{"a": [1, null]}'),
        ({"json": None}, b"null"),
        ({"file": "data.bin"}, b"\x00\xff\n"),
    ],
)
def test_a_message_is_sent_as_declared(
    with_broker: seeding.Surroundings, kafka: Kafka, topic: str, fields: dict[str, Any], content: bytes
) -> None:
    """The message's value, JSON or file must be its payload, with the declared key."""
    (with_broker.folder / "data.bin").write_bytes(b"\x00\xff\n")
    seeding.apply(seed(message={"topic": topic, "key": "k", "broker": "broker:9092", **fields}), with_broker)
    message = kafka.last_message(topic)
    assert message is not None
    assert (message.key, message.value) == (b"k", content)


def test_a_missing_file_is_told(with_broker: seeding.Surroundings) -> None:
    """A file that does not exist must break the stack, with the seed and the path."""
    with pytest.raises(BrokenStack) as caught:
        seeding.apply(seed(message={"topic": "t", "file": "gone.bin"}), with_broker)
    assert caught.value.summary == (
        f"Seed 's' was not planted: [Errno 2] No such file or directory: '{with_broker.folder / 'gone.bin'}'"
    )


def test_a_broker_that_refuses_is_told(with_broker: seeding.Surroundings, kafka: Kafka) -> None:
    """What the broker refuses must break the stack, with the seed and the broker's words."""
    with pytest.raises(BrokenStack) as caught:
        seeding.apply(seed(topics={"bad name!": 1}), with_broker)
    assert caught.value.summary.startswith(
        f"Seed 's' was not planted: Broker {kafka.bootstrap} did not create topic 'bad name!': "
    )


def test_an_http_request_is_made_as_declared(around: seeding.Surroundings) -> None:
    """Method, path and JSON must reach the service."""
    with Web((201, b"")).running() as web:
        request = {"service": "web", "port": web.port, "path": "/items/1", "method": "PUT", "json": {"a": 1}}
        seeding.apply(seed(http=request), around)
    assert [(method, path, json.loads(body)) for method, path, body in web.asked] == [("PUT", "/items/1", {"a": 1})]
    assert web.headers[0]["content-type"] == "application/json"


def test_an_http_request_sends_a_file(around: seeding.Surroundings) -> None:
    """A declared file must be the body, byte by byte."""
    (around.folder / "items.json").write_bytes(b"[1,  2]\n")
    with Web((200, b"")).running() as web:
        seeding.apply(seed(http={"service": "web", "port": web.port, "file": "items.json"}), around)
    assert web.asked == [("POST", "/", b"[1,  2]\n")]


def test_an_http_request_without_a_body_has_none(around: seeding.Surroundings) -> None:
    """Without ``json`` and ``file`` nothing must be sent as body, and an explicit null must be."""
    with Web((204, b"")).running() as web:
        seeding.apply(seed(http={"service": "web", "port": web.port, "method": "DELETE"}), around)
        seeding.apply(seed(http={"service": "web", "port": web.port, "json": None}), around)
    assert [body for _, _, body in web.asked] == [b"", b"null"]
    assert "content-type" not in web.headers[0]


def test_an_http_status_that_is_not_wanted_is_told(around: seeding.Surroundings) -> None:
    """Another status must break the stack, with the seed, the request and the answer."""
    with Web((409, b"there already")).running() as web, pytest.raises(BrokenStack) as caught:
        seeding.apply(seed(http={"service": "web", "port": web.port, "path": "/x", "json": {}}), around)
    assert str(caught.value) == "Seed 's': POST /x was answered with status 409, 'there already'"


def test_an_http_status_that_is_wanted_is_no_error(around: seeding.Surroundings) -> None:
    """A declared status must be accepted although it is no success."""
    with Web((409, b"")).running() as web:
        seeding.apply(seed(http={"service": "web", "port": web.port, "json": {}, "status": [409]}), around)
    assert len(web.asked) == 1


def test_a_service_that_does_not_answer_is_told(around: seeding.Surroundings) -> None:
    """A refused connection must break the stack, with the seed and the reason."""
    with pytest.raises(BrokenStack) as caught:
        seeding.apply(seed(http={"service": "web", "port": free_port(), "path": "/x"}), around)
    assert str(caught.value) == (
        "Seed 's': POST /x was answered with ConnectionRefusedError: [Errno 111] Connection refused"
    )


def test_a_command_is_run(around: seeding.Surroundings) -> None:
    """The declared command must be run to its end."""
    code = "open('made', 'w').write('yes')"
    seeding.apply(seed(exec={"service": "web", "command": [sys.executable, "-c", code]}), around)
    assert (around.folder / "made").read_text() == "yes"


def test_a_command_that_fails_is_told(around: seeding.Surroundings) -> None:
    """A command that fails must break the stack, with the seed, the exit code and the last ten lines it wrote."""
    code = "import sys; [print(n, file=sys.stderr) for n in range(12)]; sys.exit(3)"
    with pytest.raises(BrokenStack) as caught:
        seeding.apply(seed(exec={"service": "web", "command": [sys.executable, "-c", code]}), around)
    assert caught.value.summary == "Seed 's' in 'web': exit code 3: 11"
    lines = [str(number) for number in range(2, 12)]
    assert caught.value.details == (f"command: {sys.executable} -c {code}", *lines)


def test_a_command_that_cannot_be_run_is_told(around: seeding.Surroundings) -> None:
    """A missing executable must break the stack, with the seed."""
    with pytest.raises(BrokenStack) as caught:
        seeding.apply(seed(exec={"service": "web", "command": ["/no/such/command"]}), around)
    assert str(caught.value) == ("Seed 's' was not planted: [Errno 2] No such file or directory: '/no/such/command'")


def test_python_is_called_with_the_stack(around: seeding.Surroundings) -> None:
    """The named function must be called with the running stack, once."""
    seeding.apply(seed(python=f"{__name__}:plant"), around)
    assert isinstance(around.stack, Planted)
    assert around.stack.done == ["planted"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (f"{__name__}:refuse", "Seed 's' was not planted: the store is full"),
        (f"{__name__}:stumble", f"Seed 's': python {__name__}:stumble raised ZeroDivisionError: division by zero"),
        (f"{__name__}:leave", f"Seed 's': python {__name__}:leave raised SystemExit: 0"),
        (
            "no_such_module:f",
            "Seed 's': python no_such_module:f raised ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (
            f"{__name__}:nothing",
            (
                f"Seed 's': python {__name__}:nothing raised AttributeError: "
                f"module '{__name__}' has no attribute 'nothing'"
            ),
        ),
    ],
    ids=["refuses", "stumbles", "leaves", "no-module", "no-function"],
)
def test_python_that_fails_is_told(around: seeding.Surroundings, reference: str, words: str) -> None:
    """Whatever the function raises must break the stack, with the seed and the cause."""
    with pytest.raises(BrokenStack) as caught:
        seeding.apply(seed(python=reference), around)
    assert caught.value.summary == words
    assert caught.value.__cause__ is not None
