"""The pytest plugin: stacks as fixtures, broken told from failed, evidence with every failed test.

A test that asks for no stack starts nothing. The hooks translate; what they mean stands in the modules beside.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness import github, procs, pytest_docker_names, pytest_variables, pytest_workers, runs
from harness.config.options import OPTIONS, TAKERS
from harness.errors import ConfigError, HarnessError, SkippedStack, Unsupported, nearest
from harness.pytest_flakes import Flakes, status_of
from harness.pytest_notices import Notices
from harness.pytest_outcomes import Outcomes
from harness.pytest_resets import Resets
from harness.pytest_residue import Leavings
from harness.pytest_signals import Calm, Signals
from harness.pytest_stacks import PREFIX, Stacks, may_declare
from harness.pytest_verdict import Verdicts, blame, restore_phase
from harness.pytest_workers import pytest_cmdline_main, pytest_xdist_make_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from harness.pytest_github import GitHub
    from harness.pytest_hang import Hangs
    from harness.runs import Stack

__all__ = ["pytest_cmdline_main", "pytest_xdist_make_scheduler"]  # the rest is found by pytest itself

_NEEDS = ("attach", "compose", "embedded")
_MARKERS = (
    "stack(name): the stack that the `stack` fixture is in this test",
    "restore(service, ...): bring these services back to their seeded state before this test",
    "needs(engine, ...): skip this test on any other engine: compose, embedded, attach",
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options; values are checked by the same code as in every other entry point."""
    group = parser.getgroup("harness", "services under test")
    for name in TAKERS["pytest"]:
        option, flag = OPTIONS[name], name.replace("_", "-")
        more: dict[str, Any] = {"dest": PREFIX + name, "help": option.pytest_help or option.help}
        more |= {"metavar": option.metavar} if option.metavar else {"action": "store_const", "const": "yes"}
        more |= {"action": "append"} if name == "local" else {}
        try:
            group.addoption(f"--{flag}", f"--harness-{flag}", **more)
        except ValueError:  # another plugin has the short name
            group.addoption(f"--harness-{flag}", **more)
    if find_spec("pytest_docker") is None or pluginmanager.is_blocked("docker"):
        pytest_docker_names.add_options(parser)  # it would add the same


def stack_fixture(name: str, *, scope: str = "module") -> Any:  # noqa: ANN401 - pytest has no public type for it
    """Return a fixture that gives the stack ``name``, settled and seeded.

    Args:
        name: stack name or Compose file.
        scope: pytest scope; the stack is stopped at its end, those that it includes at the end of the run.
    """

    def bring(request: pytest.FixtureRequest) -> Iterator[Stack]:
        yield from _bring(request, name)

    bring.__doc__ = f"The stack {name!r}."
    fixture = pytest.fixture(scope=cast("Any", scope))(bring)
    setattr(fixture, pytest_workers.DECLARES, name)
    return fixture


def _bring(request: pytest.FixtureRequest, name: str) -> Iterator[Stack]:
    with _lend(request.config.stash[_SESSION], name, shared=request.scope == "session") as stack:
        yield stack


@contextlib.contextmanager
def _lend(session: Session, name: str, *, shared: bool, keep: bool = False) -> Iterator[Stack]:
    """Give a stack for a block; one that is shared is given back at the end of the session, with everything else."""
    try:
        stack = session.stacks.shared(name) if shared else session.stacks.own(name)
    except SkippedStack as error:
        pytest.skip(error.summary)
    try:
        yield stack
    finally:
        if keep:
            session.keep(stack)
        elif not shared:
            session.give_back(stack)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack of ``@pytest.mark.stack``, else the one chosen by --stack, else the default stack of the system."""
    name = getattr(request, "param", "") or request.config.stash[_SESSION].stacks.settings.default_stack()
    yield from _bring(request, name)


@pytest.fixture(scope="session")
def harness_stack_named(request: pytest.FixtureRequest) -> Callable[[str], Stack]:
    """A function that brings up a stack by name or file, the default one for "", until the end of the session."""
    session = request.config.stash[_SESSION]

    def bring(name: str) -> Stack:
        try:
            return session.stacks.shared(name or session.stacks.settings.default_stack())
        except SkippedStack as error:
            pytest.skip(error.summary)

    return bring


@pytest.fixture(scope="session")
def harness_stack_lent(request: pytest.FixtureRequest) -> Callable[..., contextlib.AbstractContextManager[Stack]]:
    """A function that gives a stack, by name or file, "" for the default one, for a block.

    With ``shared`` it stays up to the end of the session, with ``keep`` until ``harness down``.
    """
    session = request.config.stash[_SESSION]

    def lend(name: str, *, shared: bool, keep: bool) -> contextlib.AbstractContextManager[Stack]:
        return _lend(session, name or session.stacks.settings.default_stack(), shared=shared, keep=keep)

    return lend


@pytest.fixture(scope="session")
def endpoints(stack: Stack) -> dict[str, str]:
    """``SERVICE:PORT`` -> ``host:port`` of the stack."""
    return stack.endpoints()


@pytest.fixture(scope="session")
def run_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of this run; asking for it opens an environment."""
    return request.config.stash[_SESSION].stacks.run.open().report.path


