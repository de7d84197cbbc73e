"""Channel Access, by caproto's protocol core and sockets of our own.

The library's own clients start a detached repeater process, which would outlive everybody; nothing here does.
"""

from __future__ import annotations

import getpass
import os
import socket
import struct
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import caproto

from harness.clock import Deadline, check_guards, poll
from harness.errors import HarnessError, WaitTimeout
from harness.helpers.epics.reading import Lost, Reading, refusal
from harness.helpers.http_plain import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable

_SLICE = 0.5
_BATCH = 1000
_LONGEST = 39  # bytes of a string on the wire: MAX_STRING_SIZE of the protocol, less its last NUL
_HANDSHAKE = 2.0  # seconds that an IOC which accepted may take to open a channel of a subscription
_ENDS = (Lost, caproto.ServerDisconnResponse)


class Circuit:
    """One CA virtual circuit over TCP, with caproto's protocol core and a socket of our own."""

    def __init__(self, address: str, timeout: float) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._deadline = Deadline.after(timeout)
        self._timeout = timeout
        self._came: deque[Any] = deque()
        self._subscribed: tuple[Any, tuple[str, ...]] = (None, ())
        self._circuit = caproto.VirtualCircuit(our_role=caproto.CLIENT, address=self._address, priority=0)
        self._socket = self._connect()
        self._circuit.our_address = self._socket.getsockname()

    def _connect(self) -> socket.socket:
        problem = ""
        for _ in poll(self._deadline):
            try:
                connection = socket.create_connection(self._address, timeout=_SLICE)
                # Small messages both ways: without this each waits 40 ms for an acknowledgement of the one before.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                problem = str(error)
            else:
                return connection
        raise WaitTimeout(f"IOC at {self._where} did not accept in {self._timeout:g} s: {problem}")

    @property
    def _where(self) -> str:
        return f"{self._address[0]}:{self._address[1]} (ca)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def _send(self, *commands: Any) -> None:  # noqa: ANN401 - untyped library
        self._socket.settimeout(max(0.05, self._deadline.remaining()))
        try:
            for buffer in self._circuit.send(*commands):
                self._socket.sendall(bytes(buffer))
        except OSError as error:
            check_guards()
            raise HarnessError(f"IOC at {self._where} did not take a request: {error}") from error

    def _receive(self, seconds: float) -> bool:
        """Wait for at most ``seconds`` for what the IOC sends next. Returns whether something came."""
        self._socket.settimeout(max(0.001, seconds))
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        if not data:
            check_guards()
            raise Lost(f"IOC at {self._where} closed the connection")
        try:
            commands, _ = self._circuit.recv(data)
            for command in commands:
                if command is caproto.DISCONNECTED:
                    raise Lost(f"IOC at {self._where} closed the connection")
                self._circuit.process_command(command)
                self._came.append(command)
        except (caproto.CaprotoError, ValueError, LookupError, struct.error) as error:
            raise HarnessError(f"IOC at {self._where} does not speak Channel Access: {problem_of(error)}") from error
        return True

    def _next(self, subject: str) -> Any:  # noqa: ANN401 - untyped library
        """Return what came first and was not looked at, None when nothing has."""
        if not self._came:
            return None
        command = self._came.popleft()
        if isinstance(command, Lost):
            raise command
        if isinstance(command, caproto.CreateChFailResponse):
            raise HarnessError(f"IOC at {self._where} has no {subject}")
        if isinstance(command, caproto.ServerDisconnResponse):
            raise Lost(f"IOC at {self._where} closed the channel")
        if isinstance(command, caproto.ErrorResponse):
            raise HarnessError(f"IOC at {self._where} refused, {subject} was awaited: {command}")
        return command

    def _await(self, subject: str, wanted: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - untyped library
        for _ in poll(self._deadline, pause=False):
            try:
                self._receive(0.0 if self._came else 0.1)
            except Lost as error:
                raise Lost(f"{error.summary}, {subject} was awaited") from error
            while (command := self._next(subject)) is not None:
                if wanted(command):
                    return command
        raise WaitTimeout(f"IOC at {self._where} did not send {subject} in {self._timeout:g} s")

    def _channel(self, name: str) -> Any:  # noqa: ANN401 - untyped library
        channel = caproto.ClientChannel(name, self._circuit)
        self._send(
            caproto.VersionRequest(priority=0, version=caproto.DEFAULT_PROTOCOL_VERSION),
            channel.host_name(socket.gethostname()),
            channel.client_name(_user()),
            channel.create(),
        )
        self._await(f"PV {name}", lambda command: isinstance(command, caproto.CreateChanResponse))
        return channel

    def _choices_of(self, name: str, channel: Any) -> tuple[str, ...]:  # noqa: ANN401 - untyped library
        if channel.native_data_type != caproto.ChannelType.ENUM:
            return ()
        answer = self._read(name, channel, caproto.field_types["control"][channel.native_data_type])
        return tuple(_text(state) for state in answer.metadata.enum_strings)

    def _read(self, name: str, channel: Any, kind: Any) -> Any:  # noqa: ANN401 - untyped library
        request = channel.read(data_type=kind)
        self._send(request)
        answer = self._await(
            f"the value of {name}",
            lambda command: isinstance(command, caproto.ReadNotifyResponse) and command.ioid == request.ioid,
        )
        self._check_status(answer, f"to read {name}")
        return answer

    def read(self, name: str) -> Reading:
        """Read a PV."""
        channel = self._channel(name)
        choices = self._choices_of(name, channel)
        answer = self._read(name, channel, caproto.field_types["time"][channel.native_data_type])
        return _reading(answer, channel, choices)

    def subscribe(self, name: str) -> None:
        """Subscribe to changes of value and alarm; ``updates`` gives what comes, the present state first."""
        channel = self._channel(name)
        self._subscribed = (channel, self._choices_of(name, channel))
        mask = caproto.SubscriptionType.DBE_VALUE | caproto.SubscriptionType.DBE_ALARM
        kind = caproto.field_types["time"][channel.native_data_type]
        # A count of 0 is "as many as there are" (Channel Access protocol, version 4.13).
        self._send(channel.subscribe(data_type=kind, data_count=0, mask=mask))

    def updates(self, seconds: float) -> list[Reading]:
        """Return the updates that have come, or else come in ``seconds``. Raises Lost, HarnessError."""
        readings: list[Reading] = []
        # Bounded: a PV that changes faster than it is read must not hold the caller.
        try:
            for turn in range(_BATCH):
                if not self._receive(0.0 if turn or self._came else seconds):
                    break
        except Lost as error:
            self._came.append(error)
        # A loss waits for the next call: what came before it goes before it.
        while not (readings and self._came and isinstance(self._came[0], _ENDS)):
            if (command := self._next("an update")) is None:
                break
            if isinstance(command, caproto.EventAddResponse):
                self._check_status(command, "the subscription")
                readings.append(_reading(command, *self._subscribed))
        return readings

    def write(self, name: str, value: Any) -> None:  # noqa: ANN401 - what the record takes
        """Write a PV and wait until it is processed."""
        channel = self._channel(name)
        values = [value] if isinstance(value, str | bytes) or not isinstance(value, Iterable) else list(value)
        if channel.native_data_type == caproto.ChannelType.STRING:
            values = [item if isinstance(item, bytes) else str(item) for item in values]
        kind = caproto.ChannelType.STRING if any(isinstance(item, str) for item in values) else None
        data = [item.encode() if isinstance(item, str) else item for item in values]
        if any(isinstance(item, bytes) and len(item) > _LONGEST for item in data):
            # The library would cut it without a word.
            raise HarnessError(f"PV {name} at {self._where} takes strings of {_LONGEST} bytes, not {value!r}")
        try:
            request = channel.write(data=data, data_type=kind, notify=True)
            self._send(request)
        except (caproto.CaprotoError, TypeError, ValueError, struct.error) as error:
            raise HarnessError(f"PV {name} at {self._where} cannot hold {value!r}: {problem_of(error)}") from error
        answer = self._await(
            f"the confirmation of {name}",
            lambda command: isinstance(command, caproto.WriteNotifyResponse) and command.ioid == request.ioid,
        )
        self._check_status(answer, f"{value!r} for {name}")

    def _check_status(self, answer: Any, request: str) -> None:  # noqa: ANN401 - untyped library
        if not answer.status.success:
            raise HarnessError(f"IOC at {self._where} refused {request}: {answer.status.description}")


def _plain(data: Any) -> list[Any]:  # noqa: ANN401 - an array of whatever the record holds
    return data.tolist() if hasattr(data, "tolist") else list(data)


def _reading(answer: Any, channel: Any, choices: tuple[str, ...]) -> Reading:  # noqa: ANN401 - untyped library
    data = [_text(item) if isinstance(item, bytes) else item for item in _plain(answer.data)]
    meta = answer.metadata
    value = data[0] if len(data) == 1 and channel.native_data_count == 1 else data
    return Reading(value, int(meta.severity), int(meta.status), meta.timestamp, choices)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="backslashreplace")


