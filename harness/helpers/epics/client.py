"""A client of one IOC, for both protocols, and its monitors."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Self

from harness.clock import Deadline, now, poll
from harness.errors import HarnessError, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.helpers.epics.ca import Circuit
    from harness.helpers.epics.pva import Pva
    from harness.helpers.epics.reading import Feed, Provider, Reading

_SLICE = 0.1  # seconds between two looks at the clock: a dead service must be noticed between two
_KEPT = 20  # updates that a time-out lists


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
        self._pva_made: Pva | None = None
        self._monitors: list[Monitor] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, and close its monitors."""
        for monitor in self._monitors:
            monitor.close()
        self._monitors.clear()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._pva_made is not None:
            self._pva_made.close()
            self._pva_made = None

    def put(self, name: str, value: Any, *, provider: Provider = "pva") -> None:  # noqa: ANN401 - what the record takes
        """Write ``value`` to the process variable ``name`` and wait until the IOC has processed it.

        Connecting is tried until the time-out; the write is sent once, since the IOC may be at work on it. An enum
        takes an index or the name of a state.

        Raises:
            WaitTimeout: the IOC did not answer in time.
            HarnessError: the IOC refused, or no address for ``provider`` was given.
        """
        if provider == "ca":
            with self._circuit() as circuit:
                circuit.write(name, value)
        else:
            self._pva().put(name, value, self.timeout)

    def get(self, name: str, *, provider: Provider = "pva") -> Reading:
        """Read the process variable ``name``. Raises WaitTimeout and HarnessError as ``put`` does."""
        if provider == "ca":
            with self._circuit() as circuit:
                return circuit.read(name)
        return self._pva().get(name, self.timeout)

    def monitor(self, name: str, *, provider: Provider = "pva", patience: float | None = None) -> Monitor:
        """Subscribe to the process variable ``name``. Its first update, the present state, has come on return.

        Args:
            name: the process variable.
            provider: the protocol.
            patience: seconds that its waits take unless told otherwise; by default the client's time-out.

        Raises:
            WaitTimeout: no first update came in time.
            HarnessError: the IOC refused, or no address for ``provider`` was given.
        """
        address = self._address(provider)
        feed: Feed
        if provider == "ca":
            from harness.helpers.epics.ca import CaFeed  # noqa: PLC0415 - as above

            feed = CaFeed(address, name)
        else:
            from harness.helpers.epics.pva import PvaFeed  # noqa: PLC0415 - as above

            feed = PvaFeed(address, name)
        monitor = Monitor(feed, f"PV {name} at {address} ({provider})", patience or self.timeout)
        try:
            monitor.wait_connected(self.timeout)
        except BaseException:
            monitor.close()
            raise
        self._monitors.append(monitor)
        return monitor

    def _address(self, provider: Provider) -> str:
        address = self._ca_address if provider == "ca" else self._pva_address
        if not address:
            raise HarnessError(f"No {provider} address was given to Epics(...)")
        return address

    def _circuit(self) -> Circuit:
        from harness.helpers.epics.ca import Circuit  # noqa: PLC0415 - caproto is loaded when it is used

        return Circuit(self._address("ca"), self.timeout)

    def _pva(self) -> Pva:
        if self._pva_made is None:
            from harness.helpers.epics.pva import Pva  # noqa: PLC0415 - half a second to import

            self._pva_made = Pva(self._address("pva"))
        return self._pva_made


