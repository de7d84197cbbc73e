from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from p4p.nt import NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV
from servers import free_port, raw_server

import harness
from harness import BrokenStack, ConfigError, HarnessError, WaitTimeout, procs
from harness.clock import Deadline, add_guard, now, poll, remove_guard
from harness.helpers.epics import Epics, Ioc, run_ioc

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from harness.helpers.epics import Provider, Reading

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
    assert [(reading.severity, reading.status != 0) for reading in seen] == [(0, False), (1, True)]
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
    assert 0.5 < now() - start < 30


@pytest.mark.parametrize("act", ["get", "put"])
def test_an_unknown_pv_is_refused_over_ca(ioc_stack: harness.Stack, act: str) -> None:
    """Over Channel Access the IOC says itself that it has no such PV: the error must come at once and name it."""
    where = ioc_stack.endpoint("ioc", 5064)
    start = now()
    with Epics(ca=where, timeout=60) as client, pytest.raises(HarnessError) as caught:
        client.get("SIMPLE:NONE", provider="ca") if act == "get" else client.put("SIMPLE:NONE", 1, provider="ca")
    assert str(caught.value) == f"IOC at {where} (ca) has no PV SIMPLE:NONE"
    assert now() - start < 30


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
    assert (
        str(caught.value)
        == f"PV SIMPLE:LONG at 127.0.0.1:{port} (pva) did not answer in 0.3 s: [Errno 111] Connection refused"
    )


def test_a_silent_server_times_out_over_ca() -> None:
    """A server that accepts and says nothing must not hold a get longer than its time-out."""

    def silent(_: socket.socket, over: threading.Event) -> None:
        over.wait(60)

    start = now()
    with (
        raw_server(silent) as port,
        Epics(ca=f"127.0.0.1:{port}", timeout=0.3) as client,
        pytest.raises(WaitTimeout) as caught,
    ):
        client.get("SIMPLE:LONG", provider="ca")
    assert str(caught.value) == f"IOC at 127.0.0.1:{port} (ca) did not send PV SIMPLE:LONG in 0.3 s"
    assert now() - start < 30


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
    with Epics(ca=where, pva=where, timeout=60) as client:
        add_guard(guard)
        try:
            with pytest.raises(HarnessError, match=r"^the stack is dead$"):
                client.get("SIMPLE:LONG", provider=provider)
        finally:
            remove_guard(guard)
    assert now() - start < 30


