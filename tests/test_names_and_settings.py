"""Names become addresses where they should and nowhere else; settings come from where they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import load_settings, read_sources
from harness.engine.rendering import Names
from harness.errors import ConfigError
from harness.results import exit_code

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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two systems."""
    (tmp_path / "compose").mkdir()
    for name in ("one", "two"):
        (tmp_path / "compose" / f"{name}.yaml").write_text("services: {}\n")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.harness]\ndefault-system = "a"\nkeep = "on-failure"\n'
        '[tool.harness.systems.a]\ntests = "ta"\nstacks = ["one", "two"]\ndefault = "two"\n'
        '[tool.harness.systems.b]\ntests = "tb"\nstacks = ["one", "two"]\n'
    )
    return tmp_path


def test_settings_come_from_the_nearest_source(root: Path) -> None:
    """The command line must win over HARNESS_*, that over pyproject.toml, that over the default; each is told."""
    settings = load_settings(
        read_sources(root / "compose", {"HARNESS_STACK": "one", "HARNESS_SYSTEM": "b"}), {"system": "a", "engine": None}
    )
    assert settings.root == root
    assert (settings.system and settings.system.name, settings.origins["system"]) == ("a", "command line")
    assert (settings.stack, settings.origins["stack"]) == ("one", "HARNESS_STACK")
    assert (settings.keep, settings.origins["keep"]) == ("on-failure", str(root / "pyproject.toml"))
    assert (settings.engine, settings.origins["engine"]) == ("auto", "default")
    assert settings.default_stack() == "one"
    assert load_settings(read_sources(root, {})).default_stack() == "two"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "embeded"}, "Engine 'embeded' (command line) is not known; valid: auto, embedded; did you mean"),
        ({"keep": "yes"}, "Value of --keep 'yes' (command line) is not known; valid: never, on-failure, always"),
        ({"system": "c"}, "System 'c' (command line) is not known; there are: a, b"),
    ],
)
def test_a_value_that_is_not_known_lists_those_that_are(root: Path, options: dict[str, str], says: str) -> None:
    """A wrong value must be refused with its origin and the valid ones."""
    with pytest.raises(ConfigError) as caught:
        load_settings(read_sources(root, {}), options)
    assert says in str(caught.value)


def test_a_stack_is_found_by_name_or_file_or_not_at_all(root: Path) -> None:
    """A stack must be found by its name or path; an unknown one is refused with the nearest."""
    settings = load_settings(read_sources(root, {}))
    assert settings.stack_file("one") == root / "compose" / "one.yaml"
    assert settings.stack_file("compose/two.yaml") == root / "compose" / "two.yaml"
    with pytest.raises(ConfigError, match=r"Stack 'tow' is not known; there are: one, two; did you mean 'two'\?"):
        settings.stack_file("tow")
    with pytest.raises(ConfigError, match=r"Compose file .*nope\.yaml does not exist"):
        settings.stack_file("nope.yaml")
    with pytest.raises(ConfigError, match="No stack was named and none is the default; there are: one, two"):
        load_settings(read_sources(root, {}), {"system": "b"}).default_stack()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.harness]\nstak-folder = 'x'\n", "key 'stak-folder' is not known; did you mean 'stack-folder'?"),
        ("[tool.harness]\nlogs = 3\n", "logs is int 3, a str was needed"),
        ("[tool.harness.systems.a]\ntest = 'x'\n", "systems.a]: key 'test' is not known; did you mean 'tests'?"),
        ("[tool.harness\n", "cannot be read: "),
        ("[tool]\nharness = 3\n", "[tool.harness] is a int, a table was needed"),
    ],
)
def test_a_wrong_pyproject_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """A key or type that is wrong in pyproject.toml must be refused with the file's name."""
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(read_sources(tmp_path, {}))
    assert says in str(caught.value)
    assert str(tmp_path / "pyproject.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("causes", "code"),
    [
        ({}, 0),
        ({"pytest_code": 5}, 5),
        ({"failed": True, "broken": True, "leftover": True}, 1),
        ({"configuration": True, "failed": True}, 10),
        ({"unreachable": True, "failed": True}, 11),
        ({"broken": True, "leftover": True}, 12),
        ({"leftover": True}, 14),
        ({"signal_number": 15, "configuration": True}, 143),
    ],
)
def test_the_first_cause_that_applies_is_the_exit_code(causes: dict[str, int], code: int) -> None:
    """The exit code must be that of the first cause in the documented order."""
    given = {"pytest_code": 0, **causes}
    assert exit_code(**given) == code  # type: ignore[arg-type]
