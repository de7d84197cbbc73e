"""Compose files become stacks: where a mistake is told, what is merged, included, chosen and kept."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT

from harness.errors import ConfigError
from harness.stack import Tree, read_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WEB = "services:\n  web:\n    image: x\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose path is short enough for first lines to be shown whole."""
    made = tmp_path / "f"
    made.mkdir()
    return made


def write(folder: Path, **files: str) -> Path:
    """Write ``NAME.yaml`` for every keyword; return the first one."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def refusal(folder: Path, root: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the problems for which ``root`` is refused, relative to ``folder``, after checking what holds for all."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        read_tree([root], environ or {}, strict=True)
    error = caught.value
    assert error.exit_code == 10
    assert len(str(error).splitlines()[0]) <= 120
    assert sorted(folder.rglob("*")) == before
    said = error.problems
    return [line.replace(f"{folder}/", "") for line in said]


def names(tree: Tree) -> list[tuple[str, list[str]]]:
    """Return (stack, names of its own services) in start order."""
    return [(stack.name, [service.name for service in stack.services]) for stack in tree.stacks]


WRONG_COMPOSE = {
    "indentation": (
        WEB + "   b: y\n",
        "s.yaml:4: is no YAML: while parsing a block mapping, did not find expected key",
    ),
    "tab": (
        "services:\n\tweb: {}\n",
        ("s.yaml:2: is no YAML: while scanning for the next token, found character that cannot start any token"),
    ),
    "nothing": ("", "s.yaml:1: empty compose file"),
    "key twice": (
        WEB + "    image: y\n",
        's.yaml:4: yaml: construct errors: line 1: line 4: mapping key "image" already defined at line 3',
    ),
    "key of a service": (
        "services:\n  web:\n    imagee: x\n",
        "s.yaml:3: services.web: key 'imagee' is not known to Compose; did you mean 'image'?",
    ),
    "key at the top": (
        WEB + "servics: {}\n",
        "s.yaml:4: key 'servics' is not known to Compose; did you mean 'services'?",
    ),
    "ports of a wrong type": (WEB + "    ports: 8080\n", "s.yaml:4: services.web.ports must be a array"),
    "required variable": (
        WEB + "    command: ['${NEED?must be set}']\n",
        (
            "s.yaml:4: error while interpolating services.web.command.[]: "
            "required variable NEED is missing a value: must be set"
        ),
    ),
    "include of itself": ("include: [s.yaml]\n" + WEB, "s.yaml:1: include cycle: s.yaml -> s.yaml"),
    "x-harnes": (WEB + "    x-harnes: {}\n", "s.yaml:4: key 'x-harnes' is not known; did you mean 'x-harness'?"),
    "x-harnass at the top": (
        WEB + "x-harnass: {}\n",
        "s.yaml:4: key 'x-harnass' is not known; did you mean 'x-harness'?",
    ),
    "service twice": (
        WEB + "  web:\n    image: y\n",
        's.yaml:4: yaml: construct errors: line 1: line 4: mapping key "web" already defined at line 2',
    ),
    "flow sequence left open": (
        WEB.replace("x", "[x"),
        "s.yaml:4: is no YAML: while parsing a flow sequence, did not find expected ',' or ']'",
    ),
    "list": ("- web\n", "s.yaml:1: yaml: construct errors: line 1: cannot construct !!seq into cli.named"),
    "two documents": (
        WEB + "---\n" + WEB,
        "s.yaml:4: is no YAML: expected a single document in the stream, but found ",
    ),
    "services of a wrong type": ("services: [web]\n", "s.yaml:1: services must be a mapping"),
    "service of a wrong type": ("services:\n  web: 3\n", "s.yaml:2: services.web must be a mapping"),
    "image of a wrong type": ("services:\n  web:\n    image: 5\n", "s.yaml:3: services.web.image must be a string"),
    "x_harness at the top": (
        WEB + "x_harness: {}\n",
        "s.yaml:4: key 'x_harness' is not known to Compose; did you mean 'x-harness'?",
    ),
    "x_harness": (
        WEB + "    x_harness: {}\n",
        "s.yaml:4: services.web: key 'x_harness' is not known to Compose; did you mean 'x-harness'?",
    ),
    "harness": (
        WEB + "    harness: {}\n",
        "s.yaml:4: services.web: key 'harness' is not known to Compose; did you mean 'x-harness'?",
    ),
    "x-Harness": (WEB + "    x-Harness: {}\n", "s.yaml:4: key 'x-Harness' is not known; did you mean 'x-harness'?"),
    "host port": (WEB + "    ports:\n      - '80'\n      - '99999:80'\n", "s.yaml:6: invalid hostPort: 99999"),
    "grace period": (
        WEB + "    stop_grace_period: soon\n",
        (
            "s.yaml:4: decoding failed due to the following error(s): 'services[web].stop_grace_period' time: "
            'invalid duration "soon"'
        ),
    ),
    "env_file": (
        WEB + "    env_file: none.env\n",
        "s.yaml:4: env file none.env not found: stat none.env: no such file or directory",
    ),
    "dependency": (
        WEB + "    depends_on: [wob]\n",
        's.yaml:2: service "web" depends on undefined service "wob": invalid compose project',
    ),
    "no image": (
        "services:\n  web: {}\n",
        's.yaml:2: service "web" has neither an image nor a build context specified: invalid compose project',
    ),
    "variable left open": (
        WEB + "    environment:\n      A: ${OPEN\n",
        (
            "s.yaml:5: invalid interpolation format for services.web.environment.A. "
            "You may need to escape any $ with another $. ${OPEN"
        ),
    ),
    "include is no list": ("include: t.yaml\n" + WEB, "s.yaml:1: `include` must be a list, got t.yaml"),
    "include without a path": ("include:\n  - {pth: t.yaml}\n" + WEB, "s.yaml:2: include has no path"),
    "include of no path": ("include:\n  - path: []\n" + WEB, "s.yaml:2: include has no path"),
    "include with a variable": (
        "include: ['${WHICH}.yaml']\n" + WEB,
        "s.yaml:1: include ['${WHICH}.yaml'] has a variable; harness needs the plain name of a file",
    ),
    "include of what is nowhere": (
        "include:\n  - other.yaml\n  - broker.yaml\n" + WEB,
        "s.yaml:3: included file broker.yaml does not exist; did you mean 'brokers.yaml'?",
    ),
}


@pytest.mark.parametrize(("text", "says"), WRONG_COMPOSE.values(), ids=list(WRONG_COMPOSE))
def test_a_mistake_in_compose_has_its_line(folder: Path, text: str, says: str) -> None:
    """What Compose refuses must be told with the line of the mistake, in one problem."""
    root = write(folder, s=text, other="services: {other: {image: x}}\n", brokers="services: {b: {image: x}}\n")
    problems = refusal(folder, root)
    assert len(problems) == 1
    assert problems[0].startswith(says)


def service_with(lines: str) -> str:
    """Return a file whose service publishes port 80 and has these lines under x-harness, from line 6 on."""
    return WEB + "    ports: ['80:8080']\n    x-harness:\n" + "".join(f"      {line}\n" for line in lines.splitlines())


def top_with(lines: str) -> str:
    """Return a file with these lines under x-harness, from line 2 on, and a service that publishes port 80."""
    return "x-harness:\n" + "".join(f"  {line}\n" for line in lines.splitlines()) + WEB + "    ports: ['80:8080']\n"


SEED_KINDS = "topics, message, http, exec, python"
PROBE_KINDS = "http, tcp, kafka, log, exec, file, healthy, python"

WRONG_HARNESS = {
    "no mapping": (WEB + "    x-harness: 3\n", "4: services.web.x-harness: Input should be a valid dictionary"),
    "an empty list": (WEB + "    x-harness: []\n", "4: services.web.x-harness: Input should be a valid dictionary"),
    "an empty list at the top": ("x-harness: []\n" + WEB, "1: x-harness: Input should be a valid dictionary"),
    "key far from all": (
        service_with("zzz: 1"),
        (
            "6: services.web.x-harness.zzz: key 'zzz' is not known; "
            "known here: subject, role, ready, embedded, local, host, fixed"
        ),
    ),
    "key of a service": (
        service_with("redy: []"),
        "6: services.web.x-harness.redy: key 'redy' is not known; did you mean 'ready'?",
    ),
    "key at the top": (
        top_with("seeds: []"),
        "2: x-harness.seeds: key 'seeds' is not known; did you mean 'seed'?",
    ),
    "kind of a probe": (
        service_with("ready:\n  - tpc: 80"),
        "7: services.web.x-harness.ready.0.tpc: key 'tpc' is not known; did you mean 'tcp'?",
    ),
    "key of a probe": (
        service_with("ready:\n  - http: {prot: 80}"),
        "7: services.web.x-harness.ready.0.http.prot: key 'prot' is not known; did you mean 'port'?",
    ),
    "probe with two kinds": (
        service_with("ready: [{tcp: 80, log: x}]"),
        f"6: services.web.x-harness.ready.0: a probe has tcp, log; exactly one is needed of: {PROBE_KINDS}",
    ),
    "expression": (
        service_with("ready:\n  - log: '('"),
        (
            "7: services.web.x-harness.ready.0: log: '(' is no regular expression: "
            "missing ), unterminated subpattern at position 0"
        ),
    ),
    "number of a port": (
        service_with("ready: [{tcp: 99999}]"),
        "6: services.web.x-harness.ready.0.tcp: Input should be less than or equal to 65535 (found 99999)",
    ),
    "port of a tcp probe": (service_with("ready: [{tcp: 81}]"), "6: service 'web' has no port 81; it has: 80"),
    "no port to ask": (
        WEB + "    x-harness: {ready: [{http: {}}]}\n",
        "4: service 'web' publishes no port to ask over HTTP",
    ),
    "no broker": (
        service_with("ready: [{kafka: {}}]"),
        "6: no broker is named and no service publishes port 9092; write broker: NAME:PORT",
    ),
    "broker that is no service": (
        service_with("ready: [{kafka: {broker: 'kafka:9092'}}]"),
        "6: broker 'kafka:9092' is no service and port of stack 's'",
    ),
    "seed without a kind": (
        top_with("seed:\n  - {key: a}"),
        f"3: x-harness.seed.0: a seed has none; exactly one is needed of: {SEED_KINDS}",
    ),
    "seed before nobody": (
        top_with("seed:\n  - {key: a, before: zzz, python: 'm:f'}"),
        "3: seed 'a': before 'zzz' is no service of this file",
    ),
    "seed key twice": (
        top_with("seed:\n  - {key: a, python: 'm:f'}\n  - {key: b, python: 'm:f'}\n  - {key: a, python: 'm:g'}"),
        "2: seed key 'a' is used twice",
    ),
    "file of a message": (
        top_with("seed:\n  - {key: a, message: {topic: t, file: none.bin, broker: 'web:80'}}"),
        "3: seed 'a': file none.bin does not exist",
    ),
    "topics without a broker": (
        top_with("seed:\n  - {key: a, topics: {t: 1}}"),
        "3: seed 'a': no broker is named and no service publishes port 9092; write broker: NAME:PORT",
    ),
    "message without a broker": (
        top_with("seed:\n  - {key: a, message: {topic: t, value: v}}"),
        "3: seed 'a': no broker is named and no service publishes port 9092; write broker: NAME:PORT",
    ),
    "key of timeouts": (
        top_with("timeouts:\n  up: 5s\n  reddy: 5s"),
        "4: x-harness.timeouts.reddy: key 'reddy' is not known; did you mean 'ready'?",
    ),
    "key of a seed": (
        top_with("seed:\n  - key: a\n    topcs: {t: 1}"),
        "4: x-harness.seed.0.topcs: key 'topcs' is not known; did you mean 'topics'?",
    ),
    "key of a message": (
        top_with("seed:\n  - {key: a, message: {topic: t, vlaue: v}}"),
        "3: x-harness.seed.0.message.vlaue: key 'vlaue' is not known; did you mean 'value'?",
    ),
    "key with an alias": (
        service_with("ready:\n  - http: {port: 80, jsn: {}}"),
        "7: services.web.x-harness.ready.0.http.jsn: key 'jsn' is not known; did you mean 'json'?",
    ),
    "key of a process": (
        service_with("embedded: {command: [x], environ: {}}"),
        "6: services.web.x-harness.embedded.environ: key 'environ' is not known; did you mean 'environment'?",
    ),
    "probe without a kind": (
        service_with("ready: [{}]"),
        f"6: services.web.x-harness.ready.0: a probe has none; exactly one is needed of: {PROBE_KINDS}",
    ),
    "probe without a value": (
        service_with("ready:\n  - kafka:"),
        "7: services.web.x-harness.ready.0: a probe needs a value for kafka; it has none",
    ),
    "probe that is a word": (
        service_with("ready:\n  - kafka"),
        "7: services.web.x-harness.ready.0: Input should be a valid dictionary or instance of Probe (found 'kafka')",
    ),
    "probes that are no list": (
        service_with("ready: {tcp: 80}"),
        "6: services.web.x-harness.ready: Input should be a valid tuple",
    ),
    "port of an http probe": (
        service_with("ready:\n  - {tcp: 80}\n  - {http: {port: 81}}"),
        "8: service 'web' has no port 81; it has: 80",
    ),
    "broker without a port": (
        service_with("ready: [{kafka: {broker: web}}]"),
        "6: services.web.x-harness.ready.0.kafka.broker: String should match pattern '^[\\w.-]+:\\d+$' (found 'web')",
    ),
    "port of a broker": (
        service_with("ready: [{kafka: {broker: 'web:81'}}]"),
        "6: broker 'web:81' is no service and port of stack 's'",
    ),
    "schema": (
        service_with("ready: [{kafka: {broker: 'web:80', message: {topic: t, schema: x5}}}]"),
        "6: services.web.x-harness.ready.0.kafka.message.schema: String should have at least 4 characters (found 'x5')",
    ),
    "healthy is not false": (
        service_with("ready: [{healthy: false}]"),
        "6: services.web.x-harness.ready.0.healthy: Input should be True (found False)",
    ),
    "healthcheck without a command": (
        service_with("embedded: {command: [x], healthcheck: {test: [CMD]}}"),
        (
            "6: services.web.x-harness.embedded.healthcheck: "
            "a healthcheck needs a command: [CMD, word, ...], [CMD-SHELL, line] or a line"
        ),
    ),
    "command that is a line": (
        service_with("embedded: {command: sleep 5}"),
        "6: services.web.x-harness.embedded.command: Input should be a valid tuple (found 'sleep 5')",
    ),
    "word that is none": (
        service_with("embedded: {command: [5]}"),
        "6: services.web.x-harness.embedded.command.0: Input should be a valid string (found 5)",
    ),
    "command without words": (
        service_with("embedded: {command: []}"),
        "6: services.web.x-harness.embedded.command: Tuple should have at least 1 item after validation, not 0",
    ),
    "role": (
        service_with("role: onshot"),
        "6: services.web.x-harness.role: Input should be 'service' or 'oneshot' (found 'onshot')",
    ),
    "duration in words": (
        top_with("timeouts: {up: 3 sec}"),
        "2: x-harness.timeouts.up: a duration such as 90s or 1m30s was needed (found '3 sec')",
    ),
    "duration of nothing": (
        top_with("timeouts: {up: 0s}"),
        "2: x-harness.timeouts.up: Input should be greater than 0 (found '0s')",
    ),
    "duration that is no number": (
        top_with("timeouts: {up: true}"),
        "2: x-harness.timeouts.up: a duration such as 90s or 1m30s was needed (found True)",
    ),
    "seed with two kinds": (
        top_with("seed:\n  - {key: a, topics: {t: 1}, python: 'm:f'}"),
        f"3: x-harness.seed.0: a seed has topics, python; exactly one is needed of: {SEED_KINDS}",
    ),
    "seed without a value": (
        top_with("seed:\n  - {key: a, topics: }"),
        "3: x-harness.seed.0: a seed needs a value for topics; it has none",
    ),
    "seed without a key": (top_with("seed:\n  - {python: 'm:f'}"), "3: x-harness.seed.0.key: Field required"),
    "message without content": (
        top_with("seed:\n  - {key: a, message: {topic: t}}"),
        "3: x-harness.seed.0.message: a message has none; exactly one is needed of: value, json, file",
    ),
    "message without a value": (
        top_with("seed:\n  - {key: a, message: {topic: t, value: }}"),
        "3: x-harness.seed.0.message: a message needs a value for value; it has none",
    ),
    "topic without partitions": (
        top_with("seed:\n  - {key: a, topics: {t: 0}}"),
        "3: x-harness.seed.0.topics.t: Input should be greater than or equal to 1 (found 0)",
    ),
    "reference that is none": (
        top_with("seed:\n  - {key: a, python: module}"),
        "3: x-harness.seed.0.python: String should match pattern '^[\\w.]+:\\w+$' (found 'module')",
    ),
    "second seed before nobody": (
        top_with("seed:\n  - {key: a, python: 'm:f'}\n  - {key: b, before: wbe, python: 'm:f'}"),
        "4: seed 'b': before 'wbe' is no service of this file; did you mean 'web'?",
    ),
    "service of a request": (
        top_with("seed:\n  - {key: a, http: {service: wob, port: 80}}"),
        "3: seed 'a': service 'wob' does not exist; did you mean 'web'?",
    ),
    "port of a request": (
        top_with("seed:\n  - {key: a, http: {service: web, port: 81}}"),
        "3: seed 'a': service 'web' has no port 81; it has: 80",
    ),
    "file of a request": (
        top_with("seed:\n  - {key: a, http: {service: web, port: 80, file: none.json}}"),
        "3: seed 'a': file none.json does not exist",
    ),
    "service of a command": (
        top_with("seed:\n  - {key: a, exec: {service: zzz, command: [x]}}"),
        "3: seed 'a': service 'zzz' does not exist",
    ),
    "broker of a message": (
        top_with("seed:\n  - {key: a, message: {topic: t, value: v, broker: 'kafka:9092'}}"),
        "3: seed 'a': broker 'kafka:9092' is no service and port of stack 's'",
    ),
    "name that is nearly ours": (
        top_with("seed: []") + "    x-harnes: {}\n",
        "7: key 'x-harnes' is not known; did you mean 'x-harness'?",
    ),
}


@pytest.mark.parametrize(("text", "says"), WRONG_HARNESS.values(), ids=list(WRONG_HARNESS))
def test_a_mistake_under_x_harness_has_its_line(folder: Path, text: str, says: str) -> None:
    """Every key, value and name under x-harness that cannot be meant must be told with its line, in one problem."""
    problems = refusal(folder, write(folder, s=text))
    assert len(problems) == 1
    assert problems[0].startswith(f"s.yaml:{says}")


def test_a_file_that_is_no_utf8_is_told_with_the_byte(folder: Path) -> None:
    """A file in another encoding must be refused with the place of the first wrong byte, from an include as well."""
    root = write(folder, s="include: [t.yaml]\n" + WEB)
    (folder / "t.yaml").write_bytes(b"# caf\xe9\nservices: {}\n")
    assert refusal(folder, root) == ["t.yaml: is no UTF-8 at byte 5"]


def test_a_file_that_is_not_there_is_told(folder: Path) -> None:
    """A root file that does not exist must be refused by its path."""
    assert refusal(folder, folder / "s.yaml") == ["s.yaml: cannot be read: No such file or directory"]


def test_the_problems_of_all_files_are_told_once_each(folder: Path) -> None:
    """Mistakes of every kind in every included file must come in one error, and none again for who includes it."""
    root = write(
        folder,
        top="include: [middle.yaml, other.yaml]\nx-harness: {sead: []}\nservices:\n  top: {image: x}\n",
        middle="include: [bottom.yaml]\nservices:\n  middle:\n    image: x\n    x-harness: {redy: []}\n",
        bottom="services:\n  bottom:\n    imagee: x\n",
        other="services:\n  other:\n    image: x\n    environment: {A: '${NOWHERE}'}\n    x-harnes: {}\n"
        "    x-harness:\n      role: dancer\n      fixed: 3\n",
    )
    assert refusal(folder, root) == [
        "other.yaml:5: key 'x-harnes' is not known; did you mean 'x-harness'?",
        "other.yaml:4: variable NOWHERE is not set and has no default",
        "bottom.yaml:3: services.bottom: key 'imagee' is not known to Compose; did you mean 'image'?",
        "other.yaml:7: services.other.x-harness.role: Input should be 'service' or 'oneshot' (found 'dancer')",
        (
            "other.yaml:8: services.other.x-harness.fixed: Input should be a valid boolean, unable to interpret input "
            "(found 3)"
        ),
    ]


def test_a_cycle_of_includes_is_told_with_its_way(folder: Path) -> None:
    """A cycle must name the files on it in order, without those that only lead to it."""
    root = write(
        folder,
        start="include: [a.yaml]\n" + WEB,
        a="include: [b.yaml]\nservices: {}\n",
        b="include: [c.yaml]\nservices: {}\n",
        c="# back\ninclude: [a.yaml]\nservices: {}\n",
    )
    assert refusal(folder, root) == ["c.yaml:2: include cycle: a.yaml -> b.yaml -> c.yaml -> a.yaml"]


def test_two_included_files_cannot_have_one_stack_name(folder: Path) -> None:
    """Files of the same name in different folders must be refused when they meet in one tree."""
    (folder / "sub").mkdir()
    write(folder / "sub", kafka="services: {other: {image: x}}\n")
    root = write(
        folder,
        s="include: [kafka.yaml, sub/kafka.yaml]\n" + WEB,
        kafka="services: {kafka: {image: x}}\n",
    )
    assert refusal(folder, root) == ["sub/kafka.yaml:1: stack 'kafka' is also the name of kafka.yaml"]


def test_one_service_name_in_two_included_stacks_is_refused(folder: Path) -> None:
    """A name that would mean two services must be refused where both are included, and nowhere above."""
    root = write(
        folder,
        top="include: [s.yaml]\nservices: {top: {image: x}}\n",
        s="include: [one.yaml, two.yaml]\n" + WEB,
        one="services: {db: {image: x}}\n",
        two="services: {db: {image: y}}\n",
    )
    assert refusal(folder, root) == ["s.yaml:1: service 'db' is in more than one included stack: one, two"]


def test_a_service_of_an_include_cannot_be_declared_again(folder: Path) -> None:
    """A service that the file and its include both declare must be refused, not silently be the included one."""
    root = write(folder, s="include: [t.yaml]\n" + WEB, t="services: {web: {image: y}}\n")
    assert refusal(folder, root) == ["s.yaml:3: service 'web' is also in an included file; give it another name"]


def test_each_required_variable_is_a_problem_of_its_own(folder: Path) -> None:
    """Compose writes an error in a line for each; none of them may be hidden behind another, or without its place."""
    web = WEB + "    command: ['${FIRST?a}']\n    hostname: ${SECOND?b}\n"
    problems = refusal(folder, write(folder, s=web))
    assert [line.count("error while interpolating") for line in problems] == [1] * len(problems)
    assert not [line for line in problems if not line.startswith(("s.yaml:4: ", "s.yaml:5: "))]


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (["A: ${NEED}"], 5),
        (["A: $NEED"], 5),
        (["# set ${NEED} first", "A: ${NEED}"], 6),
        (["A: ${NEED_NOT:-x}", "B: $NEEDLESS", "C: ${NEED}"], 7),
        (["A: ${NEED:-here it has one}", "B: ${NEED}"], 6),
        (["A: $${NEED}", "B: $$$NEED"], 6),
        (["A: ${OTHER:-${NEED}}"], 5),
    ],
)
def test_an_unset_variable_is_told_where_it_is_used(folder: Path, lines: list[str], number: int) -> None:
    """A variable without a value must be told with the line that uses it, not with one that only looks like it."""
    text = WEB + "    environment:\n" + "".join(f"      {line}\n" for line in lines)
    environ = {"NEEDLESS": "1"}
    problems = refusal(folder, write(folder, s=text), environ)
    assert problems == [f"s.yaml:{number}: variable NEED is not set and has no default"]
    (note,) = read_tree([folder / "s.yaml"], environ).root.notes
    assert note == f'{folder}/s.yaml:{number}: variable NEED is not set and has no default, so it is ""'
    assert read_tree([folder / "s.yaml"], {**environ, "NEED": "1"}).root.services[0].name == "web"


def test_an_unset_variable_of_an_env_file_is_told_there(folder: Path) -> None:
    """Where a variable is used in a service's env_file, that file and line must be named, not the stack's."""
    (folder / "svc.env").write_text("# a password\nPW=abc$def\n")
    root = write(folder, s=WEB + "    env_file: [svc.env]\n")
    assert refusal(folder, root) == ["svc.env:2: variable def is not set and has no default"]


@pytest.mark.parametrize("image", ["app:${TAG}", "${REGISTRY}/app:${TAG}", "app@${DIGEST}"])
def test_an_image_without_a_name_is_refused(folder: Path, image: str) -> None:
    """A variable that leaves no image to run must be named before an engine is asked, though others may be empty."""
    with pytest.raises(ConfigError) as caught:
        read_tree([write(folder, s=f"services:\n  web: {{image: '{image}'}}\n")], {})
    assert any(re.search(r"s\.yaml:2: variable (TAG|DIGEST) is not set", line) for line in caught.value.problems)


def test_what_compose_refuses_names_the_unset_variables(folder: Path) -> None:
    """When an empty value is why Compose refuses a file, the variable must be told beside its words."""
    root = write(folder, s=WEB + "    mem_limit: ${LIMIT}x\n")
    with pytest.raises(ConfigError, match=r"variable LIMIT is not set"):
        read_tree([root], {})


def test_every_env_file_counts_that_compose_would_read(folder: Path) -> None:
    """``.env`` of the file's folder, and before it that of the command's, must reach included files too."""
    here = folder / "here"
    here.mkdir()
    (here / ".env").write_text("A=here\nC=here\n")
    (folder / ".env").write_text("A=file\nB=file\n")
    (folder / "sub").mkdir()
    (folder / "sub" / ".env").write_text("A=sub\nD=sub\n")
    text = "services:\n  {}:\n    image: x\n    environment: {{V: '${{A}} ${{B}} ${{C}} ${{D:-}}'}}\n"
    write(folder / "sub", low=text.format("low"))
    root = write(folder, s="include: [sub/low.yaml]\n" + text.format("web"))
    tree = read_tree([root], {}, folder=here)
    values = {service.name: service.environment["V"] for stack in tree.stacks for service in stack.services}
    assert values == {"web": "here file here ", "low": "here file here sub"}


def test_every_unset_variable_is_told(folder: Path) -> None:
    """Several variables without a value must be told together."""
    root = write(folder, s=WEB + "    environment:\n      A: ${ONE}\n      B: ${TWO}\n      C: ${ONE}\n")
    assert refusal(folder, root) == [
        "s.yaml:5: variable ONE is not set and has no default",
        "s.yaml:6: variable TWO is not set and has no default",
    ]


def test_an_unset_variable_of_an_extended_file_is_told(folder: Path) -> None:
    """A variable that is used in a file that is neither root nor include must not silently be empty."""
    root = write(
        folder,
        s="services:\n  web:\n    extends: {file: base.yaml, service: base}\n",
        base="services:\n  base:\n    image: x\n    environment: {A: '${NOWHERE}'}\n",
    )
    assert refusal(folder, root) == ["s.yaml:1: variable NOWHERE is not set and has no default"]


@pytest.mark.parametrize(
    ("written", "environ", "value"),
    [
        ("${A:-default}", {}, "default"),
        ("${A:-default}", {"A": ""}, "default"),
        ("${A-default}", {"A": ""}, ""),
        ("${A:-default}", {"A": "set"}, "set"),
        ("$$A", {"A": "set"}, "$A"),
        ("$${A}", {"A": "set"}, "${A}"),
        ("$$$$", {}, "$$"),
        ("a$$b$${c}d", {}, "a$b${c}d"),
    ],
)
def test_variables_and_dollars_mean_what_compose_means(
    folder: Path, written: str, environ: dict[str, str], value: str
) -> None:
    """A variable must have its value or default, and a doubled dollar be one, in services and under x-harness."""
    text = WEB + f"    environment: {{A: '{written}'}}\n    x-harness: {{subject: '{written}'}}\n"
    web = read_tree([write(folder, s=text)], environ).root.services[0]
    assert web.environment == {"A": value}
    assert web.settings.subject == value


@pytest.mark.parametrize("name", ["COMPOSE_PROFILES", "HARNESS_HOST_WEB", "HARNESS_PORT_WEB_80"])
def test_names_that_are_given_to_containers_are_not_read_from_the_caller(folder: Path, name: str) -> None:
    """Variables of ours and Compose's own settings must not change how a file is read."""
    root = write(folder, s=WEB + f"    environment: {{A: '${{{name}:-default}}'}}\n")
    assert read_tree([root], {name: "leaked"}).root.services[0].environment == {"A": "default"}


