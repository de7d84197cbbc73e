"""Process variables that the forwarder makes up itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from suite import ANY, needs, update_of

if TYPE_CHECKING:
    from suite import Forwarder

    import harness

pytestmark = [pytest.mark.usefixtures("kafka_stack"), needs("fake-pvs")]


def test_fake_updates_come_without_an_ioc(fake_pvs: harness.Stack, fake_forwarder: Forwarder) -> None:
    """A fake PV must send update after update in a stack that has no IOC."""
    assert "ioc" not in fake_pvs.services
    with fake_forwarder.data() as data:
        fake_forwarder.add(["FAKE:1"], "fake")
        messages = data.wait_for_n(5, what="fake updates")
    assert [int(update_of(message).value) for message in messages] == [1, 2, 3, 4, 5]
    assert {message.key for message in messages} == {b"FAKE:1"}


def test_fake_updates_end_when_told(fake_forwarder: Forwarder) -> None:
    """After stop_channel, a fake PV must be silent while another one goes on."""
    with fake_forwarder.data() as data:
        fake_forwarder.add(["FAKE:1", "FAKE:2"], "fake")
        data.wait_for(lambda message: message.key == b"FAKE:1", what="update of FAKE:1")
        fake_forwarder.status_after(ANY.remove("FAKE:1"), lambda channels: channels == {"FAKE:2"}, "with FAKE:2 only")
        data.seek_to_end()
        came = data.wait_for_n(5, what="updates after the stop")
    assert {message.key for message in came} == {b"FAKE:2"}
