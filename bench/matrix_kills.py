"""Kills runs of a matrix at random moments until they have come to their end: they find what an undisturbed one does.

Each run is killed by SIGKILL, itself, its keeper or both, gone on with by ``--resume latest``, killed again, and so on.
Half of the kills are at any moment, the others in each phase in turn: while it starts, while it makes implementations,
at the first cell, between cells, while the report is written, while all is given back. After each kill nothing of the
run may be left; at the end its report must be that of an undisturbed run, but for what ``bench.toy_matrix`` lists.

Results go to logs/bench/ as JSON lines; exit code 1 when something was left, or a report differs.
``python -m bench.matrix_kills [--engine embedded|compose] [--kills N] [--seed N]``.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench import toy_matrix
from bench.kills import LIMIT, Field
from harness import artifacts, clock, procs
from harness.config import read_sources
from harness.images import find_base

if TYPE_CHECKING:
    from collections.abc import Callable

PHASES = ("start", "make", "first", "cells", "report", "teardown")
VICTIMS = ("run", "keeper", "both", "group")
BUDGET = 180.0
FEWEST = 12
LATEST = 0.8  # of a run, by its length
MOST = 60  # starts of one run: then it does not come to its end
SHORT = ("make", "report", "teardown")
NEAR, LONG = 0.05, 0.6  # seconds after the beginning of a phase, a short one and another, in which a kill hits it
FINE = 0.002  # seconds between two looks
NOTICED = 20.0  # seconds in which a run sees that its keeper is gone, and gives all back
SHOWN = 2000  # characters of a line
ENDED = ("succeeded", "crashed", "failed")


@dataclass(frozen=True)
class Aim:
    """Whom to kill, and when: seconds after a phase's beginning."""

    victim: str
    phase: str
    moment: float


@dataclass
class Shot:
    """A kill: of whom, how far the run had come, how many cells had a result, and what was left and for how long."""

    number: int
    victim: str
    aimed: str
    phase: str
    done: int
    seconds: float = 0.0
    left: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


class MatrixField(Field):
    """A folder with the toy matrix, and what belongs to its runs."""

    def _write(self) -> None:
        base = find_base(self.client) if self.client else ""
        assert base is not None, "there is no base image on the engine: nox -s images"
        toy_matrix.write(self.root, base)
        self.resumes = False
        self.before = 0.0

    def begin(self, *more: str) -> procs.Popen[bytes]:
        """Start a run, or the rest of one."""
        toy_matrix.forget(self.root)
        report = self.report()
        self.before = report.stat().st_mtime_ns if report else 0
        words = ["interop.run", "--engine", self.engine, *(("--resume", "latest") if self.resumes else ()), *more]
        with (self.root / "out").open("wb") as output:
            argv = [str(Path(sys.executable).with_name("harness")), *words]
            return procs.spawn(argv, env=self.environ, cwd=self.root, output=output)

    def said(self) -> str:
        """Return what the run has written."""
        return (self.root / "out").read_text(errors="replace")

    def folder(self) -> Path | None:
        """Return the folder of the run that was begun, None where it has no plan."""
        plans = sorted((self.root / "logs").glob("[0-9]*/plan.json"))
        return plans[-1].parent if plans else None

    def report(self) -> Path | None:
        """Return its report, None before there is one."""
        folder = self.folder()
        path = folder / "report.json" if folder else None
        return path if path and path.exists() else None

    def done(self) -> int:
        """Return how many cells have a result on the disk."""
        journal = folder / "journal.jsonl" if (folder := self.folder()) else None
        return max(0, journal.read_bytes().count(b"\n") - 1) if journal and journal.exists() else 0

    def stage(self) -> str:
        """Return how far the run has come."""
        report, done = self.report(), self.done()
        if report and report.stat().st_mtime_ns != self.before:
            return "teardown"
        if not self.keepers():
            return "start"
        if self.resumes and " goes on: " not in self.said():
            return "make"
        if not self.folder():
            return "make"
        if done >= toy_matrix.CELLS:
            return "report"
        return (
            "cells" if any(f" {status} " in self.said() for status in ("succeeded", "crashed", "failed")) else "first"
        )

    def shoot(self, number: int, aim: Aim) -> Shot:
        """Start a run, kill somebody, and look until nothing of it is left."""
        run = self.begin()
        self._await(aim, run)
        shot = Shot(number, aim.victim, aim.phase, "over" if run.poll() is not None else self.stage(), self.done())
        if aim.victim in ("keeper", "both"):
            for pid, start in self.keepers():
                procs.kill(pid, signal.SIGKILL, start_time=start)
        if aim.victim in ("run", "both"):
            run.kill()
        if aim.victim == "group":
            procs.kill_group(run.pid, signal.SIGKILL)
        killed = clock.now()
        try:
            run.wait(LIMIT + NOTICED)
        except procs.TimeoutExpired:
            shot.left.append(f"the run, pid {run.pid}, which did not end")
            run.kill()
            run.wait(LIMIT)
        left: list[str] = []
        for _ in clock.poll(clock.Deadline.after(LIMIT)):
            if aim.victim in ("keeper", "both"):
                self.heal()
            left = self.left()
            if not left:
                break
        shot.left += left
        shot.seconds = round(clock.now() - killed, 3)
        self.resumes = self.folder() is not None
        return shot

    def _await(self, aim: Aim, run: procs.Popen[bytes]) -> None:
        order = PHASES.index(aim.phase)
        for _ in clock.poll(clock.Deadline.after(BUDGET), longest=FINE):
            is_there = PHASES.index(self.stage()) >= order and (aim.victim in ("run", "group") or self.keepers())
            if run.poll() is not None or is_there:
                break
        for _ in clock.poll(clock.Deadline.after(aim.moment), longest=FINE):
            if run.poll() is not None:
                break

    def finish(self) -> None:
        """Let the run come to its end; nothing is left of it."""
        run = self.begin()
        assert run.wait(BUDGET) == 1, self.said()
        assert not self.left()


