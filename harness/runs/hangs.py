"""What the services of an environment did when a test hung."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import procs
from harness.errors import HarnessError
from harness.hangs import process_threads
from harness.keeper.messages import Services

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.keeper.messages import ServiceFacts
    from harness.runs.environment import Environment

BUDGET = 3.0  # seconds for the keeper to tell of its services
MOST = 30  # services


def look(environment: Environment, stacks: Collection[str]) -> list[str]:
    """Return, in lines, what the processes of each service of some stacks do; the reason where that is not known."""
    try:
        listed = environment.link.ask(Services(), timeout=BUDGET)["services"]
    except HarnessError as error:
        return [f"services: {error.summary}"]
    lines = []
    for facts in [facts for facts in listed if facts["stack"] in stacks][:MOST]:
        lines += [
            f"service {facts['service']}: {facts['state']}",
            *(f"  {line}" for line in _processes(facts, environment)),
        ]
    return lines


def _processes(facts: ServiceFacts, environment: Environment) -> list[str]:
    pid, container = int(facts["pid"]), facts["container"]
    if facts["state"] == "exited":
        return [f"it has ended with {procs.describe_exit(facts['exit_code'])}"]
    if pid and (not container or procs.is_in_container(pid, container)):
        return process_threads(pid)
    return _top(container, environment) if container else ["its processes cannot be seen from here"]


def _top(container: str, environment: Environment) -> list[str]:
    """Return what the engine tells of the processes of a container that runs elsewhere."""
    try:
        told = environment.client.top(container, ps_args="-eo pid,stat,wchan:24,time,comm")
    except Exception as error:  # noqa: BLE001 - of the SDK, the engine or what is between: it is told
        return [f"its processes cannot be asked for: {error}"]
    return ["  ".join(map(str, row)) for row in [told.get("Titles") or (), *(told.get("Processes") or ())]]
