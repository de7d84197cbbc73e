"""A run of a matrix, in the order of its stages: read, choose, make, plan, run, compare, report; then all is gone."""

from __future__ import annotations

import contextlib
import datetime as dt
import os.path
import shlex
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness import clock
from harness.artifacts import unwritable
from harness.clock import add_guard
from harness.engine.process.plan import NAME as EMBEDDED
from harness.errors import BrokenStack, ConfigError, HarnessError, nearest
from harness.matrix.budgets import Budgets
from harness.matrix.cells import NO_MOUNTS, expand, with_digests, without_mounts
from harness.matrix.expectations import expired, in_force, unmatched
from harness.matrix.planning import plan
from harness.matrix.shards import Shard
from harness.matrix.verdicts import Result
from harness.reporting.interop.excerpts import excerpt_of
from harness.reporting.interop.files import EVENTS, write_report
from harness.reporting.interop.report import read_report
from harness.reporting.interop.repro import Again, write_repro
from harness.runs.interop.behind import MOST, Behind
from harness.runs.interop.cell import Around, refuse_full, run_cell
from harness.runs.interop.division import divided
from harness.runs.interop.dumping import write_dumps
from harness.runs.interop.earlier import MATRIX, find_run, held, name_latest
from harness.runs.interop.history import Shelf
from harness.runs.interop.keeping import Keeping, open_shell, refuse_unknown_role, standing
from harness.runs.interop.locking import held_to_lock
from harness.runs.interop.making import Made, make
from harness.runs.interop.merging import merge, write_merged
from harness.runs.interop.parts import parts_of, probing_part
from harness.runs.interop.pressure import machine
from harness.runs.interop.probes import Probes
from harness.runs.interop.reading import read_all
from harness.runs.interop.results import Declared, Outcome, report_of
from harness.runs.interop.resuming import CELLS, Begun, begin, refuse_damaged, refuse_other_shard, resume, since
from harness.runs.interop.scheduling import GRACE, Scheduler, Ways
from harness.runs.run import Run, running

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from harness.config import Settings
    from harness.matrix.cells import Cell
    from harness.matrix.implementations import Matrix
    from harness.matrix.planning import Plan
    from harness.matrix.site import Part, Sites
    from harness.matrix.standing import Standing
    from harness.reporting.interop.report import ImplementationReport, Report
    from harness.runs.choice import Choice
    from harness.runs.environment import Environment
    from harness.runs.interop.sources import Found

PROBES = "probes"
NOTES = 10
"""What means nothing in headers of tests is told of so many keys."""
UNREMARKABLE = ("succeeded", "unsupported", "skipped")
"""How cells end that nobody runs again, when that was expected."""


@dataclass(frozen=True)
class Wanted:
    """What of a matrix is to be run, and how.

    Attributes:
        cells: ids of cells, () for all.
        shard: which part of them.
        slots: how many at once, None for twice the number of cores.
        resume: the run that goes on, "" for a new one.
        since: the run of which is taken over what did not change, "" for none.
        all_against_all: whether every implementation is a worker and a driver that can be, whatever the matrix says.
        keep: whether the one cell that is run stays as it is when its verdict is known, until ``down``.
        shell: the role of it in which a shell is opened then, "" for none.
    """

    cells: tuple[str, ...] = ()
    shard: Shard = field(default_factory=Shard)
    slots: int | None = None
    resume: str = ""
    since: str = ""
    all_against_all: bool = False
    keep: bool = False
    shell: str = ""

    @property
    def stands(self) -> bool:
        """Whether the one cell is left standing, at least for a while."""
        return self.keep or bool(self.shell)


def declared(choice: Choice, say: Callable[[str], None]) -> Declared:
    """Read a matrix. Raises ConfigError with everything that is wrong in any of its files."""
    return declared_on(choice.engine.name, choice.settings, say)


def declared_on(engine: str, settings: Settings, say: Callable[[str], None]) -> Declared:
    """Read a matrix, with what is known of it on an engine, which need not be there. Raises ConfigError."""
    matrix, cases, expected = read_all(settings.matrix_file())
    shelf = Shelf(matrix.file, engine, settings.environ)
    today = dt.datetime.now(dt.UTC).date()
    for line in (*_few([note for case in cases for note in case.notes]), *expired(expected, today)):
        say(line)
    return Declared(matrix, cases, in_force(expected, today), shelf.read(), shelf)


