"""What may run at once: budgets, and which cell may start now. Nothing here waits, or looks at a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.matrix.cases import Resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.matrix.cells import Cell

USUAL_CPU = Resources().cpu
NETWORKS = 28  # an engine's own pools of addresses end at about 30
SHARE = 0.8  # of the memory that is available: the rest is for the runner and for everything else here
LEAST_CPU = 0.01
SLACK = 1e-9


@dataclass(frozen=True)
class Machine:
    """What a machine has.

    Attributes:
        cores: that this process may use.
        memory: bytes that are available now, 0 where that is not known.
    """

    cores: float = 1.0
    memory: int = 0


@dataclass(frozen=True)
class Budgets:
    """What the cells that run at one time may take together.

    Attributes:
        slots: cells.
        cpu: cores; more than there are where its user wants more slots.
        memory: bytes, 0 for any.
        networks: networks, 0 for any.
        cores: that the machine has.
    """

    slots: int
    cpu: float
    memory: int = 0
    networks: int = 0
    cores: float = 1.0

    @classmethod
    def of(cls, machine: Machine, engine: str, slots: int | None = None) -> Budgets:
        """Return the budgets for a machine: two slots for each core unless it is said how many.

        A cell that does not say what it takes counts as half a core, so that for such cells it is the slots that count.

        Raises:
            ConfigError: there is no such number of slots.
        """
        if slots is not None and slots < 1:
            raise ConfigError(f"{slots} slots are not possible: at least 1 is needed")
        slots = slots or max(1, int(2 * machine.cores))
        return cls(
            slots=slots,
            cpu=max(machine.cores, slots * USUAL_CPU),
            memory=int(machine.memory * SHARE),
            networks=NETWORKS if engine == "compose" else 0,
            cores=machine.cores,
        )

    @property
    def at_once(self) -> int:
        """How many cells can run at one time."""
        return min(self.slots, self.networks or self.slots)


class Packing:
    """Which of the waiting cells may start now, longest expected first, and what those that run have taken.

    A cell that does not fit is overtaken by later ones that do, but not for ever: when that has happened often, what it
    waits for is kept for it. Cells that measure, that are to run again because of the machine, or that need more than
    the whole budget run alone.
    """

    def __init__(self, budgets: Budgets, cells: Iterable[Cell], cpu: Mapping[str, float] | None = None) -> None:
        """Take the cells in their order; ``cpu`` has the cores that some of them are known to keep busy."""
        self._budgets = budgets
        self._waiting = list(cells)
        self._known = cpu or {}
        self._running: dict[str, Cell] = {}
        self._overtaken: dict[str, int] = {}
        self._patience = max(8, 2 * budgets.slots)
        self._alone: set[str] = set()
        self._unchanged = False
        self._cpu, self._memory = 0.0, 0
        self._tokens: set[str] = set()

    @property
    def waiting(self) -> int:
        """How many cells have not started."""
        return len(self._waiting)

    @property
    def running(self) -> tuple[str, ...]:
        """The ids of the cells that run, in the order in which they started."""
        return tuple(self._running)

    def take(self, *, pressed: bool = False) -> Cell | None:
        """Return the cell that starts now, None when none may. Under pressure one only where none runs."""
        if (pressed and self._running) or self._unchanged:
            return None
        place = self._find()
        if place is None:
            self._unchanged = True  # until one ends
            return None
        for passed in self._waiting[:place]:
            self._overtaken[passed.id] = self._overtaken.get(passed.id, 0) + 1
        cell = self._waiting.pop(place)
        self._start(cell)
        return cell

    def end(self, cell: Cell) -> None:
        """Give back what a cell has taken."""
        del self._running[cell.id]
        self._cpu = self._cpu - self._cpu_of(cell) if self._running else 0.0
        self._memory -= cell.resources.memory
        self._tokens -= set(cell.resources.exclusive)
        self._unchanged = False

    def again_alone(self, cell: Cell) -> None:
        """Have a cell that has ended run once more, after all others and alone."""
        self._alone.add(cell.id)
        self._waiting.append(cell)
        self._unchanged = False

    def is_alone(self, cell: Cell) -> bool:
        """Return whether a cell is run when no other one is."""
        resources, budgets = cell.resources, self._budgets
        return (
            cell.measures
            or cell.id in self._alone
            or self._cpu_of(cell) > budgets.cpu + SLACK
            or bool(budgets.memory and resources.memory > budgets.memory)
        )

    def _find(self) -> int | None:
        """Return the place of the first cell that may start."""
        if len(self._running) >= self._budgets.at_once or any(self.is_alone(cell) for cell in self._running.values()):
            return None
        kept: set[str] = set()  # tokens that later cells must leave to one that was overtaken too often
        for place, cell in enumerate(self._waiting):
            tokens = set(cell.resources.exclusive)
            has_tokens = not tokens & (self._tokens | kept)
            if has_tokens and self._has_room(cell):
                return place
            if self._overtaken.get(cell.id, 0) >= self._patience:
                if has_tokens:
                    return None  # others end, and make room for it
                kept |= tokens
        return None

    def _has_room(self, cell: Cell) -> bool:
        if not self._running:
            return True
        if self.is_alone(cell):
            return False
        budgets, memory = self._budgets, self._memory + cell.resources.memory
        enough = self._cpu + self._cpu_of(cell) <= budgets.cpu + SLACK
        return enough and (not budgets.memory or memory <= budgets.memory)

    def _start(self, cell: Cell) -> None:
        self._running[cell.id] = cell
        self._overtaken.pop(cell.id, None)
        self._cpu += self._cpu_of(cell)
        self._memory += cell.resources.memory
        self._tokens |= set(cell.resources.exclusive)

    def _cpu_of(self, cell: Cell) -> float:
        """Return the cores that a cell takes: as its test says where that is not the usual, else as it is known to."""
        said = cell.resources.cpu
        return max(LEAST_CPU, self._known.get(cell.id, said)) if said == USUAL_CPU else said
