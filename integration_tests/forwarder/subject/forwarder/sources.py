"""Where updates come from: Channel Access, pvAccess, or nowhere (fake)."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from forwarder.updates import Update, status_by_name

Put = Callable[[Callable[[], Update | None]], None]
"""Takes a function that makes the update, to be called later by the thread that may ask the IOC things."""

_CA_STRING, _CA_ENUM = 14, 17
_CA_TYPES: dict[int, type[np.generic]] = {
    15: np.int16,
    16: np.float32,
    18: np.int8,
    19: np.int32,
    20: np.float64,
}
"""The DBR_TIME_* numbers of EPICS' db_access.h."""
_PVA_TYPES: dict[str, type[np.generic]] = {
    "b": np.int8,
    "B": np.uint8,
    "h": np.int16,
    "H": np.uint16,
    "i": np.int32,
    "I": np.uint32,
    "l": np.int64,
    "L": np.uint64,
    "f": np.float32,
    "d": np.float64,
}


class Source(Protocol):
    """A subscription that can be closed."""

    def close(self) -> None:
        """End it; no update comes after this returns."""
        ...


class CaSource:
    """A Channel Access monitor, by pyepics."""

    def __init__(self, channel: str, put: Put) -> None:
        import epics

        self._put = put
        self._pv = epics.PV(channel, form="time", auto_monitor=True, callback=self._changed)

    def _changed(self, **event: Any) -> None:
        # This runs in libca's thread, in which the IOC must not be asked anything: enum labels come later.
        self._put(lambda: self._update(event))

    def _update(self, event: dict[str, Any]) -> Update:
        # Not "type": pyepics' PV writes "unknown" there when the IOC connects while its constructor still runs.
        kind = int(event["ftype"])
        value = event["value"]
        if kind == _CA_ENUM:
            value = self._pv.enum_strs[int(value)]
        elif kind != _CA_STRING:
            value = np.asarray(value, dtype=_CA_TYPES[kind])
        stamp = int(event["posixseconds"]) * 1_000_000_000 + int(event["nanoseconds"])
        return Update(value, int(event["status"]), int(event["severity"]), stamp)

    def close(self) -> None:
        self._pv.clear_callbacks()
        self._pv.disconnect()


class PvaSource:
    """A pvAccess monitor, by p4p."""

    _context: Any = None

    def __init__(self, channel: str, put: Put) -> None:
        from p4p.client.thread import Context

        if PvaSource._context is None:
            PvaSource._context = Context("pva", nt=False)
        self._put = put
        self._subscription = PvaSource._context.monitor(channel, self._changed, notify_disconnect=False)

    def _changed(self, raw: Any) -> None:
        self._put(lambda: self._update(raw))

    def _update(self, raw: Any) -> Update:
        code = raw.type()["value"]
        if isinstance(code, str):
            value = raw.value if code == "s" else np.asarray(raw.value, dtype=_PVA_TYPES[code[-1]])
        else:
            value = raw.value.choices[raw.value.index]
        stamp = raw.timeStamp.secondsPastEpoch * 1_000_000_000 + raw.timeStamp.nanoseconds
        status = status_by_name(raw.alarm.message) if raw.alarm.severity else 0
        return Update(value, status, raw.alarm.severity, stamp)

    def close(self) -> None:
        self._subscription.close()


class FakeSource:
    """Counts up by itself; no IOC is needed."""

    def __init__(self, put: Put, period: float) -> None:
        self._put = put
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(period,), name="fake-pv", daemon=True)
        self._thread.start()

    def _run(self, period: float) -> None:
        count = 0
        while not self._stop.wait(period):
            count += 1
            self._put(functools.partial(Update, np.int32(count), 0, 0, time.time_ns()))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