def test_no_repeater_is_left(ioc: Epics, provider: Provider) -> None:
    """No CA repeater, which would outlive everybody, may be started by a get or put."""
    ioc.put("SIMPLE:OTHER", 1, provider=provider)
    assert ioc.get("SIMPLE:OTHER", provider=provider).value == 1
    lines = []
    for process in psutil.process_iter(["cmdline", "create_time"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.info["create_time"] >= BEGIN and "repeater" in line.lower():
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


# -- an IOC of the test's own ----------------------------------------------------------------------------------------

DATABASE = """
record(longout, "$(P)LONG") { field(VAL, "7") field(PINI, "YES") }
record(longout, "$(P)OTHER") { field(VAL, "0") field(PINI, "YES") }
record(ao, "$(P)DOUBLE") { field(VAL, "0") field(HIGH, "17") field(HSV, "MINOR") field(PINI, "YES") }
record(mbbo, "$(P)ENUM") { field(ZRST, "INIT") field(ONST, "START") field(VAL, "0") field(PINI, "YES") }
record(stringout, "$(P)STR") { field(VAL, "$(TEXT=none)") field(PINI, "YES") }
record(aao, "$(P)ARRAY") { field(NELM, "5") field(FTVL, "LONG") field(PINI, "YES") }
record(calcout, "$(P)SLOW") { field(CALC, "A") field(ODLY, "0.6") field(FLNK, "$(P)COUNT") }
record(calc, "$(P)COUNT") { field(CALC, "VAL+1") }
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file."""
    path = tmp_path_factory.mktemp("database") / "test.db"
    path.write_text(DATABASE)
    return path


@pytest.fixture(scope="module")
def own(database: Path) -> Iterator[Ioc]:
    """An IOC that no test stops."""
    with run_ioc(database, macros={"P": "X:", "TEXT": "a, b=c"}) as ioc:
        yield ioc


def alive(line: str) -> list[int]:
    """Return the processes with ``line`` in their command line."""
    return [pid for pid in procs.all_pids() if line in procs.command_of(pid)]


def test_macros_are_passed_on(own: Ioc, provider: Provider) -> None:
    """Records must have the names and values that the macros make, commas and blanks included."""
    assert own.get("X:STR", provider=provider).value == "a, b=c"


def test_an_ioc_ends_with_its_block(database: Path) -> None:
    """After the block, also one that fails, no process may be left and nothing listen any more."""
    with contextlib.suppress(ZeroDivisionError), run_ioc(database, macros={"P": "X:"}) as ioc:
        assert ioc.pid is not None
        pid, ends = ioc.pid, (ioc.ca, ioc.pva)
        begin = now()
        _ = 1 / 0
    assert now() - begin < 30
    assert pid not in procs.all_pids()
    for end in ends:
        with Epics(ca=end, timeout=0.05) as client, pytest.raises(WaitTimeout, match="Connection refused"):
            client.get("X:LONG", provider="ca")


def test_an_ioc_ends_with_the_process_of_its_test(database: Path, tmp_path: Path) -> None:
    """When the test's process is killed, the IOC must end by itself."""
    told = tmp_path / "pid"
    code = (
        "import pathlib, signal, sys\nfrom harness.helpers.epics import run_ioc\n"
        "with run_ioc(sys.argv[1], macros={'P': 'X:'}) as ioc:\n"
        "    pathlib.Path(sys.argv[2] + '.new').write_text(str(ioc.pid))\n"
        "    pathlib.Path(sys.argv[2] + '.new').rename(sys.argv[2])\n    signal.pause()\n"
    )
    process = procs.spawn([sys.executable, "-c", code, str(database), str(told)])
    try:
        for _ in poll(Deadline.after(30)):
            if told.exists() or process.poll() is not None:
                break
        pid = int(told.read_text())
        start = procs.start_time_of(pid)
        assert start is not None
    finally:
        process.kill()
        process.wait(10)
    assert procs.wait_gone(pid, start, 30)


@pytest.mark.parametrize(
    ("text", "macros", "ended"),
    [
        ('record(longout, "$(P)L") { field(NOPE, "1") }', {"P": "X:"}, "exit code 1"),
        ('record(longout, "$(P)L") { field(VAL, "1") }', {}, ""),
    ],
    ids=["field", "macro"],
)
def test_a_bad_database_is_told(tmp_path: Path, text: str, macros: dict[str, str], ended: str) -> None:
    """An IOC that cannot load its database must be told at once, with what it said, and leave nothing."""
    bad = tmp_path / "bad.db"
    bad.write_text(text)
    start = now()
    with pytest.raises(BrokenStack) as caught, run_ioc(bad, macros=macros, timeout=90):
        pass
    assert caught.value.summary.startswith(f"IOC bad.db ended by itself with {ended}")
    assert "bad.db" in "".join(caught.value.details)
    assert "\x1b" not in str(caught.value)
    assert now() - start < 45
    assert alive(str(bad)) == []


@pytest.mark.parametrize("macros", [{"P": 'a"b'}, {"P": "a\\b"}, {"P": "a\nb"}, {"A=B": "c"}, {"": "c"}])
def test_a_macro_that_cannot_be_passed_is_told(database: Path, macros: dict[str, str]) -> None:
    """What would be read as something else must be refused."""
    with pytest.raises(ConfigError, match=r"^Macro "), run_ioc(database, macros=macros):
        pass


def test_a_missing_database_is_told(tmp_path: Path) -> None:
    """A file that is not there must be told before anything is started."""
    with pytest.raises(ConfigError, match=r"is no file, an IOC needs one"), run_ioc(tmp_path / "none.db"):
        pass


def test_an_ioc_that_dies_ends_a_wait(database: Path, provider: Provider) -> None:
    """When the IOC ends by itself, a wait must end at once and say so, with its last lines."""
    with run_ioc(database, macros={"P": "X:"}) as ioc, ioc.monitor("X:LONG", provider=provider) as updates:
        assert ioc.pid is not None
        os.kill(ioc.pid, signal.SIGKILL)
        start = now()
        with pytest.raises(BrokenStack) as caught:
            updates.wait_for(lambda reading: reading.value == 99, timeout=60)
    assert caught.value.summary == "IOC test.db ended by itself with signal 9 (SIGKILL)"
    assert any("IOC Running" in line for line in caught.value.details)
    assert now() - start < 30


def test_two_iocs_with_the_same_names_never_mix(own: Ioc, database: Path) -> None:
    """Over both protocols each client must reach its own IOC, and no other when that is gone."""
    providers: list[Provider] = ["ca", "pva"]
    with run_ioc(database, macros={"P": "X:"}) as other:
        assert other.ca != own.ca
        for number, provider in enumerate(providers):
            own.put("X:LONG", 100 + number, provider=provider)
            other.put("X:LONG", 200 + number, provider=provider)
            for reader in providers:
                assert own.get("X:LONG", provider=reader).value == 100 + number
                assert other.get("X:LONG", provider=reader).value == 200 + number
        other.kill()
        other.timeout = 1.0
        for provider in providers:
            with pytest.raises(WaitTimeout):
                other.get("X:LONG", provider=provider)
        assert own.get("X:LONG").value == 101


def test_other_programs_find_the_ioc(own: Ioc) -> None:
    """With the environment that it gives, the libraries' own clients must find it over both protocols."""
    own.put("X:LONG", 12)
    code = (
        "import epics\nfrom p4p.client.thread import Context\n"
        "print(int(epics.caget('X:LONG', connection_timeout=30)), int(Context('pva').get('X:LONG', timeout=30)))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    seen = procs.run([sys.executable, "-W", "ignore", "-c", code], timeout=60, env={**kept, **own.environment})
    assert seen.stdout.split() == ["12", "12"], seen.stderr


def test_nothing_is_left_of_iocs_and_clients(own: Ioc, database: Path) -> None:
    """After all of it only the IOC of this module may be alive, and no repeater."""
    own.get("X:LONG", provider="ca")
    assert alive(str(database)) == [own.pid]
    begun = [
        process for process in psutil.process_iter(["create_time", "cmdline"]) if process.info["create_time"] >= BEGIN
    ]
    assert not [process for process in begun if "repeater" in " ".join(process.info["cmdline"] or []).lower()]


def test_the_libraries_are_loaded_late() -> None:
    """Importing the helper must load neither library."""
    code = "import sys, harness.helpers.epics; sys.exit(bool({'caproto', 'p4p', 'numpy'} & set(sys.modules)))"
    assert procs.run([sys.executable, "-c", code], timeout=30).code == 0


# -- puts and gets ---------------------------------------------------------------------------------------------------


def test_a_put_waits_for_the_record(own: Ioc, provider: Provider) -> None:
    """A put must return when the record is processed, with what follows from it."""
    before = own.get("X:COUNT").value
    start = now()
    own.put("X:SLOW.A", 1, provider=provider)
    assert now() - start > 0.55
    assert own.get("X:COUNT").value == before + 1


def test_a_put_is_never_repeated(own: Ioc, provider: Provider) -> None:
    """A put that the IOC is still busy with at the deadline must have been made once."""
    before = own.get("X:COUNT").value
    with Epics(ca=own.ca, pva=own.pva, timeout=0.3) as client, pytest.raises(WaitTimeout):
        client.put("X:SLOW.A", 2, provider=provider)
    with own.monitor("X:COUNT") as count:
        count.wait_for(lambda reading: reading.value == before + 1)
        own.put("X:SLOW.A", 3)
        assert own.get("X:COUNT").value == before + 2


def test_an_enum_tells_its_states(own: Ioc, provider: Provider) -> None:
    """An enum must be read as its index, with the name of its state and of all states."""
    own.put("X:ENUM", "START", provider=provider)
    seen = own.get("X:ENUM", provider=provider)
    assert (seen.value, seen.state, seen.choices[:2]) == (1, "START", ("INIT", "START"))
    assert str(seen).startswith("1 (START) NO_ALARM, time stamp ")


@pytest.mark.parametrize("values", [[], [5], [1, 2, 3, 4, 5]])
@pytest.mark.parametrize("reader", ["ca", "pva"])
def test_an_array_of_any_length_is_a_list(own: Ioc, provider: Provider, reader: Provider, values: list[int]) -> None:
    """An array must be read as the list that was written, be it empty or of one."""
    own.put("X:ARRAY", values, provider=provider)
    assert own.get("X:ARRAY", provider=reader).value == values


def test_a_string_that_is_too_long_is_refused_over_ca(own: Ioc) -> None:
    """A string of more than 39 bytes must be an error that names the PV, not a cut value."""
    own.put("X:STR", "short")
    with pytest.raises(HarnessError, match="X:STR"):
        own.put("X:STR", "x" * 60, provider="ca")
    assert own.get("X:STR").value == "short"


@pytest.mark.parametrize("junk", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10, b"\xff" * 64, b"\0" * 3])
def test_a_server_of_another_kind_is_told_over_ca(junk: bytes) -> None:
    """Whatever a server sends that is no Channel Access, a get must end with an error of ours, in time."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(junk)
        over.wait(60)

    start = now()
    with raw_server(serve) as port, Epics(ca=f"127.0.0.1:{port}", timeout=0.5) as client, pytest.raises(HarnessError):
        client.get("X:LONG", provider="ca")
    assert now() - start < 30


def test_a_client_outlives_a_restart(database: Path, provider: Provider) -> None:
    """After a restart a client that was connected must read and write again, soon."""
    with run_ioc(database, macros={"P": "X:"}) as ioc, Epics(ca=ioc.ca, pva=ioc.pva, timeout=60) as client:
        client.put("X:LONG", 8, provider=provider)
        ioc.restart()
        start = now()
        assert client.get("X:LONG", provider=provider).value == 7
        client.put("X:LONG", 9, provider=provider)
        assert client.get("X:LONG", provider=provider).value == 9
        assert now() - start < 30


def test_an_ioc_that_starts_late_is_reached(database: Path, provider: Provider) -> None:
    """A get that begins before its IOC must succeed soon after that serves."""
    with run_ioc(database, macros={"P": "X:"}) as ioc, Epics(ca=ioc.ca, pva=ioc.pva, timeout=60) as client:
        ioc.stop()
        served: list[float] = []

        def start() -> None:
            ioc.start()
            served.append(now())

        timer = threading.Timer(0.7, start)
        timer.start()
        try:
            assert client.get("X:LONG", provider=provider).value == 7
            reached = now()
        finally:
            timer.join()
    assert reached - served[0] < 30


# -- monitors --------------------------------------------------------------------------------------------------------


def test_a_monitor_begins_with_the_present_state(own: Ioc, provider: Provider) -> None:
    """The first update must be the state at the subscription, and those after it the changes, in order."""
    own.put("X:LONG", 1)
    with own.monitor("X:LONG", provider=provider) as updates:
        for value in (2, 3):
            own.put("X:LONG", value)
        assert [reading.value for reading in updates.wait_for_n(3)] == [1, 2, 3]
        assert (updates.connected, updates.disconnects, updates.drain()) == (True, 0, [])


def test_a_monitor_gives_what_a_get_gives(own: Ioc, provider: Provider) -> None:
    """Updates of every kind of record must be the readings that a get returns, alarm and time stamp included."""
    for name, value in [
        ("LONG", -5),
        ("DOUBLE", 18.5),
        ("ENUM", 1),
        ("STR", "text"),
        ("ARRAY", [1, 2, 3]),
        ("ARRAY", [4]),
    ]:
        own.put(f"X:{name}", 0 if not isinstance(value, list) else [9, 9])
        with own.monitor(f"X:{name}", provider=provider) as updates:
            own.put(f"X:{name}", value)
            seen = updates.wait_for_n(2)[1]
        assert seen == own.get(f"X:{name}", provider=provider)
        assert seen.value == value
        assert seen.alarm == ("MINOR" if name == "DOUBLE" else "NO_ALARM")


def test_waits_of_a_monitor_go_on_where_the_last_ended(own: Ioc, provider: Provider) -> None:
    """What a wait has looked at must not be seen again, and what came after it must be."""
    own.put("X:LONG", 0)
    with own.monitor("X:LONG", provider=provider) as updates:
        for value in range(1, 7):
            own.put("X:LONG", value)
        assert updates.wait_for(lambda reading: reading.value == 2).value == 2
        assert [reading.value for reading in updates.wait_for_n(2, lambda reading: reading.value % 2 == 0)] == [4, 6]
        assert updates.drain() == []


def test_no_update_is_lost(own: Ioc, provider: Provider) -> None:
    """Of changes that come faster than they are read, all must be seen, in order."""
    own.put("X:LONG", -1)
    with own.monitor("X:LONG", provider=provider) as updates:
        for value in range(100):
            own.put("X:LONG", value)
        assert [reading.value for reading in updates.wait_for_n(101)] == [*range(-1, 100)]


def test_a_monitor_outlives_a_garbage_collection(own: Ioc, provider: Provider) -> None:
    """A subscription must go on when the garbage collector has been at work."""
    own.put("X:LONG", 0)
    with own.monitor("X:LONG", provider=provider) as updates:
        gc.collect()
        own.put("X:LONG", 1)
        assert [reading.value for reading in updates.wait_for_n(2)] == [0, 1]


def test_a_wait_of_a_monitor_lists_what_came(own: Ioc, provider: Provider) -> None:
    """At the deadline the error must name the PV, count, and list what came instead."""
    own.put("X:LONG", 1)
    with own.monitor("X:LONG", provider=provider) as updates:
        own.put("X:LONG", 2)
        start = now()
        with pytest.raises(WaitTimeout) as caught:
            updates.wait_for(lambda reading: reading.value == 3, timeout=2, what="3")
        spent = now() - start
    where = own.ca if provider == "ca" else own.pva
    assert caught.value.summary == f"PV X:LONG at {where} ({provider}): 0 of 1 3 in 2 s"
    assert [line.split()[:2] for line in caught.value.details[:2]] == [["1", "NO_ALARM,"], ["2", "NO_ALARM,"]]
    assert caught.value.details[2].endswith("after the subscription: connected")
    assert 1.95 < spent < 30


def test_a_monitor_of_an_unknown_pv_is_told(own: Ioc, provider: Provider) -> None:
    """A PV that the IOC does not have must be an error that names it, within the time-out."""
    start = now()
    with Epics(ca=own.ca, pva=own.pva, timeout=0.8) as client, pytest.raises(HarnessError, match="X:NONE"):
        client.monitor("X:NONE", provider=provider)
    assert now() - start < 30


def test_a_monitor_where_no_ioc_is_times_out(provider: Provider) -> None:
    """Where nothing listens, the error must say why."""
    where = f"127.0.0.1:{free_port()}"
    with Epics(ca=where, pva=where, timeout=0.4) as client, pytest.raises(WaitTimeout) as caught:
        client.monitor("X:LONG", provider=provider)
    assert caught.value.summary == (
        f"PV X:LONG at {where} ({provider}) was not connected in 0.4 s: [Errno 111] Connection refused"
    )


def test_a_monitor_goes_on_after_a_restart(database: Path, provider: Provider) -> None:
    """Over a restart a monitor must connect anew by itself, count it, and see what changes then."""
    with run_ioc(database, macros={"P": "X:"}) as ioc, ioc.monitor("X:LONG", provider=provider) as updates:
        assert updates.wait_for_n(1)[0].value == 7
        ioc.restart()
        updates.wait_disconnected()
        start = now()
        updates.wait_connected(10)
        spent = now() - start
        ioc.put("X:LONG", 8)
        assert [reading.value for reading in updates.wait_for_n(2)] == [7, 8]
        assert (updates.connected, updates.disconnects) == (True, 1)
    assert spent < 3


def test_a_monitor_says_that_it_is_disconnected(database: Path, provider: Provider) -> None:
    """While the IOC is gone, a wait must say so at its deadline, and when it was lost."""
    with run_ioc(database, macros={"P": "X:"}) as ioc, ioc.monitor("X:LONG", provider=provider) as updates:
        updates.drain()
        ioc.kill()
        updates.wait_disconnected()
        assert not updates.connected
        with pytest.raises(WaitTimeout) as caught:
            updates.wait_for_n(1, timeout=0.3)
        assert "; not connected: [Errno 111] Connection refused" in caught.value.summary
        assert any("after the subscription: disconnected: " in line for line in caught.value.details)
        ioc.start()
        assert updates.wait_for(lambda reading: reading.value == 7, timeout=60).value == 7


def _is(value: int, seen: Reading) -> bool:
    return bool(seen.value == value)


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_what_came_before_a_loss_is_given(database: Path, provider: Provider, ending: str) -> None:
    """Updates that the IOC had sent when it ended must be given before the loss is told."""
    with run_ioc(database, macros={"P": "X:"}) as ioc, Epics(ca=ioc.ca, pva=ioc.pva) as client:
        updates, other = (client.monitor("X:LONG", provider=provider) for _ in range(2))
        updates.drain()
        for value in (1, 2, 3):
            ioc.put("X:LONG", value)
            other.wait_for(partial(_is, value))  # when it sends 3, the others have 1 and 2
        getattr(ioc, ending)()
        assert [reading.value for reading in updates.wait_for_n(2)] == [1, 2]
        updates.wait_disconnected()


def test_a_monitor_goes_on_where_the_library_was_faster() -> None:
    """Also when the library has connected anew before anybody looked, a monitor must tell the loss and go on."""
    variable = SharedPV(nt=NTScalar("i"), initial=1)
    place = {"EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1", "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO"}
    place |= {"EPICS_PVAS_SERVER_PORT": "0", "EPICS_PVAS_BROADCAST_PORT": "0"}
    with (
        Server(providers=[{"X": variable}], conf=place, useenv=False) as server,
        Epics(pva=f"127.0.0.1:{server.conf()['EPICS_PVAS_SERVER_PORT']}") as client,
        client.monitor("X") as updates,
    ):
        updates.drain()
        variable.close(destroy=True)
        variable.open(2)
        for _ in poll(Deadline.after(30)):
            events = list(updates._feed._came)  # type: ignore[attr-defined] # of pvAccess
            if len(events) > 1:
                break
        assert [type(event).__name__ for event in events] == ["Disconnected", "Value"]
        updates.wait_disconnected()
        updates.wait_connected()
        variable.post(3)
        assert [reading.value for reading in updates.wait_for_n(2)] == [2, 3]
        assert updates.disconnects == 1


def test_a_closed_monitor_gives_no_more(own: Ioc, provider: Provider) -> None:
    """After close, twice is no error, nothing may come and no connection be made."""
    updates = own.monitor("X:LONG", provider=provider)
    updates.drain()
    updates.close()
    updates.close()
    own.put("X:LONG", 55)
    with pytest.raises(WaitTimeout):
        updates.wait_for_n(1, timeout=0.2)
