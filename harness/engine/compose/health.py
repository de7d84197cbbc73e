"""The health of a container: what its engine says, and what its own healthcheck says when we run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.clock import now
from harness.engine.compose import hands
from harness.errors import EngineUnreachableError, HarnessError
from harness.readiness import Hopeless
from harness.refusals import missing_for_good

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine.driver import Place
    from harness.keeper.messages import ServiceFacts

QUICK = 1.0  # seconds between checks that are left to the engine
PACE = 0.5  # seconds between checks of ours, or as long as one takes
LONGEST_CHECK = 10.0
LOOK = 1.0  # seconds after which the engine is asked what the checks of a container say
SECOND = 1e9  # the engine counts in nanoseconds
# "HEALTHCHECK" in Docker's reference of Dockerfiles.
USUAL_INTERVAL, USUAL_TIMEOUT = 30.0, 30.0
_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True)
class Check:
    """A healthcheck as the engine has it: its command, and the seconds between two and for one."""

    argv: tuple[str, ...] = ()
    interval: float = USUAL_INTERVAL
    timeout: float = USUAL_TIMEOUT

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Check:
        """Return the healthcheck in ``Config`` of an inspected container."""
        written = config.get("Healthcheck") or {}
        kind, *words = written.get("Test") or ["NONE"]
        if kind == "CMD-SHELL":
            words = [*(config.get("Shell") or _SHELL), *words]
        elif kind != "CMD":
            words = []
        return cls(
            tuple(words),
            (written.get("Interval") or 0) / SECOND or USUAL_INTERVAL,
            (written.get("Timeout") or 0) / SECOND or USUAL_TIMEOUT,
        )


class ContainerHealth:
    """Whether a container is healthy.

    An engine runs the first check an interval after the start, so a service that is usable after two seconds may count
    as starting for thirty. Until the engine has said its word, the check is therefore run by us too, at our pace. What
    an engine says once it has found a container healthy stays its word.

    Args:
        place: where it is.
        stack: its stack.
        service: its name.
        line: its healthcheck as its file has it, "" where its image has it.
        awaited: whether another service starts when this one is healthy; then it is given up when it is unhealthy.
        quick: the longest interval, in seconds, at which checks are left to the engine.
    """

    def __init__(
        self, place: Place, stack: str, service: str, line: str, *, awaited: bool, quick: float = QUICK
    ) -> None:
        self._place = place
        self._stack = stack
        self._service = service
        self._line = line
        self._awaited = awaited
        self._quick = quick
        self._next_look = now() + LOOK
        self._next_check = 0.0
        self._life: ServiceFacts | None = None  # the facts of the start that the following is about
        self._check = Check()
        self._passed = False
        self._problem = ""

    def __call__(self) -> str:
        """Return "" when it is healthy, else what is said.

        Raises:
            Hopeless: its check has no program to run, or others wait for it and it is unhealthy.
        """
        health = self._place.lives.health(self._stack, self._service)
        life = self._place.lives.started(self._stack, self._service)
        if health == "healthy":
            return ""
        said = f"its healthcheck says: {health or 'nothing yet'}"
        if life is None:
            return said
        if health == "unhealthy":
            return self._unhealthy(said)
        self._run(life)
        if self._passed:
            return ""
        return self._look(f"its healthcheck says: {self._problem}" if self._problem else said)

    def _unhealthy(self, said: str) -> str:
        checks = self._checks()
        if self._awaited:
            raise Hopeless(f"unhealthy: {checks[-1] if checks else 'its checks failed'}")
        return f"{said}, {checks[-1]}" if checks else said

    def _run(self, life: ServiceFacts) -> None:
        """Run its check when that is due."""
        if life is not self._life:
            self._life, self._passed, self._problem, self._next_check = life, False, "", 0.0
            self._check = Check.of(self._config(life["container"]))
        if self._passed or not self._check.argv or self._check.interval <= self._quick or now() < self._next_check:
            return
        begun = now()
        argv, budget = self._check.argv, min(self._check.timeout, LONGEST_CHECK)
        try:
            done = hands.execute(self._place.client, life["container"], argv, budget)
        except EngineUnreachableError:
            raise
        except HarnessError as error:
            problem = error.summary
        else:
            words = (done.stderr or done.stdout).strip().splitlines()[-1:]
            problem = ": ".join([done.ending(budget), *words]) if done.code != 0 else ""
        self._next_check = now() + max(PACE, now() - begun)
        self._passed, self._problem = not problem, problem
        if problem and missing_for_good(self._line, problem):
            raise Hopeless(f"its healthcheck cannot be run: {problem}")

    def _config(self, container: str) -> Mapping[str, Any]:
        client: Any = self._place.client  # its stubs leave out what is asked for here
        with hands.told("The container cannot be looked at"):
            config: Mapping[str, Any] = client.inspect_container(container)["Config"]
        return config

    def _look(self, said: str) -> str:
        """Return what is said; now and then with what the engine's own checks said, which may tell more."""
        if now() < self._next_look:
            return said
        checks = self._checks()
        self._next_look = now() + LOOK
        if any(missing_for_good(self._line, check) for check in checks):
            raise Hopeless(f"{said}, {checks[-1]}")
        return said

    def _checks(self) -> list[str]:
        return [str(check) for check in self._place.explain(self._stack, self._service).get("health_log", ())]
