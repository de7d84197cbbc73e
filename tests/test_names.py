"""Names become addresses, and container paths local ones, where they should and nowhere else."""

from __future__ import annotations

import pytest

from harness.engine.rendering import Names
from harness.errors import ConfigError

NAMES = Names(
    service="app",
    addresses={"kafka": "127.9.9.2", "ioc": "127.9.9.3", "app": "127.9.9.4"},
    ports={
        ("kafka", 9092): ("127.0.0.1", 15001),
        ("kafka", 19092): ("127.0.0.1", 15001),
        ("app", 80): ("127.9.9.4", 80),
    },
    own_ports={80: 80},
    named={"beacon": 15002},
    mounts={"/etc/app.ini": "/run/app.ini", "/etc": "/run/etc", "/data/": "/run/data"},
    values={"address": "127.9.9.4", "data": "/run/d"},
)


@pytest.mark.parametrize(
    ("key", "text", "rendered"),
    [
        ("BROKERS", "kafka:9092,kafka:19092", "127.0.0.1:15001,127.0.0.1:15001"),
        ("URL", "http://app:80/path", "http://127.9.9.4:80/path"),
        ("URL", "SASL+PLAIN\\user@kafka:9092/topic", "SASL+PLAIN\\user@127.0.0.1:15001/topic"),
        ("PEER", "ioc:5075", "127.9.9.3:5075"),
        ("EPICS_CA_ADDR_LIST", "ioc", "127.9.9.3"),
        ("DB_HOST", "kafka", "127.9.9.2"),
        ("name_servers", "kafka", "127.9.9.2"),
        ("ADDRESSES", "kafka", "kafka"),
        ("TITLE", "kafka", "kafka"),
        ("X", "mykafka:9092", "mykafka:9092"),
        ("X", "kafka.example:9092", "kafka.example:9092"),
        ("X", "not-kafka:9092", "not-kafka:9092"),
        ("X", "kafka:port", "kafka:port"),
        ("X", "kafka:9092a", "kafka:9092a"),
        ("CONFIG", "/etc/app.ini", "/run/app.ini"),
        ("CONFIG", "/etc/other/x", "/run/etc/other/x"),
        ("CONFIG", "/etc/app.ini.bak", "/run/etc/app.ini.bak"),
        ("CONFIG", "/usr/etc/app.ini", "/usr/etc/app.ini"),
        ("CONFIG", "file=/etc/app.ini;", "file=/run/app.ini;"),
    ],
)
def test_values_are_rendered_where_they_name_a_service_or_a_mount(key: str, text: str, rendered: str) -> None:
    """Known NAME:PORT, exact names under address keys, and mounted paths must be replaced, nothing else."""
    assert NAMES.value(key, text) == rendered
    assert NAMES.argument(f"{key}={text}") == f"{key}={rendered}"


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{address}:{port:80}", "127.9.9.4:80"),
        ("{port:beacon}", "15002"),
        ("{mount:/etc/app.ini}", "/run/app.ini"),
        ("{mount:/etc/x/y}", "/run/etc/x/y"),
        ("{data}/file", "/run/d/file"),
        ('{"a": {b}} {} {ports:1}', '{"a": {b}} {} {ports:1}'),
    ],
)
def test_placeholders_have_values_and_other_braces_are_text(text: str, rendered: str) -> None:
    """Each placeholder must become its value, and braces that are none must stay as they are."""
    assert NAMES.placeholders(text) == rendered


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{port:81}", "Service 'app': {port:81} names a port that it does not publish"),
        ("{mount:/opt}", "Service 'app': {mount:/opt} is not mounted; mounted are: /etc/app.ini, /etc, /data/"),
        ("{build}", "Service 'app': {build} has no value on this engine"),
    ],
)
def test_a_placeholder_without_a_value_is_an_error(text: str, says: str) -> None:
    """A placeholder that can have no value must be refused in words that name it."""
    with pytest.raises(ConfigError) as caught:
        NAMES.placeholders(text)
    assert str(caught.value) == says


def test_files_are_rendered_unless_they_are_no_text() -> None:
    """A mounted text file must be rendered line by line; bytes that are no text must stay untouched."""
    text = b"broker = kafka:9092\nDB_HOST = kafka\n  addr: 'ioc'\nname = kafka\nhost = kafka ioc\n"
    assert NAMES.content(text) == (
        b"broker = 127.0.0.1:15001\nDB_HOST = 127.9.9.2\n  addr: '127.9.9.3'\nname = kafka\nhost = kafka ioc\n"
    )
    assert NAMES.content(b"\xffkafka:9092") == b"\xffkafka:9092"
    assert NAMES.content(b"\0kafka:9092") == b"\0kafka:9092"
