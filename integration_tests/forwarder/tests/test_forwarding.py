"""Updates of real process variables reach Kafka as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from suite import ANY, channels_in, each_of, needs, of, update_of, value_type

from harness.helpers.flatbuffers import ALARM_SEVERITY, ALARM_STATUS

if TYPE_CHECKING:
    from suite import Forwarder

    from harness.helpers.epics import Epics
    from harness.helpers.kafka import Message

pytestmark = pytest.mark.usefixtures("kafka_stack", "ioc_stack")


@pytest.mark.parametrize(
    ("channel", "first", "second", "shown", "kind"),
    [
        pytest.param("SIMPLE:ENUM", "INIT", "START", "START", "String", marks=needs("strings")),
        pytest.param("SIMPLE:STR", "before", "after", "after", "String", marks=needs("strings")),
        ("SIMPLE:LONG", 1, 42, 42, "Int"),
        ("SIMPLE:FLOAT", 1.5, 12.25, 12.25, "Float"),
        ("SIMPLE:DOUBLE", 1.0, 3.141592653589793, 3.141592653589793, "Double"),
        ("SIMPLE:FLOATARRAY", [0.0, 0.0], [1.1, 2.2, 3.3], np.array([1.1, 2.2, 3.3], dtype=np.float32), "ArrayFloat"),
    ],
    ids=["enum", "string", "long", "float", "double", "float_array"],
)
def test_a_value_arrives_with_its_type(  # noqa: PLR0913, PLR0917 - its parameters are the table above
    forwarder: Forwarder, ioc: Epics, provider: str, channel: str, first: Any, second: Any, shown: Any, kind: str
) -> None:
    """A change of a PV must arrive as a message with the PV's value and type."""
    ioc.put(channel, first)
    with forwarder.data() as data:
        forwarder.add([channel], provider)
        data.wait_for(of(channel), what=f"first update of {channel}")
        ioc.put(channel, second)
        message = data.wait_for(of(channel, shown), what=f"{channel} = {second}")
    assert (update_of(message).source_name, value_type(message)) == (channel, kind)


@needs("alarms")
def test_alarms_arrive_when_they_change(forwarder: Forwarder, ioc: Epics, provider: str) -> None:
    """0 is without alarm, 17 is HIGH and MINOR, and 18 must say that the alarm did not change."""
    channel = "SIMPLE:DOUBLE"
    ioc.put(channel, 0)
    seen = []
    with forwarder.data() as data:
        forwarder.add([channel], provider)
        seen.append(update_of(data.wait_for(of(channel, 0), what=f"{channel} = 0")))
        for value in (17, 18):
            ioc.put(channel, value)
            seen.append(update_of(data.wait_for(of(channel, value), what=f"{channel} = {value}")))
    alarms = [(ALARM_STATUS[one.alarm_status], ALARM_SEVERITY[one.alarm_severity]) for one in seen]
    assert alarms == [("NO_ALARM", "NO_ALARM"), ("HIGH", "MINOR"), ("NO_CHANGE", "NO_CHANGE")]


def test_the_key_is_the_name_of_the_pv(forwarder: Forwarder, provider: str) -> None:
    """Every message must have its PV's name as key."""
    channels = {"SIMPLE:ORDER", "SIMPLE:OTHER"}
    with forwarder.data() as data:
        forwarder.add(channels, provider)
        messages = data.wait_for_n(2, what="first updates")
    assert {message.key for message in messages} == {channel.encode() for channel in channels}
    assert all(update_of(message).source_name.encode() == message.key for message in messages)


def test_updates_of_one_pv_keep_their_order_in_one_partition(forwarder: Forwarder, ioc: Epics, provider: str) -> None:
    """In a topic of two partitions, a PV's updates must come from one, in order, each once, up to the last.

    EPICS lets a monitor skip values that are overtaken before they are sent, so not every one of them must come.
    """
    channel, values = "SIMPLE:ORDER", [float(number) for number in range(1, 21)]
    ioc.put(channel, 0)
    with forwarder.data("TEST_forwarderTwo") as data:
        forwarder.add([channel, "SIMPLE:OTHER"], provider, "TEST_forwarderTwo")
        data.wait_for(of(channel, 0), what=f"{channel} = 0")
        for value in values:
            ioc.put(channel, value)
        came = data.collect_until(of(channel, values[-1]), what=f"last update of {channel}")
    mine = [message for message in came if message.key == channel.encode()]
    seen = [float(update_of(message).value) for message in mine]
    assert seen == sorted(set(seen))
    assert len(seen) > 1
    assert len({message.partition for message in mine}) == 1


def test_status_lists_exactly_the_added_streams(forwarder: Forwarder, provider: str) -> None:
    """Status must name every added PV, and no other."""
    wanted = {"SIMPLE:LONG", "SIMPLE:DOUBLE", "SIMPLE:STR"}
    command = ANY.add(*forwarder.streams(wanted, provider))
    status = forwarder.status_after(command, lambda channels: len(channels) >= len(wanted), "with three streams")
    assert status == wanted


def test_a_hundred_rapid_commands_all_arrive(forwarder: Forwarder, provider: str) -> None:
    """A hundred add commands without a pause between them must all be obeyed, and all hundred values come."""
    channels = {f"SIMPLE:MANY{number}" for number in range(100)}
    with forwarder.data() as data, forwarder.status() as status:
        for channel in sorted(channels):
            forwarder.add([channel], provider)
        status.wait_for(lambda one: channels_in(one) == channels, what="status with a hundred streams")
        data.wait_for(each_of(*channels), what="the last of a hundred values")


def test_adding_a_stream_does_not_disturb_another(forwarder: Forwarder, ioc: Epics, provider: str) -> None:
    """While a PV is forwarded, adding another one must lose and repeat none of its updates."""
    channel, values = "SIMPLE:ORDER", [float(number) for number in range(101, 111)]
    ioc.put(channel, 100)
    with forwarder.data() as data:
        forwarder.add([channel], provider)
        data.wait_for(of(channel, 100), what=f"{channel} = 100")
        came: list[Message] = []
        for number, value in enumerate(values):
            if number == len(values) // 2:
                forwarder.add(["SIMPLE:OTHER"], provider)
            ioc.put(channel, value)
            # Waited for one by one, because EPICS lets a monitor skip values that are overtaken.
            came += data.collect_until(of(channel, value), what=f"{channel} = {value}")
        if b"SIMPLE:OTHER" not in {message.key for message in came}:
            data.wait_for(of("SIMPLE:OTHER"), what="first update of the added PV")
    assert [float(update_of(one).value) for one in came if one.key == channel.encode()] == values


def test_a_stopped_channel_is_forwarded_no_more(forwarder: Forwarder, ioc: Epics, provider: str) -> None:
    """After stop_channel, status must not list the PV, its updates must not come, and others must go on."""
    stopped, going_on = "SIMPLE:LONG", "SIMPLE:OTHER"
    ioc.put(going_on, 0)
    with forwarder.data() as data:
        forwarder.add([stopped, going_on], provider)
        data.wait_for(each_of(stopped, going_on), what="update of both PVs")
        status = forwarder.status_after(
            ANY.remove(stopped), lambda channels: stopped not in channels, f"without {stopped}"
        )
        assert status == {going_on}
        ioc.put(stopped, 7)
        ioc.put(going_on, 1)
        came = data.collect_until(of(going_on, 1), what=f"{going_on} = 1")
    assert stopped.encode() not in {message.key for message in came}
