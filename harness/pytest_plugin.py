"""The pytest plugin: stacks as fixtures, broken told from failed, evidence with every failed test.

A test that asks for no stack starts nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness import procs, pytest_uses, pytest_workers, witnesses
from harness.clock import now
from harness.config.options import OPTIONS, TAKERS
from harness.errors import (
    CONFIGURATION,
    ENGINE_UNREACHABLE,
    EXIT_MEANING,
    BrokenStack,
    ConfigError,
    EngineUnreachableError,
    HarnessError,
    SkippedStack,
    Unsupported,
    nearest,
)
from harness.pytest_workers import pytest_cmdline_main, pytest_xdist_make_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path
    from types import FrameType

    from harness.config import Settings
    from harness.reporting import RunFolder
    from harness.results import Outcome
    from harness.runs import Run, Stack
    from harness.runs.environment import Environment
    from harness.runs.lives import Use
    from harness.runs.verdict import Judge

__all__ = ["pytest_cmdline_main", "pytest_xdist_make_scheduler"]  # the rest is found by pytest itself

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_KEPT_FOR = 12 * 3600.0
_SAME_WISH = 1.0  # seconds in which a second Ctrl-C adds nothing to the first
_ERROR = "harness_error"
_LINES = "harness_lines"  # on reports of workers: what is to be said to the user
_NEEDS = ("attach", "compose", "embedded")
_MARKERS = (
    "stack(name): the stack that the `stack` fixture is in this test",
    "needs(engine, ...): skip this test on any other engine: compose, embedded, attach",
)
_PREFIX = "harness_"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; values are checked by the same code as in every other entry point."""
    group = parser.getgroup("harness", "services under test")
    for name in TAKERS["pytest"]:
        option, flag = OPTIONS[name], name.replace("_", "-")
        more: dict[str, Any] = {"dest": _PREFIX + name, "help": option.pytest_help or option.help}
        more |= {"metavar": option.metavar} if option.metavar else {"action": "store_const", "const": "yes"}
        more |= {"action": "append"} if name == "local" else {}
        try:
            group.addoption(f"--{flag}", f"--harness-{flag}", **more)
        except ValueError:  # another plugin has the short name
            group.addoption(f"--harness-{flag}", **more)


def stack_fixture(name: str, *, scope: str = "module") -> Any:  # noqa: ANN401 - pytest has no public type for it
    """Return a fixture that gives the stack ``name``, settled and seeded.

    Args:
        name: stack name or Compose file.
        scope: pytest scope; the stack is stopped at its end, those that it includes at the end of the run.
    """

    def bring(request: pytest.FixtureRequest) -> Iterator[Stack]:
        yield from _bring(request, name)

    bring.__doc__ = f"The stack {name!r}."
    made = pytest.fixture(scope=cast("Any", scope))(bring)
    setattr(made, pytest_workers.DECLARES, name)
    return made


def _bring(request: pytest.FixtureRequest, name: str) -> Iterator[Stack]:
    session = request.config.stash[_SESSION]
    try:
        if request.scope == "session":
            yield session.shared(name)  # given back with everything else at the end
            return
        stack = session.run.bring(name, alone=True)
    except SkippedStack as error:
        pytest.skip(error.summary)
    session.use(stack)
    yield stack
    session.give_back(stack)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack of ``@pytest.mark.stack``, else the one chosen by --stack, else the default stack of the system."""
    name = getattr(request, "param", "") or request.config.stash[_SESSION].settings.default_stack()
    yield from _bring(request, name)


@pytest.fixture(scope="session")
def harness_stack_named(request: pytest.FixtureRequest) -> Callable[[str], Stack]:
    """A function that brings up a stack by name or file, the default one for "", until the end of the session."""
    session = request.config.stash[_SESSION]

    def bring(name: str) -> Stack:
        try:
            return session.shared(name or session.settings.default_stack())
        except SkippedStack as error:
            pytest.skip(error.summary)

    return bring


@pytest.fixture(scope="session")
def endpoints(stack: Stack) -> dict[str, str]:
    """``SERVICE:PORT`` -> ``host:port`` of the stack."""
    return stack.endpoints()


@pytest.fixture(scope="session")
def run_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of this run; asking for it opens an environment."""
    return request.config.stash[_SESSION].run.open().report.path


