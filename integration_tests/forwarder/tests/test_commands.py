"""Commands do what they say, in each dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from suite import ANY, FC00, JSON, RF5K, needs, of, update_of

if TYPE_CHECKING:
    from suite import Binary, Forwarder, Json

    from harness.helpers.epics import Epics

pytestmark = pytest.mark.usefixtures("kafka_stack", "ioc_stack")


def test_each_dialect_adds_and_removes(forwarder: Forwarder, dialect: Json | Binary, provider: str) -> None:
    """Streams must be there after ADD, one less after REMOVE, none after REMOVEALL."""
    streams = forwarder.streams(["SIMPLE:LONG", "SIMPLE:STR", "SIMPLE:OTHER"], provider)
    before = forwarder.status_after(dialect.add(*streams), lambda channels: len(channels) >= 3, "with three streams")
    assert before == {"SIMPLE:LONG", "SIMPLE:STR", "SIMPLE:OTHER"}
    after = forwarder.status_after(dialect.remove("SIMPLE:STR"), lambda channels: len(channels) < 3, "with two streams")
    assert after == {"SIMPLE:LONG", "SIMPLE:OTHER"}
    assert forwarder.status_after(dialect.remove_all(), lambda channels: not channels, "without streams") == set()


def test_what_each_dialect_adds_is_forwarded(
    forwarder: Forwarder, ioc: Epics, dialect: Json | Binary, provider: str
) -> None:
    """A stream must carry the PV's updates, whichever dialect has added it."""
    ioc.put("SIMPLE:LONG", 11)
    with forwarder.data() as data:
        forwarder.send(dialect.add(*forwarder.streams(["SIMPLE:LONG"], provider)))
        data.wait_for(of("SIMPLE:LONG", 11), what="first update")
        ioc.put("SIMPLE:LONG", 12)
        assert update_of(data.wait_for(of("SIMPLE:LONG", 12), what="SIMPLE:LONG = 12")).source_name == "SIMPLE:LONG"


def test_wildcards_remove_what_they_match(forwarder: Forwarder, binary: Binary, provider: str) -> None:
    """In a REMOVE, ? must stand for one letter and * for any number of them."""
    channels = {"SIMPLE:MANY1", "SIMPLE:MANY2", "SIMPLE:MANY10", "SIMPLE:MANY20", "SIMPLE:OTHER"}
    command = ANY.add(*forwarder.streams(sorted(channels), provider))
    assert forwarder.status_after(command, lambda found: len(found) >= 5, "with five streams") == channels
    found = forwarder.status_after(binary.remove("SIMPLE:MANY?"), lambda found: len(found) < 5, "with fewer streams")
    assert found == {"SIMPLE:MANY10", "SIMPLE:MANY20", "SIMPLE:OTHER"}
    found = forwarder.status_after(binary.remove("*:M*0"), lambda found: len(found) < 3, "with fewer streams")
    assert found == {"SIMPLE:OTHER"}


def test_a_topic_can_be_removed(forwarder: Forwarder, binary: Binary, provider: str) -> None:
    """A REMOVE that names a topic only must take what goes there, and nothing else."""
    streams = forwarder.streams(["SIMPLE:LONG", "SIMPLE:STR"], provider)
    streams += forwarder.streams(["SIMPLE:OTHER"], provider, "TEST_forwarderTwo")
    forwarder.status_after(binary.add(*streams), lambda found: len(found) == 3, "with three streams")
    removal = binary.remove(topic="TEST_*Data")
    assert forwarder.status_after(removal, lambda found: len(found) < 3, "with fewer streams") == {"SIMPLE:OTHER"}


@needs("fc00")
def test_replace_leaves_what_stays_alone(forwarder: Forwarder, ioc: Epics, provider: str) -> None:
    """After a REPLACE there must be exactly its streams; one that was there before is not begun anew."""
    ioc.put("SIMPLE:LONG", 21)
    with forwarder.data() as data:
        forwarder.add(["SIMPLE:LONG", "SIMPLE:STR"], provider)
        data.wait_for(of("SIMPLE:LONG", 21), what="first update")
        command = FC00.replace(*forwarder.streams(["SIMPLE:LONG", "SIMPLE:OTHER"], provider))
        found = forwarder.status_after(command, lambda found: "SIMPLE:OTHER" in found, "with SIMPLE:OTHER")
        assert found == {"SIMPLE:LONG", "SIMPLE:OTHER"}
        ioc.put("SIMPLE:LONG", 22)
        came = data.collect_until(of("SIMPLE:LONG", 22), what="SIMPLE:LONG = 22")
    assert [update_of(one).value for one in came if one.key == b"SIMPLE:LONG"] == [22]


@needs("json", "rf5k", "fc00")
def test_dialects_can_be_mixed(forwarder: Forwarder, provider: str) -> None:
    """What one dialect has added, the others must be able to remove."""
    channels = ["SIMPLE:LONG", "SIMPLE:STR", "SIMPLE:OTHER"]
    forwarder.status_after(
        RF5K.add(*forwarder.streams(channels, provider)), lambda found: len(found) == 3, "with three streams"
    )
    forwarder.status_after(FC00.remove("*LONG"), lambda found: len(found) == 2, "with two streams")
    forwarder.status_after(JSON.remove("SIMPLE:STR"), lambda found: found == {"SIMPLE:OTHER"}, "with SIMPLE:OTHER only")


def test_stop_all_stops_everything(forwarder: Forwarder, provider: str) -> None:
    """After stop_all, status must list nothing."""
    command = ANY.add(*forwarder.streams(["SIMPLE:LONG", "SIMPLE:STR"], provider))
    forwarder.status_after(command, lambda channels: len(channels) == 2, "with two streams")
    assert forwarder.status_after(ANY.remove_all(), lambda channels: not channels, "without streams") == set()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b'{"cmd": "dance"}',
        b'{"cmd": "add", "streams": [{}]}',
        RF5K.add()[:12],
        b"\x10\0\0\0fc00" + bytes(20),
        RF5K.remove(),
    ],
    ids=["empty", "bytes", "torn", "list", "unknown", "no_stream", "torn_rf5k", "no_fc00", "remove_nothing"],
)
def test_a_command_that_is_none_does_no_harm(forwarder: Forwarder, nonsense: bytes) -> None:
    """What is no command must be passed over: the streams stay, and the next command is obeyed."""
    command = ANY.add(*forwarder.streams(["SIMPLE:LONG"], "pva"))
    forwarder.status_after(command, bool, "with a stream")
    forwarder.send(nonsense)
    command = ANY.add(*forwarder.streams(["SIMPLE:STR"], "pva"))
    found = forwarder.status_after(command, lambda channels: "SIMPLE:STR" in channels, "with the second stream")
    assert found == {"SIMPLE:LONG", "SIMPLE:STR"}
