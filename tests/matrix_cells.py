"""Cells for tests of plans."""

from __future__ import annotations

from typing import Any

from harness.matrix.cases import Resources
from harness.matrix.cells import Cell


def cell(name: str, *, cpu: float = 0.5, memory: int = 0, exclusive: tuple[str, ...] = (), **more: Any) -> Cell:
    """Return a cell by its id, or by its test's name alone."""
    name = name if "/" in name else f"{name}/a/b"
    test, worker, driver = name.split("/")[:3]
    return Cell(
        name, test, worker, driver, **{"digest": f"of-{name}", "resources": Resources(cpu, memory, exclusive), **more}
    )


def many(count: int) -> list[Cell]:
    """Return cells of ten tests."""
    return [cell(f"t{number % 10}/w{number // 10 % 32}/d{number // 320}") for number in range(count)]
