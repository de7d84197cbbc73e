"""Updates of process variables and the messages made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# ess-streaming-data-types 0.27 uses two names that numpy 2 removed; without them it cannot serialise f142.
for _old, _new in (("unicode_", np.str_), ("string_", np.bytes_)):
    if not hasattr(np, _old):
        setattr(np, _old, _new)

from streaming_data_types.fbschemas.logdata_f142.AlarmSeverity import AlarmSeverity  # noqa: E402
from streaming_data_types.fbschemas.logdata_f142.AlarmStatus import AlarmStatus  # noqa: E402
from streaming_data_types.logdata_f142 import serialise_f142  # noqa: E402

# EPICS numbers severities NO_ALARM, MINOR, MAJOR, INVALID; f142 has its own order. Alarm status numbers are the same.
SEVERITIES = (AlarmSeverity.NO_ALARM, AlarmSeverity.MINOR, AlarmSeverity.MAJOR, AlarmSeverity.INVALID)


@dataclass(frozen=True)
class Update:
    """A value that a process variable took.

    Attributes:
        value: a string, a numpy scalar or a numpy array.
        status: EPICS alarm status.
        severity: EPICS alarm severity.
        timestamp: nanoseconds since the epoch.
    """

    value: Any
    status: int
    severity: int
    timestamp: int


def status_by_name(name: str) -> int:
    """Return the EPICS alarm status called ``name`` (pvAccess sends names), NO_ALARM for none."""
    found: int = getattr(AlarmStatus, name.strip(), AlarmStatus.NO_ALARM)
    return found


class Converter:
    """Makes f142 messages of the updates of one channel; an alarm that did not change is sent as such."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self._alarm: tuple[int, int] | None = None

    def convert(self, update: Update) -> bytes:
        """Return the message for ``update``."""
        alarm = (update.status, update.severity)
        changed, self._alarm = alarm != self._alarm, alarm
        message: bytes = serialise_f142(
            value=update.value,
            source_name=self.channel,
            timestamp_unix_ns=update.timestamp,
            alarm_status=update.status if changed else AlarmStatus.NO_CHANGE,
            alarm_severity=SEVERITIES[update.severity] if changed else AlarmSeverity.NO_CHANGE,
        )
        return message
