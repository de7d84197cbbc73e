"""The order of stages, written once: read, plan, start, settle, seed, tests, diagnose, stop, verify.

Everything that can leave something behind happens inside the guarded block of ``running``.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING

from harness.clock import add_guard, lift_deadlines, remove_guard
from harness.config import load_settings, read_sources
from harness.engine.compose.plan import NAME as COMPOSE
from harness.engine.proxies import Directly
from harness.errors import BrokenStack, HarnessError, refuse_leftovers
from harness.keeper.client import KeeperToBe
from harness.keeper.messages import Release
from harness.ownership.sweep import sweep
from harness.runs.bringing import Bringing
from harness.runs.choice import Choice, choose
from harness.runs.debugging import Debugger, find_terminal
from harness.runs.evidence import note_failure
from harness.runs.images import fetch_sources
from harness.runs.known import all_kept, checkout_of
from harness.runs.locking import hold_to_lock
from harness.runs.opening import attach, create, join, new_environment
from harness.runs.planning import Site
from harness.runs.reuse import Reuse
from harness.runs.stack import Stack
from harness.runs.turns import refuse_strangers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.engine.layout import Stranger
    from harness.runs.environment import Environment
    from harness.runs.settling import Settling
    from harness.runs.share import Share
    from harness.stack import Tree


class Run:
    """One run: an environment that is opened when the first stack is wanted, and the stacks brought up in it.

    Args:
        choice: what was asked for, and the engine; see ``choose``.
        say: takes lines for the user.
        new_run: whether a kept environment is used with a run folder of its own (a test run) or as it is (``up``).
        share: what this run has in common with others that work for the same process, None when it is alone.

    Attributes:
        keeps_failed: whether a stack that does not settle is left as it is, for a look, until ``down``.
    """

    def __init__(
        self, choice: Choice, say: Callable[[str], None], *, new_run: bool = True, share: Share | None = None
    ) -> None:
        self.choice = choice
        self.settings = settings = choice.settings
        self.say = say
        self._share = share
        self.debugger = Debugger(find_terminal(), self.say) if settings.wait_to_attach_debugger else None
        if self.debugger:
            lift_deadlines(lifted=True)
        if self.choice.engine.daemon and not self.choice.is_up:
            # The SDK takes a quarter of a second to load; meanwhile Compose parses and the keeper starts.
            threading.Thread(
                target=import_module, args=("harness.docker_sdk",), name="harness-load-sdk", daemon=True
            ).start()
        self.environment: Environment | None = None
        self._keeper: KeeperToBe | None = None
        self.left: list[str] = []
        replaces = not new_run or (settings.restart_changed and share is None)
        self.reuse = Reuse(self.say_once, new_run=new_run, alone=share is None, replaces=replaces)
        self.keeps_failed = False
        self._new_run = new_run
        self._said: set[str] = set()
        self._unusable: HarnessError | None = None
        self._directly = Directly()
        self.settled: dict[str, Settling] = {}  # stack -> how it settled, or would have

    def plan(self, tree: Tree) -> dict[tuple[int, str], Stranger]:
        """Check a tree as ``Choice.check`` does; return who is in the way of its ports.

        Sources that are elsewhere are fetched before. Raises ConfigError when they cannot be.
        """
        if self.choice.engine.name == COMPOSE:
            fetch_sources(tree, self.settings, self.choice.local, self.say)
        strangers, planned = self.choice.check(tree)
        has_subject = any(service.settings.subject for stack in tree.stacks for service in stack.services)
        others = len(tree.stacks) == 1 and not has_subject and bool(self.settings.systems)  # such as a broker's stack
        held = any(service.can_be_held for service in planned)
        if self.debugger and not held and not others:
            self.say_once(
                f"warning: --wait-to-attach-debugger holds nothing: no subject of stack {tree.root.name!r} runs as a "
                f"local process on engine {self.choice.engine.name}; --local-build or --local makes it one"
            )
        return strangers

    # -- bring a stack up ---------------------------------------------------------------------------------------

    def bring(self, name: str, *, keep_includes: bool = True, alone: bool = False) -> Stack:
        """Bring up a stack and what it stands on; return it settled and seeded.

        Args:
            name: stack name or file.
            keep_includes: whether the stacks that it includes stay until the end of the run, for the next user.
            alone: whether runs that share the environment shall not use it meanwhile, nor find it as it was left.

        Raises:
            ConfigError: something written is wrong; nothing was created.
            BrokenStack: it did not settle; what was started for it is gone.
        """
        with self._keeper_to_be():
            tree = self.choice.read(name)
            engine, strangers = self.choice.engine, self.plan(tree)
            if self.environment is None and not (self._share or self.choice.is_up):
                refuse_strangers(self.choice, tree)
            hold_to_lock(self.choice, tree)
            environment = self.open()
        if self.choice.engine is not engine:
            strangers = self.plan(tree)
            hold_to_lock(self.choice, tree)
        ended = environment.report.timed("bring", tree.root.name)
        try:
            known = Bringing(self, Site(self.choice, environment, tree), alone=alone).bring(strangers)
        finally:
            ended()
        if not keep_includes:
            for included in tree.stacks[:-1]:
                self.release(included.name)
        add_guard(environment.check)
        self._directly.ask(end.host for service in known.values() for end in service.endpoints)
        return Stack(tree.root.name, known, environment, lambda: self.release(tree.root.name))

    @contextlib.contextmanager
    def _keeper_to_be(self) -> Iterator[None]:
        """Have the keeper of a new environment load meanwhile; one that was not needed goes."""
        if self.environment is None and self._share is None and not self.choice.is_up:
            # It loads while files are read; nothing is created before they are right.
            self._keeper = KeeperToBe(new_environment(self.settings, self.choice.engine))
        try:
            yield
        finally:
            if self._keeper:
                self._keeper.dismiss()
                self._keeper = None

    def open(self) -> Environment:
        """Return the environment of this run: the kept one of this checkout, else a new one."""
        if self.environment is None and self._share:
            return self._join(self._share)
        if self.environment is None:
            self.check_engine()
            self._say_sources()
            self._sweep()
            kept = all_kept(self.settings).get(self.choice.engine.name)
            if kept:
                self.say_once(f"engine: {self.choice.engine.name} (the environment that `up` left, {kept.env})")
                self.environment = attach(self.settings, kept, self.choice.why, new_run=self._new_run)
            else:
                self.say_once(f"engine: {self.choice.engine.name} ({self.choice.why})")
                self.environment = create(self.settings, self.choice.engine, self.choice.why, self._keeper)
            self.environment.debugger = self.debugger
        return self.environment

    def _join(self, share: Share) -> Environment:
        """Return the environment that this run shares with others."""
        if share.record(self.settings) is None:
            self.check_engine()
            self._sweep()
            self.say_once(f"engine: {self.choice.engine.name} ({self.choice.why})")
        self.environment = join(self.settings, self.choice.engine, self.choice.why, share)
        if self.environment.engine != self.choice.engine.name:
            self.choice = choose(self.settings, share)  # ``auto``, and the worker that was first saw it otherwise
        return self.environment

    def _sweep(self) -> None:
        """Clear what dead runs left."""
        if self.settings.state.is_dir():
            swept = sweep(self.settings.state, daemon=self.choice.engine.daemon, keys=self.settings.keys)
            for line in swept.news(checkout_of(self.settings)):
                self.say(line)

    def check_engine(self) -> None:
        """See once whether the engine can be used; whoever asks again gets the same answer at once."""
        if self._unusable is None:
            try:
                self.choice.engine.check()
            except HarnessError as error:
                self._unusable = error
        if self._unusable is not None:
            raise self._unusable

    def _say_sources(self) -> None:
        """Say what Compose's own variables decide, since they are easily forgotten."""
        settings = self.settings
        if settings.origins["logs"].startswith("default, "):
            self.say_once(f"run folders are in {settings.logs} ({settings.origins['logs']})")
        if settings.environ.get("COMPOSE_PROJECT_NAME"):
            where = settings.origins.get("COMPOSE_PROJECT_NAME", "COMPOSE_PROJECT_NAME")
            self.say_once(f"{where} is ignored: each environment has project names of its own")
        if settings.profiles and settings.origins["profile"] != "command line":
            self.say_once(f"profiles: {', '.join(settings.profiles)} ({settings.origins['profile']})")
        if not settings.stack and not settings.system and settings.environ.get("COMPOSE_FILE"):
            self.say_once("stack: {} ({})".format(*settings.choose_stack()))

    def say_once(self, line: str) -> None:
        """Tell the user a line, unless it was told."""
        if line not in self._said:
            self._said.add(line)
            self.say(line)

    # -- give it back -------------------------------------------------------------------------------------------

    def release(self, name: str) -> list[str]:
        """Give a stack back; return what could not be removed."""
        environment = self.environment
        assert environment is not None  # the stack is in it
        # Several fixtures may use one stack: the keeper knows the run, the run knows how often.
        environment.brought[name] -= 1
        if environment.brought[name] > 0:
            return []
        del environment.brought[name]
        with contextlib.suppress(BrokenStack):
            left: list[str] = environment.link.ask_to_remove(Release(stack=name))["left"]
            self.left += left
            self._say_failed_hooks(environment)
            return left
        return []

    def _say_failed_hooks(self, environment: Environment) -> None:
        """Say once what was to run before the end of a service and failed."""
        lines, environment.lives.failed_hooks = environment.lives.failed_hooks, []
        for line in lines:
            self.say_once(line)

    def close(self, *, hurried: bool = False) -> list[str]:
        """Give everything back; return what should be gone and is not. Safe to call twice.

        With ``hurried``, because of a signal, services get no more grace than that leaves them.
        """
        environment = self.environment
        if environment is not None:
            remove_guard(environment.check)
            ended = environment.report.timed("stop", environment.env)
            self.left += environment.close(hurried=hurried)
            ended()
            self._say_failed_hooks(environment)
            environment.report.note("left", self.left)
            if "time" in environment.report.facts:  # of a suite that ended before: this belongs to it
                environment.report.note_time()
            if unwritten := environment.report.unwritten():
                self.say(unwritten)
        self._directly.forget()
        if self.debugger:
            lift_deadlines(lifted=False)
        return self.left


