"""How long after a service has become ready it is called ready: services that note the moment themselves."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from bench.comparing import quantile
from bench.project import SERVICES, scratch_project, trivial
from bench.rounds import alternate
from harness import clock
from harness.helpers.kafka import Kafka
from harness.runs import running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.series import Series
    from harness.runs import Run

TITLE = "readiness seen after the truth (95 %), services ready at a random moment 0-1.5 s after their start"
NEEDS: tuple[str, ...] = ("embedded",)
ROUNDS = 50
LIMITS = (
    "Ours: a probe is asked every 5 ms in the first 2 s; then the stack is looked at as a whole and declared settled, "
    "which is counted too. Kafka: the way of a message through the broker and the client, about 1 ms."
)
GOAL = 50.0
SHARE = 0.95
SPREAD = "1.5"
TOPIC = "ready"


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Start a service again and again in an environment that stays, and compare its note with when it was settled."""
    with scratch_project(scratch) as project:
        file = project.root / "moment"
        publisher = ["python", str(SERVICES / "publisher.py"), "kafka:9092", TOPIC, SPREAD, str(file)]
        told = {"ready": [{"kafka": {"message": {"topic": TOPIC}}}], "embedded": {"command": publisher}}
        project.include_kafka()
        project.stack("http", {"late": trivial(SPREAD, str(file))})
        project.stack("message", {"teller": {"image": "none", "x-harness": told}}, include=["kafka.yaml"])
        with running(project.run("embedded")) as run:
            broker = run.bring("kafka")
            with Kafka(broker.endpoint("kafka", 9092)) as kafka:
                kafka.create_topics({TOPIC: 1})
            ways = {name: partial(late, run, name, file) for name in ("http", "message")}
            seen = alternate(ways, rounds, say)
            broker.release()
    for name, values in seen.values.items():
        if values:
            say(f"{name}: 50 % {quantile(values, 0.5):.1f} ms, 95 % {quantile(values, SHARE):.1f} ms")
    return [
        seen.series("http", float, "http with a JSON predicate", unit="ms", goal=GOAL, quantile=SHARE),
        seen.series("message", float, "message on a topic", unit="ms", goal=GOAL, quantile=SHARE),
    ]


def late(run: Run, stack: str, file: Path) -> float:
    """Return the milliseconds from a service's moment to our word that its stack is settled."""
    file.unlink(missing_ok=True)
    brought = run.bring(stack)
    told = clock.now()
    brought.release()
    return (told - float(file.read_text())) * 1000


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "readiness", "--no-history", *sys.argv[1:]]))
