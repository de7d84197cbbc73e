from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from servers import free_port, raw_server

import harness
from harness import HarnessError, WaitTimeout
from harness.clock import add_guard, now, remove_guard
from harness.helpers.epics import Epics

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Iterator

    from harness.helpers.epics import Provider

BEGIN = psutil.Process(os.getpid()).create_time()

ioc_stack = harness.stack_fixture("ioc", scope="module")


@pytest.fixture(scope="module")
def ioc(ioc_stack: harness.Stack) -> Iterator[Epics]:
    """The IOC."""
    with Epics(ca=ioc_stack.endpoint("ioc", 5064), pva=ioc_stack.endpoint("ioc", 5075)) as client:
        yield client


@pytest.fixture(params=["ca", "pva"])
def provider(request: pytest.FixtureRequest) -> Provider:
    """Channel Access and pvAccess in turn."""
    chosen: Provider = request.param
    return chosen


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ENUM", [1, 2, 0]),
        ("STR", ["before", "", "Grüße", "x" * 39]),
        ("LONG", [42, -(2**31), 0]),
        ("FLOAT", [12.25, -0.5]),
        ("DOUBLE", [3.141592653589793, -1e300, 0.0]),
        ("FLOATARRAY", [[1.0, 2.5, 3.0], [0.5] * 5]),
    ],
)
@pytest.mark.parametrize("reader", ["ca", "pva"])
def test_a_value_is_read_as_it_was_written(
    ioc: Epics, provider: Provider, reader: Provider, name: str, values: list[Any]
) -> None:
    """What one protocol has written must be read by both."""
    for value in values:
        ioc.put(f"SIMPLE:{name}", value, provider=provider)
        assert ioc.get(f"SIMPLE:{name}", provider=reader).value == value


@pytest.mark.parametrize(("state", "index"), [("START", 1), ("STOP", 2), ("INIT", 0)])
def test_an_enum_is_written_by_name(ioc: Epics, provider: Provider, state: str, index: int) -> None:
    """An enum must take the name of a state, and be read as its index."""
    ioc.put("SIMPLE:ENUM", state, provider=provider)
    assert ioc.get("SIMPLE:ENUM", provider=provider).value == index


def test_a_number_is_written_to_a_string(ioc: Epics, provider: Provider) -> None:
    """A string record must take a number as its text."""
    ioc.put("SIMPLE:STR", 5, provider=provider)
    assert ioc.get("SIMPLE:STR", provider=provider).value == "5"


def test_an_array_can_be_written_from_any_sequence(ioc: Epics, provider: Provider) -> None:
    """A tuple must be taken as a list is."""
    ioc.put("SIMPLE:FLOATARRAY", (4.0, 5.0), provider=provider)
    assert ioc.get("SIMPLE:FLOATARRAY", provider=provider).value == [4.0, 5.0]


def test_alarms_and_times_are_read(ioc: Epics, provider: Provider) -> None:
    """A value over HIGH must be read with MINOR severity, one below without, and both with the time of the change."""
    seen = []
    for value in (0.0, 17.0):
        ioc.put("SIMPLE:DOUBLE", value, provider=provider)
        seen.append(ioc.get("SIMPLE:DOUBLE", provider=provider))
    assert [(one.severity, one.status != 0) for one in seen] == [(0, False), (1, True)]
    assert BEGIN < seen[0].seconds <= seen[1].seconds


def test_an_unknown_state_of_an_enum_names_the_known_ones(ioc: Epics) -> None:
    """Over pvAccess, an unknown state must be refused with those that there are, and nothing written."""
    ioc.put("SIMPLE:ENUM", 1)
    with pytest.raises(HarnessError) as caught:
        ioc.put("SIMPLE:ENUM", "NOPE")
    assert str(caught.value) == "PV SIMPLE:ENUM has no state 'NOPE'; it has: INIT, START, STOP"
    assert ioc.get("SIMPLE:ENUM").value == 1


@pytest.mark.parametrize(("name", "value"), [("ENUM", "NOPE"), ("LONG", "abc"), ("DOUBLE", "abc")])
def test_a_value_that_ca_refuses_is_an_error(ioc: Epics, ioc_stack: harness.Stack, name: str, value: str) -> None:
    """A put over Channel Access that the IOC refuses must raise, with the value and the PV."""
    before = ioc.get(f"SIMPLE:{name}").value
    with pytest.raises(HarnessError) as caught:
        ioc.put(f"SIMPLE:{name}", value, provider="ca")
    assert str(caught.value) == (
        f"IOC at {ioc_stack.endpoint('ioc', 5064)} (ca) refused {value!r} for SIMPLE:{name}: "
        "Channel write request failed"
    )
    assert ioc.get(f"SIMPLE:{name}").value == before


@pytest.mark.parametrize(("name", "value"), [("LONG", "abc"), ("DOUBLE", "abc"), ("DOUBLE", [1.5])])
def test_a_value_that_does_not_fit_pva_is_an_error(ioc: Epics, ioc_stack: harness.Stack, name: str, value: Any) -> None:
    """A put over pvAccess of what the PV cannot hold must raise, with the value and the PV."""
    before = ioc.get(f"SIMPLE:{name}").value
    with pytest.raises(HarnessError) as caught:
        ioc.put(f"SIMPLE:{name}", value)
    assert caught.value.summary.startswith(
        f"PV SIMPLE:{name} at {ioc_stack.endpoint('ioc', 5075)} (pva) refused {value!r}: "
    )
    assert ioc.get(f"SIMPLE:{name}").value == before


