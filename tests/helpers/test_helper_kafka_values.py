"""What the Kafka helper decides without a broker: addresses in one line, security, order per key, decoded payloads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness import ConfigError
from harness.helpers import flatbuffers
from harness.helpers.kafka import (
    BrokerUri,
    Message,
    Security,
    WrongOrder,
    check_key_order,
    parse_uri,
)
from harness.helpers.kafka.connection import Connection
from harness.helpers.kafka.evidence import Journal, decoded, in_order


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("host:9092/topic", BrokerUri("host:9092", "topic")),
        ("//127.0.0.1:9092/a.b_c-d", BrokerUri("127.0.0.1:9092", "a.b_c-d")),
        ("a:1,b:2/topic", BrokerUri("a:1,b:2", "topic")),
        (
            "SASL_SSL+SCRAM-SHA-256\\user@host:9093/topic",
            BrokerUri("host:9093", "topic", "SASL_SSL", "SCRAM-SHA-256", "user"),
        ),
        ("SASL_PLAINTEXT+PLAIN\\u@a:1,b:2/t", BrokerUri("a:1,b:2", "t", "SASL_PLAINTEXT", "PLAIN", "u")),
        ("SSL\\host:9094/topic", BrokerUri("host:9094", "topic", "SSL")),
    ],
)
def test_a_broker_uri_is_read(text: str, wanted: BrokerUri) -> None:
    """Each form must give its parts, and the parts the form again."""
    assert parse_uri(text) == wanted
    assert parse_uri(str(wanted)) == wanted


FORM = "[PROTOCOL[+MECHANISM]\\][user@]host:port[,host:port...]/topic"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "topic '' is none"),
        ("host:9092", "topic '' is none"),
        ("host:9092/", "topic '' is none"),
        ("host:9092/a/b", "topic 'a/b' is none"),
        ("host:9092/a topic", "topic 'a topic' is none"),
        ("host:9092/..", "topic '..' is none"),
        ("host/topic", "'host' is no host:port"),
        ("a:1,/topic", "'' is no host:port"),
        ("host:0/topic", "port '0' of 'host' is no number from 1 to 65535"),
        ("host:65536/topic", "port '65536' of 'host' is no number"),
        ("host:9o92/topic", "port '9o92' of 'host' is no number"),
        ("[::1]:9092/topic", "'[::1]:9092' is an IPv6 address"),
        ("::1:9092/topic", "'::1:9092' is an IPv6 address"),
        ("SASL_SSL\\user@host:1/t", "protocol SASL_SSL needs a mechanism"),
        ("SASL_SSL+PLAIN\\host:1/t", "protocol SASL_SSL needs a user"),
        ("SASL_SLL+PLAIN\\u@host:1/t", "'SASL_SLL' is not known; valid: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL; did"),
        ("SASL_SSL+SCRAM-SHA-1\\u@host:1/t", "mechanism 'SCRAM-SHA-1' is not known"),
        ("SASL_SSL+\\u@host:1/t", "no protocol or mechanism before '\\'"),
        ("\\u@host:1/t", "no protocol or mechanism before '\\'"),
        ("@host:1/t", "no user before '@'"),
        ("user@host:1/t", "protocol PLAINTEXT takes no user, 'user' was given"),
        ("SASL_SSL+PLAIN\\u:hunter2@host:1/t", "a password does not belong into a URI"),
        ("SASL_SSL+PLAIN\\u:a@hunter2@host:1/t", "'SASL_SSL+PLAIN\\\\u:***@host:1/t': a password does not belong"),
        ("SASL_SSL+PLAIN\\u:a\\hunter2@host:1/t", "a password does not belong into a URI"),
        ("u:hunter2\\a@host", "a password does not belong into a URI"),
    ],
)
def test_a_bad_broker_uri_is_told(text: str, wanted: str) -> None:
    """What was seen and what was needed must be in the error, and never a password."""
    with pytest.raises(ConfigError) as caught:
        parse_uri(text)
    assert wanted in caught.value.summary or wanted in str(caught.value)
    assert str(caught.value).startswith("Broker URI") or "problems: Broker URI" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_uri_and_a_password_make_a_login() -> None:
    """What a URI says must be in the security value, and a password that is missing must be told."""
    uri = parse_uri("SASL_PLAINTEXT+SCRAM-SHA-512\\u@host:1/t")
    security = uri.security("secret")
    assert (security.protocol, security.mechanism, security.user) == ("SASL_PLAINTEXT", "SCRAM-SHA-512", "u")
    assert security.settings()["sasl.password"] == "secret"
    for missing in ("", os.environ.get("HARNESS_NO_SUCH_VARIABLE")):
        with pytest.raises(ConfigError, match="needs a password"):
            uri.security(missing)  # type: ignore[arg-type] # as a variable that is not set gives it


def test_a_password_is_in_no_repr() -> None:
    """Neither the value nor the settings made of it may show the password."""
    security = Security("SASL_PLAINTEXT", "PLAIN", "u", "secret")
    assert "secret" not in f"{security!r} {security} {security.settings()!r} {[security.password]}"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"protocol": "TLS"}, ["protocol 'TLS' is not known"]),
        ({"protocol": "SASL_SSL"}, ["needs a mechanism", "needs a user", "needs a password"]),
        ({"ca_file": __file__}, ["ca_file needs SSL or SASL_SSL, protocol is PLAINTEXT"]),
        ({"protocol": "SSL", "ca_file": "/nowhere"}, ["ca_file /nowhere does not exist"]),
        ({"protocol": "SSL", "key_file": Path(__file__)}, ["certificate_file and key_file go together"]),
    ],
)
def test_security_that_does_not_fit_is_told(given: dict[str, Any], wanted: list[str]) -> None:
    """All that does not go together must be listed in one error."""
    with pytest.raises(ConfigError) as caught:
        Security(**given)
    for words in wanted:
        assert words in str(caught.value)


# -- order per key --------------------------------------------------------------------------------------------------


def message(partition: int, offset: int, key: str | None, value: str) -> Message:
    """Return a message of topic t."""
    return Message("t", partition, offset, None if key is None else key.encode(), value.encode(), 0)


SENT = [("a", "1"), ("b", "1"), ("a", "2"), (None, "x"), ("a", "3")]


def test_order_per_key_is_kept_across_partitions() -> None:
    """Keys in different partitions may come in any order among each other; messages without a key do not count."""
    came = [
        message(1, 0, "b", "1"),
        message(0, 0, "a", "1"),
        message(0, 1, None, "y"),
        message(0, 2, "a", "2"),
        message(0, 3, "a", "3"),
    ]
    check_key_order(came, SENT)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (
            ["1", "3", "2"],
            [
                "  key b'a': message 2 of 3 is b'3' ([0]@1), b'2' was sent then",
                "  key b'a': message 3 of 3 is b'2' ([0]@2), b'3' was sent then",
            ],
        ),
        (["1", "2"], ["  key b'a': b'3' was sent 1x, 1 missing"]),
        (["1", "2", "2", "3"], ["  key b'a': b'2' was sent 1x, 1 too many ([0]@1, [0]@2)"]),
        (["1", "2", "3", "4"], ["  key b'a': b'4' was sent 0x, 1 too many ([0]@3)"]),
    ],
)
def test_wrong_order_is_told_key_by_key(values: list[str], wanted: list[str]) -> None:
    """The error must name the key, the message, its place and what should have been there."""
    came = [message(0, at, "a", value) for at, value in enumerate(values)]
    with pytest.raises(WrongOrder) as caught:
        check_key_order([message(1, 0, "b", "1"), *came], SENT)
    assert list(caught.value.details) == wanted
    assert caught.value.summary == f"1 of 2 keys out of order; {wanted[0].strip()}"


def test_a_key_in_two_partitions_is_told() -> None:
    """A key whose messages came from two partitions must be told, although their order is right."""
    came = [message(0, 0, "a", "1"), message(1, 0, "a", "2"), message(0, 1, "a", "3")]
    with pytest.raises(WrongOrder) as caught:
        check_key_order(came, [("a", "1"), ("a", "2"), ("a", "3")])
    assert caught.value.details == ("  key b'a': came from several partitions: 2 from t[0], 1 from t[1]",)


def test_many_differences_are_cut() -> None:
    """Of a thousand lost messages ten must be listed, and the number of the others told."""
    with pytest.raises(WrongOrder) as caught:
        check_key_order([], [("a", f"{number}") for number in range(1000)])
    assert len(caught.value.details) == 11
    assert caught.value.details[-1] == "  key b'a': and 990 more differences"


# -- decoded payloads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, "tombstone"),
        (b"", "text '' (0 bytes)"),
        (b'{"a": [1,\n2]}', 'json {"a": [1, 2]}'),
        (b'{"abcdef', "text '{\"abcdef' (8 bytes)"),
        ("plain \u00e4".encode(), "text 'plain \u00e4' (8 bytes)"),
        (b"two\nlines", "9 bytes, head 74 77 6f 0a 6c 69 6e 65 73"),
        (b"\0\1\2\3zz99" + bytes(100), f"108 bytes, head 00 01 02 03 7a 7a 39 39 {'00 ' * 24}".strip()),
        (b"\0\0\0\0f144" + bytes(4), "12 bytes, head 00 00 00 00 66 31 34 34 00 00 00 00"),
    ],
)
def test_payloads_are_decoded_where_they_can_be(value: bytes | None, wanted: str) -> None:
    """JSON must be shown as that, text as text, and what nobody can decode as the head in hex with its length."""
    assert decoded(value) == wanted


def test_flatbuffers_are_decoded_by_their_identifier() -> None:
    """A message of a known schema must be shown with its fields, cut when it is long."""
    said = decoded(flatbuffers.encode("f142", value=1.5, source_name="SIMPLE:DOUBLE"))
    assert said.startswith("f142 ")
    assert "SIMPLE:DOUBLE" in said
    assert "1.5" in said
    assert len(decoded(flatbuffers.encode("f144", value=list(range(5000)), source_name="PV"))) < 1100


def test_messages_of_one_partition_keep_its_order() -> None:
    """Evidence must go by time, but never turn round two messages of one partition, whatever their time stamps."""

    def at(partition: int, offset: int, timestamp: int) -> Message:
        return Message("t", partition, offset, None, b"", timestamp)

    late, early, old, between = at(0, 0, 50), at(0, 1, 70), at(0, 2, 10), at(1, 0, 60)
    assert in_order([old, between, early, late]) == [late, between, early, old]


def test_no_secret_of_a_message_is_shown() -> None:
    """Members called password, token and the like must be shown without their values, also within FlatBuffers."""
    status = {"software_name": "", "software_version": "", "service_id": "", "host_name": "", "process_id": 1}
    text = '{"user": "alice", "password": "hush", "of": {"access_token": "hush"}}'
    for value in (text.encode(), flatbuffers.encode("x5f2", **status, update_interval=1, status_json=text)):
        said = decoded(value)
        assert "alice" in said
        assert "hush" not in said


@pytest.mark.parametrize(
    ("timestamp", "when"),
    [(1_790_000_000_123, "2026-09-21 14:13:20.123Z"), (1_790_000_000 * 10**9, "1790000000000000000 ms")],
)
def test_any_message_can_be_told_of(timestamp: int, when: str) -> None:
    """A time that no calendar has must not lose the messages, and a long key must not fill the report."""
    journal = Journal(Connection("127.0.0.1:1", 1))
    journal.note(Message("t", 0, 0, b"k" * 500_000, b"there", timestamp))
    assert journal.tell(0, None).splitlines()[1] == (
        f"  [0]@0 {when} key=b'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk... (500000 bytes) text 'there' (5 bytes)"
    )
    assert len(str(Message("t", 0, 0, b"k" * 500_000, b"there", timestamp))) < 120


def test_a_client_of_a_whole_run_remembers_its_last_topics() -> None:
    """A client that lives for thousands of topics must hold a bounded number, and show the last ones used."""
    journal = Journal(Connection("127.0.0.1:1", 1))
    for number in range(5000):
        journal.note(Message(f"t{number}", 0, 0, None, b"x" * 1000, 0))
        journal.touch(["t0"])
    said = journal.tell(0, None)
    assert "topic t0:" in said
    assert "topic t4999:" in said
    assert said.endswith("and 80 more topics")
    assert said.count("topic t") == 20
    assert said.endswith("and 80 more topics")