def test_the_env_file_beside_a_stack_gives_it_variables(folder: Path) -> None:
    """Variables in the stack folder's .env must count as set, and the caller's win over them."""
    (folder / ".env").write_text("A=file\nB=file\n")
    root = write(folder, s=WEB + "    environment: {A: '${A}', B: '${B}'}\n")
    assert read_tree([root], {"B": "caller"}).root.services[0].environment == {"A": "file", "B": "caller"}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("'010'", "010"),
        ("22:22", "22:22"),
        ("=", "="),
        ("~x", "~x"),
        ("'~'", "~"),
        ("'null'", "null"),
        ("'1_000'", "1_000"),
        ("'0o17'", "0o17"),
        ("'true'", "true"),
        ("1.5", 1.5),
        ("12", 12),
        ("true", True),
        ("null", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(folder: Path, written: str, value: object) -> None:
    """A scalar under x-harness must have the value and type that it has in YAML 1.2."""
    text = service_with(f"ready:\n  - http: {{port: 80, json: {{a: {written}}}}}")
    probe = read_tree([write(folder, s=text)], {}).root.services[0].settings.ready[0]
    assert probe.http is not None
    found = probe.http.json_["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("written", "ports"),
    [
        ("['80']", [(80, 80, "tcp")]),
        ("['9092:19092']", [(9092, 19092, "tcp")]),
        ("['127.0.0.1:9092:19092']", [(9092, 19092, "tcp")]),
        ("['5064:5064/tcp', '5064:5064/udp']", [(5064, 5064, "tcp"), (5064, 5064, "udp")]),
        ("['8000-8001:9000-9001']", [(8000, 9000, "tcp"), (8001, 9001, "tcp")]),
        ("[{target: 80}]", [(80, 80, "tcp")]),
        ("[{target: 80, published: '8080', protocol: udp}]", [(8080, 80, "udp")]),
        ("[22:22]", [(22, 22, "tcp")]),
        ("['8000-8002:80']", [(80, 80, "tcp")]),
        ("['0:80']", [(80, 80, "tcp")]),
    ],
)
def test_ports_have_their_left_and_right_number(folder: Path, written: str, ports: list[tuple[int, int, str]]) -> None:
    """A port must have its left and right number in the short and the long form; of a range, or with 0, its own."""
    web = read_tree([write(folder, s=WEB + f"    ports: {written}\n")], {}).root.services[0]
    assert [(port.left, port.right, port.protocol) for port in web.ports] == ports


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("[db]", {"db": "service_started"}),
        ("{db: {condition: service_healthy}}", {"db": "service_healthy"}),
        ("{db: {condition: service_completed_successfully}}", {"db": "service_completed_successfully"}),
    ],
)
def test_dependencies_keep_their_condition(folder: Path, written: str, found: dict[str, str]) -> None:
    """A dependency must have its condition, which is service_started when none is written."""
    root = write(folder, s=WEB + f"    depends_on: {written}\n  db: {{image: y}}\n")
    web = read_tree([root], {}).root.service("web")
    assert web is not None
    assert web.depends_on == found


