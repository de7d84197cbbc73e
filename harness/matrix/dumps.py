"""Reports of the older tool: ``<worker>-YYYYMMDD-HHMM.dump``, one JSON object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from harness.matrix.cases import Case
    from harness.matrix.events import Event


@dataclass(frozen=True)
class DumpedTest:
    """A test in a dump.

    Attributes:
        desc: name, timeout, containers and description, as they were written.
        runs: driver -> the events of its cell. Where a test has parameters the key is ``DRIVER/NAME=VALUE,...``.
    """

    desc: Mapping[str, Any]
    runs: Mapping[str, tuple[Event, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dump:
    """A report.

    Attributes:
        worker: the implementation that was tested.
        tests: name -> what was run of it.
    """

    worker: str
    tests: Mapping[str, DumpedTest]


def read_dump(file: Path, text: str) -> Dump:
    """Return a report; an older key for its worker is ``sut``. Raises ConfigError."""
    raise NotImplementedError


def write_dump(dump: Dump) -> str:
    """Return a report as text."""
    raise NotImplementedError


def described(case: Case) -> dict[str, Any]:
    """Return what a dump says of a test."""
    raise NotImplementedError


def dump_name(worker: str, at: dt.datetime, taken: Collection[str] = ()) -> str:
    """Return ``<worker>-YYYYMMDD-HHMM.dump``, with a suffix before ``.dump`` where a file of that name is there."""
    raise NotImplementedError