def _few(notes: Sequence[str]) -> Sequence[str]:
    more = len(notes) - NOTES
    return notes if more <= 0 else [*notes[:NOTES], f"... and {more} more like this"]


def refuse_without_engine(matrix: Matrix, choice: Choice) -> None:
    """Do nothing when any implementation can be run on the engine. Raises ConfigError: all of them are images only."""
    if choice.engine.name != EMBEDDED or any(each.command for each in matrix.implementations):
        return
    was_found = choice.settings.engine == "auto"
    why = choice.why if was_found else f"engine {EMBEDDED} has none; {choice.why}"
    step = "start one or set DOCKER_HOST" if was_found else "take engine compose"
    raise ConfigError(
        f"Matrix {matrix.name!r} needs a Docker engine ({why})",
        hint=f"{step}; or say by `command` how its implementations run as local processes",
    )


def planned(
    of: Declared, choice: Choice, made: Made, wanted: Wanted, found: Found | None = None, *, mounts: bool = True
) -> Plan:
    """Return the plan of what is wanted of a matrix.

    What was found stands for implementations in its hash, so that it is the same before and after they are made, and
    on every machine; ids of images do only for those of which it is not known what they are made of. Without
    ``mounts``, where no role finds its folder at /shared, tests that name that path are not run.

    Raises:
        ConfigError: there is no such cell, or an expectation is about none.
    """
    cells = expand(of.matrix, of.cases)
    if problems := unmatched(of.expected, cells):
        raise ConfigError.of(problems)
    cells = with_digests(
        _chosen(cells, wanted.cells), of.cases, of.matrix, {**made.images, **(found.stands if found else {})}
    )
    cells = cells if mounts else without_mounts(cells, of.cases)
    budgets = Budgets.of(machine(), choice.engine.name, wanted.slots)
    whole = plan(cells, of.history, budgets, choice.engine.name, of.matrix.name)
    return divided(whole, wanted.shard, choice.settings.logs)


def _chosen(cells: tuple[Cell, ...], wanted: tuple[str, ...]) -> tuple[Cell, ...]:
    known = {cell.id: cell for cell in cells}
    unknown = [f"Cell {name!r} is not known{_meant(name, known)}" for name in wanted if name not in known]
    if unknown:
        raise ConfigError.of(unknown, hint="`harness interop.plan` lists them")
    return tuple(known[name] for name in dict.fromkeys(wanted)) if wanted else cells


def _meant(name: str, known: Collection[str]) -> str:
    form = "TEST/WORKER/DRIVER was needed"
    return nearest(name, known) if name.count("/") >= form.count("/") else f": {form}{nearest(name, known)}"


def run_matrix(
    choice: Choice,
    wanted: Wanted,
    say: Callable[[str], None],
    tell: Callable[[Standing], None],
    show: Callable[[Report, Path], None],
) -> tuple[Report, Path]:
    """Run a matrix, or what is left of it; return its report and the run's folder.

    Args:
        choice: what was asked for, and the engine.
        wanted: which cells.
        say: takes lines for the user.
        tell: told how far all has come.
        show: told what came out, before all is given back: a cell may be left standing then.

    Raises:
        ConfigError: something written is wrong; nothing was created.
        BrokenStack: there was no environment for it, the disk is full, or there can be no shell.
        LeftoverError: all cells were run, and something of ours could not be removed.
        Interrupted: by a signal; ``--resume`` goes on.
    """
    of = declared(choice, say)
    if wanted.all_against_all:
        of = replace(of, matrix=replace(of.matrix, workers=(), drivers=()))
    refuse_without_engine(of.matrix, choice)
    dry = planned(of, choice, Made({}), wanted)  # what is wrong with it is told before anything is made
    if wanted.shell:
        refuse_unknown_role(next(case for case in of.cases if case.name == dry.here[0].test), wanted.shell)
    keeping = Keeping() if wanted.stands else None
    run = Run(choice, say)
    logs = choice.settings.logs
    before, earlier = (find_run(logs, name, of.matrix.name) if name else None for name in (wanted.resume, wanted.since))
    if earlier:
        refuse_damaged(earlier)
    if before:
        refuse_other_shard(before, refuse_damaged(before).shard, wanted.shard)
    found = held_to_lock(of.matrix, of.cases, choice, say)
    of = replace(of, matrix=found.matrix)
    with held(before) if before else contextlib.nullcontext(), running(run):
        environment = run.open()
        folder = before or environment.report.path
        if before:
            name_latest(before, logs)
        else:
            environment.report.note(MATRIX, of.matrix.name)
        made = make(of.matrix, of.cases, environment, choice, say, found)
        sites = choice.engine.cells(environment)
        now = planned(of, choice, made, wanted, found, mounts=sites.mounts)
        if kept_out := sorted({cell.test for cell in now.here if cell.skipped == NO_MOUNTS}):
            say(f"not run, because they name /shared and this user may have no mounts: {', '.join(kept_out)}")
        began = time.time()
        begun = _resumed(before, now, say) if before else _begin(folder, now, of, earlier, say)
        try:
            add_guard(environment.check)  # until the run is closed
            report = _Cells(of, begun, made, folder, environment, sites, keeping).run(tell, began)
        except BaseException:
            say(f"run {folder.name} goes on with: {_command(choice, wanted, folder)}")
            raise
        finally:
            begun.journal.close()
        environment.report.note("exit_code", report.exit_code)
        show(report, folder)
        if keeping:
            _leave_standing(keeping, wanted, environment, say)
    return report, folder


