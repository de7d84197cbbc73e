"""The stacks of a pytest session: its settings, its run and what fixtures were given. All is made when first asked for.

What is heavy is named as an attribute of its package, which loads it then.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from harness import config as configuration
from harness import runs
from harness.config.options import TAKERS
from harness.errors import ConfigError, HarnessError, nearest
from harness.pytest_environ import Variables
from harness.pytest_uses import Uses
from harness.pytest_workers import share_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pytest

    from harness.config import Settings
    from harness.pytest_workers import Voice
    from harness.runs.environment import Environment
    from harness.runs.lives import Use
    from harness.runs.run import Run
    from harness.runs.share import Share
    from harness.runs.stack import Service, Stack
    from harness.runs.verdict import Judge

PREFIX = "harness_"
KEPT_FOR = 12 * 3600.0


class Onlooker(Protocol):
    """Who is told of the stacks of a session."""

    def bringing(self) -> AbstractContextManager[None]:
        """Return a context in which a stack is brought up."""

    def take(self, stack: Stack, *, shared: bool) -> None:
        """A stack is up, and was given to somebody."""

    def give_back(self, stack: Stack) -> None:
        """A stack is about to be given back."""


class Stacks:
    """What a session has brought up, and for whom.

    Attributes:
        uses: which fixtures were given which stacks.
        item: the test that runs, None between two.
        names: those that it was given by ``ns``.
        judge: looks after what was brought up; None before that.
        share: what a controller that brings something up itself has in common with its workers.
        variables: what is set for the tests.
        notices_said: what was said of those who could not be told how the session ends.
        off_the_clock: gives blocks whose time does not count as that of a test: stacks have deadlines of their own.
        onlooker: is told when a stack is brought up, given and given back.
    """

    def __init__(self, config: pytest.Config, voice: Voice) -> None:
        self.uses = Uses()
        self.item: pytest.Item | None = None
        self.names: list[str] = []
        self.judge: Judge | None = None
        self.share: Share | None = None
        self.variables = Variables()
        self.notices_said: list[str] = []
        self.off_the_clock: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        self.onlooker: Onlooker | None = None
        self._config = config
        self._voice = voice
        self._settings: Settings | None = None
        self._run: Run | None = None
        self._unusable: HarnessError | None = None
        self._given: list[Stack] = []  # in the order in which they were first given
        self._shared: dict[str, Stack | HarnessError] = {}

    @property
    def settings(self) -> Settings:
        """The settings of this session. Raises ConfigError."""
        if self._settings is None:
            options = {name: self._option(PREFIX + name) for name in TAKERS["pytest"]}
            local = options.pop("local") or ()
            sources = configuration.read_sources(self._start())
            settings = configuration.load_settings(sources, options, local=local)
            if settings.wait_to_attach_debugger:
                self._check_debugger()
            self._settings = settings
        return self._settings

    def _option(self, name: str) -> Any:  # noqa: ANN401 - as pytest has it
        """Return an option, as far as it is known before conftest files are loaded."""
        early = getattr(self._config, "known_args_namespace", None)
        return getattr(self._config.option, name, None) or getattr(early, name, None)

    def _start(self) -> Path:
        """Return the folder where the project is looked for: pytest's, unless that came from a value of ours.

        The folder of ``--local-build PATH``, in two words, is one of its arguments to pytest, which looks there too.
        """
        here = self._config.invocation_params.dir
        misled = self._option(PREFIX + "local_build") and not here.is_relative_to(self._config.rootpath)
        return here if misled else self._config.rootpath

    def _check_debugger(self) -> None:
        """Do nothing when somebody can let go of a subject that is held. Raises ConfigError."""
        if self._option("numprocesses") or self._voice.is_worker:
            raise ConfigError("--wait-to-attach-debugger does not go with -n: workers have no terminal")
        with self._voice.past_capture():
            runs.debugging.find_terminal()

    @property
    def run(self) -> Run:
        """The run of this session, made at the first request. Raises HarnessError."""
        if self._run is None:
            if self._unusable:
                raise self._unusable
            try:
                with self._voice.past_capture():
                    share = self.share or share_of(self._config)
                    self._run = runs.Run(runs.choice.choose(self.settings, share), self._voice.say, share=share)
                    self._say_of_notices()
            except HarnessError as error:
                self._unusable = error  # an engine that was silent once is not waited for by every test
                raise
        return self._run

    def _say_of_notices(self) -> None:
        """Say at once, and not only at the end, who cannot be told how the session ends."""
        if self.settings.notices.urls and not self._voice.is_worker:
            from harness.notices import places  # noqa: PLC0415 - only where somebody is named

            found = places.find_places(self.settings.notices, self.settings.environ, self.settings.root)
            self.notices_said = [f"notices: {problem}" for problem in places.problems_of(found)]
            for line in self.notices_said:
                self._voice.say(line)

    @property
    def environment(self) -> Environment | None:
        """The environment, None before the first stack was asked for."""
        return self._run.environment if self._run else None

    def shared(self, name: str) -> Stack:
        """Return a stack that stays to the end of the session. It is tried once: what failed fails again at once."""
        if name not in self._shared:
            try:
                self._shared[name] = self._bring(name, shared=True)
            except HarnessError as error:
                self._shared[name] = error
        stack = self._shared[name]
        if isinstance(stack, HarnessError):
            raise stack
        self.use(stack)
        if self.judge and (broken := self.judge.standing(stack.stacks)):
            raise broken
        return stack

    def own(self, name: str) -> Stack:
        """Return a stack that its user gives back. Raises HarnessError."""
        stack = self._bring(name, shared=False)
        self.use(stack)
        return stack

    def _bring(self, name: str, *, shared: bool) -> Stack:
        onlooker = self.onlooker.bringing() if self.onlooker else contextlib.nullcontext()
        with self.off_the_clock(), onlooker:
            return self.run.bring(name, alone=not shared)

    def always(self, name: str) -> Stack:
        """Return a stack that stays to the end of the session and that every test uses, by way of its variables."""
        stack = self.shared(name)
        self.uses.always(stack.stacks)
        return stack

    @property
    def given(self) -> tuple[Stack, ...]:
        """The stacks that were given to somebody and not given back yet."""
        return tuple(self._given)

    def say(self, line: str) -> None:
        """Tell the user a line."""
        self._voice.say(line)

    def use(self, stack: Stack) -> None:
        """Note that a stack was given to the test that runs, and to the fixtures that are being set up."""
        self.uses.add(stack.stacks)
        self.variables.give(runs.variables.of_endpoints(stack.endpoints()))
        if stack not in self._given:
            self._given.append(stack)
        if self.onlooker:
            self.onlooker.take(stack, shared=stack in self._shared.values())
        if self.item is not None:
            self.begin_use(self.item)

    def reset(self, service: str, item: pytest.Item) -> None:
        """Bring back the seeded state of a service of the stacks that a test uses.

        Raises:
            ConfigError: none of them has such a service.
            HarnessError: as ``Service.reset``.
        """
        found = [stack for stack in self._given if service in stack.services and stack.name in self.uses.of(item)]
        if not found:
            names = sorted({name for stack in self._given for name in stack.services})
            raise ConfigError(
                f"{item.name}: no stack that it uses has a service {service!r}{nearest(service, names)}",
                hint="the test, or a fixture that it asks for before, has to ask for the stack",
            )
        with self.off_the_clock():
            found[-1].service(service).reset()

    def has_service(self, service: str, item: pytest.Item) -> bool:
        """Return whether a stack that a test uses, as far as it is set up, has a service."""
        return any(service in stack.services and stack.name in self.uses.of(item) for stack in self._given)

    def services_of(self, item: pytest.Item) -> list[Service]:
        """Return the services of the stacks that a test uses, as far as they are up, each once."""
        used = self.uses.of(item)
        services = (stack.service(name) for stack in self._given for name in stack.services)
        return list({(one.stack, one.name): one for one in services if one.stack in used}.values())

    def has(self, service: Service) -> bool:
        """Return whether the stack of a service was not given back yet."""
        return any(service.stack in stack.stacks for stack in self._given)

    def begin_use(self, item: pytest.Item) -> Use | None:
        """Have the environment know which stacks a test uses, as far as it is known; None without an environment."""
        if self.environment is None or self._run is None:
            return None
        use = runs.lives.Use(item.nodeid, item.name, self.uses.of(item))
        self.environment.uses.begin(use)
        if self.judge is None:
            self.judge = runs.verdict.Judge(self._run, self.environment)
        return use

    def begin_test(self, item: pytest.Item) -> None:
        """A test begins, which has asked for no stack by itself yet."""
        self.item = item
        self.names.clear()
        self.uses.begin()

    def end_test(self) -> None:
        """No test runs any more."""
        self.item = None
        if self.environment:
            self.environment.uses.end()

    def give_back(self, stack: Stack, *, keep: bool) -> None:
        """End the use of a stack that a fixture had for itself; one to be kept stays, for ``down`` to remove."""
        self._given.remove(stack)
        if self.onlooker and not keep:
            self.onlooker.give_back(stack)
        if self.environment and not keep:
            self.environment.stores.forget(stack.name)
        if not keep:
            if not stack.stacks <= self.uses.of_all:
                self.variables.put_back(runs.variables.of_endpoints(stack.endpoints()))
            with self.off_the_clock():
                stack.release()
        elif self._voice.is_worker and self.environment:  # other workers may go on with it as it is
            self.environment.keep(KEPT_FOR, [stack.name])

    def keep(self, stack: Stack) -> None:
        """Let a stack stay after this session, for ``down`` to remove."""
        if self.environment:
            self.environment.keep(KEPT_FOR, [stack.name])

    def close(self, *, hurried: bool = False) -> list[str]:
        """Give everything back; return what should be gone and is not."""
        return self._run.close(hurried=hurried) if self._run else []


def may_declare(config: pytest.Config, *words: bytes) -> bool:
    """Return whether a pyproject.toml of the project may say something. Nothing of ours is loaded where none does."""
    for folder in (config.rootpath, *config.rootpath.parents):
        with contextlib.suppress(OSError):
            text = (folder / "pyproject.toml").read_bytes()
            if b"harness" in text and any(word in text for word in words):
                return True
    return False
