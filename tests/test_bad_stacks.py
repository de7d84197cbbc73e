"""A stack file that is wrong is refused with file and line, and nothing is created."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import ConfigError
from harness.stack import read_tree

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = "services:\n  a:\n    image: x\n"

BAD = {
    "syntax": (SERVICE + "   b: y\n", "s.yaml:4: is no YAML: while parsing a block mapping, did not find expected key"),
    "tab": ("services:\n\ta: {}\n", "s.yaml:2: is no YAML: while scanning for the next token, "),
    "not UTF-8": ("\xff\xfe", "s.yaml: is no UTF-8 at byte 0"),
    "empty": ("", "s.yaml:1: empty compose file"),
    "duplicate key": (
        SERVICE + "    image: y\n",
        's.yaml:4: yaml: construct errors: line 1: line 4: mapping key "image"',
    ),
    "unknown key of a service": (
        "services:\n  a:\n    imagee: x\n",
        "s.yaml:3: services.a: key 'imagee' is not known to Compose; did you mean 'image'?",
    ),
    "unknown key at the top": (
        SERVICE + "servics: {}\n",
        "s.yaml:4: key 'servics' is not known to Compose; did you mean 'services'?",
    ),
    "wrong type": (SERVICE + "    ports: 8080\n", "s.yaml:4: services.a.ports must be a array"),
    "misspelt x-harness": (
        SERVICE + "    x-harnes: {}\n",
        "s.yaml:4: key 'x-harnes' is not known; did you mean 'x-harness'?",
    ),
    "misspelt x-harness at the top": (
        SERVICE + "x-harnass: {}\n",
        "s.yaml:4: key 'x-harnass' is not known; did you mean 'x-harness'?",
    ),
    "misspelt key": (
        SERVICE + "    x-harness:\n      redy: []\n",
        "s.yaml:5: services.a.x-harness.redy: key 'redy' is not known; did you mean 'ready'?",
    ),
    "misspelt key at the top": (
        SERVICE + "x-harness: {seeds: []}\n",
        "s.yaml:4: x-harness.seeds: key 'seeds' is not known; did you mean 'seed'?",
    ),
    "misspelt probe": (
        SERVICE + "    x-harness:\n      ready:\n        - tpc: 80\n",
        "s.yaml:6: services.a.x-harness.ready.0.tpc: key 'tpc' is not known; did you mean 'tcp'?",
    ),
    "misspelt key in a probe": (
        SERVICE + "    x-harness: {ready: [{http: {prot: 80}}]}\n",
        "s.yaml:4: services.a.x-harness.ready.0.http.prot: key 'prot' is not known; did you mean 'port'?",
    ),
    "two kinds in a probe": (
        SERVICE + "    x-harness: {ready: [{tcp: 80, log: x}]}\n",
        "a probe has exactly one of: http, tcp, kafka, log, exec, file, healthy, python; it has tcp, log",
    ),
    "bad expression": (
        SERVICE + "    x-harness: {ready: [{log: '('}]}\n",
        "ready.0: log: '(' is no regular expression",
    ),
    "bad port": (
        SERVICE + "    x-harness: {ready: [{tcp: 99999}]}\n",
        "ready.0.tcp: Input should be less than or equal to 65535 (found 99999)",
    ),
    "port that is not published": (
        SERVICE + "    ports: ['80:80']\n    x-harness: {ready: [{tcp: 81}]}\n",
        "s.yaml:5: service 'a' has no port 81; it has: 80",
    ),
    "no port to ask": (
        SERVICE + "    x-harness: {ready: [{http: {}}]}\n",
        "s.yaml:4: service 'a' publishes no port to ask over HTTP",
    ),
    "no broker": (
        SERVICE + "    x-harness: {ready: [{kafka: {}}]}\n",
        "s.yaml:4: no broker is named and no service publishes port 9092; write broker: NAME:PORT",
    ),
    "wrong broker": (
        SERVICE + "    x-harness: {ready: [{kafka: {broker: 'b:9092'}}]}\n",
        "s.yaml:4: broker 'b:9092' is no service and port of stack 's'",
    ),
    "bad duration": (
        SERVICE + "x-harness: {timeouts: {ready: soon}}\n",
        "s.yaml:4: x-harness.timeouts.ready: a duration such as 90s or 1m30s was needed (found 'soon')",
    ),
    "seed without a kind": (
        SERVICE + "x-harness:\n  seed:\n    - {key: a}\n",
        "s.yaml:6: x-harness.seed.0: a seed has exactly one of: topics, message, http, exec, python; it has none",
    ),
    "seed before nobody": (
        SERVICE + "x-harness: {seed: [{key: k, before: aa, topics: {t: 1}}]}\n",
        "s.yaml:4: seed 'k': before 'aa' is no service of this file; did you mean 'a'?",
    ),
    "seed of a missing file": (
        SERVICE + "x-harness: {seed: [{key: k, message: {topic: t, file: none.bin}}]}\n",
        "none.bin does not exist",
    ),
    "seed key twice": (
        SERVICE + "x-harness: {seed: [{key: k, topics: {t: 1}}, {key: k, topics: {u: 1}}]}\n",
        "s.yaml:4: seed key 'k' is used twice",
    ),
    "unset variable": (
        SERVICE + "    environment: {Q: '${NO_SUCH_VARIABLE}'}\n",
        "s.yaml:4: variable NO_SUCH_VARIABLE is not set and has no default",
    ),
    "required variable": (
        SERVICE + "    command: ['${NEED?must be set}']\n",
        "required variable NEED is missing a value",
    ),
    "no such include": ("include: [t.yaml]\n" + SERVICE, "s.yaml:1: included file "),
    "missing env_file": (SERVICE + "    env_file: nope.env\n", "nope.env not found"),
    "include itself": ("include: [s.yaml]\n" + SERVICE, "s.yaml:1: include cycle: s.yaml -> s.yaml"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=list(BAD))
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    """Every mistake must give exit code 10, one first line of at most 120 characters, and the place and the remedy."""
    path = tmp_path / "s.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_tree([path], {})
    assert caught.value.exit_code == 10
    assert len(str(caught.value).splitlines()[0]) <= 120
    assert says in str(caught.value).replace(f"{tmp_path}/", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.yaml"]


def test_all_problems_of_all_files_come_together(tmp_path: Path) -> None:
    """Problems in several included files, of several kinds, must be in one error."""
    (tmp_path / "one.yaml").write_text(SERVICE + "    x-harness: {redy: [], role: dancer}\n")
    (tmp_path / "two.yaml").write_text("services:\n  b:\n    image: x\nx-harness: {seeed: []}\nx-harnes: {}\n")
    (tmp_path / "three.yaml").write_text("services: [\n")
    (tmp_path / "s.yaml").write_text("include: [one.yaml, two.yaml, three.yaml, four.yaml]\nservices: {}\n")
    with pytest.raises(ConfigError) as caught:
        read_tree([tmp_path / "s.yaml"], {})
    text = str(caught.value)
    for part in (
        "one.yaml:4",
        "'redy'",
        "'dancer'",
        "two.yaml:4",
        "two.yaml:5",
        "three.yaml:",
        "four.yaml does not exist",
    ):
        assert part in text
    assert text.startswith("6 problems: ")


def test_an_include_cycle_names_its_files(tmp_path: Path) -> None:
    """A cycle of includes must be refused with the files on it, in order."""
    (tmp_path / "a.yaml").write_text("include: [b.yaml]\n" + SERVICE)
    (tmp_path / "b.yaml").write_text("include: [a.yaml]\n" + SERVICE.replace("  a:", "  b:"))
    with pytest.raises(ConfigError, match=r"b\.yaml:1: include cycle: a.yaml -> b.yaml -> a.yaml"):
        read_tree([tmp_path / "a.yaml"], {})


def test_includes_give_stacks_of_their_own(tmp_path: Path) -> None:
    """A stack must have only its own services, stand after those that it includes, and each must keep its seeds."""
    (tmp_path / "base.yaml").write_text(SERVICE + "x-harness: {seed: [{key: k, topics: {t: 1}}]}\n")
    for name in ("left", "right"):
        (tmp_path / f"{name}.yaml").write_text(f"include: [base.yaml]\nservices:\n  {name}: {{image: x}}\n")
    (tmp_path / "top.yaml").write_text("include: [left.yaml, right.yaml]\nservices:\n  top: {image: x}\n")
    tree = read_tree([tmp_path / "top.yaml"], {})
    assert [(stack.name, [one.name for one in stack.services]) for stack in tree.stacks] == [
        ("base", ["a"]),
        ("left", ["left"]),
        ("right", ["right"]),
        ("top", ["top"]),
    ]
    assert [seed.key for seed in tree.stack("base").settings.seed] == ["k"]
    assert set(tree.visible("top")) == {"a", "left", "right", "top"}
    assert set(tree.visible("left")) == {"a", "left"}


def test_values_are_those_of_compose(tmp_path: Path) -> None:
    """Scalars, dollars, ports, dependencies and profiles must come out as Compose means them."""
    (tmp_path / "s.yaml").write_text(
        "services:\n  a:\n    image: x\n    environment:\n      ON: on\n      OCTAL: '010'\n      CLOCK: 22:22\n"
        "      EQUALS: '='\n      DOLLAR: $$HOME\n      DEFAULT: ${NO_SUCH_VARIABLE:-here}\n      NULLED:\n"
        "    ports: ['5432', '9092:19092', '53:53/udp']\n    stop_grace_period: 1m30s\n"
        "    depends_on: {b: {condition: service_healthy}}\n"
        "  b: {image: x}\n  c: {image: x, profiles: [extra]}\n"
    )
    a = read_tree([tmp_path / "s.yaml"], {}).root.services[0]
    assert a.environment == {
        "ON": "on",
        "OCTAL": "010",
        "CLOCK": "22:22",
        "EQUALS": "=",
        "DOLLAR": "$HOME",
        "DEFAULT": "here",
    }
    assert [(port.left, port.right, port.protocol) for port in a.ports] == [
        (5432, 5432, "tcp"),
        (9092, 19092, "tcp"),
        (53, 53, "udp"),
    ]
    assert (a.stop_grace, a.depends_on) == (90.0, {"b": "service_healthy"})
    assert [one.name for one in read_tree([tmp_path / "s.yaml"], {}).root.services] == ["a", "b"]
    extra = read_tree([tmp_path / "s.yaml"], {}, profiles=["extra"])
    assert [one.name for one in extra.root.services] == ["a", "b", "c"]
