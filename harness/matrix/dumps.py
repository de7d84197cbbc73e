"""Reports of the older tool: ``<worker>-YYYYMMDD-HHMM.dump``, one JSON object."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError
from harness.matrix.cases import DRIVER, WORKER, Case, Role
from harness.matrix.cells import Cell, cell_id
from harness.matrix.durations import parse_go_duration
from harness.matrix.events import ASSERT, ASSERT_FAILED, ENDED, STATUS, Event, same
from harness.matrix.tables import Table, shown

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path


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


def lines_of(worker: str, tests: Iterable[tuple[Case, Iterable[tuple[str, Iterable[str]]]]]) -> Iterator[str]:
    """Yield the text of a report whose events are lines of JSON already, in pieces: they are never all in memory.

    Args:
        worker: the implementation that was tested.
        tests: each test, and for each driver (or ``DRIVER/NAME=VALUE,...``) the lines of its events.
    """
    yield f'{{"worker": {json.dumps(worker)}, "tests": {{'
    for number, (case, runs) in enumerate(tests):
        yield f"{',' if number else ''}\n{json.dumps(case.name)}: {{"
        yield f'"desc": {json.dumps(described(case))}, "runs": {{'
        for place, (driver, log) in enumerate(runs):
            name = json.dumps(driver.partition("/")[0])
            yield f'{"," if place else ""}\n{json.dumps(driver)}: {{"driver": {name}, "log": ['
            for at, line in enumerate(log):
                yield f"{',' if at else ''}\n{line}"
            yield "]}"
        yield "}}"
    yield "}}\n"


@dataclass(frozen=True)
class DumpedCell:
    """A cell in a dump, as it would have been planned.

    Attributes:
        case: its test.
        cell: the cell.
        events: its log; what roles do not agree on is in it, also where an older tool did not compare it.
        was: ``succeeded`` or ``failed`` as the dump says, "" where it does not.
    """

    case: Case
    cell: Cell
    events: tuple[Event, ...]
    was: str = ""


def cells_of(dump: Dump) -> tuple[DumpedCell, ...]:
    """Return the cells of a dump, by test and driver."""
    cells = []
    for name, test in dump.tests.items():
        case = _case(name, test)
        for key, log in test.runs.items():
            driver, _, variant = key.partition("/")
            params = dict(pair.partition("=")[::2] for pair in variant.split(",")) if variant else {}
            cell = Cell(cell_id(name, dump.worker, driver, params), name, dump.worker, driver, params, 0, case.timeout)
            ends = [event.info.get("success") for event in log if event.ty == STATUS]
            was = "" if not ends else "succeeded" if ends[-1] else "failed"
            cells.append(DumpedCell(case, cell, compared(log), was))
    return tuple(cells)


def _case(name: str, test: DumpedTest) -> Case:
    """Return the test of a dump; its roles are also those that its events are of."""
    containers = test.desc.get("containers")
    told = list(containers) if isinstance(containers, dict) else []
    seen = [event.ro for log in test.runs.values() for event in log]
    extras = [role for role in dict.fromkeys([*told, *seen]) if role and role not in (WORKER, DRIVER)]
    roles = tuple(Role(role) for role in (*extras, WORKER, DRIVER))
    return Case(name, _seconds(test.desc.get("timeout")), roles, str(test.desc.get("description") or ""))


def _seconds(timeout: object) -> float:
    """Return a time-out in seconds: it is written as a text, or as the nanoseconds that it is in Go."""
    try:
        seconds = parse_go_duration(timeout) if isinstance(timeout, str) else float(timeout) / 1e9  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return Case.timeout
    return seconds if seconds > 0 else Case.timeout


def compared(log: Iterable[Event]) -> tuple[Event, ...]:
    """Return a log with an event where roles did not agree; one of ours has them already, and stays as it is."""
    log = tuple(log)
    if any(event.ty in (ASSERT_FAILED, ENDED) for event in log):
        return log
    events: list[Event] = []
    values: dict[str, dict[str, Any]] = {}
    for event in log:
        events.append(event)
        if event.ty != ASSERT:
            continue
        number, value = event.info.get("assert_id"), event.info.get("value")
        others = values.setdefault(json.dumps(number), {})
        if not all(same(value, other) for other in others.values()):
            info = {"assert_id": number, "values": {**others, event.ro: value}}
            events.append(Event(ASSERT_FAILED, event.ro, event.ti, 0, info))
        others.setdefault(event.ro, value)
    return tuple(events)


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
