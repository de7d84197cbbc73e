"""Kills runs at random moments and measures how long it takes until nothing of them is left.

Each round brings up a small stack in a process of its own (one service that takes its time to stop, one that ignores
TERM and has daemons, one that depends on both), kills somebody by SIGKILL at a random moment of coming up, being up or
going down, and then counts processes with the environment's cookie or state folder, and on an engine containers,
networks and volumes with this folder's label. Victims are the run, the keeper, both at once, and the run's whole group.
Where a keeper was killed, what is left is healed by the next start, which is made and is part of the time.

With ``--phases`` the kills are spread evenly: a third each on run, keeper and both, and of each of these a third while
it settles, while tests would run, and while it is torn down. A kill that came too early or too late for that counts as
well, and another one is made. There only a kill of both is healed by the next start: after one of the run, or of the
keeper, nothing may be left within 10 s by itself.

Results go to logs/bench/ as JSON lines (seed, victim, moment, phase, seconds to zero) and as a table; exit code 1 when
something was left after 20 s (10 s). Zero leaks in n kills bound the rate at 3/n with 95 % confidence.
``python bench/kills.py [--engine embedded|compose] [--kills N] [--seed N] [--phases]``.
"""
# ruff: noqa: INP001 - a script, run by `nox -s campaign`

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness import artifacts, clock, procs
from harness.config import load_settings, read_sources
from harness.daemon import Api, connect, find_daemon
from harness.images import find_base
from harness.ownership import ledger
from harness.ownership.identity import RUN_COOKIE
from harness.ownership.objects import CHECKOUT, find
from harness.ownership.sweep import sweep

if TYPE_CHECKING:
    from harness.docker_sdk import APIClient

VICTIMS = ("run", "keeper", "both", "group")
LIMIT = 20.0
ALONE_LIMIT = 10.0  # where nobody heals what was left
START = "start"
PHASES = {"settling": "", "tests": "up", "teardown": "ending"}  # -> the word with which a run says that it begins
HOLD = 0.3
BUDGET = 120.0
TRIES = 4  # to hit the phase that was aimed at
WARM = 3
RUN = """
import sys, threading
import harness
with harness.stack_up("kills", engine=sys.argv[1]):
    print("up", flush=True)
    threading.Event().wait(float(sys.argv[2]))
    print("ending", flush=True)
print("down", flush=True)
"""
POLITE = (
    "import signal,threading; signal.signal(15, lambda *_: (threading.Event().wait(0.3), exit(0)))\n"
    "print('on', flush=True); signal.pause()"
)
DEAF = (
    "import os,signal; signal.signal(15, signal.SIG_IGN)\n"
    "if os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
    "print('on', flush=True); signal.pause()"
)


@dataclass(frozen=True)
class Kill:
    """One round.

    Attributes:
        number: which one.
        victim: who was killed.
        moment: seconds after the run's start.
        phase: how far it had come: settling, tests, teardown, or over.
        seconds: until nothing was left.
        left: what was left at the limit.
    """

    number: int
    victim: str
    moment: float
    phase: str
    seconds: float
    left: tuple[str, ...] = ()