@pytest.mark.parametrize(("written", "seconds"), [("1m30s", 90.0), ("500ms", 0.5), ("10s", 10.0)])
def test_a_grace_period_is_in_seconds(folder: Path, written: str, seconds: float) -> None:
    """stop_grace_period must come out in seconds."""
    root = write(folder, s=WEB + f"    stop_grace_period: {written}\n")
    assert read_tree([root], {}).root.services[0].stop_grace == seconds


def test_mounts_have_absolute_sources(folder: Path) -> None:
    """A bind mount must have an absolute source, from the file's folder, and a volume its name."""
    text = WEB + "    volumes: ['./a.ini:/etc/a.ini:ro', 'data:/data']\n    tmpfs: [/scratch]\nvolumes: {data: {}}\n"
    mounts = read_tree([write(folder, s=text)], {}).root.services[0].mounts
    assert [(mount.kind, mount.source, mount.target, mount.read_only) for mount in mounts] == [
        ("bind", str(folder.resolve() / "a.ini"), "/etc/a.ini", True),
        ("volume", "data", "/data", False),
    ]


@pytest.mark.parametrize(
    ("written", "has"),
    [("test: [CMD, x]", True), ("disable: true", False), ("test: [NONE]", False)],
)
def test_a_container_healthcheck_is_noticed(folder: Path, written: str, has: bool) -> None:
    """A service must be known to have a healthcheck unless it is disabled."""
    root = write(folder, s=WEB + f"    healthcheck: {{{written}}}\n")
    assert read_tree([root], {}).root.services[0].has_healthcheck is has


