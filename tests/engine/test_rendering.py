"""What becomes an address or a local path in texts, and what stays as it is."""

from __future__ import annotations

import dataclasses

import pytest

from harness.engine.rendering import Names, named_ports
from harness.errors import ConfigError

ADDRESS, OWN, MOVED = "127.5.6.2", "127.5.6.3", 41234
NAMES = Names(
    service="app",
    addresses={"kafka": ADDRESS, "kafka-ui": "127.5.6.4", "db.main": "127.5.6.5", "app": OWN},
    ports={
        ("kafka", 9092): ("127.0.0.1", MOVED),
        ("kafka", 19092): ("127.0.0.1", MOVED),
        ("kafka-ui", 80): ("127.5.6.4", 80),
        ("app", 8080): (OWN, 8080),
        ("app", 80): (OWN, 8080),
    },
    own_ports={8080: 8080, 80: 8080, 9092: MOVED},
    named={"repeater": 40001, "name with space": 40002},
    mounts={"/etc/app.ini": "/run/copy/app.ini", "/etc/conf": "/run/copy/conf", "/data": "/run/volumes/data"},
    values={"address": OWN, "data": "/run/scratch/data", "log": "/run/logs/app.log"},
)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("kafka:9092", f"127.0.0.1:{MOVED}"),
        ("kafka:19092", f"127.0.0.1:{MOVED}"),
        ("kafka:5000", f"{ADDRESS}:5000"),
        ("kafka-ui:80", "127.5.6.4:80"),
        ("db.main:5432", "127.5.6.5:5432"),
        ("kafka:9092,kafka-ui:80", f"127.0.0.1:{MOVED},127.5.6.4:80"),
        ("kafka:9092;app:80", f"127.0.0.1:{MOVED};{OWN}:8080"),
        ("http://app:80/x?to=kafka-ui:80", f"http://{OWN}:8080/x?to=127.5.6.4:80"),
        ("http://user:secret@app:80", f"http://user:secret@{OWN}:8080"),
        ("(kafka:9092)", f"(127.0.0.1:{MOVED})"),
        ('"kafka:9092"', f'"127.0.0.1:{MOVED}"'),
        ("kafka:9092/topic", f"127.0.0.1:{MOVED}/topic"),
        ("PLAINTEXT://kafka:9092", f"PLAINTEXT://127.0.0.1:{MOVED}"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "command", "option", "file"])
def test_a_name_with_a_port_becomes_an_address(place: str, text: str, rendered: str) -> None:
    """NAME:PORT of a known service must become its address and real port, wherever it is written."""
    if place == "environment":
        assert NAMES.value("ANY_KEY", text) == rendered
    elif place == "command":
        assert NAMES.argument(text) == rendered
    elif place == "option":
        assert NAMES.argument(f"--any={text}") == f"--any={rendered}"
    else:
        assert NAMES.content(f"[a]\nx = {text}\n".encode()) == f"[a]\nx = {rendered}\n".encode()


@pytest.mark.parametrize(
    "text",
    [
        "mykafka:9092",
        "my-kafka:9092",
        "my.kafka:9092",
        "kafka.example:9092",
        "kafka.example.org:9092/x",
        "kafka-other:9092",
        "kafka_2:9092",
        "kafka :9092",
        "kafka: 9092",
        "kafka:9092x",
        "kafka:topic",
        "kafka:909200",
        "KAFKA:9092",
        "kafka",
        "the kafka broker",
        "other:9092",
    ],
)
def test_what_only_looks_like_a_service_stays(text: str) -> None:
    """Longer names, other hosts, names without a port and numbers that are no port must stay as they are."""
    assert NAMES.value("ANY_KEY", text) == text
    assert NAMES.argument(text) == text
    assert NAMES.argument(f"--any={text}") == f"--any={text}"
    assert NAMES.content(f"x = {text}\n".encode()) == f"x = {text}\n".encode()


