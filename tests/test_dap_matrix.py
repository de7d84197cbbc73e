"""The matrices of DAP: who takes part, and that files and programs mean the same. Nothing is compiled or run."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT

from harness.matrix.cells import expand
from harness.matrix.expectations import expectation_for, unmatched
from harness.runs.interop import reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.expectations import Expectation
    from harness.matrix.implementations import Matrix

SUBJECT = ROOT / "integration_tests/dap/subject"
TESTS = set(
    re.findall(r'^ +"([\w-]+)" => \w+,$', (SUBJECT / "cell/src/tests.rs").read_text(encoding="utf-8"), re.MULTILINE)
)
SOURCES = "".join(path.read_text(encoding="utf-8") for path in SUBJECT.glob("*/src/*.rs"))
NAMES = ("dap", "dap-mutants")
READ = {name: reading.read(ROOT / "integration_tests/interop" / name) for name in NAMES}


@pytest.fixture(params=NAMES)
def matrix(request: pytest.FixtureRequest) -> tuple[Matrix, tuple[Case, ...]]:
    """One of the two, with its tests."""
    found, cases = READ[request.param]
    return found, tuple(cases)


def cells_of(name: str) -> tuple[Cell, ...]:
    """Return the cells of a matrix."""
    found, cases = READ[name]
    return expand(found, tuple(cases))


def failing(cells: Iterable[Cell], expected: Sequence[Expectation]) -> set[str]:
    """Return the ids of the cells that are to fail."""
    return {cell.id for cell in cells if (found := expectation_for(cell, expected)) and found.status == ("failed",)}


def test_each_leader_meets_each_helper_in_each_test() -> None:
    """Leader and helper must be all pairs of implementations, in the same number of cells; none is skipped."""
    cells = cells_of("dap")
    assert not [cell.id for cell in cells if cell.skipped]
    pairs = Counter((cell.worker, cell.params["helper"]) for cell in cells)
    assert pairs == dict.fromkeys([(one, other) for one in ("daphne", "ours") for other in ("daphne", "ours")], 15)
    assert {cell.driver for cell in cells} == {"janus"}
    assert {cell.params.get("client", "janus") for cell in cells} == {"janus", "janus-other"}


def test_only_the_other_client_is_expected_to_fail() -> None:
    """Each expectation must be about a cell, and no other client's cell be expected to fail."""
    cells, expected = cells_of("dap"), reading.read_expected(READ["dap"][0])
    assert not unmatched(expected, cells)
    assert failing(cells, expected) == {cell.id for cell in cells if cell.params.get("client") == "janus-other"}


def test_each_mutant_is_expected_to_be_noticed() -> None:
    """Each broken party must be one that the programs know, and fail with either leader and helper."""
    cells, expected = cells_of("dap-mutants"), reading.read_expected(READ["dap-mutants"][0])
    assert not unmatched(expected, cells)
    known = set(re.findall(r'mutant\("(\w+)"\)', SOURCES))
    mutants = {cell.params["mutant"] for cell in cells}
    assert mutants <= known
    passing = {cell.id for cell in cells} - failing(cells, expected)
    assert passing == {"two-tasks/ours/janus/helper=ours,mutant=mixes_two_tasks"}


def test_the_program_knows_each_test(matrix: tuple[Matrix, tuple[Case, ...]]) -> None:
    """Each file must be a test of the driver, each of its commands say its name and role, each parameter be read."""
    _, cases = matrix
    assert {case.name for case in cases} <= TESTS
    for case in cases:
        assert {role.name: role.command for role in case.extras} == {
            role: ("dap-cell", case.name, role) for role in ("helper", "client")
        }
        assert [name for name in case.params if f'parameter("{name}")' not in SOURCES] == []
        assert not case.notes


def test_the_driver_has_no_test_that_is_not_tried() -> None:
    """A test that the program knows must have its file."""
    assert {case.name for case in READ["dap"][1]} == TESTS


def test_each_implementation_can_be_made_on_both_engines(matrix: tuple[Matrix, tuple[Case, ...]]) -> None:
    """Its target must be a stage of the Dockerfile that has all programs, and its program one that is made."""
    dockerfile = (SUBJECT / "Dockerfile").read_text(encoding="utf-8")
    stage = dockerfile.partition(" AS cell\n")[2].partition("\nFROM")[0]
    run = (SUBJECT / "run.py").read_text(encoding="utf-8")
    programs = set(re.findall(r'"(dap-\w+)"', run.partition("PROJECTS = (")[2].partition("(HERE,)")[0]))
    assert set(re.findall(r"/target/release/([\w-]+)", stage)) == programs
    for each in matrix[0].implementations:
        assert each.source.folder == SUBJECT
        assert each.source.target == "cell"
        assert each.env["DAP_PROGRAM"] in programs
        assert each.command[-1:] == each.entry == ("dap-cell",)