def test_a_file_without_x_harness_is_a_stack(folder: Path) -> None:
    """A plain Compose file must be read, with default settings and services that are known to have none."""
    root = read_tree([write(folder, s=WEB)], {}).root
    assert [service.has_settings for service in root.services] == [False]
    assert root.services[0].settings.ready == ()
    assert (root.settings.seed, root.settings.timeouts.up) == ((), 120.0)
    assert (root.name, root.files, root.folder) == ("s", (folder.resolve() / "s.yaml",), folder.resolve())


def test_an_empty_x_harness_means_the_defaults(folder: Path) -> None:
    """An x-harness with nothing under it must mean no settings."""
    root = read_tree([write(folder, s="x-harness:\n" + WEB + "    x-harness:\n")], {}).root
    assert (root.settings.seed, root.services[0].settings.ready) == ((), ())


def test_every_setting_comes_through(folder: Path) -> None:
    """Everything that can be written under x-harness must be in the values."""
    root = read_tree(
        [
            write(
                folder,
                s=top_with("timeouts: {up: 2m, ready: 90, down: 1.5s}\nseed: [{key: k, before: web, python: 'm:f'}]")
                + "    x-harness:\n      subject: web\n      fixed: true\n      ready: [{log: 'up$$'}, {tcp: 8080}]\n"
                "      embedded: {command: [python, -m, web], cwd: ., environment: {A: 1, B: null}, stop: [x]}\n",
            )
        ],
        {},
    ).root
    timeouts = root.settings.timeouts
    assert (timeouts.up, timeouts.ready, timeouts.down) == (120.0, 90.0, 1.5)
    assert [(seed.key, seed.before, seed.python) for seed in root.settings.seed] == [("k", "web", "m:f")]
    settings = root.services[0].settings
    assert (settings.subject, settings.role, settings.fixed) == ("web", "service", True)
    assert [(probe.kind, getattr(probe, probe.kind)) for probe in settings.ready] == [("log", "up$"), ("tcp", 8080)]
    assert settings.embedded is not None
    assert settings.embedded.command == ("python", "-m", "web")
    assert settings.embedded.environment == {"A": 1, "B": None}
    assert settings.embedded.stop == ("x",)