@pytest.mark.parametrize("act", ["get", "put"])
def test_an_unknown_pv_times_out_over_pva(ioc_stack: harness.Stack, act: str) -> None:
    """Over pvAccess nobody answers for an unknown PV: the time-out must name the PV and the IOC, and hold."""
    where = ioc_stack.endpoint("ioc", 5075)
    start = now()
    with Epics(pva=where, timeout=0.6) as client, pytest.raises(WaitTimeout) as caught:
        client.get("SIMPLE:NONE") if act == "get" else client.put("SIMPLE:NONE", 1)
    assert str(caught.value) == f"PV SIMPLE:NONE at {where} (pva) did not answer in 0.6 s"
    assert 0.5 < now() - start < 2.0


@pytest.mark.parametrize("act", ["get", "put"])
def test_an_unknown_pv_is_refused_over_ca(ioc: Epics, ioc_stack: harness.Stack, act: str) -> None:
    """Over Channel Access the IOC says itself that it has no such PV: the error must come at once and name it."""
    start = now()
    with pytest.raises(HarnessError) as caught:
        ioc.get("SIMPLE:NONE", provider="ca") if act == "get" else ioc.put("SIMPLE:NONE", 1, provider="ca")
    assert str(caught.value) == f"IOC at {ioc_stack.endpoint('ioc', 5064)} (ca) has no PV SIMPLE:NONE"
    assert now() - start < 1.0


def test_a_wrong_address_times_out_over_ca() -> None:
    """Where no IOC listens, the time-out must name the address and why."""
    port = free_port()
    with Epics(ca=f"127.0.0.1:{port}", timeout=0.2) as client, pytest.raises(WaitTimeout) as caught:
        client.get("SIMPLE:LONG", provider="ca")
    assert str(caught.value) == (
        f"IOC at 127.0.0.1:{port} (ca) did not accept in 0.2 s: [Errno 111] Connection refused"
    )


def test_a_wrong_address_times_out_over_pva() -> None:
    """Where no IOC listens, the time-out must name the PV and the address."""
    port = free_port()
    with Epics(pva=f"127.0.0.1:{port}", timeout=0.3) as client, pytest.raises(WaitTimeout) as caught:
        client.get("SIMPLE:LONG")
    assert str(caught.value) == f"PV SIMPLE:LONG at 127.0.0.1:{port} (pva) did not answer in 0.3 s"


def test_a_silent_server_times_out_over_ca() -> None:
    """A server that accepts and says nothing must not hold a get longer than its time-out."""

    def silent(_: socket.socket, over: threading.Event) -> None:
        over.wait(10)

    start = now()
    with (
        raw_server(silent) as port,
        Epics(ca=f"127.0.0.1:{port}", timeout=0.3) as client,
        pytest.raises(WaitTimeout) as caught,
    ):
        client.get("SIMPLE:LONG", provider="ca")
    assert str(caught.value) == f"IOC at 127.0.0.1:{port} (ca) did not send PV SIMPLE:LONG in 0.3 s"
    assert now() - start < 1.5


def test_a_server_that_closes_is_an_error_over_ca() -> None:
    """A server that closes the connection must end a get at once with an error of ours."""

    def close(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(1)

    with raw_server(close) as port, Epics(ca=f"127.0.0.1:{port}") as client, pytest.raises(HarnessError) as caught:
        client.get("SIMPLE:LONG", provider="ca")
    assert caught.value.summary.startswith(f"IOC at 127.0.0.1:{port} (ca) ")


@pytest.mark.parametrize("act", ["get", "put"])
def test_no_address_is_told(provider: Provider, act: str) -> None:
    """Without an address for the protocol, an operation must say so."""
    with Epics() as client, pytest.raises(HarnessError) as caught:
        client.get("X", provider=provider) if act == "get" else client.put("X", 1, provider=provider)
    assert str(caught.value) == f"No {provider} address was given to Epics(...)"


def test_a_guard_ends_a_wait(provider: Provider) -> None:
    """A guard that raises must end the wait for an IOC at once."""

    def guard() -> None:
        raise HarnessError("the stack is dead")

    where = f"127.0.0.1:{free_port()}"
    start = now()
    with Epics(ca=where, pva=where, timeout=10) as client:
        add_guard(guard)
        try:
            with pytest.raises(HarnessError, match=r"^the stack is dead$"):
                client.get("SIMPLE:LONG", provider=provider)
        finally:
            remove_guard(guard)
    assert now() - start < 2.0


def test_no_repeater_is_left(ioc: Epics, provider: Provider) -> None:
    """No CA repeater, which would outlive everybody, may be started by a get or put."""
    ioc.put("SIMPLE:OTHER", 1, provider=provider)
    assert ioc.get("SIMPLE:OTHER", provider=provider).value == 1
    lines = []
    for process in psutil.process_iter(["cmdline", "create_time"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.info["create_time"] >= BEGIN and "repeater" in line.lower() and "caproto" in line.lower():
            lines.append(line)
    assert lines == []


def test_a_closed_client_connects_again(ioc_stack: harness.Stack) -> None:
    """Closing twice must be no error, and an operation after it must connect anew."""
    client = Epics(pva=ioc_stack.endpoint("ioc", 5075))
    client.put("SIMPLE:OTHER", 3)
    client.close()
    client.close()
    assert client.get("SIMPLE:OTHER").value == 3
    client.close()
