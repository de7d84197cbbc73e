"""A cell: one test with one implementation in each role."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.matrix.cases import DRIVER, WORKER
from harness.matrix.resources import Resources

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.implementations import Implementation, Matrix


LOCAL_TREE = "tree:"
"""What the id of an implementation begins with that is a local process: the rest is a fingerprint of its folder."""


@dataclass(frozen=True)
class Cell:
    """One test, one implementation as worker, one as driver, one value of each parameter.

    Attributes:
        id: ``TEST/WORKER/DRIVER``, and ``/NAME=VALUE,...`` where the test has parameters; safe as a path.
        test: name of the test.
        worker: name of the implementation; it takes the role ``worker``.
        driver: likewise; it takes every other role.
        params: the value of each parameter.
        seed: of its random numbers, told as ``INTEROP_SEED``.
        timeout: seconds.
        resources: what it takes.
        measures: whether it is run alone.
        retries: how often it may be run again.
        digest: of all that it is made of: test, commands, image ids, parameters, variables, seed.
        skipped: why it is not run, "" when it is.
    """

    id: str
    test: str
    worker: str
    driver: str
    params: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    timeout: float = 600.0
    resources: Resources = field(default_factory=Resources)
    measures: bool = False
    retries: int = 0
    digest: str = ""
    skipped: str = ""

    def implementation_of(self, role: str) -> str:
        """Return the name of the implementation that takes a role."""
        return self.worker if role == "worker" else self.driver


def expand(matrix: Matrix, cases: Sequence[Case]) -> tuple[Cell, ...]:
    """Return every cell of a matrix, by test, worker, driver and parameters; those that are not run say why."""
    by_name = {implementation.name: implementation for implementation in matrix.implementations}
    workers = matrix.workers or tuple(each.name for each in matrix.implementations if WORKER in each.roles)
    drivers = matrix.drivers or tuple(each.name for each in matrix.implementations if DRIVER in each.roles)
    cells = []
    for case in cases:
        reasons = {name: _skipped(case, by_name[name]) for name in {*workers, *drivers}}
        combinations = _combinations(case)
        for worker, driver in itertools.product(workers, drivers):
            skipped = reasons[worker] or reasons[driver]
            resources = _resources(case, by_name[worker], by_name[driver])
            cells += [_cell(matrix.seed, case, (worker, driver), params, resources, skipped) for params in combinations]
    return tuple(cells)


NO_MOUNTS = "it names /shared, and this user may have no mounts here: it is run in containers only"


def without_mounts(cells: Sequence[Cell], cases: Sequence[Case]) -> tuple[Cell, ...]:
    """Return the cells where no role can find its folder at ``/shared``: those whose tests name it are not run."""
    named = {case.name for case in cases if case.names_shared}
    return tuple(replace(cell, skipped=cell.skipped or (NO_MOUNTS if cell.test in named else "")) for cell in cells)


def seed_of(seed: int, cell: str) -> int:
    """Return what ``INTEROP_SEED`` of a cell is: 32 bits, the same wherever it is run."""
    return int.from_bytes(hashlib.sha256(f"{seed} {cell}".encode("utf-8", "surrogatepass")).digest()[:4], "big")


def cell_id(test: str, worker: str, driver: str, params: Mapping[str, str]) -> str:
    """Return the id of a cell."""
    place = f"{test}/{worker}/{driver}"
    return f"{place}/{','.join(f'{name}={value}' for name, value in params.items())}" if params else place


def _combinations(case: Case) -> list[dict[str, str]]:
    return [dict(zip(case.params, values, strict=True)) for values in itertools.product(*case.params.values())]


def _cell(
    seed: int, case: Case, played: tuple[str, str], params: Mapping[str, str], resources: Resources, skipped: str
) -> Cell:
    place = cell_id(case.name, *played, params)
    return Cell(
        id=place,
        test=case.name,
        worker=played[0],
        driver=played[1],
        params=params,
        seed=seed_of(seed, place),
        timeout=case.timeout,
        resources=resources,
        measures=case.measures,
        retries=case.retries,
        skipped=skipped,
    )


def _resources(case: Case, *implementations: Implementation) -> Resources:
    """Return what a cell takes: the test's, or what both implementations take where that is more."""
    told = [each.resources for each in implementations if each.resources]
    several = [case.resources, *told]
    return Resources(
        max(each.cpu for each in several),
        max(case.resources.memory, sum(each.memory for each in told)),
        tuple(sorted({token for each in several for token in each.exclusive})),
    )


def _skipped(case: Case, implementation: Implementation) -> str:
    """Return why an implementation takes no part in a test, "" when it does."""
    name = implementation.name
    for pattern, why in implementation.skip.items():
        if fnmatchcase(case.name, pattern):
            return f"{name}: {why}"
    for pattern, why in case.skip.items():
        if fnmatchcase(name, pattern) or fnmatchcase(name.partition("@")[0], pattern):
            return f"{case.name}: {why}"
    if not any(fnmatchcase(case.name, pattern) for pattern in implementation.provides):
        return f"{name} does not provide {case.name}"
    return ""


def with_digests(
    cells: Sequence[Cell], cases: Sequence[Case], matrix: Matrix, images: Mapping[str, str]
) -> tuple[Cell, ...]:
    """Return the cells with their digests.

    Args:
        cells: all or some of the matrix.
        cases: its tests.
        matrix: the matrix.
        images: name of an implementation, or of an image that a test names -> id of what is run: of the image, or
            the fingerprint of the folder of a local process.
    """
    made_of = {each.name: _made_of(each, images) for each in matrix.implementations}
    tests = {case.name: (case.digest, [images.get(role.image, role.image) for role in case.roles]) for case in cases}
    return tuple(replace(cell, digest=_digest(cell, tests[cell.test], made_of)) for cell in cells)


def _made_of(implementation: Implementation, images: Mapping[str, str]) -> list[object]:
    return [
        images.get(implementation.name, ""),
        implementation.command,
        implementation.entry,
        implementation.contract,
        implementation.ready,
        sorted(implementation.env.items()),
    ]


def _digest(cell: Cell, test: object, made_of: Mapping[str, object]) -> str:
    parts = [cell.id, test, made_of[cell.worker], made_of[cell.driver], dict(cell.params), cell.seed, cell.timeout]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