@pytest.mark.parametrize(
    ("profiles", "chosen"),
    [((), ["web"]), (("debug",), ["debug", "web"]), (("trace",), ["debug", "trace", "web"]), (("none",), ["web"])],
)
def test_profiles_choose_services(folder: Path, profiles: Iterable[str], chosen: list[str]) -> None:
    """A service must be there when it has no profile or an active one."""
    root = write(
        folder,
        s=WEB + "  debug: {image: x, profiles: [debug, trace]}\n  trace: {image: x, profiles: [trace]}\n",
    )
    assert sorted(service.name for service in read_tree([root], {}, profiles=profiles).root.services) == chosen


def test_a_diamond_of_includes_has_its_foot_once(folder: Path) -> None:
    """A stack that is included twice must be one stack, below both that stand on it."""
    root = write(
        folder,
        top="include: [left.yaml, right.yaml]\nservices: {top: {image: x}}\n",
        left="include: [foot.yaml]\nservices: {left: {image: x}}\n",
        right="include: [{path: foot.yaml}]\nservices: {right: {image: x}}\n",
        foot="x-harness: {seed: [{key: k, python: 'm:f'}]}\nservices: {foot: {image: x}}\n",
    )
    tree = read_tree([root], {})
    assert names(tree) == [("foot", ["foot"]), ("left", ["left"]), ("right", ["right"]), ("top", ["top"])]
    assert [stack.includes for stack in tree.stacks] == [(), ("foot",), ("foot",), ("left", "right")]
    assert [seed.key for seed in tree.stack("foot").settings.seed] == ["k"]
    assert tree.root.settings.seed == ()