@pytest.fixture
def ns(request: pytest.FixtureRequest) -> str:
    """A name that no other test and worker has, for topics, groups and databases: ``w0_test_name_1a2b3c4d``.

    Lower case letters, digits and ``_``, at most 60 characters. What begins with it in the stores of the test's stacks
    is removed when the test has ended.
    """
    worker = getattr(request.config, "workerinput", {}).get("workerid", "gw0").removeprefix("gw")
    words = re.sub(r"[^a-z0-9]+", "_", request.node.name.lower()).strip("_")
    name = f"w{worker}_{words[:40]}_{os.urandom(4).hex()}"
    request.config.stash[_SESSION].stacks.names.append(name)
    return name


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Callable[..., None]:
    """A function that brings services of the test's stacks, by their names, back to their seeded state, in turn."""
    stacks = request.config.stash[_SESSION].stacks

    def reset(service: str, *more: str) -> None:
        for name in dict.fromkeys((service, *more)):
            stacks.reset(name, request.node)

    return reset


@pytest.fixture(autouse=True)
def _restored(request: pytest.FixtureRequest) -> None:
    """Heed ``@pytest.mark.restore``, after stacks of wider scopes are up and before what the test itself sets up."""
    names = [name for marker in request.node.iter_markers("restore") for name in marker.args]
    stacks = request.config.stash[_SESSION].stacks
    for name in dict.fromkeys(names):
        if stacks.has_service(name, request.node):  # one that is yet to be brought up is new
            try:
                stacks.reset(name, request.node)
            except Unsupported as error:
                pytest.skip(error.summary)


