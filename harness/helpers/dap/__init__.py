"""The Distributed Aggregation Protocol (DAP) under test: its four parties, by the interoperation test API.

That API is draft-dcook-ppm-dap-interop-test-design. It needs the standard library only. What a collection must come to
is computed here in plain Python (``Vdaf.aggregate``), by none of the parties.
"""

from harness.helpers.dap.dialects import DIALECTS, Dialect
from harness.helpers.dap.failures import DapFailure
from harness.helpers.dap.logs import copy_logs
from harness.helpers.dap.party import Party
from harness.helpers.dap.tasks import Batch, Collected, Deployment, Interval, Task
from harness.helpers.dap.vdafs import Count, Histogram, Sum, Vdaf

__all__ = [
    "DIALECTS",
    "Batch",
    "Collected",
    "Count",
    "DapFailure",
    "Deployment",
    "Dialect",
    "Histogram",
    "Interval",
    "Party",
    "Sum",
    "Task",
    "Vdaf",
    "copy_logs",
]