def test_an_include_is_read_in_its_own_folder(folder: Path) -> None:
    """Relative paths and .env of an included file must be those of its own folder."""
    (folder / "sub").mkdir()
    (folder / "sub" / ".env").write_text("A=sub\n")
    write(
        folder / "sub", base="services:\n  base:\n    image: x\n    environment: {A: '${A}'}\n    volumes: ['./f:/f']\n"
    )
    tree = read_tree([write(folder, s="include: [sub/base.yaml]\n" + WEB)], {})
    base = tree.stack("base").services[0]
    assert base.environment == {"A": "sub"}
    assert base.mounts[0].source == str(folder.resolve() / "sub" / "f")


def test_the_long_form_of_include_is_obeyed(folder: Path) -> None:
    """An include with several files, an env_file and a project_directory must be read with them."""
    (folder / "elsewhere").mkdir()
    (folder / "values.env").write_text("A=values\n")
    root = write(
        folder,
        s="include:\n  - {path: [base.yaml, over.yaml], env_file: values.env, project_directory: elsewhere}\n" + WEB,
        base="services:\n  base:\n    image: x\n    environment: {A: '${A}'}\n    volumes: ['./f:/f']\n",
        over="services:\n  base: {image: y}\n  more: {image: x}\n",
    )
    tree = read_tree([root], {})
    assert names(tree) == [("base", ["base", "more"]), ("s", ["web"])]
    base = tree.stack("base").services[0]
    assert (base.image, base.environment) == ("y", {"A": "values"})
    assert base.mounts[0].source == str(folder.resolve() / "elsewhere" / "f")


