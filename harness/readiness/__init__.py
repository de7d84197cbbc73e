"""Is it usable: one poll loop over probes, which ends at once when the service is dead."""

from harness.readiness.listeners import Family, is_silent, stranger_at
from harness.readiness.probes import Asker, Hopeless, Target, start_again, start_check, start_probe
from harness.readiness.waiting import Stop, Waited, ask_once, wait_until_ready

__all__ = [
    "Asker",
    "Family",
    "Hopeless",
    "Stop",
    "Target",
    "Waited",
    "ask_once",
    "is_silent",
    "start_again",
    "start_check",
    "start_probe",
    "stranger_at",
    "wait_until_ready",
]
