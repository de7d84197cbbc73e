"""A matrix of cells that mostly wait: ours by slots, and a runner that has Compose go through one after the other.

The other runner does what one can with Compose alone: for each cell ``up --abort-on-container-exit`` and then
``down``, with a network of its own. It is helped: it kills what does not end at once, and it takes a cell for succeeded
only when the driver has ended with 0 and said that it was done. Both run the same shell script from the same image.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.cycle import IMAGE
from bench.figures import in_a_line, raise_interrupt_behind
from bench.project import COMPOSE, Project, find_engine, left_on, scratch_project
from bench.series import Series
from harness import clock, procs
from harness.errors import BrokenStack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TITLE = "a matrix of 16 cells in containers, which wait 5 s each, or 30 s (idle)"
NEEDS: tuple[str, ...] = ("engine",)
ROUNDS = 3
LIMITS = (
    "The engine: it makes and removes the network and the two containers of a cell in some 1.0 s of two cores, much of "
    "it one after the other, whoever asks. With few slots the cells' own waiting is more than that, and the bound is "
    "the sum of it by the slots; with many it is the longest cell and what the engine takes for all."
)
SLOTS = (1, 2, 4, 8, 16)
WAIT, IDLE = 5, 30  # seconds that a cell takes by itself
BUDGET = 900.0
DOWN = 60.0
ONE_BY_ONE, IDLE_ONE_BY_ONE = "compose, one cell after the other", "idle: compose, one cell after the other"
IDLE_OURS = f"idle: ours, {SLOTS[-1]} slots"
GOALS = {f"ours, {SLOTS[0]} slots": 1.0, IDLE_OURS: 0.1}
DIFFER = "cells with another verdict than in the first run"
LABEL = "com.docker.compose.project"
EVENTS_OF = {"ready": '{"id":1,"ty":"ready","in":{}}', "done": '{"id":2,"ty":"done","in":{}}'}
# Of "sh -c" the words behind the script are $0 (the test) and $1 (the role).
SCRIPT = f"""
trap 'exit 143' TERM
echo '{EVENTS_OF["ready"]}'
if [ "$1" = worker ]; then /busybox sleep 1000 & wait; exit 0; fi
/busybox sleep "$WAIT" & wait
[ "$VERDICT" = good ] || exit 3
echo '{EVENTS_OF["done"]}'
"""
ENTRY = ["/busybox", "sh", "-c", SCRIPT]
TESTS = ("t0", "t1", "t2", "t3")
NAMES = ("good", "bad")


@dataclass
class Seen:
    """What came of a way.

    Attributes:
        seconds: of each measured run.
        ratios: of each of them, to the bound that it has printed.
        differing: how many cells had another verdict than in the very first run of all.
        failed: why it took no further part.
    """

    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    differing: list[int] = field(default_factory=list)
    failed: str = ""


@dataclass(frozen=True)
class Run:
    """One run: its seconds, the ratio to its bound (0 without one), and cell -> whether it has succeeded."""

    seconds: float
    ratio: float
    succeeded: Mapping[str, bool]


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Run the matrix in ways that take turns."""
    with closing(find_engine()) as opened, scratch_project(scratch) as project:
        client: Any = opened  # its stubs leave out what is asked for here
        image = str(client.inspect_image(IMAGE)["Id"])
        name = f"bench-interop-{os.urandom(4).hex()}"
        for wait in (WAIT, IDLE):
            write_matrix(project.root / f"matrix-{wait}", image, wait)
        ways: dict[str, Callable[[], Run]] = {ONE_BY_ONE: partial(one_by_one, project, name, WAIT)}
        ways |= {f"ours, {slots} slots": partial(ours, project, slots, WAIT) for slots in SLOTS}
        ways |= {IDLE_ONE_BY_ONE: partial(one_by_one, project, name, IDLE)}
        ways |= {IDLE_OURS: partial(ours, project, SLOTS[-1], IDLE)}
        try:
            seen = take_turns(ways, rounds, say)
        finally:
            left = left_on(client, f"{LABEL}={name}")
            if left:
                say(f"removed what was left: {', '.join(left)}")
    return series(seen)


def take_turns(ways: Mapping[str, Callable[[], Run]], rounds: int, say: Callable[[str], None]) -> dict[str, Seen]:
    """Go each way ``rounds`` times, the longest once; one that fails takes no further part. None is warmed up."""
    seen = {name: Seen() for name in ways}
    first: Mapping[str, bool] = {}
    for number in range(1, rounds + 1):
        for name, way in ways.items():
            if seen[name].failed or (name == IDLE_ONE_BY_ONE and number > 1):
                continue
            try:
                run = way()
            except Exception as error:  # noqa: BLE001 - one way's failure must not hide the others' values
                raise_interrupt_behind(error)
                seen[name].failed = in_a_line(error)
                say(f"{number:>3}  {name:<34} failed: {seen[name].failed}")
                continue
            first = first or run.succeeded
            differing = sum(run.succeeded.get(cell) != verdict for cell, verdict in first.items())
            seen[name].seconds.append(run.seconds)
            seen[name].differing.append(differing)
            if run.ratio:
                seen[name].ratios.append(run.ratio)
            bound = f"  {run.ratio:.2f} x its bound" if run.ratio else ""
            say(f"{number:>3}  {name:<34} {run.seconds:6.1f} s{bound}  {differing} verdicts differ")
    return seen


