"""The engine ``embedded``: services as local processes. On every engine it is the driver of those that are some."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import procs
from harness.engine.driver import act_by_keeper
from harness.engine.plan import ProcessPlan
from harness.engine.process.host import ProcessHost
from harness.engine.process.plan import NAME, plan_stack
from harness.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.daemon import Daemon
    from harness.engine.driver import Around, Place
    from harness.engine.known import Known
    from harness.engine.layout import Layout
    from harness.engine.plan import Endpoint, Image, ServicePlan, StackPlan
    from harness.engine.process.cells import ProcessSites
    from harness.keeper.messages import ServiceFacts
    from harness.stack import Service, Tree


@dataclass(frozen=True)
class Embedded:
    """Services as local processes."""

    name: str = NAME
    daemon: Daemon | None = None

    def check(self) -> None:
        """Nothing is needed."""

    def locate(self, _: Tree) -> Mapping[str, tuple[Endpoint, ...]]:
        """Nothing is there before it is started."""
        return {}

    def plan(self, tree: Tree, name: str, layout: Layout, _: object, __: Mapping[str, Image]) -> StackPlan:
        """Return what a stack is as processes."""
        return plan_stack(tree, name, layout)

    def launch(self, _: StackPlan, __: object) -> None:
        """Each is started by itself."""

    def host(self, plan: ServicePlan, service: Service, around: Around) -> ProcessHost:
        """Return what starts a process."""
        assert isinstance(plan, ProcessPlan)  # this engine's own, or ``is_local``
        return ProcessHost(plan, service, around)

    def cells(self, place: Place) -> ProcessSites:
        """Return where cells take place as processes."""
        from harness.engine.process.cells import ProcessSites  # noqa: PLC0415 - only a matrix needs it

        return ProcessSites(place)

    def act(self, known: Known, act: str, grace: float, place: Place) -> ServiceFacts:
        """Have the keeper act on it."""
        return act_by_keeper(known, act, grace, place)

    def execute(self, known: Known, argv: Sequence[str], timeout: float, _: object) -> procs.Finished:
        """Run a command as the process would: with its environment and folder."""
        try:
            done = procs.run([*known.launcher, *argv], timeout=timeout, env=known.env, cwd=known.cwd)
            return replace(done, argv=tuple(argv))
        except OSError as error:
            raise HarnessError(f"{argv[0]!r} cannot be run in service {known.service!r}: {error.strerror}") from error

    def execute_here(self, known: Known, argv: Sequence[str]) -> int:
        """Run it with the environment and folder of the process."""
        try:
            return procs.run_attached([*known.launcher, *argv], cwd=known.cwd, env=known.env)
        except OSError as error:
            raise ConfigError(f"{argv[0]!r} cannot be run in service {known.service!r}: {error.strerror}") from error

    def shell(self, known: Known, environ: Mapping[str, str]) -> int:
        """Open the user's shell with the environment, folder and mounted folders of the process."""
        shell = known.env.get("SHELL") or "/bin/sh"
        try:
            return procs.run_interactive([*known.launcher, shell], cwd=known.cwd, env={**known.env, **environ})
        except OSError as error:
            raise ConfigError(f"{shell!r} cannot be run in service {known.service!r}: {error.strerror}") from error

    def copy_out(self, known: Known, path: str, to: Path, _: object) -> None:
        """Copy what its mounts say."""
        source = known.map_path(path)
        try:
            if source.is_dir():
                shutil.copytree(source, to, dirs_exist_ok=True)
            else:
                shutil.copy2(source, to)
        except OSError as error:
            raise HarnessError(f"{path} of service {known.service!r} cannot be copied: {error.strerror}") from error