@pytest.fixture
def ns(request: pytest.FixtureRequest) -> str:
    """A name that no other test and worker has, for topics, groups and databases: ``w0_test_name_1a2b3c4d``.

    Lower case letters, digits and ``_``, at most 60 characters.
    """
    worker = getattr(request.config, "workerinput", {}).get("workerid", "gw0").removeprefix("gw")
    words = re.sub(r"[^a-z0-9]+", "_", request.node.name.lower()).strip("_")
    return f"w{worker}_{words[:40]}_{os.urandom(4).hex()}"


_MARK = pytest.StashKey[Any]()
_SINCE = pytest.StashKey[float]()
_BROKEN = pytest.StashKey["HarnessError | None"]()  # why a test is broken, as its first report says
_MET = pytest.StashKey["HarnessError | None"]()  # what was broken already when a test's fixtures began to be torn down
_PARTED = pytest.StashKey["HarnessError | None"]()  # what had broken when a fixture gave its stack back
_ENDS = "harness_phase"  # on reports that are counted as errors of set-up: the phase that they are of


class Session:
    """What the plugin knows of one pytest session, and its hooks.

    Nothing is loaded or started before a test asks for a stack.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self._signal_number = 0
        self._told: float | None = None
        self._failed = False
        self._codes: set[int] = set()
        self._settings: Settings | None = None
        self._run: Run | None = None
        self._unusable: HarnessError | None = None
        self._notes: list[str] = []
        self._reports: dict[str, list[pytest.TestReport]] = {}
        self.uses = pytest_uses.Uses()
        self._item: pytest.Item | None = None
        self._in_body = False  # reports made in there are of subtests
        self._judge: Judge | None = None
        self._done: list[str] = []
        self._again: set[str] = set()
        self._stacks: dict[str, Stack | HarnessError] = {}
        self._folder: RunFolder | None = None
        self._lines: list[str] = []
        self._said: set[str] = set()
        self._is_worker = pytest_workers.is_worker(config)
        self.workers = pytest_workers.Workers()

    # -- what fixtures use --------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings of this session. Raises ConfigError."""
        if self._settings is None:
            from harness.config import load_settings, read_sources  # noqa: PLC0415 - not for plain tests

            options = {name: self.config.getoption(_PREFIX + name) for name in TAKERS["pytest"]}
            local = options.pop("local") or ()
            settings = load_settings(read_sources(self._start()), options, local=local)
            if settings.wait_to_attach_debugger:
                self._check_debugger()
            self._settings = settings
        return self._settings

    def _start(self) -> Path:
        """Return the folder where the project is looked for: pytest's, unless that came from a value of ours.

        The folder of ``--local-build PATH``, in two words, is one of its arguments to pytest, which looks there too.
        """
        here = self.config.invocation_params.dir
        misled = self.config.getoption(_PREFIX + "local_build") and not here.is_relative_to(self.config.rootpath)
        return here if misled else self.config.rootpath

    def _check_debugger(self) -> None:
        """Do nothing when somebody can let go of a subject that is held. Raises ConfigError."""
        from harness.errors import ConfigError  # noqa: PLC0415 - not for plain tests
        from harness.runs.debugging import find_terminal  # noqa: PLC0415 - as above

        if getattr(self.config.option, "numprocesses", None) or hasattr(self.config, "workerinput"):
            raise ConfigError("--wait-to-attach-debugger does not go with -n: workers have no terminal")
        with self._past_capture():
            find_terminal()

    def _past_capture(self) -> contextlib.AbstractContextManager[object]:
        capture = self.config.pluginmanager.getplugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()

    @property
    def run(self) -> Run:
        """The run of this session, made at the first request."""
        if self._run is None:
            from harness.runs import Run  # noqa: PLC0415 - not for plain tests
            from harness.runs.choice import choose  # noqa: PLC0415 - as above

            if self._unusable:
                raise self._unusable
            try:
                with self._past_capture():
                    share = pytest_workers.share_of(self.config)
                    self._run = Run(choose(self.settings, share), self.say, share=share)
            except HarnessError as error:
                self._unusable = error  # an engine that was silent once is not waited for by every test
                raise
        return self._run

    @property
    def environment(self) -> Environment | None:
        """The environment, None before the first stack was asked for."""
        return self._run.environment if self._run else None

    def shared(self, name: str) -> Stack:
        """Return a stack that stays to the end of the session. It is tried once: what failed fails again at once."""
        if name not in self._stacks:
            try:
                self._stacks[name] = self.run.bring(name)
            except HarnessError as error:
                self._stacks[name] = error
        found = self._stacks[name]
        if isinstance(found, HarnessError):
            raise found
        self.use(found)
        if self._judge and (broken := self._judge.standing(found.stacks)):
            raise broken
        return found

    def use(self, stack: Stack) -> None:
        """Note that a stack was given to the test that runs, and to the fixtures that are being set up."""
        self.uses.add(stack.stacks)
        if self._item is not None:
            self._begin_use(self._item)

    def _begin_use(self, item: pytest.Item) -> Use | None:
        """Have the environment know which stacks a test uses, as far as it is known; None without an environment."""
        if self.environment is None or self._run is None:
            return None
        from harness.runs.lives import Use  # noqa: PLC0415 - not for plain tests
        from harness.runs.verdict import Judge  # noqa: PLC0415 - as above

        use = Use(item.nodeid, item.name, self.uses.of(item))
        self.environment.uses.begin(use)
        if self._judge is None:
            self._judge = Judge(self._run, self.environment)
        return use

    def give_back(self, stack: Stack) -> None:
        """End the use of a stack that a fixture had for itself, after a look at how it fared under other fixtures."""
        self._look_at_parting()
        if not self.keeps_now():
            stack.release()
        elif self._is_worker and self.environment:
            # It stays, for ``down`` to remove; other workers may go on with it as it is.
            self.environment.keep(_KEPT_FOR, [stack.name])

    def _look_at_parting(self) -> None:
        """Keep what has broken since a test's fixtures began to be torn down: when it is judged, the stack is gone."""
        item = self._item
        if item is None or self._judge is None or item.stash.get(_MET, None) or item.stash.get(_PARTED, None):
            return
        use = self._begin_use(item)
        if use is not None:
            item.stash[_PARTED], _ = self._judge.verdict(use, failed=False)

    def say(self, line: str) -> None:
        """Print a line of ours at once, past pytest's capturing; workers have their controller print it."""
        if self._is_worker:
            self._lines.append(line)
            return
        if self.workers.share:
            if line in self._said:
                return
            self._said.add(line)
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is None:
            return
        with self._past_capture():
            reporter.ensure_newline()
            reporter.write_line(f"harness: {line}")

    def keeps_now(self) -> bool:
        """Return whether what is up shall stay."""
        keep = self.settings.keep
        return keep == "always" or (keep == "on-failure" and (self._failed or bool(self._codes)))

    # -- begin --------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Check our options, and let TERM and HUP end the session as Ctrl-C does, so that fixtures are torn down."""
        if any(session.config.getoption(_PREFIX + name) for name in TAKERS["pytest"]):
            try:
                _ = self.settings
            except HarnessError as error:
                pytest.exit(str(error), returncode=error.exit_code)
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._interrupt)
            # Where SIGINT is ignored (a background job of a shell), it stays so.
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, _: FrameType | None) -> None:
        """End the session once. Nox and shells send INT and then TERM for one Ctrl-C: that is one wish, not two.

        A second exception while the first unwinds would tear through finalizers and locks.
        """
        again = self._told is not None
        self.workers.interrupt()
        if again and (number != signal.SIGINT or now() - (self._told or 0) < _SAME_WISH):
            return
        if not again and number != signal.SIGINT:
            self._signal_number = number
        self._told = now()
        raise KeyboardInterrupt(f"signal {signal.Signals(number).name}")

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
        self._item = item
        item.stash[_BROKEN] = item.stash[_PARTED] = item.stash[_MET] = None
        self.uses.begin()
        for marker in item.iter_markers("needs"):
            unknown = next((name for name in marker.args if name not in _NEEDS), None)
            if unknown is not None or not marker.args:
                raise ConfigError(
                    f"mark.needs of {item.name}: engine {unknown!r} is not known; valid: {', '.join(_NEEDS)}"
                    f"{nearest(str(unknown), _NEEDS)}"
                )
            engine = self.run.choice.engine.name
            if engine not in marker.args:
                item.add_marker(
                    pytest.mark.skip(f"needs {' or '.join(marker.args)}: {engine} is used, {self.run.choice.why}")
                )
        self._mark(item, "begin")
        item.stash[_SINCE] = witnesses.begin()
        use = self._begin_use(item)
        if use and use.stacks and self._judge and (broken := self._judge.standing(use.stacks)):
            raise broken

    def _mark(self, item: pytest.Item, moment: str) -> None:
        if self.environment is not None:
            from harness.runs import evidence  # noqa: PLC0415 - not for plain tests

            item.stash.setdefault(_MARK, {})[moment] = evidence.mark(self.environment)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Skip a test that asks its engine for what it cannot do."""
        self._begin_use(item)
        self._mark(item, "body")
        self._in_body = True
        try:
            return (yield)
        except Unsupported as error:
            raise pytest.skip.Exception(error.summary, _use_item_location=True) from error
        finally:
            self._in_body = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Note what is broken before fixtures are torn down: what they then trip over is no fault of theirs."""
        if self._judge and self.environment:
            item.stash[_MET] = self._judge.standing(frozenset(self.environment.brought))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell broken from failed before anybody else sees the report, and attach the evidence."""
        report = yield
        self._item = item
        error = call.excinfo.value if call.excinfo else None
        if report.when == "call" or not report.skipped:
            self._decide(item, report, error)
        if report.failed and not isinstance(error, ConfigError):  # what the test wrote is wrong; no log tells more
            self._attach_evidence(item, report)
        if call.when == "teardown":
            self._item = None
            if self.environment:
                self.environment.uses.end()
        if self._is_worker and (self._lines or self.environment):
            setattr(report, _LINES, self._lines)
            self._lines = []
        return report

    def _decide(self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None) -> None:
        """Relabel a report whose stack broke, whatever its test made of that."""
        if report.when == "teardown" and report.failed and (met := item.stash.get(_MET, None)):
            if item.stash.get(_BROKEN, None):
                # Fixtures trip over the same dead service once more; one death is one error.
                report.outcome, report.longrepr = "passed", None
            else:
                self._relabel(item, report, met, was=report.longreprtext)
            return
        is_ours = isinstance(error, BrokenStack | EngineUnreachableError) or (
            isinstance(error, HarnessError) and report.when == "setup" and error.exit_code >= CONFIGURATION
        )
        if isinstance(error, HarnessError) and is_ours and str(error).startswith("Not run: "):
            self._relabel(item, report, error)
            return
        text = report.longreprtext if report.failed else ""
        if before := item.stash.get(_BROKEN, None):  # under a subtest; what follows in the same test is of it
            if report.when == "call" and (report.failed or not self._in_body):
                self._relabel(item, report, before, was=text)
            elif is_ours and isinstance(error, HarnessError):
                self._relabel(item, report, error)
            return
        broken = item.stash.get(_PARTED, None) or self._ask_judge(item, report, text)
        if is_ours and isinstance(error, HarnessError):
            self._relabel(item, report, error)
        elif broken and not hasattr(report, "wasxfail"):  # what is known to fail may do so by the end of a service
            self._relabel(item, report, broken, was=text)

    def _ask_judge(self, item: pytest.Item, report: pytest.TestReport, text: str) -> HarnessError | None:
        """Return what broke under a test; what else is known of its services becomes a part of the report."""
        self._mark(item, "end")
        use = self._begin_use(item)
        if use is None or self._judge is None:
            return None
        try:
            broken, remarks = self._judge.verdict(use, failed=report.failed, text=text)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in here, the test has its own outcome
            broken, remarks = None, [f"its services could not be looked at: {type(error).__name__}: {error}"]
        if remarks:
            _show(item, report, "services", "\n".join(remarks))
        return broken

    def _attach_evidence(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Show and keep what explains a failure. It must not be lost to what goes wrong with its evidence."""
        try:
            if self.environment is not None:
                self._show_logs(self.environment, item, report)
            self._hear_witnesses(item, report)
        except Exception as error:  # noqa: BLE001 - see above
            _show(item, report, "harness", f"no evidence: {type(error).__name__}: {error}")

    def _show_logs(self, environment: Environment, item: pytest.Item, report: pytest.TestReport) -> None:
        from harness.runs import evidence  # noqa: PLC0415 - not for plain tests

        use = self._begin_use(item)
        if use is None or self._judge is None:
            return
        marks = evidence.Marks(**{"begin": evidence.Mark(), **item.stash.get(_MARK, {})})
        for name, lines in evidence.save_evidence(environment, item.nodeid, marks, self._judge.noise(use)).items():
            _show(item, report, f"service {name}", lines)

    def _hear_witnesses(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Attach what the clients that a test used saw; those of a dead service are not sent to ask it."""
        heard = witnesses.hear(item.stash.get(_SINCE, now()), ask=not item.stash.get(_BROKEN, None))
        if not heard:
            return
        from harness.artifacts import printable  # noqa: PLC0415 - not for plain tests

        # What a message holds may be no text for a terminal, nor, as half a surrogate pair, for any file.
        heard = {subject: printable(text.encode(errors="backslashreplace")) for subject, text in heard.items()}
        for subject, text in heard.items():
            _show(item, report, subject, text)
        if self.environment is not None:
            from harness.runs import evidence  # noqa: PLC0415 - not for plain tests

            evidence.save_testimony(self.environment, item.nodeid, heard)

    def _relabel(self, item: pytest.Item, report: pytest.TestReport, error: HarnessError, was: str = "") -> None:
        """Have pytest count the report as an error (E), as it counts a fault of set-up."""
        item.stash[_BROKEN] = item.stash.get(_BROKEN, None) or error
        setattr(report, _ENDS, report.when)
        report.when, report.outcome = "setup", "failed"
        report.user_properties.append((_ERROR, f"{type(error).__name__}:{error.exit_code}"))
        if was or not self._wants_traceback():
            report.longrepr = f"{error}\n\nthe test itself:\n{was}" if was else str(error)

    def _wants_traceback(self) -> bool:
        try:
            return self.settings.environ.get("HARNESS_TRACEBACK", "") not in ("", "0")
        except HarnessError:
            return False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Collect what came out (in the controller, when there are workers), and write it down as tests end."""
        result = yield
        self._collect(report)
        # Counted it is, as an error; where it came from is what the summary at the end shall say of it.
        if not self._is_worker:
            report.when = getattr(report, _ENDS, report.when)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """A broken test is an error in whatever phase its stack broke."""
        return ("error", "E", "ERROR") if report.failed and _blame(report)[1] else None

    def _collect(self, report: pytest.TestReport) -> None:
        if report.failed:
            code = _blame(report)[1]
            if code:
                self._codes.add(code)
            else:
                self._failed = True
        if self._is_worker:
            return
        for line in getattr(report, _LINES, ()):
            self.say(line)
        if report.when == "setup":
            self._again.discard(report.nodeid)
        if str(report.outcome) == "rerun":  # pytest-rerunfailures: only the last try counts
            self._again.add(report.nodeid)
            self._reports.pop(report.nodeid, None)
        if report.nodeid in self._again:
            return
        self._reports.setdefault(report.nodeid, []).append(report)
        if report.when == "teardown":
            self._done.append(report.nodeid)
        if self.environment or hasattr(report, _LINES):
            self._write_down()

    # -- end ----------------------------------------------------------------------------------------------------

    def _find_folder(self) -> RunFolder | None:
        """Return the run folder that outcomes are written to, None when no stack was asked for."""
        if self._folder is None and self.environment:
            self._folder = self.environment.report
        if self._folder is None and self.workers.share:
            from harness.reporting import RunFolder  # noqa: PLC0415 - not for plain tests

            with contextlib.suppress(OSError, ValueError):
                share = self.workers.share
                self._folder = RunFolder.of_controller(share.folder(self.settings), share.began)
        return self._folder

    def _write_down(self) -> None:
        folder = self._find_folder()
        if folder is None:
            return
        for test in self._done:
            if reports := self._reports.pop(test, None):
                folder.outcome(_outcome(test, reports))
        self._done = []

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Give everything back, verify that it is gone, and set the exit code."""
        if self._is_worker:
            left = self._run.close() if self._run else []
            cast("Any", self.config).workeroutput[pytest_workers.KEY] = {"lines": self._lines, "left": left}
            return
        for line in self.workers.lines:
            self.say(line)
        left = self._close()
        if not self._folder and not self._codes and not self._signal_number:
            return  # a session of plain tests is pytest's own
        from harness.results import exit_code  # noqa: PLC0415 - not for plain tests

        code = exit_code(
            pytest_code=int(exitstatus),
            signal_number=self._signal_number,
            configuration=CONFIGURATION in self._codes,
            unreachable=ENGINE_UNREACHABLE in self._codes,
            failed=self._failed and exitstatus == pytest.ExitCode.TESTS_FAILED,
            broken=bool(self._codes),
            leftover=bool(left),
        )
        session.exitstatus = code
        if self._folder is not None:
            self._folder.finish(code)
            if (unwritten := self._folder.unwritten()) and unwritten not in self._said:
                self._notes.append(unwritten)
            self._notes.append(f"run folder: {self._folder.path}")
        self._notes += [f"left behind: {line}" for line in left]
        if code >= CONFIGURATION:
            self._notes.append(f"exit code {code}: {EXIT_MEANING.get(code, f'signal {code - 128}')}")

    def _close(self) -> list[str]:
        """Write down what is left to write, close the environment, and return what should be gone and is not."""
        # A session that was interrupted has got no report yet, perhaps, of workers that use stacks.
        unheard = self.workers.crashed or self._told is not None
        if self.environment is None and not self._folder and not unheard:
            return []
        folder = self._find_folder()
        if folder is None:
            return []
        # Tests that were cut short have no outcome, unless they had failed before.
        self._done += [
            test
            for test, reports in self._reports.items()
            if test not in self._done and any(one.failed or one.skipped for one in reports)
        ]
        self._write_down()
        if self._run is not None:
            self._keep(self.environment)
            return self._run.close(hurried=self._told is not None)
        return self._close_shared(folder)

    def _keep(self, environment: Environment | None) -> None:
        if environment is not None and self.keeps_now():
            try:
                environment.keep(_KEPT_FOR)
            except BrokenStack as error:  # nobody is left to keep it; what it had is removed as ever
                self._notes.append(f"the environment is not kept: {error.summary}")
            else:
                self._notes.append("the environment is kept; `harness down` removes it")

    def _close_shared(self, folder: RunFolder) -> list[str]:
        """Close what the workers shared."""
        from harness.runs.opening import conclude  # noqa: PLC0415 - not for plain tests

        share = self.workers.share
        assert share is not None  # there is a folder
        ended = folder.timed("stop", share.run)
        left = list(self.workers.left)
        try:
            environment = conclude(self.settings, share, folder)
            self._keep(environment)
            left += environment.close(hurried=self._told is not None) if environment else []
        except HarnessError as error:
            left.append(error.summary)
        ended()
        folder.note("left", left)
        return left

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401 - it has no public type
        """Say what the run has to say at its end."""
        if self._notes:
            terminalreporter.section("harness", sep="-")
            for note in self._notes:
                terminalreporter.line(note)


class Calm:
    """During teardown no signal is an exception: a finalizer would be lost with it."""

    def __init__(self) -> None:
        self._told = 0.0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, None, None]:
        """Hold off signals until everything is given back."""
        if threading.current_thread() is not threading.main_thread():
            return (yield)
        before = {number: signal.signal(number, self._wait) for number in (signal.SIGINT, *_SIGNALS)}
        try:
            return (yield)
        finally:
            for number, handler in before.items():
                # Our own handlers end with the session.
                ours = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, signal.SIG_IGN if handler is signal.SIG_IGN else ours)

    def _wait(self, number: int, _: FrameType | None) -> None:
        """Say what is under way; to one who then presses again, give the prompt back."""
        if self._told and now() - self._told < _SAME_WISH:
            return
        if self._told:
            os._exit(128 + number)
        self._told = now()
        print("harness: teardown is under way; once more leaves the rest of it to the keeper", file=sys.stderr)


def _show(item: pytest.Item, report: pytest.TestReport, title: str, text: str) -> None:
    """Show evidence with a failed test."""
    report.sections.append((f"Captured stdout {title}", text))
    # pytest's own junit.xml takes only what was added to the item.
    item.add_report_section("call", f"stdout {title}", text)


def _blame(report: pytest.TestReport) -> tuple[str, int]:
    """Return (error type, exit code) that a report carries, ("", 0) for a real failure, a success or a collection."""
    kind, _, code = str(dict(getattr(report, "user_properties", ())).get(_ERROR, "")).partition(":")
    return kind, int(code or 0)


def _outcome(test: str, reports: list[pytest.TestReport]) -> Outcome:
    from harness.results import Outcome, Status  # noqa: PLC0415 - not for plain tests

    told = next((one for one in reports if one.failed), None) or next(
        (one for one in reports if one.skipped), reports[-1]
    )
    kind, code = _blame(told)
    status: Status = "skipped" if told.skipped else "succeeded"
    expected: str | None = getattr(told, "wasxfail", None) if told.skipped else None
    if expected is not None:
        status, kind = "xfailed", "xfail"
    if told.failed:
        status = "broken" if code else "failed"
        kind = kind or "Failed"
    text = told.longrepr[2] if isinstance(told.longrepr, tuple) else told.longreprtext
    if isinstance(told.longrepr, str):  # the text of one by a worker begins with what the worker runs on
        text = told.longrepr
    crash = getattr(told.longrepr, "reprcrash", None)
    said = expected if expected is not None else crash.message if crash else text
    return Outcome(
        test=test,
        status=status,
        seconds=sum(one.duration for one in reports),
        kind=kind,
        message=next(iter(said.splitlines()), ""),
        text=text,
        sections=tuple((title, content) for title, content in told.sections),
    )


_SESSION = pytest.StashKey[Session]()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Collect nothing in a run's folder: services may have written copies of tests there."""
    is_run = (collection_path / "run.json").is_file() and (collection_path / "services").is_dir()
    return True if is_run else None


def pytest_configure(config: pytest.Config) -> None:
    """Register the session's hooks; nothing is loaded or started."""
    procs.end_with_parent(os.environ)
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.stash[_SESSION] = Session(config)
    config.pluginmanager.register(config.stash[_SESSION], "harness-session")
    config.pluginmanager.register(config.stash[_SESSION].workers, "harness-workers")
    config.pluginmanager.register(config.stash[_SESSION].uses, "harness-uses")
    config.pluginmanager.register(Calm(), "harness-calm")
    if not config.pluginmanager.hasplugin("docker"):  # pytest-docker's name for itself
        config.pluginmanager.import_plugin("harness.pytest_docker_names")
