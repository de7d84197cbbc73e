"""The plan of a matrix: which cells are run, in which order, and a hash of what they are."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError
from harness.matrix.bounds import Bounds, Cost, bounds
from harness.matrix.budgets import Budgets
from harness.matrix.cases import Resources
from harness.matrix.cells import Cell
from harness.matrix.shards import Shard, divide

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from harness.matrix.past import History
    from harness.matrix.verdicts import Result

SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        matrix: its name.
        engine: where.
        cells: all of the matrix, in the order in which they are to start; also those that are skipped, and those of
            other shards.
        hash: of what they are, see ``plan``.
        seconds: cell id -> how long it is expected to take.
        cpu: cell id -> seconds of processor time that it is expected to take, where that is known.
        budgets: what may run at once.
        shard: which part of it is run here.
    """

    matrix: str
    engine: str
    cells: tuple[Cell, ...]
    hash: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    cpu: Mapping[str, float] = field(default_factory=dict)
    budgets: Budgets = field(default_factory=lambda: Budgets(1, 1.0))
    shard: Shard = field(default_factory=Shard)

    @cached_property
    def here(self) -> tuple[Cell, ...]:
        """The cells of this shard, in order."""
        if self.shard.count == 1:
            return self.cells
        own = frozenset(divide(self.cells, self.seconds, self.shard.count)[self.shard.number - 1])
        return tuple(cell for cell in self.cells if cell.id in own)

    @cached_property
    def busy(self) -> dict[str, float]:
        """Cell id -> cores that it is known to keep busy."""
        return {cell: cpu / self.seconds[cell] for cell, cpu in self.cpu.items() if self.seconds[cell] > 0}

    def cost(self) -> Bounds:
        """Return how soon the cells of this shard can be done, by what is expected of them."""
        return bounds(
            (_cost(cell, self) for cell in self.here if not cell.skipped), budgets=self.budgets, engine=self.engine
        )

    def sharded(self, shard: Shard) -> Plan:
        """Return the same plan for one of several parts."""
        return replace(self, shard=shard)

    def __str__(self) -> str:
        here = self.here
        skipped = sum(bool(cell.skipped) for cell in here)
        part = f", shard {self.shard} of {len(self.cells)}" if self.shard.count > 1 else ""
        lines = [f"{self.matrix} on {self.engine}: {len(here)} cells{part}, {skipped} skipped; plan {self.hash[:12]}"]
        for cell in here:
            expected = f"skipped: {cell.skipped}" if cell.skipped else f"{self.seconds[cell.id]:.1f} s"
            lines.append(f"  {cell.id}  {expected}")
        return "\n".join(lines)


def plan(cells: Collection[Cell], history: History, budgets: Budgets, engine: str, matrix: str = "") -> Plan:
    """Return the plan for cells: the longest expected ones first, those that measure after all others.

    Its hash is made of what decides how cells end: the matrix's name, the engine, and of each cell its id, digest (of
    test, commands, images, parameters, variables, seed), seed, time limit, number of retries, tokens, whether it
    measures and whether it is skipped. What decides only when a cell is run is no part of it: history, budgets, shard
    and order. So a run can be resumed with other slots, and shards of machines with other histories are of one plan.

    Raises:
        ConfigError: two cells have one id.
    """
    counts = Counter(cell.id for cell in cells)
    if twice := sorted(cell for cell, count in counts.items() if count > 1):
        raise ConfigError.of([f"Cell {cell} is there {counts[cell]} times, once was needed" for cell in twice])
    seconds = {cell.id: 0.0 if cell.skipped else history.seconds(cell) for cell in cells}
    cpu = {cell.id: known for cell in cells if not cell.skipped and (known := history.cpu(cell)) is not None}
    ordered = tuple(sorted(cells, key=lambda cell: (cell.measures, -seconds[cell.id], cell.id)))
    return Plan(matrix, engine, ordered, _hash(matrix, engine, ordered), seconds, cpu, budgets)


def spent(results: Iterable[Result], planned: Plan) -> Bounds:
    """Return how soon cells could have been done, by what they have taken."""
    cells = {cell.id: cell for cell in planned.cells}
    costs = []
    for result in results:
        resources = cells[result.cell].resources
        is_alone = cells[result.cell].measures
        costs.append(Cost(result.cell, result.seconds, result.cpu, resources.memory, resources.exclusive, is_alone))
    return bounds(costs, planned.budgets, planned.engine)


def _cost(cell: Cell, planned: Plan) -> Cost:
    resources = cell.resources
    seconds, cpu = planned.seconds[cell.id], planned.cpu.get(cell.id)
    return Cost(cell.id, seconds, cpu, resources.memory, resources.exclusive, cell.measures)


