"""Why a service ended: what its exit code, its last lines and its engine tell."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness import artifacts
from harness.engine.driver import Place
from harness.errors import BrokenStack
from harness.last_words import LOOKED_AT
from harness.readiness.reasons import NO_VARIABLES, Variables, how_ended, why_ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.keeper.messages import ServiceFacts
    from harness.runs.lives import Uses

ONE_SHOT = "a service that is done when it has ended with 0 says so: x-harness: {role: oneshot}"
KILLED = 137  # how a container's exit code tells SIGKILL
LINES_SHOWN = 20
_NO_WORDS = frozenset([0, KILLED, -signal.SIGKILL])  # ends that no program has a last word about


class Scene(Place, Protocol):
    """An environment, of which it is known besides who uses it."""

    @property
    def uses(self) -> Uses:
        """Which test uses which stacks."""
        ...


def died(scene: Scene, facts: ServiceFacts, when: str = "", variables: Variables = NO_VARIABLES) -> BrokenStack:
    """Return the error for a service that ended, with its exit code, its reason and its last lines.

    Args:
        scene: where it was.
        facts: of its end.
        when: it ended; default: under the test that used its stack.
        variables: what it was told about others.
    """
    when = when or facts.get("under") or scene.uses.under(facts["stack"])
    log, code = Path(facts["log"]), facts["exit_code"]
    assert code is not None  # it has ended
    # Only a container that was killed can have a reason that the engine alone knows.
    container = scene.explain(facts["stack"], facts["service"], ask=code == KILLED)
    lines = artifacts.last_lines(log, LOOKED_AT, facts["log_start"])
    why = "" if code in _NO_WORDS else why_ended(lines, variables)
    how = how_ended(code, contained=bool(facts["container"]), known=bool(why))
    if container.get("oom") or facts.get("oom"):
        limit = f", limit {container['memory'] >> 20} MiB" if container.get("memory") else ""
        how += f" (OOMKilled: out of memory{limit})"
    return BrokenStack(
        f"Service {facts['service']!r} ended with {how} {when}{': ' if why else ''}{why} ({scene.show(log)})",
        service=facts["service"],
        exit_code_seen=code,
        details=shown_lines(lines),
        hint=ONE_SHOT if code == 0 else "",
    )


def last_words(facts: ServiceFacts) -> list[str]:
    """Return the last lines of a service's present life, for an error."""
    return shown_lines(artifacts.last_lines(Path(facts["log"]), start=facts["log_start"]))


def shown_lines(lines: Sequence[str]) -> list[str]:
    """Return the last lines of a log as an error has them."""
    return [f"  {line}" for line in lines[-LINES_SHOWN:]] or ["  it wrote nothing"]
