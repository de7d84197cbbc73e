"""EPICS for tests: put, get and monitor over Channel Access and pvAccess, and an IOC from a database file.

Nothing is searched by broadcast and no repeater is started: CA goes straight to the IOC's TCP port, PVA to it as name
server. So two IOCs with the same PV names never mix. Needs the extra ``epics`` (p4p, caproto), loaded when it is used;
``run_ioc`` needs ``embedded`` (pvxslibs).
"""

from harness.helpers.epics.client import Epics, Monitor
from harness.helpers.epics.ioc import Ioc, run_ioc
from harness.helpers.epics.reading import Provider, Reading

__all__ = ["Epics", "Ioc", "Monitor", "Provider", "Reading", "run_ioc"]
