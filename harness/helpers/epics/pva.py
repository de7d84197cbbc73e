"""pvAccess, by p4p. The IOC is its clients' name server: a search by UDP is answered on 127.0.0.1 only."""

from __future__ import annotations

import socket
import threading
from collections import deque
from typing import Any

from p4p.client.thread import Context, RemoteError

from harness.clock import Deadline, check_guards, now, poll
from harness.errors import HarnessError, WaitTimeout
from harness.helpers.epics.reading import Reading, refusal

_SLICE = 0.5
# The library tries a name server that was not there again after 10 s or more, a new context at once.
_FIRST_RENEWAL = 0.5
_QUEUE = 1000  # updates that the IOC holds for a subscription; by default it overwrites the fourth


class Pva:
    """A pvAccess client of one server."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._context: Any = None

    def close(self) -> None:
        """Disconnect."""
        if self._context is not None:
            self._context.close()
            self._context = None

    def get(self, name: str, timeout: float) -> Reading:
        """Read a PV. Raises WaitTimeout, HarnessError."""
        return reading_of(self._get(name, timeout, Deadline.after(timeout)))

    def put(self, name: str, value: Any, timeout: float) -> None:  # noqa: ANN401 - what the record takes
        """Write a PV and wait until it is processed. Raises WaitTimeout, HarnessError."""
        deadline = Deadline.after(timeout)
        written = _field(name, value, self._get(name, timeout, deadline).value)
        # Once: a put that the IOC is still busy with must not be made again.
        try:
            self._context.put(name, written, timeout=max(0.05, deadline.remaining()), wait=True, get=False)
        except TimeoutError:
            raise self._silent(name, timeout, "") from None
        except (TypeError, ValueError, RemoteError) as error:
            check_guards()
            raise HarnessError(f"PV {name} at {self._address} (pva) refused {value!r}: {error}") from error

    def _get(self, name: str, timeout: float, deadline: Deadline) -> Any:  # noqa: ANN401 - untyped library
        begun, patience, problem = now(), _FIRST_RENEWAL, ""
        for _ in poll(deadline):
            if self._context is None:
                problem = refusal(self._address, deadline)
                if problem:
                    continue
                self._context, begun = _context(self._address), now()
            try:
                return self._context.get(name, timeout=max(0.05, min(_SLICE, deadline.remaining())))
            except TimeoutError:
                if now() - begun >= patience:
                    self.close()
                    patience *= 2
            except RemoteError as error:
                raise HarnessError(f"PV {name} at {self._address} (pva) refused: {error}") from error
        raise self._silent(name, timeout, problem)

    def _silent(self, name: str, timeout: float, problem: str) -> WaitTimeout:
        why = f": {problem}" if problem else ""
        return WaitTimeout(f"PV {name} at {self._address} (pva) did not answer in {timeout:g} s{why}")


class PvaFeed:
    """A subscription over pvAccess."""

    def __init__(self, address: str, name: str) -> None:
        self._address = address
        self._name = name
        self._came: deque[Any] = deque()
        self._wake = threading.Event()
        self._context: Any = None
        self._subscription: Any = None
        self._closed = False
        self._made, self._patience = 0.0, _FIRST_RENEWAL
        self.problem = "no update yet"

    def receive(self, deadline: Deadline) -> list[Reading]:
        """Return what has come; see ``Feed``."""
        readings: list[Reading] = []
        for _ in poll(deadline, wake=self._wake):
            while self._came:
                # Not beyond a loss, which must be seen also when the next connection is there already.
                if self._take(self._came.popleft(), readings):
                    return readings
            if readings or self._closed:
                break
            if self.problem:
                self._renew(deadline)
        return readings

    def _take(self, update: Any, readings: list[Reading]) -> bool:  # noqa: ANN401 - untyped library
        """Take an update of a subscription. Returns whether it says that the connection is lost."""
        if isinstance(update, RemoteError):
            raise HarnessError(f"PV {self._name} at {self._address} (pva) refused: {update}") from update
        if not isinstance(update, Exception):
            self.problem = ""
            readings.append(reading_of(update))
            return False
        # The first thing that a subscription tells is that it is not connected yet.
        if self.problem:
            return False
        self.problem, self._patience = "the IOC closed the connection", _FIRST_RENEWAL
        self._drop()
        return True

    def _renew(self, deadline: Deadline) -> None:
        if self._context is not None and now() - self._made < self._patience:
            return
        refused = refusal(self._address, deadline)
        if refused:
            self.problem = refused
            return
        self._drop()
        self._made = now()
        self._patience *= 2
        self._context = _context(self._address)
        came = self._came  # of this subscription only: the old one may still tell of its end

        def changed(update: Any) -> None:  # noqa: ANN401 - untyped library
            came.append(update)
            self._wake.set()

        # Kept: the library ends a subscription that the garbage collector finds.
        self._subscription = self._context.monitor(
            self._name, changed, request=f"record[queueSize={_QUEUE}]field()", notify_disconnect=True
        )

    def _drop(self) -> None:
        if self._context is not None:
            if self._subscription is not None:
                self._subscription.close()
            self._context.close()
            self._context = self._subscription = None
        # The library may have connected anew before the loss was looked at: that was of the subscription closed here.
        self._came = deque()

    def close(self) -> None:
        """Unsubscribe and disconnect."""
        self._closed = True
        self._drop()


def _context(address: str) -> Any:  # noqa: ANN401 - untyped library
    return Context(
        "pva",
        nt=False,
        useenv=False,
        conf={
            "EPICS_PVA_ADDR_LIST": "",
            "EPICS_PVA_AUTO_ADDR_LIST": "NO",
            "EPICS_PVA_NAME_SERVERS": address,
            # The client binds it on the wildcard to hear beacons; we need none, so any free port does.
            "EPICS_PVA_BROADCAST_PORT": str(_free_udp_port()),
        },
    )


def reading_of(raw: Any) -> Reading:  # noqa: ANN401 - untyped library
    """Return what a normative type says ("Normative Types Specification" of EPICS)."""
    value, choices = raw.value, ()
    if _is_enum(value):
        value, choices = value.index, tuple(value.choices)
    elif hasattr(value, "tolist"):
        value = value.tolist()
    stamp = raw.timeStamp
    seconds = stamp.secondsPastEpoch + stamp.nanoseconds / 1e9
    return Reading(value, raw.alarm.severity, raw.alarm.status, seconds, choices)


def _is_enum(value: Any) -> bool:  # noqa: ANN401 - untyped library
    return hasattr(value, "index") and hasattr(value, "choices")


def _field(name: str, value: Any, current: Any) -> dict[str, Any]:  # noqa: ANN401 - untyped library
    """Return which field of the PV gets what: enums are written by index, chosen by number or by name."""
    if not _is_enum(current):
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