@pytest.mark.parametrize(
    "key", ["HOST", "DB_HOST", "ADDR", "LISTEN_ADDR", "ADDRESS", "EPICS_CA_ADDR_LIST", "NAME_SERVERS", "host", "dbHost"]
)
def test_an_exact_name_under_an_address_key_becomes_an_address(key: str) -> None:
    """A value that is exactly the name of a service must become its address under a key that ends as addresses do."""
    assert NAMES.value(key, "kafka") == ADDRESS
    assert NAMES.argument(f"--{key}=kafka") == f"--{key}={ADDRESS}"
    assert NAMES.content(f"{key} = kafka\n".encode()) == f"{key} = {ADDRESS}\n".encode()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("NAME", "kafka"),
        ("HOSTNAME", "kafka"),
        ("HOSTS", "kafka"),
        ("ADDRESSES", "kafka"),
        ("HOST_NAME", "kafka"),
        ("HOST", "kafkas"),
        ("HOST", "the kafka"),
        ("HOST", "kafka kafka-ui"),
        ("HOST", "Kafka"),
        ("HOST", "localhost"),
        ("HOST", ""),
    ],
)
def test_a_name_under_another_key_or_with_more_beside_it_stays(key: str, text: str) -> None:
    """A bare name must stay under every other key, and so must a value that is not exactly a name."""
    assert NAMES.value(key, text) == text
    assert NAMES.argument(f"{key}={text}") == f"{key}={text}"
    assert NAMES.content(f"{key} = {text}\n".encode()) == f"{key} = {text}\n".encode()


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("/etc/app.ini", "/run/copy/app.ini"),
        ("/data", "/run/volumes/data"),
        ("/data/", "/run/volumes/data/"),
        ("/data/sub/file", "/run/volumes/data/sub/file"),
        ("/etc/conf/x.ini", "/run/copy/conf/x.ini"),
        ("file:///etc/app.ini", "file:///etc/app.ini"),
        ("-c/etc/app.ini", "-c/etc/app.ini"),
        ("--config=/etc/app.ini", "--config=/run/copy/app.ini"),
        ("/data:/etc/conf", "/run/volumes/data:/run/copy/conf"),
        ("'/data'", "'/run/volumes/data'"),
        ("/etc/app.ini2", "/etc/app.ini2"),
        ("/etc/app.ini.old", "/etc/app.ini.old"),
        ("/database", "/database"),
        ("/data-1/x", "/data-1/x"),
        ("/data.d/x", "/data.d/x"),
        ("/var/data/x", "/var/data/x"),
        ("./data/x", "./data/x"),
        ("../data/x", "../data/x"),
        ("/etc", "/etc"),
        ("data", "data"),
    ],
)
def test_container_paths_of_mounts_become_local(text: str, rendered: str) -> None:
    """The path of a mount, and paths below it, must become local; paths that only begin or end like it must stay."""
    assert NAMES.value("ANY_KEY", text) == rendered
    assert NAMES.argument(text) == rendered
    assert NAMES.content(f"x = {text}\n".encode()) == f"x = {rendered}\n".encode()


def test_the_innermost_mount_counts() -> None:
    """A path below two mounts must go to the inner one, by name and by placeholder."""
    names = dataclasses.replace(NAMES, mounts={"/data": "/run/outer", "/data/inner": "/run/inner"})
    assert names.tokens("/data/inner/x /data/x") == "/run/inner/x /run/outer/x"
    assert names.placeholders("{mount:/data/inner/x} {mount:/data/x}") == "/run/inner/x /run/outer/x"


