"""The report of a matrix as one value: ``report.json``, JUnit, the page and the table are views of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.artifacts import read_regular
from harness.errors import ConfigError
from harness.matrix.verdicts import STATUSES, Verdict

SCHEMA_VERSION = 1
FILE = "report.json"
LARGEST = 1 << 30  # bytes of a report
_ENCODER = json.JSONEncoder(ensure_ascii=False)  # one for all cells: it takes longer to make than to use
NOT_RUN = "not run"  # in counts and views, where there is no verdict


@dataclass(frozen=True)
class Expectation:
    """What was expected of a cell.

    Attributes:
        statuses: the statuses that are as expected, the typical one first.
        reason: why, where somebody has said so.
        expires: the day from which on it is as if absent, as YYYY-MM-DD; "" for never.
        pass_rate: share of runs that should succeed, null where no rate was given.
        is_declared: whether it stands in expect.toml; else it is what is expected of every cell.
    """

    statuses: tuple[str, ...] = ("succeeded", "unsupported", "skipped")
    reason: str = ""
    expires: str = ""
    pass_rate: float | None = None
    is_declared: bool = False


@dataclass(frozen=True)
class CellReport:
    """A cell of the matrix, and what became of it.

    Attributes:
        id: TEST/WORKER/DRIVER, and /NAME=VALUE,... where the test has parameters.
        test: name of the test.
        worker: implementation that took the role worker.
        driver: implementation that took every other role.
        params: the value of each parameter.
        seed: of its random numbers.
        digest: of all that it is made of.
        verdict: how it ended, null when it was not run.
        expectation: what was expected of it.
        is_expected: whether the verdict is as expected.
        is_unexpected_pass: whether it succeeded and should not have.
        attempts: verdicts of all attempts, in order.
        began: seconds since 1970, 0 when it was not run.
        seconds: wall time of the last attempt.
        cpu: seconds of processor time of all roles, null when not known.
        spans: stage -> seconds.
        exits: role -> exit code.
        samples: name -> what a measuring cell has sent.
        deciding: the first event that decided the verdict, as events.jsonl has it; null where none did.
        folder: its evidence, relative to the run's folder.
        evidence: files in that folder, relative to it.
        pressed: whether the machine was short of something meanwhile.
    """

    id: str
    test: str
    worker: str
    driver: str
    params: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    digest: str = ""
    verdict: Verdict | None = None
    expectation: Expectation = field(default_factory=Expectation)
    is_expected: bool = True
    is_unexpected_pass: bool = False
    attempts: tuple[Verdict, ...] = ()
    began: float = 0.0
    seconds: float = 0.0
    cpu: float | None = None
    spans: Mapping[str, float] = field(default_factory=dict)
    exits: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, list[float]] = field(default_factory=dict)
    deciding: Mapping[str, Any] | None = None
    folder: str = ""
    evidence: tuple[str, ...] = ()
    pressed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        facts = {key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(self).items()}
        facts["verdict"] = vars(self.verdict) if self.verdict else None
        facts["expectation"] = vars(self.expectation)
        return {**facts, "attempts": [vars(verdict) for verdict in self.attempts]}

    @property
    def status(self) -> str:
        """The verdict as one word, or ``not run``."""
        return self.verdict.status if self.verdict else NOT_RUN

    @property
    def word(self) -> str:
        """What people are told of it: the status, or that it succeeded and should not have."""
        return "unexpected pass" if self.is_unexpected_pass else self.status

    @property
    def variant(self) -> str:
        """Its parameters as they stand in its id, "" without any."""
        return ",".join(f"{name}={value}" for name, value in self.params.items())


@dataclass(frozen=True)
class ImplementationReport:
    """An implementation, as it took part.

    Attributes:
        name: its name.
        source: build, image, git or command.
        version: what it says itself, or the one that was asked for.
        image: id of the image that was run, "" for local processes.
        commit: of its sources, where they are a repository's.
        problem: why it could not be built, "" when it could.
    """

    name: str
    source: str = ""
    version: str = ""
    image: str = ""
    commit: str = ""
    problem: str = ""


@dataclass(frozen=True)
class TestReport:
    """A test of the matrix.

    Attributes:
        name: its name.
        description: the Markdown below its header.
        timeout: seconds that a cell of it may take.
        roles: all roles, in the order in which they are started.
    """

    __test__ = False  # pytest: this is none of yours

    name: str
    description: str = ""
    timeout: float = 600.0
    roles: tuple[str, ...] = ("worker", "driver")


@dataclass(frozen=True)
class Finding:
    """What several cells have in common; it stands beside them and changes none.

    Attributes:
        kind: worker, driver or test: what they share.
        name: its name.
        text: one sentence.
        cells: their ids.
    """

    kind: str
    name: str
    text: str
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bounds:
    """How long the run must have taken at least, and how long it did.

    Attributes:
        bounds: name of each bound -> seconds.
        binding: the largest of them.
        seconds: wall time of all cells together.
        ratio: that by the binding bound; 0 when nothing was run.
    """

    bounds: Mapping[str, float] = field(default_factory=dict)
    binding: str = ""
    seconds: float = 0.0
    ratio: float = 0.0

    @classmethod
    def of(cls, bounds: Mapping[str, float], seconds: float) -> Bounds:
        """Return what ``seconds`` is by the largest of ``bounds``."""
        binding = max(bounds, key=lambda name: bounds[name], default="")
        least = bounds.get(binding, 0.0)
        return cls(dict(bounds), binding, seconds, round(seconds / least, 4) if least > 0 else 0.0)


@dataclass(frozen=True)
class Report:
    """What came out of a run of a matrix.

    Attributes:
        schema_version: of this shape; a reader refuses any other.
        matrix: name of the matrix.
        run: id of the run, which is its folder's name.
        engine: where cells were run: compose or embedded.
        engine_version: as the engine says.
        plan: hash of the plan.
        seed: of the matrix.
        slots: cells that could run at once.
        began: seconds since 1970.
        seconds: wall time of all of it, builds too.
        exit_code: as the command has ended, null while it has not.
        is_partial: whether cells of the plan were not run.
        totals: status -> cells, of those that there are.
        unexpected: cells that are not as expected.
        bounds: what the run must have taken, and took.
        implementations: those that took part.
        tests: those that were run.
        findings: what cells have in common.
        notes: what else is to be known, one sentence each.
        cells: all cells of the plan, in its order.
        dumps: files in the run's folder that have it as the older tool wrote it, one for each worker.
    """

    matrix: str
    run: str
    engine: str
    cells: tuple[CellReport, ...]
    schema_version: int = SCHEMA_VERSION
    engine_version: str = ""
    plan: str = ""
    seed: int = 0
    slots: int = 1
    began: float = 0.0
    seconds: float = 0.0
    exit_code: int | None = None
    is_partial: bool = False
    totals: Mapping[str, int] = field(default_factory=dict)
    unexpected: int = 0
    bounds: Bounds = field(default_factory=Bounds)
    implementations: tuple[ImplementationReport, ...] = ()
    tests: tuple[TestReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    dumps: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        cells = [cell.as_dict() for cell in self.cells]
        return {**asdict(replace(self, cells=())), "cells": cells}

    def as_json(self) -> str:
        """Return what report.json has: a line for each cell, so that two of them can be compared by line."""
        facts = self.as_dict()
        cells = ",\n".join(map(_ENCODER.encode, facts.pop("cells")))
        head = json.dumps({"schema_version": facts.pop("schema_version"), **facts}, indent=1, ensure_ascii=False)
        text = f'{head[:-2]},\n "cells": [\n{cells}\n]}}\n'
        return text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text that a file could have


def totals(cells: tuple[CellReport, ...]) -> dict[str, int]:
    """Return how many cells there are of each status, in the order of all statuses."""
    counts = Counter(cell.status for cell in cells)
    return {status: counts[status] for status in (*STATUSES, NOT_RUN) if counts[status]}


def summed(report: Report) -> Report:
    """Return a report with what its cells add up to."""
    unexpected = sum(not cell.is_expected for cell in report.cells)
    is_partial = any(cell.verdict is None for cell in report.cells)
    return replace(report, totals=totals(report.cells), unexpected=unexpected, is_partial=is_partial)


def parse_report(text: str | bytes, name: str) -> Report:
    """Return the report that ``text`` is; ``name`` is what errors call it.

    Raises:
        ConfigError: it is no report, or one of another schema version.
    """
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is no report of a matrix: no JSON: {error}") from error
    version = facts.get("schema_version") if isinstance(facts, dict) else None
    if type(version) is not int:
        raise ConfigError(f"{name} is no report of a matrix: schema_version {SCHEMA_VERSION} was needed")
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{name} has schema_version {version}; {SCHEMA_VERSION} was needed",
            hint="run the matrix again with this version of the harness, or judge its stored evidence: interop.judge",
        )
    return _validated(facts, name)


def _validated(facts: dict[str, Any], name: str) -> Report:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - for readers only

    try:
        return TypeAdapter(Report).validate_python(facts)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        where = ".".join(str(part) for part in problems[0]["loc"])
        said = f"{where}: {problems[0]['msg']}"
        raise ConfigError(f"{name} is no report of a matrix: {said} ({len(problems)} in all)") from error


def read_report(folder: Path) -> Report:
    """Return the report in a run's folder. Raises ConfigError: there is none, or it is none that can be read."""
    path = folder / FILE
    try:
        text = read_regular(path, LARGEST)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; a report of a matrix was needed") from error
    return parse_report(text, str(path))
