"""EPICS for tests: put and get over Channel Access and pvAccess, to an IOC whose address is known.

Nothing is searched by broadcast and no repeater is started: CA goes straight to the IOC's TCP port, PVA to it as name
server. Needs the extra ``epics`` (p4p, caproto).
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import caproto

from harness.clock import Deadline, check_guards, poll
from harness.errors import HarnessError, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

Provider = Literal["ca", "pva"]
_SLICE = 0.5


@dataclass(frozen=True)
class Reading:
    """The state of a process variable.

    Attributes:
        value: a number, a string, or a list of numbers; the index of an enum.
        severity: alarm severity, 0 NO_ALARM to 3 INVALID.
        status: alarm status number; CA and PVA number them differently.
        seconds: time stamp, seconds since the epoch.
    """

    value: Any
    severity: int
    status: int
    seconds: float


class Epics:
    """An IOC. Close it, or use it in ``with``.

    Args:
        ca: ``host:port`` of its Channel Access server.
        pva: ``host:port`` of its pvAccess server.
        timeout: seconds for one operation, connecting included.
    """

    def __init__(self, *, ca: str = "", pva: str = "", timeout: float = 5.0) -> None:
        self._ca_address = ca
        self._pva_address = pva
        self.timeout = timeout
        self._context: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        if self._context is not None:
            self._context.close()
            self._context = None

    def put(self, name: str, value: Any, *, provider: Provider = "pva") -> None:  # noqa: ANN401 - what the record takes
        """Write ``value`` to the process variable ``name`` and wait until the IOC has processed it.

        Raises:
            WaitTimeout: the IOC did not answer in time.
            HarnessError: the IOC refused, or no address for ``provider`` was given.
        """
        if provider == "ca":
            with _Circuit(self._address("ca"), self.timeout) as circuit:
                circuit.write(name, value)
        else:
            deadline = Deadline.after(self.timeout)
            field = self._pva(name, lambda context, timeout: _field(context, name, value, timeout), deadline)
            # Tried once: a put that the IOC is still busy with must not be made again.
            try:
                self._pva(name, lambda context, timeout: context.put(name, field, timeout=timeout), deadline, once=True)
            except (TypeError, ValueError) as error:
                raise HarnessError(f"PV {name} at {self._pva_address} (pva) refused {value!r}: {error}") from error

    def get(self, name: str, *, provider: Provider = "pva") -> Reading:
        """Read the process variable ``name``. Raises WaitTimeout and HarnessError as ``put`` does."""
        if provider == "ca":
            with _Circuit(self._address("ca"), self.timeout) as circuit:
                return circuit.read(name)
        deadline = Deadline.after(self.timeout)
        raw = self._pva(name, lambda context, timeout: context.get(name, timeout=timeout), deadline)
        value = raw.value
        if hasattr(value, "index") and hasattr(value, "choices"):
            value = value.index
        elif hasattr(value, "tolist"):
            value = value.tolist()
        stamp = raw.timeStamp
        return Reading(value, raw.alarm.severity, raw.alarm.status, stamp.secondsPastEpoch + stamp.nanoseconds / 1e9)

    def _address(self, provider: Provider) -> str:
        address = self._ca_address if provider == "ca" else self._pva_address
        if not address:
            raise HarnessError(f"No {provider} address was given to Epics(...)")
        return address

    def _pva(self, name: str, act: Callable[[Any, float], Any], deadline: Deadline, *, once: bool = False) -> Any:  # noqa: ANN401 - untyped library
        from p4p.client.thread import (  # noqa: PLC0415 - half a second to import, and CA users do without
            Context,
            RemoteError,
        )

        if self._context is None:
            self._context = Context(
                "pva",
                nt=False,
                useenv=False,
                conf={
                    "EPICS_PVA_ADDR_LIST": "",
                    "EPICS_PVA_AUTO_ADDR_LIST": "NO",
                    "EPICS_PVA_NAME_SERVERS": self._address("pva"),
                    # The client binds it on the wildcard to hear beacons; we need none, so any free port does.
                    "EPICS_PVA_BROADCAST_PORT": str(_free_udp_port()),
                },
            )
        for _ in poll(deadline, pause=False):
            left = deadline.remaining()
            try:
                return act(self._context, max(0.05, left if once else min(_SLICE, left)))
            except TimeoutError:
                if once:
                    break
            except RemoteError as error:
                raise HarnessError(f"PV {name} at {self._pva_address} (pva) refused: {error}") from error
        raise WaitTimeout(f"PV {name} at {self._pva_address} (pva) did not answer in {self.timeout:g} s")


def _field(context: Any, name: str, value: Any, timeout: float) -> Any:  # noqa: ANN401 - untyped library
    """Return ``value`` as what p4p puts into the PV: enums are written by index, chosen by number or by name."""
    current = context.get(name, timeout=timeout).value
    if not (hasattr(current, "index") and hasattr(current, "choices")):
        return {"value": value}
    if isinstance(value, str):
        choices = list(current.choices)
        if value not in choices:
            raise HarnessError(f"PV {name} has no state {value!r}; it has: {', '.join(choices)}")
        value = choices.index(value)
    return {"value.index": value}


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Circuit:
    """One CA virtual circuit over TCP, with caproto's protocol core and a socket of our own."""

    def __init__(self, address: str, timeout: float) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._deadline = Deadline.after(timeout)
        self._timeout = timeout
        self._circuit = caproto.VirtualCircuit(our_role=caproto.CLIENT, address=self._address, priority=0)
        self._socket = self._connect()
        self._circuit.our_address = self._socket.getsockname()

    def _connect(self) -> socket.socket:
        problem = ""
        for _ in poll(self._deadline):
            try:
                made = socket.create_connection(self._address, timeout=_SLICE)
                # Small messages both ways: without this each waits 40 ms for an acknowledgement of the one before.
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                problem = str(error)
            else:
                return made
        raise WaitTimeout(f"IOC at {self._where} did not accept in {self._timeout:g} s: {problem}")

    @property
    def _where(self) -> str:
        return f"{self._address[0]}:{self._address[1]} (ca)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _send(self, *commands: Any) -> None:  # noqa: ANN401 - untyped library
        self._socket.settimeout(max(0.05, self._deadline.remaining()))
        try:
            for buffer in self._circuit.send(*commands):
                self._socket.sendall(bytes(buffer))
        except OSError as error:
            check_guards()
            raise HarnessError(f"IOC at {self._where} did not take a request: {error}") from error

    def _await(self, what: str, wanted: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - untyped library
        for _ in poll(self._deadline, pause=False):
            self._socket.settimeout(0.1)
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                check_guards()
                raise HarnessError(f"IOC at {self._where} closed the connection, {what} was awaited")
            commands, _ = self._circuit.recv(data)
            for command in commands:
                self._circuit.process_command(command)
                if isinstance(command, caproto.CreateChFailResponse):
                    raise HarnessError(f"IOC at {self._where} has no {what}")
                if isinstance(command, caproto.ErrorResponse):
                    raise HarnessError(f"IOC at {self._where} refused, {what} was awaited: {command}")
                if wanted(command):
                    return command
        raise WaitTimeout(f"IOC at {self._where} did not send {what} in {self._timeout:g} s")

    def _channel(self, name: str) -> Any:  # noqa: ANN401 - untyped library
        channel = caproto.ClientChannel(name, self._circuit)
        self._send(
            caproto.VersionRequest(priority=0, version=caproto.DEFAULT_PROTOCOL_VERSION),
            channel.host_name(socket.gethostname()),
            channel.client_name(getpass.getuser()),
            channel.create(),
        )
        self._await(f"PV {name}", lambda command: isinstance(command, caproto.CreateChanResponse))
        return channel

    def read(self, name: str) -> Reading:
        channel = self._channel(name)
        request = channel.read(data_type=caproto.field_types["time"][channel.native_data_type])
        self._send(request)
        answer = self._await(
            f"the value of {name}",
            lambda command: isinstance(command, caproto.ReadNotifyResponse) and command.ioid == request.ioid,
        )
        self._check_status(answer, f"to read {name}")
        data = [item.decode() if isinstance(item, bytes) else item for item in _plain(answer.data)]
        meta = answer.metadata
        return Reading(data[0] if len(data) == 1 else data, int(meta.severity), int(meta.status), meta.timestamp)

    def write(self, name: str, value: Any) -> None:  # noqa: ANN401 - what the record takes
        channel = self._channel(name)
        values = [value] if isinstance(value, str | bytes) or not isinstance(value, Iterable) else list(value)
        if channel.native_data_type == caproto.ChannelType.STRING:
            values = [item if isinstance(item, bytes) else str(item) for item in values]
        kind = caproto.ChannelType.STRING if any(isinstance(item, str) for item in values) else None
        data = [item.encode() if isinstance(item, str) else item for item in values]
        request = channel.write(data=data, data_type=kind, notify=True)
        self._send(request)
        answer = self._await(
            f"the confirmation of {name}",
            lambda command: isinstance(command, caproto.WriteNotifyResponse) and command.ioid == request.ioid,
        )
        self._check_status(answer, f"{value!r} for {name}")

    def _check_status(self, answer: Any, what: str) -> None:  # noqa: ANN401 - untyped library
        if not answer.status.success:
            raise HarnessError(f"IOC at {self._where} refused {what}: {answer.status.description}")


def _plain(data: Any) -> list[Any]:  # noqa: ANN401 - an array of whatever the record holds
    return data.tolist() if hasattr(data, "tolist") else list(data)