def test_a_local_path_is_not_mapped_again() -> None:
    """A path that is local already must stay, even where the copies lie below the container path of a mount."""
    names = dataclasses.replace(
        NAMES, mounts={"/tmp": "/tmp/work/mounts/tmp"}, values={"data": "/tmp/work/data", "address": OWN}
    )
    for written in ("{mount:/tmp/x}", "{data}/x"):
        local = names.placeholders(written)
        assert names.tokens(local) == local
    assert names.tokens("/tmp/other") == "/tmp/work/mounts/tmp/other"


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{address}", OWN),
        ("{data}/queue", "/run/scratch/data/queue"),
        ("{log}", "/run/logs/app.log"),
        ("{port:8080}", "8080"),
        ("{port:80}", "8080"),
        ("{port:9092}", str(MOVED)),
        ("{port:repeater}", "40001"),
        ("{port:name with space}", "40002"),
        ("{mount:/etc/app.ini}", "/run/copy/app.ini"),
        ("{mount:/data/deep/file}", "/run/volumes/data/deep/file"),
        ("{address}:{port:80}/{port:repeater}", f"{OWN}:8080/40001"),
    ],
)
def test_a_placeholder_has_its_value(text: str, rendered: str) -> None:
    """Every placeholder must become its value, beside others and inside a word."""
    assert NAMES.placeholders(text) == rendered
    assert NAMES.placeholders(f"<{text}>") == f"<{rendered}>"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{name}",
        "{addresses}",
        "{Address}",
        "{ address }",
        "{port}",
        "{port:}",
        "{mount}",
        "${HOME}",
        '{"address": "x"}',
        "{{.State.Health}}",
        "[a-z]{2,3}",
        "{",
        "}{",
    ],
)
def test_other_braces_are_text(text: str) -> None:
    """Braces that are no placeholder of ours must stay as they are."""
    assert NAMES.placeholders(text) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "{mount:/etc/other}",
            ("Service 'app': {mount:/etc/other} is not mounted; mounted are: /etc/app.ini, /etc/conf, /data"),
        ),
        (
            "{mount:/database}",
            "Service 'app': {mount:/database} is not mounted; mounted are: /etc/app.ini, /etc/conf, /data",
        ),
        ("{port:81}", "Service 'app': {port:81} names a port that it does not publish"),
        ("{build}/bin/x", "Service 'app': {build} has no value on this engine"),
    ],
)
def test_a_placeholder_that_can_have_no_value_is_refused(text: str, says: str) -> None:
    """A placeholder without a value must be refused in one line that names it and what there is."""
    with pytest.raises(ConfigError) as caught:
        NAMES.placeholders(text)
    assert (str(caught.value), caught.value.exit_code) == (says, 10)


def test_nothing_mounted_is_said_so() -> None:
    """The refusal of a mount must say that nothing is mounted when that is so."""
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(NAMES, mounts={}).placeholders("{mount:/x}")
    assert str(caught.value) == "Service 'app': {mount:/x} is not mounted; mounted are: nothing"


def test_a_service_that_knows_nobody_changes_nothing() -> None:
    """Without names and mounts every text must stay as it is."""
    nobody = Names(service="app", addresses={}, ports={})
    text = "kafka:9092 /etc/app.ini\nHOST=kafka\n:80\n"
    assert nobody.tokens(text) == text
    assert nobody.content(text.encode()) == text.encode()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{port:repeater}", ["repeater"]),
        ("{port:a}{port:b} {port:a}", ["a", "b", "a"]),
        ("{port:9092}", []),
        ("{port:}{port}{address}", []),
    ],
)
def test_named_ports_are_those_that_are_no_numbers(text: str, names: list[str]) -> None:
    """The names of placeholders for ports must be found; numbers are the service's own ports."""
    assert named_ports(text) == names


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe host = kafka:9092", b"\x00kafka:9092", b"kafka:9092\x00", "kafka:9092 é".encode("latin-1"), b""],
)
def test_what_is_no_text_stays(data: bytes) -> None:
    """Bytes that are no UTF-8 text must stay as they are."""
    assert NAMES.content(data) == data


def test_one_ini_serves_both_engines() -> None:
    """A file that is right inside containers must be right here by names, paths and address keys alone."""
    written = """\
# brokers: kafka:9092; the name kafka alone is a word
[broker]
broker=kafka:9092/topic_in
  bootstrap.servers = "kafka"
Host: 'app'
name = kafka
title = mykafka:9092 and kafka.example:9092
[files]
config = /etc/app.ini
other = /etc/app.ini.bak
{"port": {port:80}}
kafka
HOST =
kafka
"""
    rendered = (
        written.replace("# brokers: kafka:9092", f"# brokers: 127.0.0.1:{MOVED}")
        .replace("=kafka:9092/", f"=127.0.0.1:{MOVED}/")
        .replace('"kafka"', f'"{ADDRESS}"')
        .replace("'app'", f"'{OWN}'")
        .replace("config = /etc/app.ini", "config = /run/copy/app.ini")
    )
    assert NAMES.content(written.encode()).decode() == rendered
    windows = NAMES.content(written.replace("\n", "\r\n").encode()).decode()
    assert windows == rendered.replace("\n", "\r\n")