class Field:
    """A folder with the stack, a state folder of its own, and what belongs to them."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.engine = engine
        self.root = folder / "field"
        (self.root / "compose").mkdir(parents=True)
        (folder / "state").mkdir(mode=0o700)
        self.environ = {**os.environ, "XDG_RUNTIME_DIR": str(folder / "state")}
        self.state = folder / "state" / "harness"
        self.label = f"{CHECKOUT}={hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:16]}"
        self.client: APIClient | None = connect(find_daemon(os.environ)) if engine == "compose" else None
        (self.root / "pyproject.toml").write_text("[tool.harness]\n")
        self._write()

    def _write(self) -> None:
        base = find_base(self.client) if self.client else "none"
        assert base, "there is no base image on the engine: nox -s images"
        shell = "trap 'sleep 0.3; exit 0' TERM; echo on; while :; do sleep 0.1; done"
        services: dict[str, dict[str, Any]] = {
            "polite": {"command": ["sh", "-c", shell.replace("$", "$$")], "volumes": ["data:/data"]},
            "deaf": {"command": ["sh", "-c", "trap '' TERM; sleep 1000 & echo on; wait"]},
            "user": {"command": ["sh", "-c", "echo on; exec sleep 1000"], "depends_on": ["polite", "deaf"]},
        }
        here = {"polite": POLITE, "deaf": DEAF, "user": "import signal; print('on', flush=True); signal.pause()"}
        for name, service in services.items():
            service["image"] = base
            service["x-harness"] = {
                "subject": name,
                "ready": [{"log": "on"}],
                "embedded": {"command": ["python", "-c", here[name]]},
            }
        document = {"services": services, "volumes": {"data": {}}}
        (self.root / "compose" / "kills.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def start(self, hold: float) -> procs.Popen[bytes]:
        """Start a run that stays up for ``hold`` seconds."""
        with (self.root / "out").open("wb") as output:
            argv = [sys.executable, "-c", RUN, self.engine, str(hold)]
            return procs.spawn(argv, env=self.environ, cwd=self.root, output=output)

    def phase(self) -> str:
        """Return how far the run says that it has come."""
        said = (self.root / "out").read_text().split()
        words = {word: phase for phase, word in PHASES.items()} | {"down": "over"}
        return next((words[word] for word in reversed(said) if word in words), "settling")

    def await_phase(self, phase: str, run: procs.Popen[bytes]) -> None:
        """Wait until a run has come as far as ``phase``, or has ended. Settling begins when there is a keeper."""
        for _ in clock.poll(clock.Deadline.after(BUDGET)):
            said = (self.root / "out").read_text().split()
            begun = phase == START or (self.keepers() if phase == "settling" else PHASES[phase] in said)
            if begun or run.poll() is not None:
                return

    def keepers(self) -> list[tuple[int, int]]:
        """Return (pid, start time) of the living keepers of this field."""
        read = [ledger.read(path) for path in ledger.all_ledgers(self.state)] if self.state.is_dir() else []
        return [(one.keeper.pid, one.keeper.start) for one in read if one]

    def left(self) -> list[str]:
        """Return what is there of this field's runs, in words."""
        runs = {path.name for path in (self.root / "logs").glob("*-*")} if (self.root / "logs").is_dir() else set()
        found = []
        for pid in procs.all_pids():
            with contextlib.suppress(OSError):
                entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
                line = procs.command_of(pid)
                ours = any(entry == f"{RUN_COOKIE}={run}" for run in runs for entry in entries)
                keeper = f'"{self.state}"' in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
                start = procs.start_time_of(pid)
                if (ours or keeper) and start is not None and procs.is_alive(pid, start):
                    found.append(f"pid {pid} {line[:60]}")
        if self.client:
            found += [str(one) for one in find(Api(find_daemon(os.environ)), self.label)]
        if self.state.is_dir():
            found += [path.name for path in ledger.all_ledgers(self.state)]
        return found

    def heal(self) -> None:
        """Do what the next start does first."""
        if self.state.is_dir():
            daemon = find_daemon(os.environ) if self.client else None
            sweep(load_settings(read_sources(self.root, self.environ)).state, daemon=daemon)


@dataclass(frozen=True)
class Aim:
    """Whom to kill, and when.

    Attributes:
        victim: run, keeper, both or group.
        moment: seconds after the beginning of the phase.
        phase: which one, or start, when the run's process begins.
        heals: whether the next start is made, which heals what is left.
        limit: seconds until nothing may be left.
    """

    victim: str
    moment: float
    phase: str = START
    heals: bool = True
    limit: float = LIMIT


def one_round(field: Field, number: int, aim: Aim, hold: float) -> Kill:
    """Run, kill, and look until nothing is left."""
    run, victim, moment = field.start(hold), aim.victim, aim.moment
    began = clock.now()
    field.await_phase(aim.phase, run)
    for _ in clock.poll(clock.Deadline.after(moment)):
        if run.poll() is not None:
            break
    moment, phase = clock.now() - began, field.phase()
    if victim in ("keeper", "both"):
        for pid, start in field.keepers():
            procs.kill(pid, signal.SIGKILL, start_time=start)
    if victim in ("run", "both"):
        run.kill()
    if victim == "group":
        procs.kill_group(run.pid, signal.SIGKILL)
    killed = clock.now()
    if aim.heals:
        killed, left = await_end(run, aim, killed, hold)
        left += await_nothing(field, aim)
    else:
        left = await_alone(field, run, aim)
    seconds = clock.now() - killed
    run.kill()
    run.wait(LIMIT)
    shutil.rmtree(field.root / "logs", ignore_errors=True)
    return Kill(number, victim, round(moment, 3), phase, round(seconds, 3), tuple(left))