def test_several_files_are_one_stack(folder: Path) -> None:
    """Files that are given together must be merged as Compose merges them, under the name of the first."""
    write(folder, one=WEB + "    environment: {A: one, B: one}\n", two="services:\n  web:\n    environment: {B: two}\n")
    tree = read_tree([folder / "one.yaml", folder / "two.yaml"], {})
    assert names(tree) == [("one", ["web"])]
    assert tree.root.services[0].environment == {"A": "one", "B": "two"}


def test_a_mistake_in_the_second_file_is_told_there(folder: Path) -> None:
    """A mistake in a file that is merged over another must be told with its own file and line."""
    write(folder, one=WEB, two="services:\n  web: {}\n  other:\n    image: x\n    x-harness: {redy: []}\n")
    with pytest.raises(ConfigError) as caught:
        read_tree([folder / "one.yaml", folder / "two.yaml"], {})
    assert caught.value.summary == (
        f"{folder}/two.yaml:5: services.other.x-harness.redy: key 'redy' is not known; did you mean 'ready'?"
    )


BASE = """
x-harness:
  seed:
    - {key: first, exec: {service: web, command: [a]}}
services:
  web:
    image: x
    ports: ["80"]
    x-harness:
      ready: [{tcp: 80}]
"""


@pytest.mark.parametrize(
    ("over", "said"),
    [
        (
            "services:\n  web:\n    x-harness:\n      embedded:\n        preset: postgre\n",
            "5: services.web.x-harness.emb",
        ),
        (
            "services:\n  web:\n    x-harness:\n      redy: []\n",
            "4: services.web.x-harness.redy: key 'redy' is not known",
        ),
        (
            "services:\n  web:\n    x-harness:\n      ready:\n        - {tcp: 80}\n        - {tcp: 81}\n",
            "6: service 'web' has no",
        ),
        (
            "services:\n  web:\n    x-harness:\n      ready: !override\n        - {tcp: 81}\n        - {tcp: 80}\n",
            "5: service 'web' has no",
        ),
        ("x-harness:\n  seeds: []\n", "2: x-harness.seeds: key 'seeds' is not known"),
        (
            "x-harness:\n  seed:\n    - {key: second, exec: {service: wib, command: [a]}}\n",
            "3: seed 'second': service 'wib' does not exist",
        ),
        (
            "x-harness:\n  seed:\n    - {key: first, exec: {service: web, command: [b]}}\n",
            "2: seed key 'first' is used twice",
        ),
    ],
)
def test_a_mistake_in_what_is_laid_over_is_told_there(folder: Path, over: str, said: str) -> None:
    """Of a service and lists that both files have a say in, a mistake must be placed in the last file that has it."""
    write(folder, one=BASE, two=over)
    with pytest.raises(ConfigError) as caught:
        read_tree([folder / "one.yaml", folder / "two.yaml"], {})
    assert [line.partition("yaml:")[2][: len(said)] for line in caught.value.problems or [caught.value.summary]] == [
        said
    ]
    assert caught.value.summary.startswith(f"{folder}/two.yaml:")


