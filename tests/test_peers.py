"""The matrix of peers that misbehave: each way to do so is called what its expectations say, whoever runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import plain_cells
import pytest
from checkout import ROOT

from harness.matrix.expectations import compare, expectation_for, unmatched
from harness.runs.interop import reading

if TYPE_CHECKING:
    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell

MATRIX, CASES = reading.read(ROOT / "integration_tests/interop/peers")
EXPECTED = reading.read_expected(MATRIX)
CELLS = [(case, cell) for case in CASES for cell in plain_cells.cells_of(MATRIX, case)]
BLAMED = {"worker-misbehaves": "worker", "driver-misbehaves": "driver", "helper-misbehaves": "helper"}
FLOOD = 30 << 20
HANGING = ("no-ready", "hang")


def test_each_expectation_is_about_a_cell() -> None:
    """An expectation that is about no cell says nothing; there must be none."""
    assert not unmatched(EXPECTED, [cell for _, cell in CELLS])


@pytest.mark.parametrize(("case", "cell"), CELLS, ids=[cell.id for _, cell in CELLS])
def test_each_way_to_misbehave_is_called_by_its_name(
    case: Case, cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell's verdict must be the one that is expected, and blame the role that misbehaves."""
    monkeypatch.setenv("PEER_FLOOD", str(FLOOD))
    short = replace(cell, timeout=2.0 if cell.params.get("behaviour") in HANGING else cell.timeout)
    verdict = plain_cells.run(MATRIX, case, short, tmp_path).verdict
    expectation = expectation_for(cell, EXPECTED)
    assert expectation
    assert compare(verdict, expectation).kind == "expected", verdict
    if verdict.status not in ("succeeded", "unsupported"):
        assert verdict.role == BLAMED.get(cell.test, "driver"), verdict
        assert verdict.reason
