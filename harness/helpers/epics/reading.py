"""What a process variable is seen to be, the same over both protocols."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.clock import Deadline

Provider = Literal["ca", "pva"]

_SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")  # alarm.h of EPICS Base; the same numbers on both wires
_SHOWN = 100
_CONNECT = 0.5


@dataclass(frozen=True)
class Reading:
    """The state of a process variable.

    Attributes:
        value: a number, a string, or a list of them; the index of an enum.
        severity: alarm severity, 0 NO_ALARM to 3 INVALID.
        status: alarm status number; CA and PVA number them differently.
        seconds: time stamp, seconds since the epoch.
        choices: the names of an enum's states, by index.
    """

    value: Any
    severity: int
    status: int
    seconds: float
    choices: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """The name of an enum's state; "" where there is none."""
        return self.choices[self.value] if self.choices and 0 <= self.value < len(self.choices) else ""

    @property
    def alarm(self) -> str:
        """The name of the severity."""
        return _SEVERITIES[self.severity] if 0 <= self.severity < len(_SEVERITIES) else str(self.severity)

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        state = f" ({self.state})" if self.state else ""
        return f"{shown}{state} {self.alarm}, time stamp {self.seconds:.3f}"


class Lost(HarnessError):
    """The IOC closed the connection."""


class Feed(Protocol):
    """A subscription as a protocol has it."""

    @property
    def problem(self) -> str:
        """Why it is not connected; "" when it is."""

    def receive(self, deadline: Deadline) -> list[Reading]:
        """Return what has come, or comes before the deadline; connect anew where it is lost.

        Raises:
            HarnessError: the IOC refuses the subscription.
        """

    def close(self) -> None:
        """Unsubscribe and disconnect; twice is no error."""


def refusal(address: str, deadline: Deadline) -> str:
    """Return why nothing accepts at ``host:port`` now; "" when something does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), max(0.05, min(_CONNECT, deadline.remaining()))).close()
    except OSError as error:
        return str(error)
    return ""
