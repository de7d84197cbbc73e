"""The report of a failed test shows the last messages of the topics that it had to do with."""

from __future__ import annotations

import gc
import shutil
import weakref
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT
from junitparser import JUnitXml
from projects import run_in, run_json
from servers import free_port

from harness import witnesses
from harness.clock import Deadline, now
from harness.helpers.kafka import Kafka, KafkaFailure

if TYPE_CHECKING:
    from projects import Project

    from harness import procs

CONFTEST = """
import uuid
import pytest
import harness
from harness.helpers.kafka import Kafka

broker = harness.stack_fixture("kafka", scope="session")

@pytest.fixture(scope="module")
def kafka(broker):
    with Kafka(broker.endpoint("kafka", 9092), patience=3) as client:
        yield client

@pytest.fixture
def topic(kafka):
    name = "t-" + uuid.uuid4().hex
    kafka.create_topics({name: 2})
    return name
"""


def pytest_of(project: Project, tests: str, *argv: str) -> procs.Finished:
    """Run pytest on ``tests`` with the stack ``kafka``."""
    shutil.copy(ROOT / "compose" / "kafka.yaml", project.root / "compose")
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(tests)
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite", *argv)


TRAFFIC = """
from harness.helpers import flatbuffers

def test_other(kafka, topic):
    kafka.send(topic, "of another test")

def test_bad(kafka, topic):
    for number in range(7):
        kafka.send(topic, f"text {number}", key="k", partition=0)
    kafka.send(topic, '{"command": "add"}', partition=0)
    kafka.send(topic, flatbuffers.encode("f142", value=1.5, source_name="SIMPLE:DOUBLE"), partition=1)
    with kafka.consumer(topic) as consumer:
        kafka.send(topic, bytes(range(8)), partition=1)
        consumer.wait_for(lambda message: message.value == b"never", 0.3)
"""


@pytest.mark.parametrize("argv", [(), ("-n", "2")], ids=["plain", "xdist"])
def test_a_failed_test_shows_decoded_messages(project: Project, argv: tuple[str, ...]) -> None:
    """Terminal, junit.xml and a file must show the topic's last five messages, decoded, and none of another test."""
    done = pytest_of(project, TRAFFIC, *argv)
    assert done.code == 1, done.stdout
    (kept,) = (project.latest / "failures" / "suite.test_it.py.test_bad").glob("kafka_*.txt")
    text = kept.read_text()
    assert text.count("\n  [") == 5, text
    assert "text 'text 6' (6 bytes)" in text
    assert "key=b'k'" in text
    assert 'json {"command": "add"}' in text
    assert "f142 {" in text
    assert "'alarm_status': 'NO_CHANGE'" in text
    assert "SIMPLE:DOUBLE" in text
    assert "8 bytes, head 00 01 02 03 04 05 06 07" in text
    assert "text 4" not in text
    for shown in (text, done.stdout, (project.latest / "junit.xml").read_text()):
        assert "SIMPLE:DOUBLE" in shown
        assert "of another test" not in shown
        assert "harness-probe" not in shown
    assert "Captured stdout kafka 127." in done.stdout


ODD = r"""
import os
import pytest

VALUES = {"half": rb'{"a": "\ud800"}', "colour": '{"a": "\x9b31m"}', "huge": os.urandom(900_000)}

@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_bad(kafka, topic, value):
    kafka.send(topic, value)
    assert 1 == 2
"""


@pytest.mark.parametrize("argv", [(), ("-n", "2")], ids=["plain", "xdist"])
def test_messages_that_are_no_text_are_shown_escaped(project: Project, argv: tuple[str, ...]) -> None:
    """Half a surrogate pair, a terminal's control characters and bytes must not end the run, nor reach a terminal."""
    done = pytest_of(project, ODD, *argv)
    assert done.code == 1, done.stdout
    assert run_json(project)["outcomes"] == {"failed": 3}
    assert r"""json {"a": "\ud800"}""" in done.stdout
    assert r"""json {"a": "\x9b31m"}""" in done.stdout
    assert "900000 bytes, head " in done.stdout
    assert len(list((project.latest / "failures").glob("*/kafka_*.txt"))) == 3


