"""Lines of a role become events: in pieces of any size, in bounds, and whatever they hold."""

from __future__ import annotations

import json
import random

import pytest

from harness.matrix import events
from harness.matrix.events import BYTES_KEPT, EVENTS_KEPT, JSON_LIMIT, LINE_LIMIT, Event, Lines, same


def heard(data: bytes, *, is_error: bool = False) -> list[Event]:
    lines = Lines("w", is_error=is_error)
    return lines.feed(data, 5) + lines.end(6)


def types(data: bytes) -> list[str]:
    return [event.ty for event in heard(data)]


def test_an_object_with_a_type_is_an_event_and_all_else_is_a_log() -> None:
    """Fields that an old process leaves out have their defaults; what is JSON and no event is passed on as it is."""
    data = b'{"ty":"ready"}\nplain\n{"id":3,"ty":"x","in":{"a":1}}\n{"level":"info"}\n[1]\n\n{ a: 1 }\nlast'
    assert heard(data) == [
        Event("ready", "w", 5),
        Event("log", "w", 5, 0, {"line": "plain"}),
        Event("x", "w", 5, 3, {"a": 1}),
        Event("log", "w", 5, 0, {"line": '{"level":"info"}'}),
        Event("log", "w", 5, 0, {"line": "[1]"}),
        Event("log", "w", 5, 0, {"line": ""}),
        Event("log", "w", 5, 0, {"line": "{ a: 1 }"}),
        Event("log", "w", 6, 0, {"line": "last"}),
    ]


def test_an_unterminated_last_line_counts() -> None:
    """A driver that writes ``done`` without a line's end is done."""
    assert types(b'{"ty":"done"}') == ["done"]


def test_standard_error_is_never_an_event() -> None:
    """It is a log that says which stream it is."""
    assert heard(b'{"ty":"done"}\n', is_error=True) == [
        Event("log", "w", 5, 0, {"line": '{"ty":"done"}', "stream": "stderr"})
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"ty": "rea', "no JSON: Unterminated string starting at at character 8"),
        (b'{"ty": 3}', "ty is 3, a text was needed"),
        (b'{"ty": ""}', 'ty is "", a text was needed'),
        (b'{"ty": "x", "id": "1"}', 'id is "1", a whole number was needed'),
        (b'{"ty": "x", "id": true}', "id is true, a whole number was needed"),
        (b'{"ty": "x", "in": [1]}', "in is [1], an object was needed"),
        (b'{"ty": "log"}', 'ty is "log", which only the runner sends'),
        (b'{"ty": "runner.timeout"}', 'ty is "runner.timeout", which only the runner sends'),
        (b'{"ty": "exited"}', 'ty is "exited", which only the runner sends'),
        (b'{"ty": "assert", "in": {"value": 1}}', "assert_id is null, a text or a whole number was needed"),
        (b'{"ty": "assert", "in": {"assert_id": 1}}', "value is missing, which all roles are to agree on"),
        (b'{"ty": "check", "in": {"ok": 1}}', "ok is 1, true or false was needed"),
        (b'{"ty": "sample", "in": {"name": "x"}}', "name and value of a sample are a text and a number"),
        (b'{"ty": "x", "in": {"a": NaN}}', "no JSON: NaN is no number there"),
        (b'{"ty": "x", "in": {"a": 1e999}}', "no JSON number that can be kept: 1e999"),
        (b'{"ty": "x\xff"}', "no UTF-8: byte 9 is 0xff"),
        (b'{"ty": "x", "in": {"a": ' + b"[" * 100_000, "nested more than 64 deep"),
        (b'{"ty": "x", "in": {"a": ' + b"9" * 5000 + b"}}", None),
    ],
)
def test_what_begins_as_an_event_and_is_none_is_malformed(line: bytes, why: str | None) -> None:
    """It is a log too; its beginning is told, and why; nothing that a process writes raises."""
    malformed, log = heard(line + b"\n")
    assert (malformed.ty, malformed.ro, log.ty) == ("runner.malformed", "w", "log")
    assert malformed.info["line"] == line.decode(errors="replace")[:200]
    assert why is None or malformed.info["why"] == why
    assert log.info["line"] == line[:LINE_LIMIT].decode(errors="replace")