def _hash(matrix: str, engine: str, cells: Collection[Cell]) -> str:
    made_of = hashlib.sha256(json.dumps([SCHEMA, matrix, engine]).encode())
    for cell in sorted(cells, key=lambda cell: cell.id):
        made_of.update(json.dumps(_decisive(cell)).encode() + b"\n")
    return made_of.hexdigest()


def _decisive(cell: Cell) -> list[Any]:
    exclusive = sorted(cell.resources.exclusive)
    return [cell.id, cell.digest, cell.seed, cell.timeout, cell.retries, exclusive, cell.measures, cell.skipped]


# -- as a file -------------------------------------------------------------------------------------------------------


def write_plan(planned: Plan, cost: Bounds | None = None) -> str:
    """Return the text of ``plan.json``: a line for each cell; and for others than that file what it costs."""
    head = {
        "schema_version": SCHEMA,
        "matrix": planned.matrix,
        "engine": planned.engine,
        "hash": planned.hash,
        "shard": str(planned.shard),
        "budgets": vars(planned.budgets),
    }
    lines = [json.dumps(_cell_values(cell, planned)) for cell in planned.cells]
    told = f', "cost": {json.dumps(cost.as_dict())}' if cost else ""
    return f'{json.dumps(head)[:-1]}, "cells": [\n' + ",\n".join(lines) + f"\n]{told}}}\n"


def read_plan(text: str, name: str) -> Plan:
    """Return the plan that ``write_plan`` wrote.

    Args:
        text: of the file.
        name: what to call it in an error.

    Raises:
        ConfigError: it is none, of another version, or its cells are not those of its hash.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or "schema_version" not in values:
            raise ConfigError(f"Plan {name} cannot be read: it is none; an object of JSON with cells was needed")
        if values["schema_version"] != SCHEMA:
            raise ConfigError(f"Plan {name} has schema version {values['schema_version']}, {SCHEMA} was needed")
        rows = values["cells"]
        cells = tuple(_cell_of(row) for row in rows)
        planned = Plan(
            values["matrix"],
            values["engine"],
            cells,
            values["hash"],
            {row["id"]: float(row["seconds"]) for row in rows},
            {row["id"]: float(row["expected_cpu"]) for row in rows if row["expected_cpu"] is not None},
            Budgets(**values["budgets"]),
            Shard.parse(values["shard"]),
        )
    except KeyError as error:
        raise ConfigError(f"Plan {name} cannot be read: {error} is missing") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"Plan {name} cannot be read: {error}") from error
    if _hash(planned.matrix, planned.engine, cells) != planned.hash:
        raise ConfigError(f"Plan {name} is not what it was: its cells do not have its hash {planned.hash[:12]}")
    return planned


def _cell_values(cell: Cell, planned: Plan) -> dict[str, Any]:
    more = {"resources": vars(cell.resources), "params": dict(cell.params)}
    expected = {"seconds": planned.seconds[cell.id], "expected_cpu": planned.cpu.get(cell.id)}
    return {**vars(cell), **more, **expected}


def _cell_of(row: Mapping[str, Any]) -> Cell:
    known = {name: row[name] for name in Cell.__dataclass_fields__ if name in row}
    resources = {**row["resources"], "exclusive": tuple(row["resources"]["exclusive"])}
    return Cell(**{**known, "resources": Resources(**resources)})


# -- what changed ----------------------------------------------------------------------------------------------------


def differences(before: Plan, now: Plan) -> list[str]:
    """Return what makes the hashes of two plans differ, a sentence each; [] where they are one."""
    if before.hash == now.hash:
        return []
    told = [
        f"the {name} was {was}, it is {is_now}"
        for name, was, is_now in (("matrix", before.matrix, now.matrix), ("engine", before.engine, now.engine))
        if was != is_now
    ]
    was, is_now = ({cell.id: cell for cell in planned.cells} for planned in (before, now))
    told += [f"cell {cell} is new" for cell in sorted(is_now.keys() - was.keys())]
    told += [f"cell {cell} is no more" for cell in sorted(was.keys() - is_now.keys())]
    names = ("id", "digest", "seed", "timeout", "retries", "tokens", "measures", "skipped")
    for cell in sorted(was.keys() & is_now.keys()):
        pairs = zip(names, _decisive(was[cell]), _decisive(is_now[cell]), strict=True)
        changed = [_changed(name, old, new) for name, old, new in pairs if old != new]
        told += [f"cell {cell}: {', '.join(changed)}"] if changed else []
    return told


def _changed(name: str, old: object, new: object) -> str:
    if name == "digest":
        return "its content is another (test, commands, images, parameters or variables)"
    return f"{name} was {old!r}, it is {new!r}"