def await_end(run: procs.Popen[bytes], aim: Aim, killed: float, hold: float) -> tuple[float, list[str]]:
    """Wait until a run has ended; return from when on time counts, and the run if it hangs."""
    hung = []
    try:
        run.wait(aim.limit + hold + 30)  # a run whose keeper was killed notices that and ends by itself
    except procs.TimeoutExpired:
        hung = [f"the run, pid {run.pid}, which did not end"]
        run.kill()
        run.wait(LIMIT)
    return (max(killed, clock.now() - 5) if aim.victim == "keeper" else killed), hung


def await_nothing(field: Field, aim: Aim) -> list[str]:
    """Make the next start where a keeper was killed; return what is left at the limit."""
    left: list[str] = []
    for _ in clock.poll(clock.Deadline.after(aim.limit)):
        if aim.victim in ("keeper", "both"):
            field.heal()
        left = field.left()
        if not left:
            break
    return left


def await_alone(field: Field, run: procs.Popen[bytes], aim: Aim) -> list[str]:
    """Return what is left at the limit when nobody helps, the run among it."""
    left: list[str] = []
    for _ in clock.poll(clock.Deadline.after(aim.limit)):
        left = [f"the run, pid {run.pid}"] if run.poll() is None else field.left()
        if not left:
            break
    return left


def main() -> int:
    """Run the campaign; return 1 when something was left."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=("embedded", "compose"), default="embedded")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--phases", action="store_true", help="spread kills over victims and phases, a third each")
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 30)
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    kills: list[Kill] = []
    with tempfile.TemporaryDirectory() as folder:
        field = Field(Path(folder), chosen.engine)
        lengths = measured(field)
        took = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in lengths.items())
        print(f"{chosen.engine}: seed {seed}, a run takes: {took}; {chosen.kills} kills", flush=True)
        for number in range(chosen.kills):
            for _ in range(TRIES):
                aim = spread(number, lengths, dice) if chosen.phases else anywhere(number, lengths, dice)
                kill = one_round(field, number, aim, HOLD)
                kills.append(kill)
                if kill.left:
                    print(f"  {kill}", flush=True)
                if kill.phase == aim.phase or not chosen.phases:
                    break  # else the machine was quicker or slower than when it was measured; that kill counts as well
    report(kills, chosen.engine, seed)
    return 1 if any(kill.left for kill in kills) else 0


def measured(field: Field) -> dict[str, float]:
    """Return how long each phase of a run takes in seconds, the median of a few."""
    rounds: list[list[float]] = []
    for _ in range(WARM):
        run, moments = field.start(HOLD), [clock.now()]
        for phase in PHASES:
            field.await_phase(phase, run)
            moments.append(clock.now())
        run.wait(BUDGET)
        rounds.append([later - earlier for earlier, later in itertools.pairwise([*moments, clock.now()])])
    names = (START, *PHASES)
    return {phase: statistics.median(times) for phase, times in zip(names, zip(*rounds, strict=True), strict=True)}


def anywhere(number: int, lengths: dict[str, float], dice: random.Random) -> Aim:
    """Return a kill at any moment of a run, each victim in turn."""
    return Aim(VICTIMS[number % len(VICTIMS)], dice.uniform(0.05, sum(lengths.values())))


def spread(number: int, lengths: dict[str, float], dice: random.Random) -> Aim:
    """Return one of kills that are spread evenly over three victims and three phases."""
    victim = ("run", "keeper", "both")[number % 3]
    phase = list(PHASES)[number // 3 % 3]
    heals = victim == "both"
    return Aim(victim, dice.uniform(0, lengths[phase]), phase, heals, LIMIT if heals else ALONE_LIMIT)


def report(kills: list[Kill], engine: str, seed: int) -> None:
    """Write and print what came out."""
    folder = read_sources().root / "logs" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"seed": seed, "engine": engine, **asdict(kill)}) for kill in kills]
    artifacts.write_atomically(folder / f"kills-{engine}.jsonl", "\n".join(lines) + "\n")
    print(f"{'victim':<8} {'kills':>5} {'left':>5} {'median':>7} {'99 %':>7} {'worst':>7}   phases")
    for victim in VICTIMS:
        mine = [kill for kill in kills if kill.victim == victim]
        if not mine:
            continue
        seconds = sorted(kill.seconds for kill in mine)
        phases = {phase: sum(kill.phase == phase for kill in mine) for phase in (*PHASES, "over")}
        worst, late = seconds[-1], seconds[int(0.99 * (len(seconds) - 1))]
        left = sum(bool(kill.left) for kill in mine)
        times = f"{statistics.median(seconds):>6.2f}s {late:>6.2f}s {worst:>6.2f}s"
        print(f"{victim:<8} {len(mine):>5} {left:>5} {times}   {phases}")


if __name__ == "__main__":
    sys.exit(main())