def series(seen: Mapping[str, Seen]) -> list[Series]:
    """Return the times of each way, their ratios to the bounds, and how many verdicts differ."""
    made = []
    for name, way in seen.items():
        is_idle, is_ours = name.startswith("idle"), "ours" in name
        base = IDLE_ONE_BY_ONE if is_idle else ONE_BY_ONE
        made.append(
            Series(
                name,
                tuple(way.seconds),
                against=base if is_ours else "",
                goal=GOALS.get(name),
                failed=way.failed,
            )
        )
        if is_ours:
            made.append(Series(f"{name}, by its bound", tuple(way.ratios), unit="x", goal=1.1, failed=way.failed))
    differing = tuple(float(count) for way in seen.values() for count in way.differing)
    return [*made, Series(DIFFER, differing, unit="", goal=0.0, quantile=1.0)]


def write_matrix(folder: Path, image: str, wait: int) -> None:
    """Write a matrix of 16 cells, of which half fail, as is expected."""
    (folder / "tests").mkdir(parents=True)
    for test in TESTS:
        (folder / "tests" / f"{test}.md").write_text('{"timeout": "2m", "resources": {"cpu": 0.05}}\n')
    told = {"image": image, "entry": ENTRY}
    tables = "\n".join(
        f"[implementations.{name}]\n"
        + "\n".join(f"{key} = {json.dumps(value)}" for key, value in told.items())
        + f'\nenv = {{VERDICT = "{name}", WAIT = "{wait}"}}\n'
        for name in NAMES
    )
    (folder / "interop.toml").write_text(tables)
    (folder / "expect.toml").write_text('[[expect]]\ndriver = "bad"\nstatus = ["failed"]\nreason = "it ends with 3"\n')


def ours(project: Project, slots: int, wait: int) -> Run:
    """Run the matrix as a user does; the seconds are those of the whole process."""
    program = str(Path(sys.executable).with_name("harness"))
    words = [
        "interop.run",
        "--matrix",
        f"matrix-{wait}/interop.toml",
        "--engine",
        COMPOSE,
        "--slots",
        str(slots),
        "--json",
    ]
    env = {**project.environ, "XDG_CACHE_HOME": str(project.state / "cache")}
    began = clock.now()
    done = procs.run([program, *words], timeout=BUDGET, env=env, cwd=project.root)
    seconds = clock.now() - began
    if done.code != 0:
        raise BrokenStack(f"interop.run {done.ending(BUDGET)}: {' '.join(done.stderr.split())[-300:]}")
    report = json.loads(done.stdout)
    succeeded = {cell["id"]: cell["verdict"]["status"] == "succeeded" for cell in report["cells"]}
    return Run(seconds, float(report["bounds"]["ratio"]), succeeded)


def one_by_one(project: Project, name: str, wait: int) -> Run:
    """Run the same cells with Compose, one after the other."""
    began = clock.now()
    succeeded = {
        f"{test}/{worker}/{driver}": _cell(project, name, (test, worker, driver), wait)
        for test in TESTS
        for worker in NAMES
        for driver in NAMES
    }
    return Run(clock.now() - began, 0.0, succeeded)


def _cell(project: Project, name: str, cell: tuple[str, str, str], wait: int) -> bool:
    """Run one cell; return whether it has succeeded."""
    test, worker, driver = cell
    folder = project.root / "by-compose"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "shared").mkdir(parents=True)
    shared = [f"{folder / 'shared'}:/shared"]
    quick = {"image": IMAGE, "volumes": shared, "stop_grace_period": "500ms"}
    services = {
        role: {
            **quick,
            # Compose reads variables of its own in a command.
            "entrypoint": [word.replace("$", "$$") for word in (*ENTRY, test, role)],
            "environment": {"VERDICT": plays, "WAIT": str(wait)},
        }
        for role, plays in (("worker", worker), ("driver", driver))
    }
    services["driver"]["depends_on"] = ["worker"]
    file = folder / "compose.yaml"
    file.write_text(yaml.safe_dump({"name": name, "services": services}))
    words = [project.compose, "-f", str(file)]
    try:
        up = procs.run(
            [*words, "up", "--abort-on-container-exit", "--exit-code-from", "driver", "--no-color"],
            timeout=BUDGET,
            env=project.environ,
        )
    finally:
        down = procs.run([*words, "down", "-v", "-t", "0"], timeout=DOWN, env=project.environ)
    if down.code != 0:
        raise BrokenStack(f"compose down {down.ending(DOWN)}: {down.stderr.strip()[-200:]}")
    return up.code == 0 and EVENTS_OF["done"] in up.stdout


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "interop", "--no-history", *sys.argv[1:]]))
