"""The forwarder under a steady load: what it loses, and whether it grows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from conftest import subject_of
from suite import PATIENCE, each_of, update_of

from harness.clock import Deadline
from harness.durations import parse_duration

if TYPE_CHECKING:
    from pathlib import Path

    from suite import Data, Forwarder

    import harness
    from harness.helpers.epics import Epics

pytestmark = [pytest.mark.usefixtures("kafka_stack", "ioc_stack"), pytest.mark.long]

TICK = 0.1  # seconds between two changes of one PV
CHANNELS = {f"SIMPLE:MANY{number}": "ca" if number % 2 else "pva" for number in range(20)}
MIB = 1024 * 1024
LISTED = 200


@dataclass
class Report:
    """What a long run has shown.

    Attributes:
        seconds: how long it was.
        sent: how many changes were made.
        received: how many messages came.
        missed: channel -> the values that never came.
        repeated: channel -> the values that came more than once.
        disordered: channels of which a value came after a later one.
        memory: seconds since the begin, and the subject's resident memory in MiB.
        growth: by how many MiB it grew after its first fifth.
    """

    seconds: float
    sent: int = 0
    received: int = 0
    missed: dict[str, list[int]] = field(default_factory=dict)
    repeated: dict[str, list[int]] = field(default_factory=dict)
    disordered: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    growth: float = 0.0

    @property
    def missed_in_all(self) -> int:
        """How many updates were missed."""
        return sum(map(len, self.missed.values()))

    def __str__(self) -> str:
        sizes = [size for _, size in self.memory]
        lines = [
            f"long run of {self.seconds:.0f} s over {len(CHANNELS)} PVs, one change each {TICK:g} s",
            f"sent {self.sent}, received {self.received}, missed {self.missed_in_all}",
            f"repeated {sum(map(len, self.repeated.values()))}, out of order in {len(self.disordered)} PVs",
            f"memory of the subject, MiB: from {sizes[0]:.1f} to {sizes[-1]:.1f}, most {max(sizes):.1f}",
            f"growth after the first fifth, MiB: {self.growth:.1f}",
        ]
        for what, found in (("missed", self.missed), ("repeated", self.repeated)):
            lines += [f"  {what} of {name}: {values[:LISTED]}" for name, values in found.items()]
        return "\n".join([*lines, *(f"  out of order: {name}" for name in self.disordered)])

    def judge(self, sent: dict[str, list[int]], got: dict[str, list[int]]) -> None:
        """Compare what was sent with what came."""
        self.sent = sum(map(len, sent.values()))
        self.received = sum(map(len, got.values()))
        for name, values in sent.items():
            counts = Counter(got[name])
            if missed := [value for value in values if not counts[value]]:
                self.missed[name] = missed
            if repeated := [value for value in values if counts[value] > 1]:
                self.repeated[name] = repeated
            if got[name] != sorted(got[name]):
                self.disordered.append(name)
        later = [size for at, size in self.memory if at >= self.seconds / 5] or [self.memory[-1][1]]
        self.growth = later[-1] - later[0]


def _take(data: Data, got: dict[str, list[int]], until: Deadline) -> None:
    """Read what comes until a moment."""
    while True:
        message = data.poll(until.remaining())
        if message is not None:
            got[(message.key or b"").decode()].append(int(update_of(message).value))
        if until.expired():
            return


def _load(forwarder: Forwarder, ioc: Epics, data: Data, subject: psutil.Process, seconds: float) -> Report:
    """Change all PVs at a steady pace, and keep count."""
    report = Report(seconds)
    sent: dict[str, list[int]] = {name: [] for name in CHANNELS}
    got: dict[str, list[int]] = {name: [] for name in CHANNELS}
    end = Deadline.after(seconds)
    value = 0
    while not end.expired():
        tick = Deadline.after(TICK)
        value += 1
        for name in CHANNELS:
            ioc.put(name, value)
            sent[name].append(value)
        if value % 10 == 1:
            report.memory.append((round(seconds - end.remaining(), 1), subject.memory_info().rss / MIB))
        _take(data, got, tick)
    assert forwarder.running() == set(CHANNELS)
    patience = Deadline.after(PATIENCE)
    while not patience.expired() and any(not values or values[-1] != value for values in got.values()):
        _take(data, got, Deadline.after(TICK))
    report.memory.append((seconds, subject.memory_info().rss / MIB))
    report.judge(sent, got)
    return report


def test_a_long_run_misses_nothing_and_does_not_grow(
    long_run: harness.Stack, ioc: Epics, run_dir: Path, pytestconfig: pytest.Config
) -> None:
    """Over --long-run, each change of each PV must come once and in order, and memory must stay in its bound."""
    seconds = parse_duration(pytestconfig.getoption("--long-run"))
    subject = psutil.Process(long_run.service("forwarder").pid)
    with subject_of(long_run, "TEST_long") as forwarder, forwarder.data() as data:
        for name in CHANNELS:
            ioc.put(name, 0)
        for provider in ("ca", "pva"):
            forwarder.add([name for name, one in CHANNELS.items() if one == provider], provider)
        data.wait_for(each_of(*CHANNELS), what="first update of each PV")
        report = _load(forwarder, ioc, data, subject, seconds)
    _write(report, run_dir)
    print(report)
    bound, allowed = pytestconfig.getoption("--long-memory"), pytestconfig.getoption("--long-missed")
    assert report.missed_in_all <= allowed, str(report)
    assert (report.repeated, report.disordered) == ({}, []), str(report)
    assert report.growth <= bound, str(report)


def _write(report: Report, folder: Path) -> None:
    document: dict[str, Any] = {**asdict(report), "missed_in_all": report.missed_in_all}
    (folder / "long_run.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    (folder / "long_run.txt").write_text(f"{report}\n", encoding="utf-8")
