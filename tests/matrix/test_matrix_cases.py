"""Tests of a matrix, as their files say: old files load as they are, and what is wrong is told in words."""

from __future__ import annotations

import pytest

from harness.errors import ConfigError
from harness.matrix.cases import DEFAULT_TIMEOUT, Case, Resources, Role, doubles, read_case
from harness.matrix.durations import parse_go_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3ms", 0.003),
        ("3s", 3),
        ("3m", 180),
        ("3h", 10800),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("1.s", 1),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("250\u03bcs", 0.00025),
        ("10ns", 1e-8),
        ("-2m", -120),
        ("+2m", 120),
        ("0", 0),
        ("1m0.5s", 60.5),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    """All units, fractions and signs that ``time.ParseDuration`` takes are taken."""
    assert parse_go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "3", "3 s", "s", "-", "1d", "3S", ".s", "1h-3m", "9999999999h", "3s ", "٣s"])
def test_what_go_does_not_read_is_no_duration(text: str) -> None:
    """The sentence says what one looks like."""
    with pytest.raises(ValueError, match=r"a duration such as 3ms, 1\.5s or 1h30m was needed"):
        parse_go_duration(text)


SEED = """    {
      "timeout": "3m"
    }

# `net-link` Test basic link establishment.

## Scenario

The Worker must start an endpoint.
"""


def test_an_old_file_loads_as_it_is() -> None:
    """An indented header, the rest trimmed as the description, worker and driver with their defaults."""
    case = read_case("net-link", SEED)
    assert (case.name, case.timeout) == ("net-link", 180)
    assert case.roles == (Role("worker"), Role("driver"))
    assert case.description.startswith("# `net-link` Test basic")
    assert case.description.endswith("an endpoint.")
    assert case.header == {"timeout": "3m"}
    assert (case.params, case.resources, case.measures, case.retries) == ({}, Resources(), False, 0)


@pytest.mark.parametrize(
    "text",
    [
        '{"timeout": "3s"}\nWords.\n',
        '\ufeff\n\n{"timeout":"3s"} Words.',
        '```json\n{"timeout": "3s"}\n```\n\nWords.',
        '~~~\n{"timeout": "3s"}\n~~~\nWords.',
        '\t{\n\t"timeout":\n\t"3s"}\n\n\nWords.\n\n',
    ],
)
def test_the_header_is_the_first_value_of_json(text: str) -> None:
    """However it is indented or fenced."""
    case = read_case("t", text)
    assert (case.timeout, case.description) == (3, "Words.")


@pytest.mark.parametrize("timeout", ["null", "0", '"0"', '"-3s"'])
def test_no_time_means_ten_minutes(timeout: str) -> None:
    """As do none and less than none."""
    assert read_case("t", f'{{"timeout": {timeout}}}').timeout == read_case("t", "{}").timeout == DEFAULT_TIMEOUT == 600


def test_roles_come_in_declared_order_then_worker_then_driver() -> None:
    """Commands are split as a shell splits words, and no shell runs them."""
    case = read_case(
        "t",
        """{"containers": {"relay": {"command": "th-relay 'a b' $HOME", "image": "i@sha256:1"},
            "driver": {"command": "x y"}, "a": {"command": ["p", "q r"]}}}""",
    )
    assert case.roles == (
        Role("relay", ("th-relay", "a b", "$HOME"), "i@sha256:1"),
        Role("a", ("p", "q r")),
        Role("worker"),
        Role("driver", ("x", "y")),
    )
    assert [role.name for role in case.extras] == ["relay", "a"]


def test_newer_keys_are_read() -> None:
    """Parameters are texts, whatever they are in JSON; a reason for all or for some is kept."""
    case = read_case(
        "t",
        """{"params": {"size": [1, 64, "1M"], "fast": [true]}, "measure": true, "retries": 2, "skip": {"go*": "no UDP"},
            "resources": {"cpu": 1, "memory": "256MiB", "exclusive": ["udp"]}}""",
    )
    assert case.params == {"size": ("1", "64", "1M"), "fast": ("true",)}
    assert (case.measures, case.retries, case.skip) == (True, 2, {"go*": "no UDP"})
    assert case.resources == Resources(1, 256 * 2**20, ("udp",))
    assert read_case("t", '{"skip": "not yet"}').skip == {"*": "not yet"}


