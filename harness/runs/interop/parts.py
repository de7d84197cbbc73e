"""How the roles of a cell are started: the contract with an implementation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from harness.matrix.cells import LOCAL_TREE
from harness.matrix.contracts.known import CONTRACTS
from harness.matrix.site import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.cases import Case, Role
    from harness.matrix.cells import Cell
    from harness.matrix.implementations import Implementation, Matrix


def parts_of(matrix: Matrix, case: Case, cell: Cell, images: Mapping[str, str]) -> tuple[Part, ...]:
    """Return how each role of a cell is started, in the order in which they are.

    Args:
        matrix: whose implementations take the roles.
        case: the cell's test.
        cell: the cell.
        images: name of an implementation, or of an image that a test names -> id of its image. Without one, or with
            one that begins with ``tree:``, it is a local process.
    """
    env = {
        "INTEROP_TEST": cell.test,
        "INTEROP_CELL": cell.id,
        "INTEROP_SEED": str(cell.seed),
        **{f"INTEROP_PARAM_{name.upper().replace('-', '_')}": value for name, value in cell.params.items()},
    }
    return tuple(
        _part(matrix.implementation(cell.implementation_of(role.name)), role, cell.test, env, images)
        for role in case.roles
    )


def probing_part(implementation: Implementation, role: Role, test: str, images: Mapping[str, str]) -> Part:
    """Return how an implementation is started alone in a role for a test that nobody knows."""
    env = {"INTEROP_TEST": test, "INTEROP_CELL": f"probe/{implementation.name}/{role.name}", "INTEROP_SEED": "0"}
    return _part(implementation, role, test, env, images)


def _part(
    implementation: Implementation, role: Role, test: str, env: Mapping[str, str], images: Mapping[str, str]
) -> Part:
    image = images.get(role.image, role.image) if role.image else images.get(implementation.name, "")
    is_local = not image or image.startswith(LOCAL_TREE)
    contract = CONTRACTS[implementation.contract]
    resources = implementation.resources  # its processor time is a guess for packing cells, and no limit
    return Part(
        role.name,
        implementation.name,
        _argv(implementation, role, test, is_local=is_local),
        {**implementation.env, **contract.env(test, role.name), **env, "INTEROP_ROLE": role.name},
        "" if is_local else image,
        implementation.folder if is_local else None,
        memory=resources.memory if resources else 0,
        contract=implementation.contract,
        ready=implementation.ready,
    )


def _argv(implementation: Implementation, role: Role, test: str, *, is_local: bool) -> tuple[str, ...]:
    """Return the words of a role's command: the test's own are taken as they are."""
    entry = implementation.command if is_local else implementation.entry
    argv = role.command or CONTRACTS[implementation.contract].argv(entry, test, role.name)
    named = implementation.entry
    if is_local and role.command[: len(named)] == named:  # its program has that name in an image only
        argv = (*entry, *role.command[len(named) :])
    return (sys.executable, *argv[1:]) if is_local and argv[:1] == ("python",) else argv
