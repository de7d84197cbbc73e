"""Is it usable: one poll loop over probes, which ends at once when the service is dead."""

from harness.readiness.probes import Asker, Target, start_check, start_probe
from harness.readiness.waiting import Stop, Waited, wait_until_ready

__all__ = ["Asker", "Stop", "Target", "Waited", "start_check", "start_probe", "wait_until_ready"]
