"""The forwarder remembers its streams in a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest import subject_of
from suite import ANY, channels_in, needs, of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from suite import Binary, Forwarder, Json

    import harness
    from harness.helpers.epics import Epics

pytestmark = [pytest.mark.usefixtures("kafka_stack", "ioc_stack"), needs("storage")]
# What the seed has stored, see config-files/stored_streams.rf5k.
STORED = {"SIMPLE:KEPT:LONG", "SIMPLE:KEPT:OTHER"}


@pytest.fixture
def forwarder(stored_config: harness.Stack) -> Iterator[Forwarder]:
    """The forwarder of the stack ``stored_config``."""
    with subject_of(stored_config, "TEST_stored") as subject:
        yield subject


def test_stored_streams_are_picked_up_at_start(forwarder: Forwarder) -> None:
    """The very first status must list what an earlier life had stored."""
    with forwarder.kafka.consumer("TEST_storedStatus", start="start") as status:
        assert channels_in(status.wait_for(lambda _: True, what="status")) == STORED


@pytest.mark.parametrize("provider", ["ca", "pva"])
def test_the_streams_of_one_life_are_those_of_the_next(
    stored_config: harness.Stack, forwarder: Forwarder, ioc: Epics, dialect: Json | Binary, provider: str
) -> None:
    """After a restart there must be exactly the streams of before it, and their updates come."""
    forwarder.status_after(
        dialect.add(*forwarder.streams(["SIMPLE:KEPT:STR", "SIMPLE:KEPT:MORE"], provider)),
        lambda found: {"SIMPLE:KEPT:STR", "SIMPLE:KEPT:MORE"} <= found,
        "with both streams",
    )
    for gone in ("SIMPLE:KEPT:MORE", *STORED):
        forwarder.send(ANY.remove(gone))
    with forwarder.status() as status:
        status.wait_for(lambda one: channels_in(one) == {"SIMPLE:KEPT:STR"}, what="status with SIMPLE:KEPT:STR only")
    assert channels_in(forwarder.next_life(stored_config.service("forwarder"))) == {"SIMPLE:KEPT:STR"}
    with forwarder.data() as data:
        ioc.put("SIMPLE:KEPT:STR", f"after {provider}")
        data.wait_for(of("SIMPLE:KEPT:STR", f"after {provider}"), what="update after the restart")


def test_nothing_stored_means_no_streams(stored_config: harness.Stack, forwarder: Forwarder) -> None:
    """After everything was removed, a new life must begin without streams."""
    forwarder.reset()
    assert channels_in(forwarder.next_life(stored_config.service("forwarder"))) == set()


def test_what_is_stored_but_no_command_does_no_harm(stored_config: harness.Stack, forwarder: Forwarder) -> None:
    """A storage topic whose last message is nonsense must not keep the forwarder from working."""
    forwarder.kafka.send("TEST_storedStreams", b"\0\1 no command")
    assert channels_in(forwarder.next_life(stored_config.service("forwarder"))) == set()
    command = ANY.add(*forwarder.streams(["SIMPLE:KEPT:LONG"], "pva"))
    assert forwarder.status_after(command, bool, "with a stream") == {"SIMPLE:KEPT:LONG"}