class Monitor:
    """A subscription. Made by ``Epics.monitor``; close it, or use it in ``with``.

    Updates are taken in the order of their arrival: what a wait has looked at, the next one does not see again. When
    the IOC goes away, waits connect anew until their deadline; the first update then is the state at that moment, what
    was between is lost, and ``disconnects`` counts it.

    Attributes:
        disconnects: how often the connection was lost.
    """

    def __init__(self, feed: Feed, who: str, patience: float) -> None:
        self._feed = feed
        self._who = who
        self._patience = patience
        self._waiting: deque[Reading] = deque()
        self._history: deque[str] = deque(maxlen=_KEPT)
        self._connected = False
        self._begin = now()
        self.disconnects = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unsubscribe; twice is no error."""
        self._feed.close()

    @property
    def connected(self) -> bool:
        """Whether the IOC is connected, as far as is known now."""
        self._receive(0.0)
        return self._connected

    def wait_for(
        self, wanted: Callable[[Reading], object], timeout: float | None = None, *, what: str = "matching update"
    ) -> Reading:
        """Return the first update for which ``wanted`` is true.

        Raises:
            WaitTimeout: none came in ``timeout`` seconds (default: ``patience``); it lists what came instead.
        """
        __tracebackhide__ = True
        return self.wait_for_n(1, wanted, timeout, what=what)[0]

    def wait_for_n(
        self,
        count: int,
        wanted: Callable[[Reading], object] = lambda _: True,
        timeout: float | None = None,
        *,
        what: str = "updates",
    ) -> list[Reading]:
        """Return the first ``count`` updates for which ``wanted`` is true.

        Raises:
            WaitTimeout: fewer came in ``timeout`` seconds; the error lists what came, and when the connection was lost.
        """
        __tracebackhide__ = True
        timeout = self._patience if timeout is None else timeout
        readings: list[Reading] = []
        looked_at: deque[str] = deque(maxlen=_KEPT)
        for _ in poll(Deadline.patient(timeout), pause=False):
            self._receive(0.0 if self._waiting else _SLICE)
            while self._waiting and len(readings) < count:
                reading = self._waiting.popleft()
                looked_at.append(f"  {reading}")
                if wanted(reading):
                    readings.append(reading)
            if len(readings) >= count:
                return readings
        state = f"; not connected: {self._feed.problem}" if self._feed.problem else ""
        raise WaitTimeout(
            f"{self._who}: {len(readings)} of {count} {what} in {timeout:g} s{state}",
            details=[*(looked_at or ["  no update at all"]), *self._history],
        )

    def drain(self) -> list[Reading]:
        """Return the updates that have come and were not taken yet, without waiting."""
        self._receive(0.0)
        came = list(self._waiting)
        self._waiting.clear()
        return came

    def wait_connected(self, timeout: float | None = None) -> None:
        """Wait until the IOC is connected and its present state has come; no update is taken.

        Raises:
            WaitTimeout: it is not after ``timeout`` seconds (default: ``patience``).
        """
        __tracebackhide__ = True
        self._wait_until("connected", lambda: self._connected, timeout)

    def wait_disconnected(self, timeout: float | None = None) -> None:
        """Wait until the connection is lost. Raises WaitTimeout."""
        __tracebackhide__ = True
        before = self.disconnects if self._connected else self.disconnects - 1
        self._wait_until("disconnected", lambda: self.disconnects > before, timeout)

    def _wait_until(self, state: str, holds: Callable[[], bool], timeout: float | None) -> None:
        __tracebackhide__ = True
        timeout = self._patience if timeout is None else timeout
        for _ in poll(Deadline.patient(timeout), pause=False):
            if holds():
                return
            self._receive(_SLICE)
        if not holds():
            why = f": {self._feed.problem}" if self._feed.problem else ""
            raise WaitTimeout(f"{self._who} was not {state} in {timeout:g} s{why}", details=list(self._history))

    def _receive(self, seconds: float) -> None:
        came = self._feed.receive(Deadline.after(seconds))
        self._waiting.extend(came)
        if self._connected and self._feed.problem:
            self.disconnects += 1
            self._note(f"disconnected: {self._feed.problem}")
            self._connected = False
        elif not self._connected and came and not self._feed.problem:
            self._connected = True
            self._note("connected")

    def _note(self, event: str) -> None:
        self._history.append(f"  {now() - self._begin:.2f} s after the subscription: {event}")