class Session:
    """The hooks of one pytest session. Nothing is loaded or started before a test asks for a stack."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.workers = pytest_workers.Workers()
        self._voice = pytest_workers.Voice(config, self.workers)
        self._signals = Signals(self.workers)
        self.stacks = Stacks(config, self._voice)
        self.resets = Resets(self.stacks)
        self._verdicts = Verdicts(self.stacks)
        self.flakes = Flakes(config, self.stacks)
        self._outcomes = Outcomes(self.stacks, self._voice, self.workers, self.flakes)
        self.notices = None if self._voice.is_worker else Notices(config, self.stacks, self._outcomes)
        self.hangs: Hangs | None = None
        self.stacks.onlooker = self.leavings = Leavings(config, self.stacks, self._voice.say)
        self.github: GitHub | None = None
        if github.is_on(os.environ) and not self._voice.is_worker:
            from harness.pytest_github import GitHub  # noqa: PLC0415 - there only

            self.github = GitHub(config, self._outcomes, os.environ)

    def give_back(self, stack: Stack) -> None:
        """End the use of a stack that a fixture had for itself, after a look at how it fared under other fixtures."""
        self._verdicts.look_at_parting()
        self.stacks.give_back(stack, keep=self._outcomes.keeps())

    def keep(self, stack: Stack) -> None:
        """Let a stack stay after the session, for ``down`` to remove."""
        self.stacks.keep(stack)
        self._outcomes.note(f"stack {stack.name!r} is kept; `harness down` removes it")

    # -- begin --------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Set the variables of the project, before its conftest files are loaded.

        Ends the process with the exit code of what is wrong: pytest has nobody yet who could report it.
        """
        from harness.interrupts import interruptible  # noqa: PLC0415 - not for plain tests

        try:
            with interruptible(self._voice.say):
                self._prepare()
        except HarnessError as error:
            print(error, file=sys.stderr)
            raise SystemExit(error.exit_code) from error

    def _prepare(self) -> None:
        """Set the variables, or give back what was brought up for them."""
        try:
            pytest_variables.prepare(self._config, self.stacks, self.workers)
        except BaseException as error:
            self.end_early(error)
            raise

    def end_early(self, error: BaseException | None = None) -> None:
        """Give back what a session that had no end has brought up, and put its variables back."""
        environment = self.stacks.environment
        if environment and not environment.closed:
            if error:
                runs.evidence.note_failure(environment.report, error)
            for line in self.stacks.close(hurried=error is not None and not isinstance(error, Exception)):
                self._voice.say(f"left behind: {line}")
        self.stacks.variables.put_back()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Check our options, and let TERM and HUP end the session as Ctrl-C does, so that fixtures are torn down."""
        self._voice.has_begun = True
        try:
            if any(session.config.getoption(PREFIX + name) for name in TAKERS["pytest"]):
                _ = self.stacks.settings
            self.flakes.begin()
            self._begin_to_watch()
        except HarnessError as error:
            pytest.exit(str(error), returncode=error.exit_code)
        self._signals.catch()
        if name := getattr(session.config, "workerinput", {}).get(pytest_variables.STACK):
            with contextlib.suppress(HarnessError):  # whose end its controller tells
                self.stacks.always(name)

    def _begin_to_watch(self) -> None:
        """Have tests end by a deadline, where there is one. Raises HarnessError."""
        given = self._config.getoption(f"{PREFIX}test_timeout") or os.environ.get("HARNESS_TEST_TIMEOUT")
        if not given and not may_declare(self._config, b"test-timeout"):
            return
        settings = self.stacks.settings
        if settings.test_timeout is None or settings.wait_to_attach_debugger or self.workers.share:
            return
        from harness.pytest_hang import Hangs  # noqa: PLC0415 - where there is a deadline only

        self.hangs = Hangs(self._config, self.stacks, self._voice, settings.test_timeout, self._outcomes.give_up)
        self.hangs.begin()
        self._config.pluginmanager.register(self.hangs, "harness-hangs")

    # -- each test ----------------------------------------------------------------------------------------------

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give tests with ``@pytest.mark.stack`` their stack; stacks stay up when the next test wants another."""
        marker = metafunc.definition.get_closest_marker("stack")
        if marker and "stack" in metafunc.fixturenames:
            if len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], str):
                raise pytest.UsageError(f"{metafunc.definition.nodeid}: mark.stack needs one name of a stack")
            name = marker.args[0]
            ids = [getattr(pytest, "HIDDEN_PARAM", name)]  # before pytest 8.4 it shows
            metafunc.parametrize("stack", [name], indirect=True, scope="session", ids=ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip what another engine is needed for, refuse what needs a broken stack, and note where the logs stand."""
        self.stacks.begin_test(item)
        self._verdicts.forget(item)
        self._heed_needs(item)
        self._verdicts.begin(item)

    def _heed_needs(self, item: pytest.Item) -> None:
        """Skip a test that needs another engine. Raises ConfigError: there is no such engine."""
        for marker in item.iter_markers("needs"):
            unknown = next((name for name in marker.args if name not in _NEEDS), None)
            if unknown is not None or not marker.args:
                raise ConfigError(
                    f"mark.needs of {item.name}: engine {unknown!r} is not known; valid: {', '.join(_NEEDS)}"
                    f"{nearest(str(unknown), _NEEDS)}"
                )
            choice = self.stacks.run.choice
            if choice.engine.name not in marker.args:
                needed = " or ".join(marker.args)
                item.add_marker(pytest.mark.skip(f"needs {needed}: {choice.engine.name} is used, {choice.why}"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Skip a test that asks its engine for what it cannot do."""
        self._verdicts.begin_body(item)
        try:
            self._refuse_unknown(item)
            return (yield)
        except Unsupported as error:
            raise pytest.skip.Exception(error.summary, _use_item_location=True) from error
        finally:
            self._verdicts.end_body()

    def _refuse_unknown(self, item: pytest.Item) -> None:
        """Do nothing when all that a test wants restored is there. Raises ConfigError."""
        for marker in item.iter_markers("restore"):
            if not marker.args or marker.kwargs:
                raise ConfigError(f"mark.restore of {item.name} needs names of services")
            for name in marker.args:
                if not self.stacks.has_service(name, item):
                    self.stacks.reset(name, item)  # which says what is wrong

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Note what is broken before fixtures are torn down."""
        self._verdicts.begin_teardown(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell broken from failed before anybody else sees the report, and attach the evidence."""
        report = yield
        self.stacks.item = item
        error = call.excinfo.value if call.excinfo else None
        if self.hangs:
            self.hangs.judge(item, report, error)
        self._verdicts.judge(item, report, error)
        self.flakes.judge(item, report)
        if call.when == "teardown":
            self.stacks.end_test()
        if self._voice.is_worker and (self._voice.lines or self.stacks.environment):
            self._voice.hand_over(report)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Collect what came out (in the controller, when there are workers), and write it down as tests end."""
        result = yield
        self._outcomes.collect(report)
        if not self._voice.is_worker:
            restore_phase(report)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        """A broken test is an error in whatever phase its stack broke; flaky tests and quarantine have own words."""
        return ("error", "E", "ERROR") if report.failed and blame(report)[1] else status_of(report)

    # -- end ----------------------------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Give everything back, verify that it is gone, and set the exit code."""
        if self._voice.is_worker:
            left = self.stacks.close()
            news = {"lines": self._voice.lines, "left": left, "unmatched": self.leavings.unmatched()}
            cast("Any", session.config).workeroutput[pytest_workers.KEY] = news
            return
        for line in self.workers.lines:
            self._voice.say(line)
        left = self._outcomes.close(interrupted=self._signals.came)
        self._outcomes.note_flakes()
        code = self._outcomes.exit_code(int(exitstatus), self._signals.number, left)
        if code is not None:
            session.exitstatus = code
            if not self._signals.came:
                self._outcomes.note_unmatched([self.leavings.unmatched(), *self.workers.unmatched])
            self._outcomes.conclude(code, left)
        if self.notices and not self._signals.came:
            self.notices.tell(int(session.exitstatus))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401 - it has no public type
        """Say what the run has to say at its end."""
        if self.github:
            self.github.unfold(terminalreporter)
        if self._outcomes.notes:
            terminalreporter.section("harness", sep="-")
            for note in self._outcomes.notes:
                terminalreporter.line(note)


_SESSION = pytest.StashKey[Session]()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Collect nothing in a run's folder: services may have written copies of tests there."""
    is_run = (collection_path / "run.json").is_file() and (collection_path / "services").is_dir()
    return True if is_run else None


def _session_of(config: pytest.Config) -> Session:
    """Return the session of a process, made when it is first asked for."""
    if _SESSION not in config.stash:
        session = config.stash[_SESSION] = Session(config)
        config.add_cleanup(session.end_early)
    return config.stash[_SESSION]


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    """Set the variables of ``[tool.harness.env]`` before any module of the project is imported."""
    if not pytest_variables.of_controller() and pytest_variables.may_be_declared(early_config):
        _session_of(early_config).prepare()
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Register the session's hooks; nothing is loaded or started."""
    procs.end_with_parent(os.environ)
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    session = _session_of(config)
    config.pluginmanager.register(session, "harness-session")
    config.pluginmanager.register(session.workers, "harness-workers")
    config.pluginmanager.register(session.resets, "harness-resets")
    config.pluginmanager.register(session.stacks.uses, "harness-uses")
    config.pluginmanager.register(session.flakes, "harness-flakes")
    config.pluginmanager.register(session.leavings, "harness-leavings")
    config.pluginmanager.register(Calm(), "harness-calm")
    if session.notices:
        config.pluginmanager.register(session.notices, "harness-notices")
    if session.github:
        config.pluginmanager.register(session.github, "harness-github")
    if not config.pluginmanager.hasplugin("docker"):  # pytest-docker's name for itself
        blocked = config.pluginmanager.is_blocked("docker")
        config.pluginmanager.register(pytest_docker_names, pytest_docker_names.__name__ if blocked else "docker")