def _user() -> str:
    """Return the name that an IOC's access rules see."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user number without an entry, as in containers
        return str(os.getuid())


class CaFeed:
    """A subscription over Channel Access."""

    def __init__(self, address: str, name: str) -> None:
        self._address = address
        self._name = name
        self._circuit: Circuit | None = None
        self._closed = False
        self.problem = "no update yet"

    def receive(self, deadline: Deadline) -> list[Reading]:
        """Return what has come; see ``Feed``."""
        try:
            if self._circuit is None and not self._closed:
                self._connect(deadline)
            if self._circuit is None:
                return []
            readings = self._circuit.updates(deadline.remaining())
        except (Lost, WaitTimeout) as error:
            self._drop()
            self.problem = error.summary
            return []
        if readings:
            self.problem = ""
        return readings

    def _connect(self, deadline: Deadline) -> None:
        for _ in poll(deadline):
            problem = refusal(self._address, deadline)
            if not problem:
                break
            self.problem = problem
        else:
            return
        circuit = Circuit(self._address, _HANDSHAKE)
        try:
            circuit.subscribe(self._name)
        except BaseException:
            circuit.close()
            raise
        self._circuit = circuit

    def _drop(self) -> None:
        if self._circuit is not None:
            self._circuit.close()
            self._circuit = None

    def close(self) -> None:
        """Unsubscribe and disconnect."""
        self._closed = True
        self._drop()
