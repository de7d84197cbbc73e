"""What the end of a service means while its stack settles: it is done, it is started again, or it is a death.

Compose's ``restart`` is heeded until a stack has settled. Afterwards a service that ends is news, whatever its file
says ("restart" and "deploy.restart_policy" in the Compose specification).
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from harness.clock import Deadline, poll
from harness.readiness.reasons import how_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.engine import ServicePlan
    from harness.keeper.messages import ServiceFacts
    from harness.readiness import Stop
    from harness.runs.planning import Planned
    from harness.runs.probing import Probing
    from harness.runs.progress import Progress
    from harness.stack import Service

FIRST_PAUSE = 0.1  # seconds before a service is started again; doubled each time
LONGEST_PAUSE = 5.0
TRIES_ALONE = 3
"""Starts of a service, when all that it may wait for is there, after which its end is a death."""
_CONDITIONS = {"none": "no", "any": "always", "unless-stopped": "always"}


class Policy(NamedTuple):
    """``restart`` of a service: "" (nothing is written), no, on-failure or always; and how often at most."""

    condition: str
    most: int | None = None

    def allows(self, code: int, again: int) -> bool:
        """Return whether a service that was started ``again`` so often is to be once more."""
        left = self.most is None or again < self.most
        return left and (self.condition == "always" or (self.condition == "on-failure" and code != 0))


def policy_of(compose: Mapping[str, object]) -> Policy:
    """Return the restart policy of a service's table; what ``deploy`` says goes before."""
    deploy = compose.get("deploy")
    written = deploy.get("restart_policy") if isinstance(deploy, dict) else None
    if isinstance(written, dict) and written:
        condition = str(written.get("condition") or "any")
        tries = written.get("max_attempts")
        return Policy(_CONDITIONS.get(condition, condition), int(tries) if tries is not None else None)
    condition, _, most = str(compose.get("restart") or "").partition(":")
    return Policy(_CONDITIONS.get(condition, condition), int(most) if most else None)


def may_end(service: Service, plan: ServicePlan, *, awaited: bool, was_ready: bool) -> bool:
    """Return whether exit code 0 says that a service is done, though nothing says that it is a one-shot.

    Args:
        service: what its file says.
        plan: what it is here.
        awaited: whether another service waits until it is healthy.
        was_ready: whether it has answered already. What has ports and was ready is a server, without a reason to end.
    """
    condition = policy_of(service.compose).condition
    if condition == "always" or service.settings.ready or plan.has_health or awaited:
        return False
    return not service.ports or (condition in ("no", "on-failure") and not was_ready)


def pause_before(again: int) -> float:
    """Return the seconds before a service is started for the ``again``-th time."""
    return float(min(FIRST_PAUSE * 2 ** min(again - 1, 16), LONGEST_PAUSE))