def _leave_standing(keeping: Keeping, wanted: Wanted, environment: Environment, say: Callable[[str], None]) -> None:
    """Keep the cell that stands, or have it stand while a shell is open. Raises HarnessError."""
    if not keeping.stack:
        say(f"nothing of cell {wanted.cells[0]} stands")
        return
    if wanted.keep:
        environment.keep(environment.settings.ttl, [keeping.stack])
    stands = standing(environment, wanted.cells[0], keeping.stack)
    for line in stands.lines(is_kept=wanted.keep):
        say(line)
    if wanted.shell:
        open_shell(environment, stands, wanted.shell, say)


def _command(choice: Choice, wanted: Wanted, folder: Path) -> str:
    """Return the command that goes on with a run."""
    settings = choice.settings
    words = ["harness", "interop.run", "--engine", choice.engine.name]
    words += ["--matrix", settings.matrix] if settings.matrix else []
    words += [word for cell in wanted.cells for word in ("--cell", cell)]
    words += ["--slots", str(wanted.slots)] if wanted.slots else []
    return shlex.join([*words, "--resume", folder.name])


def _resumed(folder: Path, now: Plan, say: Callable[[str], None]) -> Begun:
    begun = resume(folder, now, say)
    say(f"run {folder.name} goes on: {len(begun.done)} of {len(begun.plan.here)} cells are done")
    return begun


def _begin(folder: Path, now: Plan, of: Declared, earlier: Path | None, say: Callable[[str], None]) -> Begun:
    """Begin a run, with what is taken over from an earlier one."""
    taken = since(earlier, now, of.is_expected) if earlier else {}
    begun = begin(folder, now, say, taken)
    if earlier:
        say(f"{len(begun.done)} of {len(now.here)} cells are taken over from run {earlier.name}")
    return begun


