"""A value that does not change is sent again, so that latecomers learn it."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import pytest
from suite import ANY, FC00, Stream, needs, of, update_of

if TYPE_CHECKING:
    from suite import Forwarder

    from harness.helpers.epics import Epics

pytestmark = [pytest.mark.usefixtures("kafka_stack", "ioc_stack"), needs("idle-updates")]
PERIOD = 300  # milliseconds, as config-files/idle_updates.ini says
CHANNEL = "SIMPLE:IDLE:LONG"


def test_idle_updates_come_at_their_period(idle_forwarder: Forwarder, ioc: Epics, provider: str) -> None:
    """A PV that does not change must come again and again, one period apart, with the same value and time."""
    ioc.put(CHANNEL, 5)
    with idle_forwarder.data() as data:
        idle_forwarder.add([CHANNEL], provider)
        first = update_of(data.wait_for(of(CHANNEL, 5), what=f"{CHANNEL} = 5"))
        again = data.wait_for_n(6, what="idle updates")
    assert {int(update_of(one).value) for one in again} == {5}
    assert {update_of(one).timestamp_unix_ns for one in again} == {first.timestamp_unix_ns}
    gaps = [later.timestamp - earlier.timestamp for earlier, later in pairwise(again)]
    # A message that was late makes the gap after it shorter.
    assert min(gaps) >= PERIOD / 2, gaps
    assert median(gaps) < 2 * PERIOD, gaps


def test_a_change_goes_on_from_the_new_value(idle_forwarder: Forwarder, ioc: Epics, provider: str) -> None:
    """After a change, what is sent again must be the new value, never the old one."""
    ioc.put(CHANNEL, 6)
    with idle_forwarder.data() as data:
        idle_forwarder.add([CHANNEL], provider)
        data.wait_for(of(CHANNEL, 6), what=f"{CHANNEL} = 6")
        ioc.put(CHANNEL, 7)
        data.wait_for(of(CHANNEL, 7), what=f"{CHANNEL} = 7")
        assert [int(update_of(one).value) for one in data.wait_for_n(3, what="idle updates")] == [7, 7, 7]


def test_idle_updates_end_when_told(idle_forwarder: Forwarder, provider: str) -> None:
    """A PV that was removed must be silent while another one goes on being sent."""
    with idle_forwarder.data() as data:
        idle_forwarder.add([CHANNEL, "SIMPLE:IDLE:OTHER"], provider)
        data.wait_for_n(2, of(CHANNEL), what=f"updates of {CHANNEL}")
        idle_forwarder.status_after(ANY.remove(CHANNEL), lambda found: CHANNEL not in found, f"without {CHANNEL}")
        data.seek_to_end()
        came = data.wait_for_n(4, what="idle updates")
    assert {one.key for one in came} == {b"SIMPLE:IDLE:OTHER"}


@needs("fc00")
def test_a_stream_can_be_without_idle_updates(idle_forwarder: Forwarder, ioc: Epics, provider: str) -> None:
    """An fc00 stream that says periodic = 0 must come when it changes, and not in between."""
    ioc.put(CHANNEL, 8)
    quiet = Stream(CHANNEL, provider, idle_forwarder.data_topic, periodic=False)
    steady = Stream("SIMPLE:IDLE:OTHER", provider, idle_forwarder.data_topic)
    with idle_forwarder.data() as data:
        idle_forwarder.send(FC00.add(quiet, steady))
        data.wait_for(of(CHANNEL, 8), what=f"{CHANNEL} = 8")
        came = []
        for value in (9, 10):
            came += data.wait_for_n(4, of("SIMPLE:IDLE:OTHER"), what="idle updates of the other")
            ioc.put(CHANNEL, value)
            came += data.collect_until(of(CHANNEL, value), what=f"{CHANNEL} = {value}")
        data.seek_to_start()
        values = [int(update_of(one).value) for one in data.drain() if one.key == CHANNEL.encode()]
    assert values[-3:] == [8, 9, 10]
