"""Kills runs at random moments and measures how long it takes until nothing of them is left.

Each round brings up a small stack in a process of its own (one service that takes its time to stop, one that ignores
TERM and has daemons, one that depends on both), kills somebody by SIGKILL at a random moment of coming up, being up or
going down, and then counts processes with the environment's cookie or state folder, and on an engine containers,
networks and volumes with this folder's label. Victims are the run, the keeper, both at once, and the run's whole group.
Where a keeper was killed, what is left is healed by the next start, which is made and is part of the time.

Results go to logs/bench/ as JSON lines (seed, victim, moment, seconds to zero) and as a table; exit code 1 when
something was left after 20 s. Zero leaks in n kills bound the rate at 3/n with 95 % confidence.
``python bench/kills.py [--engine embedded|compose] [--kills N] [--seed N]``.
"""
# ruff: noqa: INP001 - a script, run by `nox -s campaign`

from __future__ import annotations

import argparse
import contextlib
import hashlib
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
    from docker import APIClient

VICTIMS = ("run", "keeper", "both", "group")
LIMIT = 20.0
WARM = 3
RUN = """
import sys, threading
import harness
with harness.stack_up("kills", engine=sys.argv[1]):
    print("up", flush=True)
    threading.Event().wait(float(sys.argv[2]))
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
        phase: how far it had come: begun, up or down.
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
        return next((word for word in reversed(said) if word in ("up", "down")), "begun")

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


def one_round(field: Field, number: int, victim: str, moment: float, hold: float) -> Kill:
    """Run, kill, and look until nothing is left."""
    run = field.start(hold)
    began = clock.now()
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
    left: list[str] = []
    hung = []
    try:
        run.wait(LIMIT + hold + 30)  # a run whose keeper was killed notices that and ends by itself
    except procs.TimeoutExpired:
        hung = [f"the run, pid {run.pid}, which did not end"]
        run.kill()
        run.wait(LIMIT)
    if victim == "keeper":
        killed = max(killed, clock.now() - 5)
    for _ in clock.poll(clock.Deadline.after(LIMIT)):
        if victim in ("keeper", "both"):
            field.heal()
        left = field.left()
        if not left:
            break
    shutil.rmtree(field.root / "logs", ignore_errors=True)
    return Kill(number, victim, round(moment, 3), phase, round(clock.now() - killed, 3), (*hung, *left))


def main() -> int:
    """Run the campaign; return 1 when something was left."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=("embedded", "compose"), default="embedded")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 30)
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    kills: list[Kill] = []
    with tempfile.TemporaryDirectory() as folder:
        field = Field(Path(folder), chosen.engine)
        lengths = []
        for _ in range(WARM):
            began = clock.now()
            field.start(0.3).wait(120)
            lengths.append(clock.now() - began)
        length = statistics.median(lengths)
        print(f"{chosen.engine}: seed {seed}, a whole run takes {length:.2f} s, {chosen.kills} kills")
        for number in range(chosen.kills):
            victim = VICTIMS[number % len(VICTIMS)]
            kill = one_round(field, number, victim, dice.uniform(0.05, length), 0.3)
            kills.append(kill)
            if kill.left:
                print(f"  {kill}")
    report(kills, chosen.engine, seed)
    return 1 if any(kill.left for kill in kills) else 0


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
        phases = {phase: sum(kill.phase == phase for kill in mine) for phase in ("begun", "up", "down")}
        worst, late = seconds[-1], seconds[int(0.99 * (len(seconds) - 1))]
        left = sum(bool(kill.left) for kill in mine)
        times = f"{statistics.median(seconds):>6.2f}s {late:>6.2f}s {worst:>6.2f}s"
        print(f"{victim:<8} {len(mine):>5} {left:>5} {times}   {phases}")


if __name__ == "__main__":
    sys.exit(main())
