"""What the forwarder makes of its configuration and of commands, without anything around it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from checkout import ROOT

sys.path.insert(0, str(ROOT / "integration_tests/forwarder/subject"))

from forwarder.__main__ import main
from forwarder.commands import BadCommandError, Command, Pattern, Stream, parse_command, stored
from forwarder.config import BadConfigError, Broker, Topic, make_config, read_ini
from forwarder.sources import CaSource

NEEDED = {"config-topic": "a:9092/c", "status-topic": "//a:9092/s", "output-broker": "a:9092"}


@pytest.mark.parametrize(
    ("written", "topic"),
    [
        ("a:9092/t", Topic(Broker("a:9092"), "t")),
        ("//a-b.c:1/t.x_y-z", Topic(Broker("a-b.c:1"), "t.x_y-z")),
        ("a:1,b:2/t", Topic(Broker("a:1,b:2"), "t")),
        (r"SASL_PLAINTEXT+PLAIN\me@a:1/t", Topic(Broker("a:1", "SASL_PLAINTEXT", "PLAIN", "me", "pw"), "t")),
        (r"SASL_SSL+SCRAM-SHA-512\me@a:1/t", Topic(Broker("a:1", "SASL_SSL", "SCRAM-SHA-512", "me", "pw"), "t")),
    ],
)
def test_topics_are_written_in_three_forms(written: str, topic: Topic) -> None:
    """A topic may be written plainly, with two slashes, and with a user, whose password the environment may have."""
    config = make_config({**NEEDED, "config-topic": written}, {"CONFIG_TOPIC_SASL_PASSWORD": "pw"})
    assert config.commands == topic
    assert "pw" not in repr(config)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"status-topic": "a/s"}, "status-topic is 'a/s', host:port/topic or"),
        ({"status-topic": "a:1"}, "status-topic is 'a:1', which names no topic"),
        ({"config-topic": r"SASL_PLAINTEXT+PLAIN\me@a:1/t"}, "there is no config-topic-sasl-password"),
        ({"fake-pv-period": "0"}, "fake-pv-period is '0', a number of milliseconds above 0"),
        ({"pv-update-period": "1.5"}, "pv-update-period is '1.5', a number of milliseconds above 0"),
        ({"status-format": "xml"}, "status-format is 'xml', one of x5f2, json was needed"),
        ({"verbosity": "loud"}, "verbosity is 'LOUD', one of DEBUG, INFO"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(table: dict[str, str], says: str) -> None:
    """A value that means nothing must be refused, with its key, what was seen and what was needed."""
    with pytest.raises(BadConfigError) as caught:
        make_config({**NEEDED, **table}, {})
    assert says in str(caught.value)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """A key of the ini file that nobody knows must be named."""
    (tmp_path / "a.ini").write_text("config-topic = a:1/b\ncolour = red\n")
    with pytest.raises(BadConfigError, match="unknown keys colour"):
        read_ini(tmp_path / "a.ini")


def test_wrong_configuration_ends_it_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A start without the needed keys, or with a file of streams that is none, must end with 2 and one line."""
    ini = tmp_path / "a.ini"
    ini.write_text("".join(f"{key} = {value}\n" for key, value in NEEDED.items() if key != "output-broker"))
    assert main(["--config-file", str(ini)]) == 2
    assert main(["--config-file", str(ini), "--output-broker", "a:1", "--streams-json", str(ini)]) == 2
    missing, streams = capsys.readouterr().err.splitlines()
    assert missing == "forwarder: missing keys: output-broker"
    assert streams.startswith(f"forwarder: streams-json {ini}: ")


def test_a_stored_configuration_brings_its_streams_back() -> None:
    """What is stored must, as a command, replace everything by the same streams."""
    streams = (Stream("a", "ca", "f142", "t"), Stream("b", "pva", "f142", "t", periodic=False))
    again = parse_command(stored(streams))
    assert (again.kind, set(again.streams)) == ("replace", set(streams))
    assert not any(again.removes(stream) for stream in streams)
    assert again.removes(Stream("c", "ca", "f142", "t"))
    assert parse_command(stored(())) == Command("replace")


@pytest.mark.parametrize(
    ("pattern", "channel", "matches"),
    [
        (Pattern("A:?"), "A:1", True),
        (Pattern("A:?"), "A:12", False),
        (Pattern("*"), "A:12", True),
        (Pattern("A[1]"), "A[1]", True),
        (Pattern("A[1]"), "A1", False),
        (Pattern(topic="T*"), "A", True),
        (Pattern("A", topic="U*"), "A", False),
        (Pattern("a"), "A", False),
    ],
)
def test_patterns_know_two_wildcards(pattern: Pattern, channel: str, matches: bool) -> None:
    """A pattern must match by ``*`` and ``?`` only, letter by letter otherwise, in all that it names."""
    assert pattern.matches(Stream(channel, "ca", "f142", "Topic")) is matches


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"cmd": 1}', b'{"cmd": "add", "streams": [1]}', b"\xff\xff\xff\xfffc00"]
)
def test_what_is_no_command_is_refused(data: bytes) -> None:
    """Bytes that are no command must raise one kind of error."""
    with pytest.raises(BadCommandError):
        parse_command(data)


def test_an_event_is_converted_by_its_own_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Channel Access value must go by the type of its event.

    An IOC that connects while pyepics' constructor still runs leaves "unknown" as the type of the PV.
    """
    monkeypatch.setitem(sys.modules, "epics", SimpleNamespace(PV=lambda *_, **__: None))
    made: list[Callable[[], Any]] = []
    CaSource("A", made.append)._changed(
        type="unknown", ftype=20, value=40.0, status=0, severity=0, posixseconds=1, nanoseconds=2
    )
    update = made[0]()
    assert np.asarray(update.value).dtype == np.float64
    assert update.timestamp == 1_000_000_002
