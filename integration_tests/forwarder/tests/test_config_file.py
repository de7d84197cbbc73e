"""Streams that a ANY file names are there from the start."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from conftest import subject_of
from suite import ANY, each_of, needs, of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from suite import Forwarder

    import harness
    from harness.helpers.epics import Epics

pytestmark = [pytest.mark.usefixtures("kafka_stack", "ioc_stack"), needs("streams-file")]


@pytest.fixture
def forwarder(config_file: harness.Stack) -> Iterator[Forwarder]:
    """The forwarder of the stack ``config_file``."""
    with subject_of(config_file, "TEST_file") as subject:
        yield subject


@pytest.fixture
def first_status(config_file: harness.Stack, forwarder: Forwarder) -> bytes:
    """What the forwarder says first in a new life, in which it has got no command yet."""
    return forwarder.next_life(config_file.service("forwarder")).value or b""


def test_the_streams_of_the_file_are_there_at_once(first_status: bytes) -> None:
    """The first status of a new life must list exactly what the file names."""
    first = json.loads(first_status)
    assert {(one["channel_name"], one["protocol"], one["output_topic"], one["schema"]) for one in first["streams"]} == {
        ("SIMPLE:FILE:LONG", "ca", "TEST_fileData", "f142"),
        ("SIMPLE:FILE:OTHER", "pva", "TEST_fileData", "f142"),
    }


@pytest.mark.usefixtures("first_status")
def test_what_the_file_names_is_forwarded(forwarder: Forwarder, ioc: Epics) -> None:
    """Updates of both PVs must come without any command."""
    with forwarder.data() as data:
        ioc.put("SIMPLE:FILE:LONG", 31)
        ioc.put("SIMPLE:FILE:OTHER", 32)
        data.wait_for(each_of("SIMPLE:FILE:LONG", "SIMPLE:FILE:OTHER"), what="updates of both PVs")


@pytest.mark.usefixtures("first_status")
def test_commands_are_obeyed_beside_the_file(forwarder: Forwarder, ioc: Epics) -> None:
    """What the file named can be removed, and other streams added, as ever."""
    found = forwarder.status_after(ANY.remove("SIMPLE:FILE:LONG"), lambda found: len(found) < 2, "with one stream")
    assert found == {"SIMPLE:FILE:OTHER"}
    with forwarder.data() as data:
        forwarder.add(["SIMPLE:FILE:STR"], "ca")
        ioc.put("SIMPLE:FILE:STR", "beside")
        data.wait_for(of("SIMPLE:FILE:STR", "beside"), what="SIMPLE:FILE:STR = beside")