@contextlib.contextmanager
def running(run: Run) -> Iterator[Run]:
    """Guard a run: whatever happens in the block, everything is given back and verified after it.

    Raises:
        LeftoverError: the block succeeded, and something of ours could not be removed.
    """
    try:
        yield run
    except BaseException as error:
        if run.environment:
            note_failure(run.environment.report, error)
        run.close(hurried=not isinstance(error, Exception))
        raise
    refuse_leftovers(run.close())


@contextlib.contextmanager
def stack_up(stack: str = "", *, engine: str | None = None, system: str | None = None) -> Iterator[Stack]:
    """Bring up a stack for a ``with`` block; it is gone, and that verified, after it.

    Args:
        stack: its name, or a Compose file; default: the default stack of the system.
        engine: ``auto`` or an engine's name; default: what is configured.
        system: the system to take defaults from.

    Raises:
        ConfigError: something written is wrong; nothing was created.
        BrokenStack: it did not settle.
        LeftoverError: something of ours could not be removed.
    """
    options = {"engine": engine, "system": system, "stack": stack or None}
    settings = load_settings(read_sources(), options)
    run = Run(choose(settings), lambda line: print(f"harness: {line}", file=sys.stderr))
    with running(run):
        yield run.bring(settings.default_stack(), keep_includes=False)