def test_a_mistake_below_what_is_laid_over_keeps_its_place(folder: Path) -> None:
    """A mistake that is only in the first file must be placed there, whatever is laid over the same service."""
    write(
        folder,
        one=BASE.replace("tcp: 80", "tcp: 81"),
        two="services:\n  web:\n    x-harness:\n      ready: [{tcp: 80}]\n",
    )
    with pytest.raises(ConfigError) as caught:
        read_tree([folder / "one.yaml", folder / "two.yaml"], {})
    assert caught.value.summary == f"{folder}/one.yaml:10: service 'web' has no port 81; it has: 80"


@pytest.mark.parametrize("file", ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"])
@pytest.mark.parametrize(("head", "name"), [("name: shop\n", "shop"), ("", "f"), ("name: shop-${WHICH:-one}\n", "f")])
def test_a_default_file_name_says_nothing_about_the_stack(folder: Path, file: str, head: str, name: str) -> None:
    """A file with one of Compose's default names must be called by its ``name:``, or else by its folder."""
    (folder / file).write_text(head + WEB)
    assert read_tree([folder / file], {}).root.name == name


def test_a_named_file_gives_its_name_to_the_stack(folder: Path) -> None:
    """A stack must be called as its file is, whatever ``name:`` says."""
    assert read_tree([write(folder, shop="name: other\n" + WEB)], {}).root.name == "shop"


STACKS = sorted(path.stem for path in (ROOT / "compose").glob("*.yaml") if "\nname: " in path.read_text())


@pytest.mark.parametrize("name", STACKS)
def test_the_stacks_of_this_project_are_right(name: str) -> None:
    """Every stack of the project itself must be read without a word, with services and a way to run them."""
    root = read_tree([ROOT / "compose" / f"{name}.yaml"], {}).root
    assert root.name == name
    assert root.services
    assert all(service.settings.ready for service in root.services)
    # No broker that runs as a process here checks passwords.
    assert all(
        service.settings.embedded or service.settings.host or service.name == "kafka_sasl" for service in root.services
    )


def test_every_stack_of_this_project_belongs_to_a_system() -> None:
    """A file with a stack that no system lists, or a listed one that is not there, must not be forgotten."""
    systems = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["harness"]["systems"]
    assert sorted({stack for system in systems.values() for stack in system["stacks"]}) == STACKS
