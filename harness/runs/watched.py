"""What is looked at for what tests leave: in this process, in an environment, and in the services of its stacks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness import procs
from harness.daemon import Api
from harness.keeper.messages import Services
from harness.ownership.identity import RUN_COOKIE
from harness.residue.engine import EngineObjects
from harness.residue.files import Files
from harness.residue.host import EnvironmentVariables, SignalHandlers, Threads, Umask, WorkingDirectory
from harness.residue.processes import Children, Ports, Processes
from harness.residue.stores import WITHIN
from harness.runs.places import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping

    from harness.config import Settings
    from harness.residue.watching import Watcher
    from harness.runs.environment import Environment
    from harness.runs.stack import Service


def of_process(
    settings: Settings, environment: Callable[[], Environment | None], variables: Callable[[], Collection[str]]
) -> list[Watcher]:
    """Return what looks at this process, and at the files that the project has watched.

    Args:
        settings: of the session.
        environment: returns the environment, None before there is one.
        variables: returns the names of variables that the session itself sets.
    """
    children = Children(lambda pid: _is_of(environment(), pid))
    watchers: list[Watcher] = [
        Processes(children),
        Ports(children),
        Threads(),
        EnvironmentVariables(variables),
        WorkingDirectory(),
        Umask(),
        SignalHandlers(),
    ]
    if settings.residue.watch:
        watchers.append(Files(settings.root, settings.residue.watch, without=[settings.logs, settings.state]))
    return watchers


def of_environment(environment: Environment, names: Callable[[], Collection[str]]) -> list[Watcher]:
    """Return what looks at an environment as a whole.

    Args:
        environment: it.
        names: returns those that the test that runs was given for what it makes.
    """
    watchers: list[Watcher] = [StartedServices(environment)]
    if environment.daemon is not None:
        watchers.append(EngineObjects(Api(environment.daemon, within=WITHIN), environment.env, names))
    return watchers


def of_service(service: Service, environment: Environment, *, is_shared: bool) -> list[Watcher]:
    """Return what looks at what tests leave in a service.

    Args:
        service: of a stack that is up and seeded.
        environment: the one that it is in.
        is_shared: whether other workers use it too.
    """
    place = place_of(service)
    return environment.stores.watchers(place, is_shared=is_shared) if place else []


def _is_of(environment: Environment | None, pid: int) -> bool:
    """Return whether a process is the keeper, was started by it, or for its environment."""
    if environment is None:
        return False
    keeper, above = environment.link.facts["pid"], pid
    while above > 1 and above != os.getpid():
        if above == keeper:
            return True
        above = procs.parent_of(above)
    return procs.has_cookie(pid, f"{RUN_COOKIE}={environment.env}")


class StartedServices:
    """Services that somebody has started in the environment, other than those of the stacks that this session uses."""

    kind = "services"
    counts_removed = False
    is_shared = True

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def glance(self) -> Hashable:
        """Return how often one has started or ended."""
        return self._environment.lives.changes

    def look(self) -> Mapping[str, str]:
        """Return those that run. Raises HarnessError."""
        return {
            f"{facts['stack']}/{facts['service']}": ""
            for facts in self._environment.link.ask(Services())["services"]
            if facts["state"] != "exited" and not self._environment.brought[facts["stack"]]
        }