def test_what_others_sent_is_shown(project: Project) -> None:
    """A message that no client of the test has read or sent must be shown too: it is in the topic."""
    tests = """
def test_bad(kafka, topic):
    from confluent_kafka import Producer
    with kafka.consumer(topic) as consumer:
        consumer.drain()
    other = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    other.produce(topic, "by the subject")
    other.flush(5)
    assert 1 == 2
"""
    done = pytest_of(project, tests)
    assert done.code == 1, done.stdout
    assert "text 'by the subject' (14 bytes)" in done.stdout


def test_a_client_closed_in_the_test_still_tells(project: Project) -> None:
    """Of a client whose ``with`` block the failure has left, the messages must be shown as well."""
    tests = """
from harness.helpers.kafka import Kafka

def test_bad(kafka, topic):
    with Kafka(kafka.bootstrap) as client:
        client.send(topic, "from within")
        assert 1 == 2
"""
    done = pytest_of(project, tests)
    assert "text 'from within' (11 bytes)" in done.stdout
    assert "assert 1 == 2" in done.stdout


def test_a_dead_broker_is_not_asked(project: Project) -> None:
    """When the broker is dead, what clients saw must be shown at once, and the death stays the verdict."""
    tests = """
import os, time

def test_bad(kafka, topic, broker):
    kafka.send(topic, "before the end")
    os.kill(broker.service("kafka").pid, 9)
    with kafka.consumer(topic) as consumer:
        consumer.wait_for(lambda _: True, 20)
"""
    done = pytest_of(project, tests)
    assert done.code == 12, done.stdout
    assert "Service 'kafka' ended with signal 9 (SIGKILL)" in done.stdout
    assert "last sent or received by the test (the broker was not asked)" in done.stdout
    assert "text 'before the end' (14 bytes)" in done.stdout


def test_passing_tests_show_nothing(project: Project) -> None:
    """A test that passes must not be reported, and cost nothing of that kind."""
    done = pytest_of(project, "def test_good(kafka, topic):\n    kafka.send(topic, 'quiet')\n", "-rA", "--residue=off")
    assert done.code == 0, done.stdout
    assert "quiet" not in done.stdout
    assert not (project.latest / "failures").exists() or not list((project.latest / "failures").iterdir())
    assert run_json(project)["outcomes"] == {"succeeded": 1}
    assert JUnitXml.fromfile(str(project.latest / "junit.xml")).failures == 0


# -- witnesses ------------------------------------------------------------------------------------------------------


class Bystander:
    """A witness for tests."""

    def __init__(self, *, over: bool = False, fails: bool = False) -> None:
        self.subject = "bystander"
        self.over = over
        self.fails = fails

    def tell(self, since: float, deadline: Deadline | None) -> str:
        if self.fails:
            raise OSError("speechless")
        return f"{since:g} {deadline is not None}"


def test_a_witness_that_fails_hides_nothing() -> None:
    """What a witness trips over must become its words, beside those of the others; closed ones are let go of."""
    bystanders = [Bystander(), Bystander(fails=True)]
    for witness in bystanders:
        witnesses.call(witness)
    try:
        assert witnesses.hear(1.0)["bystander"] == "1 True\nno evidence: OSError: speechless"
        assert witnesses.hear(1.0, ask=False)["bystander"].startswith("1 False")
    finally:
        for witness in bystanders:
            witness.over = True
        witnesses.begin()
    assert "bystander" not in witnesses.hear(1.0)


def test_a_broker_that_is_gone_costs_a_second_at_most() -> None:
    """A broker that does not answer must be given up in time, and what the client saw be shown."""
    began = witnesses.begin()
    bootstrap = f"127.0.0.1:{free_port()}"
    with Kafka(bootstrap, timeout=0.2) as kafka:
        assert kafka._journal is not None
        kafka._journal.touch(["t"])
        with pytest.raises(KafkaFailure):
            kafka.topics()
        start = now()
        said = witnesses.hear(began)[f"kafka {bootstrap}"]
        assert now() - start < 8
    assert said.startswith("topic t: last sent or received by the test (")
    assert said.endswith("): none")
    witnesses.begin()


def test_a_client_that_nobody_has_is_let_go_of() -> None:
    """A client that was forgotten must not be a witness for ever."""
    kafka = Kafka(f"127.0.0.1:{free_port()}")
    assert kafka._journal is not None
    kafka._journal.touch(["t"])
    before = weakref.ref(kafka._journal)
    del kafka
    gc.collect()
    witnesses.begin()
    assert before() is None
