"""Whether a machine is short of memory."""

from __future__ import annotations

import pytest

from harness.runs.interop.pressure import Observed, machine, observe, read_stalled

GIB = 1 << 30


@pytest.mark.parametrize(
    ("observed", "told"),
    [
        (Observed(), ""),
        (Observed(9.9, 10 * GIB, 16 * GIB), ""),
        (Observed(12.5, 10 * GIB, 16 * GIB), "memory: processes waited for it for 12.5 % of the last 10 s"),
        (Observed(0.0, GIB // 2, 16 * GIB), "memory: 512 of 16384 MiB are available"),
    ],
)
def test_a_machine_is_short_of_memory_when_something_waits_for_it_or_little_is_left(
    observed: Observed, told: str
) -> None:
    """It must be told which."""
    assert observed.short_of == told


def test_what_the_kernel_tells_is_read() -> None:
    """What it does not tell is no pressure."""
    assert (
        read_stalled("some avg10=3.25 avg60=0.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0 avg300=0 total=1\n")
        == 3.25
    )
    assert read_stalled("") == 0.0


def test_this_machine_has_memory_and_cores() -> None:
    """By way of the system itself."""
    assert 0 < observe().available <= observe().total
    assert machine().cores >= 1
    assert machine().memory > 0
