"""A service as a local process: how it is started, asked and looked at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import procs, sockets
from harness.engine.driver import PortTaken, act_by_keeper
from harness.engine.process import clusters
from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.keeper.messages import Start
from harness.ownership.identity import RUN_COOKIE, SERVICE_COOKIE
from harness.ownership.removal import WORK, mark_place
from harness.readiness import Family, Target, stranger_at
from harness.refusals import why_not_started

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.engine.driver import Addresses, Around, Place
    from harness.engine.plan import ProcessPlan
    from harness.engine.users import User
    from harness.keeper.messages import ServiceFacts
    from harness.sockets import Listener
    from harness.stack import Service


@dataclass(frozen=True)
class ProcessHost:
    """A service as a local process."""

    _plan: ProcessPlan
    _service: Service
    _around: Around

    def prepare(self) -> None:
        """Make its folders and files."""
        make_files(self._plan, self._around.place)

    def start(self) -> bool:
        """Have the keeper start it, or a debugger hold it."""
        plan, place = self._plan, self._around.place
        place.lives.forget(plan.stack, plan.service)
        self._around.facts[plan.service] = self._started()
        return True

    def _started(self) -> ServiceFacts:
        plan, place = self._plan, self._around.place
        if place.debugger and plan.subject:
            return place.debugger.start(plan, place, lambda: self._around.stop.stopped)
        try:
            return start(plan, place)
        except HarnessError as error:
            why = why_not_started(error.summary)
            raise BrokenStack(f"Service {plan.service!r} could not be started: {why}", service=plan.service) from error

    def restart(self, grace: float) -> ServiceFacts:
        """Have the keeper do it, and forget the end that was asked for."""
        plan, place = self._plan, self._around.place
        facts = act_by_keeper(plan, "restart", grace, place)
        ended = place.lives.exit_of(plan.stack, plan.service)
        if ended and ended["starts"] < facts["starts"]:
            place.lives.forget(plan.stack, plan.service)
        return facts

    def target(self, addresses: Addresses) -> Target:
        """Return a target with its folder, files and health command."""
        plan = self._plan
        # A path that is here already stays, also where a mount's target is above it, such as /tmp.
        here = {str(path): str(path) for path in (*plan.mounts.values(), *plan.folders)}
        return Target(
            service=plan.service,
            stack=plan.stack,
            address=addresses.own,
            brokers=addresses.brokers,
            env=plan.env,
            cwd=plan.cwd,
            mounts={**plan.mounts, **here},
            health=plan.health,
            check=plan.check,
            is_awaited=self._around.stack.awaits(plan.service),
            stranger=lambda host, port: stranger_at(host, port, self._family()),
        )

    def _family(self) -> Family:
        """Return the processes among which who listens for it must be."""
        plan, place = self._plan, self._around.place
        facts = self._around.facts.get(plan.service) or place.lives.started(plan.stack, plan.service)
        return Family(place.env, place.link.facts["pid"], facts["pid"] if facts else 0)

    def refuse_strangers(self) -> None:
        """Look who listens on each of its TCP addresses."""
        for end in self._plan.endpoints:
            who = stranger_at(end.host, end.port, self._family()) if end.protocol == "tcp" else ""
            if who and self._service.settings.fixed:
                name = self._plan.service
                raise ConfigError(
                    f"Service {name!r}: its address {end} is held by {who}, and it cannot move: it is fixed"
                )
            if who:
                raise PortTaken(self._plan.service, end, who)

    def listening(self, facts: Mapping[str, Any]) -> tuple[Listener, ...] | None:
        """Look at its processes."""
        plan = self._plan
        return _listening(self._around.place.env, f"{plan.stack}/{plan.service}", int(facts.get("pid") or 0))


def _listening(env: str, service: str, pid: int) -> tuple[Listener, ...]:
    """Return what a process, its descendants and what has left them listen on."""
    carriers = procs.with_cookies(f"{RUN_COOKIE}={env}", SERVICE_COOKIE).items()
    mine = {carrier for carrier, (_, name) in carriers if name == service}
    inodes = sockets.sockets_of({pid, *mine, *procs.descendants(pid)})
    return tuple(listener for listener in sockets.listeners() if listener.inode in inodes)


def start(plan: ProcessPlan, place: Place, *, hold: bool = False) -> ServiceFacts:
    """Write the service's files and have the keeper start it; return the keeper's facts about it.

    With ``hold`` it stands at its first instruction until it is told to go.

    Raises:
        BrokenStack: what its data begins with could not be made.
        HarnessError: it cannot be executed.
    """
    make_files(plan, place)
    if plan.cluster:
        clusters.install(plan.cluster)
        scratch = plan.place or place.folder / WORK
        clusters.lay_down(plan.cluster, plan.data, plan.user, scratch, place.settings.environ)
    return place.link.ask(
        Start(
            stack=plan.stack,
            service=plan.service,
            spec={
                "argv": [*plan.launcher, *plan.argv],
                "env": dict(plan.env),
                "cwd": str(plan.cwd),
                "grace": plan.grace,
                "stop": list(plan.stop),
                "signal": plan.stop_signal,
                "hold": hold,
            },
        )
    )


def make_files(plan: ProcessPlan, place: Place) -> None:
    """Make the folders and files of a service, but for those of a database. Raises OSError."""
    if plan.place:
        mark_place(place.folder, plan.place, place.env)
    for folder in plan.folders:
        if folder == plan.data and plan.cluster:
            continue  # it comes with its files
        folder.mkdir(parents=True, exist_ok=True)
    for copy in plan.copies:
        copy.target.parent.mkdir(parents=True, exist_ok=True)
        copy.target.unlink(missing_ok=True)  # it may be one that nobody can write, or that is being executed
        copy.target.write_bytes(copy.content)
        copy.target.chmod(copy.mode)
    if plan.user and plan.place:
        _hand_over(plan, plan.user, plan.place)


def _hand_over(plan: ProcessPlan, user: User, place: Path) -> None:
    """Let a user pass the folders of a service in ``place``, and have what is the service's own."""
    plan.data.parent.mkdir(parents=True, exist_ok=True)
    mine = [path for path in (*plan.folders, *(copy.target for copy in plan.copies)) if path.is_relative_to(place)]
    for path in mine:
        for above in path.parents:
            if above == place:
                break
            above.chmod(0o711)
    for path in mine:
        if path.exists():
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