class _Cells:
    """The cells of one run, from the first to the report.

    Args:
        of: the matrix.
        begun: which of its cells are run, and the journal of what comes of them.
        made: its implementations.
        folder: the run's.
        environment: in which cells take place.
        keeping: takes the place of the last cell as it stands, None where each is removed.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the stages before it
        self,
        of: Declared,
        begun: Begun,
        made: Made,
        folder: Path,
        environment: Environment,
        sites: Sites,
        keeping: Keeping | None,
    ) -> None:
        self._of, self._begun, self._made, self._folder, self._environment = of, begun, made, folder, environment
        self._keeping = keeping
        self._cases = {case.name: case for case in of.cases}
        self._roles = {role.name: role for case in of.cases for role in case.roles}
        self._behind = Behind(MOST if sites.clears_slowly else 0)
        self._full: list[BrokenStack] = []
        stop = threading.Event()
        self._around = Around(
            sites,
            Probes(sites, folder / PROBES, self._probing, stop),
            stop,
            keep=keeping.take if keeping else None,
            remove=self._behind.remove,
        )

    def run(self, tell: Callable[[Standing], None], began: float) -> Report:
        """Run them; return the report, which is written also of a run that is cut off.

        Args:
            tell: told how far all has come.
            began: when the run did, in seconds since 1970.
        """
        started, begun = clock.now(), self._begun
        ways = Ways(self._run_one, self._of.is_expected, tell)
        scheduler = Scheduler(begun.plan, begun.journal, ways, done=begun.done, stop=self._around.stop)
        try:
            self._run_all(scheduler)
        except BaseException:
            with contextlib.suppress(HarnessError):  # what ended it counts, such as the disk that is full now, too
                self._report(scheduler, began, clock.now() - started)
            raise
        return self._report(scheduler, began, clock.now() - started)

    def _run_all(self, scheduler: Scheduler) -> None:
        try:
            scheduler.run()
        finally:
            self._behind.wait(GRACE)
            fresh = [result for cell, result in scheduler.results.items() if cell not in self._begun.done]
            self._of.shelf.add(fresh, self._folder.name)
        _raise_first(self._full)

    def _run_one(self, cell: Cell, attempt: int) -> Result | None:
        case, place = self._cases[cell.test], self._folder / CELLS / cell.id
        if problem := self._made.problem_of(cell, case):
            return Result(cell.id, cell.digest, problem, (problem,), began=time.time())
        parts = parts_of(self._of.matrix, case, cell, self._made.images)
        if self._keeping:
            self._keeping.drop()
        if cell.measures:
            self._behind.wait(GRACE)
        try:
            result = run_cell(cell, case, parts, place, self._around, attempt=attempt)
            if result is None or self._environment.is_lost:
                return None  # with its keeper, or its engine: that says nothing of the cell, which is run again
            mounts = self._around.sites.mounts
            again = Again(self._of.matrix.name, self._folder.name, cell, parts, result, mounts=mounts)
            _explain(self._of, place, again)
        except BrokenStack as error:  # nor does a disk that is full, where no other cell will do better
            self._full.append(error)
            self._around.stop.set()
            return None
        return replace(result, folder=f"{CELLS}/{cell.id}") if result.folder else result

    def _probing(self, implementation: str, role: str, test: str) -> Part:
        return probing_part(self._of.matrix.implementation(implementation), self._roles[role], test, self._made.images)

    def _report(self, scheduler: Scheduler, began: float, seconds: float) -> Report:
        outcome = Outcome(
            began=began,
            seconds=seconds,
            achieved=scheduler.achieved,
            results=scheduler.results,
            images=self._made.images,
            problems=self._made.problems,
        )
        return _told(self._folder, self._of, self._begun.plan, outcome)


def _explain(of: Declared, place: Path, again: Again) -> None:
    """Write what runs a cell again, where that was remarkable. Raises BrokenStack when the disk is full."""
    cell, result = again.cell, again.result
    if not result.folder or (of.is_expected(cell, result.verdict) and result.verdict.status in UNREMARKABLE):
        return
    try:
        write_repro(place, replace(again, deciding=excerpt_of(place / EVENTS, result.verdict.event).deciding))
    except OSError as error:  # what came out counts, and is in the journal
        refuse_full(place, error)


def _raise_first(errors: Sequence[HarnessError]) -> None:
    """Raise the first of errors, where there are some."""
    if errors:
        raise errors[0]


def _told(folder: Path, of: Declared, plan: Plan, outcome: Outcome) -> Report:
    """Write the report of a run, and its dumps. Raises BrokenStack when the disk is full, else ConfigError."""
    dumps = write_dumps(folder, of.cases, plan.here, outcome.results)
    try:
        return write_report(folder, replace(report_of(of, plan, outcome, folder.name), dumps=dumps))
    except OSError as error:
        raise unwritable(f"The report in {folder} cannot be written", error) from error


def merged(choice: Choice, parts: Sequence[Path], into: Path, say: Callable[[str], None]) -> Report:
    """Make one run of those of all shards; return its report.

    Raises:
        ConfigError: they are not all the shards of one plan, or the folder is there.
    """
    if os.path.lexists(into) and not (into.is_dir() and not any(into.iterdir())):
        raise ConfigError(
            f"{into} is there already: a folder that does not exist was needed for the merged run",
            hint="--into another one, or take it away",
        )
    of, whole = declared(choice, say), merge(parts)
    results = write_merged(whole, into, say)
    made = [each for part in parts for each in _implementations(part)]
    outcome = Outcome(
        began=min((result.began for result in results.values() if result.began), default=0.0),
        seconds=sum(result.seconds for result in results.values()),
        achieved=None,
        results=results,
        images={each.name: each.image for each in made if each.image},
        problems={each.name: each.problem for each in made if each.problem},
    )
    return _told(into, of, whole.plan, outcome)


def _implementations(part: Path) -> tuple[ImplementationReport, ...]:
    """Return what a shard's implementations were made of, () where it has no report that could be read."""
    try:
        return read_report(part).implementations
    except ConfigError:
        return ()