def test_unknown_keys_are_noted_and_no_mistake() -> None:
    """An old file may hold what nobody reads any more."""
    case = read_case("t", '{"author": "x", "containers": {"worker": {"ports": []}}}')
    assert case.notes == (
        "t.md: key 'author' means nothing here",
        "t.md: containers.worker: key 'ports' means nothing here",
    )


NEEDED = '; a JSON object was needed, such as {"timeout": "20s"}'
WRONG = {
    "no header": ("", f"t.md: has no header{NEEDED}"),
    "words": ("# title\n{}", f"t.md:1: header is no JSON: Expecting value (it begins '# title'){NEEDED}"),
    "open": (
        '\n{"timeout": "3s"\n',
        "t.md:3: header is no JSON: Expecting ',' delimiter (it begins '{\"timeout\": \"3s\"')" + NEEDED,
    ),
    "a key twice": (
        '{"containers": {"a": {"command": "x"}, "a": {"command": "y"}}}',
        "t.md: header has 'a' twice, it was needed once",
    ),
    "a list": ("[1]", "t.md: header is [1], a JSON object was needed"),
    "timeout": ('{"timeout": "3x"}', "t.md: timeout is '3x', a duration such as 3ms, 1.5s or 1h30m was needed"),
    "timeout number": ('{"timeout": 3}', "t.md: timeout is 3, a duration such as 3ms, 1.5s or 1h30m was needed"),
    "timeout flag": ('{"timeout": false}', "t.md: timeout is False, a duration such as 3ms, 1.5s or 1h30m was needed"),
    "containers": ('{"containers": []}', "t.md: containers is [], a table was needed"),
    "role": ('{"containers": {"relay": 3}}', "t.md: containers.relay is 3, an object was needed"),
    "role's name": (
        '{"containers": {"a b": {"command": "x"}}}',
        "t.md: containers: role 'a b' is no host's name; letters, digits, _ and - were needed",
    ),
    "no command": (
        '{"containers": {"relay": {}}}',
        "t.md: containers.relay: command is missing; a role that is neither worker nor driver needs one",
    ),
    "empty command": (
        '{"containers": {"relay": {"command": " "}}}',
        "t.md: containers.relay: command is ' ', at least one word was needed",
    ),
    "quotes": (
        '{"containers": {"worker": {"command": "a \'b"}}}',
        't.md: containers.worker: command is "a \'b", which cannot be split into words: No closing quotation',
    ),
    "parameter": ('{"params": {"size": 3}}', "t.md: params.size is 3, a list of texts or numbers was needed"),
    "parameter's value": (
        '{"params": {"size": ["a/b"]}}',
        "t.md: params.size: 'a/b' is no value; letters, digits and any of _.+:- were needed",
    ),
    "retries": ('{"retries": -1}', "t.md: retries is -1, a whole number from 0 on was needed"),
    "memory": (
        '{"resources": {"memory": "much"}}',
        "t.md.resources: memory is 'much', a size such as 256MiB was needed",
    ),
    "resources": (
        '{"resources": {"cpus": 1}}',
        "t.md.resources: key 'cpus' is not known; did you mean 'cpu'?",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_header_is_told_with_file_and_key(name: str) -> None:
    """With what was found, and what was needed."""
    text, sentence = WRONG[name]
    with pytest.raises(ConfigError) as caught:
        read_case("t", text)
    assert caught.value.problems == (sentence,)


def test_all_that_is_wrong_is_told_at_once() -> None:
    """A second run for the second mistake is one too many."""
    with pytest.raises(ConfigError) as caught:
        read_case("t", '{"timeout": "x", "retries": "y", "containers": {"a": {}}}', "tests/t.md")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["tests/t.md"] * 3


def test_two_tests_of_one_name_are_refused() -> None:
    """Also where only case tells them apart, which not every file system does."""
    assert doubles({"a/t.md": "t", "b/T.md": "T", "a/u.md": "u"}) == [
        "b/T.md: test 'T' is in a/t.md too (case does not count); another name was needed"
    ]


def test_a_digest_is_of_the_whole_file() -> None:
    """A changed description is a changed test."""
    digests = {read_case("t", text).digest for text in ("{}", "{} a", "{} b", "{}")}
    assert len(digests) == 3
    assert isinstance(read_case("t", "{}"), Case)
