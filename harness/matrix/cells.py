"""A cell: one test with one implementation in each role."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.matrix.cases import Resources

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.implementations import Matrix


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
    raise NotImplementedError


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
    raise NotImplementedError