class Endings:
    """The services of one stack that end while it settles, and what becomes of them.

    Args:
        planned: the stack.
        progress: how far it has come.
        probing: how its services are asked and started.
        stop: set when nobody is to wait any longer.
        limit: gives the deadline of a service that has ended for the first time.
        say: takes lines for the user.
    """

    def __init__(
        self,
        planned: Planned,
        progress: Progress,
        probing: Probing,
        stop: Stop,
        limit: Callable[[], Deadline],
        say: Callable[[str], None],
    ) -> None:
        self._planned, self._progress, self._probing = planned, progress, probing
        self._stop, self._say = stop, say
        self._lives, self._stack = planned.environment.lives, planned.stack.name
        self._limit = limit
        self._until: dict[str, Deadline] = {}  # service that was started again -> when it is given up
        self._under_way: set[str] = set()  # services that are being started again
        self._again: Counter[str] = Counter()
        self._alone: Counter[str] = Counter()  # those of the starts before which nothing was missing
        self._lock = threading.Lock()

    def open(self) -> None:
        """From now on services are started again, and these ends are no deaths to anybody in this process."""
        self._lives.excuse(self._stack, self._is_excused)

    def close(self) -> None:
        """From now on an end is a death."""
        self._lives.excuse(self._stack, None)

    def expect(self, name: str) -> None:
        """A service is about to be started: know whether its end with exit code 0 will be no fault."""
        # Of one that others may ask it is not known yet: see ``is_done``.
        if name in self._planned.oneshots or self._may_end(name, was_ready=True):
            self._lives.expect_end(self._stack, name)

    def is_done(self, facts: ServiceFacts) -> bool:
        """Return whether a service that ended before it was ready has done what it was for."""
        name = facts["service"]
        if facts["exit_code"] == 0 and self._may_end(name, was_ready=name in self._progress.ready):
            self._lives.expect_end(self._stack, name)
        return self._lives.may_have_ended(facts)

    def ended(self) -> list[str]:
        """Return the services that have ended and are to be started again."""
        with self._lock:
            started = sorted(self._progress.started)
        exits = [self._lives.exit_of(self._stack, name) for name in started]
        return [facts["service"] for facts in exits if facts and self.is_started_again(facts)]

    def is_started_again(self, facts: ServiceFacts) -> bool:
        """Return whether a service that has ended is to be started again."""
        return self._lives.is_excused(facts)

    def start_again(self, name: str) -> None:
        """Start a service that has ended, after a pause. Raises BrokenStack when it cannot be."""
        facts = self._lives.exit_of(self._stack, name)
        assert facts is not None  # it has ended
        assert facts["exit_code"] is not None
        how = how_ended(facts["exit_code"], contained=bool(facts["container"]), known=True)
        with self._lock:
            self._under_way.add(name)  # what is counted now must not count against the start that it is about
            self._until.setdefault(name, self._limit())
            self._again[name] += 1
            self._alone[name] += self._is_nothing_missing(name)
            for those in (self._progress.ready, self._progress.proven):
                those.discard(name)
            again = self._again[name]
        policy = self._policy(name).condition
        self._say(f"service {name!r} ended with {how} and is started again (restart: {policy}, time {again})")
        for _ in poll(Deadline.after(pause_before(again)), wake=self._stop.subscribe()):
            if self._stop.stopped:
                self._under_way.discard(name)
                return
        self._lives.forget(self._stack, name)
        with self._lock:
            self._under_way.discard(name)
        facts = self._probing.host(name).restart(0)
        self._probing.has_started(name, facts)
        if debugger := self._planned.environment.debugger:
            debugger.let_go(facts, self._planned.environment, lambda: self._stop.stopped)

    def told(self, name: str) -> str:
        """Return what is to be said of a service that was started again, "" when it was not."""
        times = self._again[name]
        if not times:
            return ""
        return f"it was started again {times} time{'s' * (times > 1)} (restart: {self._policy(name).condition})"

    def _is_excused(self, facts: ServiceFacts) -> bool:
        name, code = facts["service"], facts["exit_code"]
        plan = self._planned.plans.get(name)
        if plan is None or not plan.ours or code is None or facts["expected"] or self._lives.may_have_ended(facts):
            return False
        if name in self._under_way:
            return True
        is_late = name in self._until and self._until[name].expired()
        return not is_late and self._policy(name).allows(code, self._again[name]) and self._alone[name] < TRIES_ALONE

    def outlasts_settling(self) -> bool:
        """Return whether a service is started again that counts as ready as soon as it runs."""
        unproven = self._progress.started - self._progress.proven - self._progress.done
        return any(self._policy(name).condition in ("always", "on-failure") for name in unproven)

    def _is_nothing_missing(self, name: str) -> bool:
        """Return whether everything is there that a service may wait for without saying so."""
        there = self._progress.proven | self._progress.done
        waits = {other for other in self._planned.plans if other != name and not self._depends(other, name)}
        return waits - set(self._planned.held_back) <= there

    def _depends(self, name: str, on: str) -> bool:
        needed = self._planned.service(name).depends_on
        return any(other == on or self._depends(other, on) for other in needed if other in self._planned.plans)

    def _may_end(self, name: str, *, was_ready: bool) -> bool:
        planned = self._planned
        awaited = planned.stack.awaits(name)
        return may_end(planned.service(name), planned.plans[name], awaited=awaited, was_ready=was_ready)

    def _policy(self, name: str) -> Policy:
        return policy_of(self._planned.service(name).compose)