def test_a_long_line_is_cut_and_still_read() -> None:
    """Up to 1 MiB it is an event; what is longer is malformed, and neither is kept whole."""
    fits = json.dumps({"ty": "x", "in": {"a": ""}}).encode()
    fits = fits.replace(b'""', b'"' + b"y" * (JSON_LIMIT - len(fits)) + b'"')
    assert len(fits) == JSON_LIMIT
    (event,) = heard(fits + b"\n")
    assert (event.ty, event.info["cut"], event.info["bytes"]) == ("x", True, JSON_LIMIT)
    malformed, log = heard(fits + b" \n")
    assert malformed.info["why"] == f"a line of {JSON_LIMIT + 1} bytes, at most {JSON_LIMIT} were needed"
    assert (log.info["cut"], log.info["bytes"], len(log.info["line"])) == (True, JSON_LIMIT + 1, LINE_LIMIT)
    (log,) = heard(b"x" * (LINE_LIMIT + 1))
    assert (log.info["cut"], len(log.info["line"])) == (True, LINE_LIMIT)


def test_pieces_make_no_difference() -> None:
    """However the bytes are cut, also within a character, the events are the same."""
    dice = random.Random(7)  # noqa: S311 - a dice that can be thrown again
    data = b"".join(
        dice.choice([b'{"ty":"ready"}\n', "grün\r\n".encode(), b"\n", b'{"ty":\n', b"x" * 70_000 + b"\n", b"tail"])
        for _ in range(60)
    )
    whole = Lines("w").feed(data, 0)
    for _ in range(20):
        lines, found, at = Lines("w"), [], 0
        while at < len(data):
            size = dice.choice([1, 2, 7, 100, 5000, 65536])
            found += lines.feed(data[at : at + size], 0)
            at += size
        assert found == whole


@pytest.mark.parametrize("line", [b"y\n", b'{"ty":"endpoint.new"}\n', b"x" * 200_000 + b"\n"])
def test_a_flood_is_told_once_and_what_decides_is_heard_through_it(line: bytes) -> None:
    """Of the rest nothing is kept, in whatever pieces it comes, and a line that is cut between two is whole."""
    lines, found = Lines("w"), []
    for _ in range(40):
        found += lines.feed(line * (500_000 // len(line)), 0)
    before = len(found)
    assert [event.ty for event in found].count(events.FLOODED) == 1
    assert before <= EVENTS_KEPT + 1
    assert sum(len(json.dumps(event.as_dict())) for event in found) < 2 * BYTES_KEPT
    deciding = b'{"ty":"assert","in":{"assert_id":1,"value":2}}\n' + line + b'{"ty":"do'
    assert [event.ty for event in lines.feed(deciding, 0)] == ["assert"]
    assert [event.ty for event in lines.feed(b'ne"}\n' + line, 0)] == ["done"]
    assert [event.ty for event in lines.feed(b'{"ty":"done"}', 0) + lines.end(0)] == ["done"]


def test_a_flood_of_what_decides_is_bounded_too() -> None:
    """A role that asserts for ever does not fill the memory; that it is done is heard."""
    lines = Lines("w")
    data = b'{"ty":"assert","in":{"assert_id":1,"value":2}}\n' * 50_000 + b'{"ty":"done"}\n'
    found = lines.feed(data, 0)
    assert len(found) < 3 * EVENTS_KEPT
    assert found[-1].ty == "done"


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ([1, {"a": None}], [1.0, {"a": None}], True),
        ([1], [True], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ("1", 1, False),
        (None, False, False),
    ],
)
def test_values_are_compared_as_json_has_them(one: object, other: object, equal: bool) -> None:
    """A number is a number, and true is none."""
    assert same(one, other) is equal
    assert same(other, one) is equal


def test_an_event_is_read_as_it_was_written() -> None:
    """Also one of an old dump, which has less; and what is none is refused."""
    event = Event("x", "w", 5, 3, {"a": [1]})
    assert Event.from_dict(json.loads(json.dumps(event.as_dict()))) == event
    assert Event.from_dict({"ty": "exec", "in": None}) == Event("exec")
    for wrong in ({}, {"ty": 3}, {"ty": "x", "ti": "now"}, {"ty": "x", "in": [1]}):
        with pytest.raises(ValueError, match="of an event is"):
            Event.from_dict(wrong)
