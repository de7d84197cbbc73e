"""Reports of the older tool: ``<worker>-YYYYMMDD-HHMM.dump``, one JSON object."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError
from harness.matrix.events import Event
from harness.matrix.tables import Table, shown

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from harness.matrix.cases import Case


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
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is no report: no JSON: {error}") from error
    problems: list[str] = []
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: is no report: {shown(data)}, a JSON object was needed")
    top = Table(str(file), data, problems)
    worker = top.text("worker") or top.text("sut")
    if not worker:
        top.wrong("worker (or sut) is missing; the name of an implementation was needed")
    tests = {name: _test(Table(f"{file}: {name}", test, problems)) for name, test in _tables(top, "tests")}
    if problems:
        raise ConfigError.of(problems)
    return Dump(worker, tests)


def _tables(table: Table, key: str) -> list[tuple[str, Mapping[str, Any]]]:
    found: list[tuple[str, Mapping[str, Any]]] = []
    for name, value in table.table(key).items():
        if isinstance(value, dict):
            found.append((name, value))
        else:
            table.wrong(f"{key}.{name} is {shown(value)}, an object was needed")
    return found


def _test(table: Table) -> DumpedTest:
    runs = {}
    for driver, run in _tables(table, "runs"):
        inner = Table(f"{table.where}: {driver}", run, table.problems)
        runs[inner.text("driver", driver) if "/" not in driver else driver] = _log(inner)
    return DumpedTest(table.table("desc"), runs)


def _log(table: Table) -> tuple[Event, ...]:
    log = table.data.get("log")
    if log is None:
        return ()
    if not isinstance(log, list):
        table.unlike("log", "a list of events")
        return ()
    events = []
    for number, event in enumerate(log):
        try:
            events.append(Event.from_dict(event if isinstance(event, dict) else {}))
        except ValueError as error:
            table.wrong(f"log[{number}]: {error}")
    return tuple(events)


def write_dump(dump: Dump) -> str:
    """Return a report as text."""
    tests = {
        name: {
            "desc": dict(test.desc),
            "runs": {
                driver: {"driver": driver.partition("/")[0], "log": [event.as_dict() for event in log]}
                for driver, log in test.runs.items()
            },
        }
        for name, test in dump.tests.items()
    }
    return f"{json.dumps({'worker': dump.worker, 'tests': tests}, indent=1)}\n"


def described(case: Case) -> dict[str, Any]:
    """Return what a dump says of a test."""
    return {
        "name": case.name,
        "timeout": case.header.get("timeout") or f"{case.timeout:g}s",
        "containers": case.header.get("containers") or {},
        "description": case.description,
    }


def dump_name(worker: str, at: dt.datetime, taken: Collection[str] = ()) -> str:
    """Return ``<worker>-YYYYMMDD-HHMM.dump``, with a suffix before ``.dump`` where a file of that name is there."""
    stem = f"{worker}-{at:%Y%m%d-%H%M}"
    names = itertools.chain([f"{stem}.dump"], (f"{stem}-{number}.dump" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)
