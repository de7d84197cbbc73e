"""The forwarder's stack on the embedded engine: a broker, an IOC and a subject, from nothing to settled."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.project import ROOT, scratch_project
from bench.rounds import alternate
from harness import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.project import Project
    from bench.series import Series

TITLE = "embedded forwarder stack (broker, IOC, subject) from nothing to settled"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 7
LIMITS = (
    "The components: the IOC listens after 0.8 s, and the subject, which is started when the stacks that it stands on "
    "are settled, publishes its first status 0.25 s later. Ours: less than 0.1 s for the start of the keeper; "
    "as a command also the imports."
)
GOAL = 2.0
STACK = "forwarding"


@dataclass(frozen=True)
class Times:
    """Seconds to settled, and from then on to gone."""

    up: float
    gone: float

    def __str__(self) -> str:
        return f"up {self.up:.3f}  gone {self.gone:.3f}"


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure the call in a process with everything loaded, and the command in a fresh one."""
    with scratch_project(scratch, ROOT) as project:
        seen = alternate({"stack_up": lambda: called(project), "harness up": lambda: commanded(project)}, rounds, say)
    return [
        seen.series("stack_up", lambda times: times.up, "stack_up to settled", goal=GOAL),
        seen.series("harness up", lambda times: times.up, "harness up, cold process", goal=GOAL),
        seen.series("stack_up", lambda times: times.gone, "settled to gone"),
        seen.series("harness up", lambda times: times.gone, "harness down"),
    ]


def called(project: Project) -> Times:
    """Bring it up and down in this process."""
    began = clock.now()
    with project.stack_up(STACK, "embedded"):
        up = clock.now() - began
    return Times(up, clock.now() - began - up)


def commanded(project: Project) -> Times:
    """Bring it up and down by commands."""
    up = project.harness("up", "--stack", STACK, "--engine", "embedded")
    return Times(up, project.harness("down", "--engine", "embedded"))


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "forwarder", "--no-history", *sys.argv[1:]]))