def campaign(place: MatrixField, kills: int, seed: int, say: Callable[[str], object] = print) -> list[Shot]:
    """Kill runs of a matrix so many times, and compare the report of each that came to its end."""
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    began = clock.now()
    place.finish()
    length = clock.now() - began
    wanted = _essence(place)
    say(f"{place.engine}: seed {seed}, an undisturbed run takes {length:.2f} s; {kills} kills")
    _clear(place)
    shots: list[Shot] = []
    starts = 0
    while len(shots) < kills:
        number = len(shots)
        was_done = place.done() >= toy_matrix.CELLS  # there is no cell left to be killed in
        shots.append(shot := place.shoot(number, _aim(number, length, dice)))
        starts += 1
        is_over = shot.phase == "over" or was_done or starts >= MOST or number + 1 == kills
        if is_over:
            if shot.phase != "over":
                place.finish()
            shot.differences += toy_matrix.differences(wanted, _essence(place))
            _clear(place)
            starts = 0
        say(f"  {shot}"[:SHOWN])
    return shots


def _aim(number: int, length: float, dice: random.Random) -> Aim:
    """Return a kill at any moment, or, every other time, one in a phase."""
    victim = VICTIMS[number % len(VICTIMS)]
    if number % 2 == 0:
        return Aim(victim, PHASES[0], dice.uniform(0, LATEST * length))
    phase = PHASES[number // 2 % len(PHASES)]
    return Aim(victim, phase, dice.uniform(0, NEAR if phase in SHORT else LONG))


def _essence(place: MatrixField) -> dict[str, object]:
    report = place.report()
    assert report, place.said()
    return toy_matrix.essence(report)


def _clear(place: MatrixField) -> None:
    """Have the next start be that of a new run."""
    shutil.rmtree(place.root / "logs")
    place.resumes = False


def main() -> int:
    """Run the campaign; return 1 when something was left, or was found otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--engine", choices=("embedded", "compose"), default="embedded")
    parser.add_argument("--kills", type=int, default=FEWEST)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--tenth", action="store_true", help=f"a tenth as many kills, {FEWEST} at least")
    chosen, _ = parser.parse_known_args()  # the other campaign knows more
    kills = max(FEWEST, chosen.kills // 10) if chosen.tenth else chosen.kills
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 30)
    with tempfile.TemporaryDirectory() as folder:
        shots = campaign(MatrixField(Path(folder), chosen.engine), kills, seed)
    folder_ = read_sources().root / "logs" / "bench"
    folder_.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"seed": seed, "engine": chosen.engine, **asdict(shot)}) for shot in shots]
    artifacts.write_atomically(folder_ / f"matrix-kills-{chosen.engine}.jsonl", "\n".join(lines) + "\n")
    phases = {phase: sum(shot.phase == phase for shot in shots) for phase in (*PHASES, "over")}
    left, differ = sum(bool(shot.left) for shot in shots), sum(bool(shot.differences) for shot in shots)
    print(f"{len(shots)} kills, {left} left something, {differ} reports differ; {phases}")
    return 1 if left or differ else 0


if __name__ == "__main__":
    sys.exit(main())
