"""The plugin beside pytest-xdist: what the controller decides for its workers, and what it learns from them.

The controller runs no tests, and starts nothing but what variables for tests need (``pytest_variables``). It gives the
workers the name of a run; who first needs a stack opens its environment; the controller closes it when all workers are
gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tomllib
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from harness import artifacts, github, runs

if TYPE_CHECKING:
    from collections.abc import Generator

    from harness.runs.share import Share

KEY = "harness"
_BY_MODULE = pytest.StashKey[bool]()
_AT_LEAST = 2  # tests that a worker has to know of before it begins the first one
DECLARES = "harness_stack"  # an attribute of fixtures that are stacks
LINES = "harness_lines"  # on reports of workers: what is to be said to the user
# What a controller uses later on: an interrupt in the middle of an import leaves half a module.
_NEEDED_LATER = ("harness.reporting", "harness.results", "harness.config.settings", "harness.config.sources")


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def share_of(config: pytest.Config) -> Share | None:
    """Return what the controller decided for this worker, None in any other process."""
    share = getattr(config, "workerinput", {}).get(KEY)
    return None if share is None else runs.share.Share(**share)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Keep the tests of a module on one worker, in projects with stacks whose user chose no other distribution.

    Otherwise every worker that gets a test of the module brings up its stack anew.
    """
    option = config.option
    if getattr(option, "numprocesses", None) and option.dist == "no" and _has_stacks(config):
        option.dist = "loadscope"
        config.stash[_BY_MODULE] = True
    return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Return what distributes modules, where that was our choice; as ``loadscope``, but for three things."""
    if not config.stash.get(_BY_MODULE, False):
        return None
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - it is there when this hook is called

    class StackScheduling(LoadScopeScheduling):  # type: ignore[misc] # mypy does not see xdist
        def _split_scope(self, nodeid: str) -> str:
            """Keep the classes of a module together: they share its stacks."""
            return nodeid.partition("::")[0]

        def remove_node(self, node: Any) -> str | None:  # noqa: ANN401 - as xdist has it
            """Give to other workers what one had left: not the test that killed it, which would kill them all."""
            work = self.assigned_work.get(node, {})
            killer = next((test for unit in work.values() for test, completed in unit.items() if not completed), None)
            for scope, unit in list(work.items()):
                if killer in unit:
                    unit[killer] = True
                if all(unit.values()):
                    del work[scope]  # it would be given to a worker, which waited for a test of it for ever
            super().remove_node(node)
            return killer

        def _reschedule(self, node: Any) -> None:  # noqa: ANN401 - as xdist has it
            """Let no worker wait with its only test: it begins one when it knows what comes after that."""
            super()._reschedule(node)
            while self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) < _AT_LEAST:
                self._assign_work_unit(node)
            if not node.shutting_down and self._pending_of(self.assigned_work[node]) < _AT_LEAST:
                node.shutdown()  # when it has done that

    return StackScheduling(config, log)


def _has_stacks(config: pytest.Config) -> bool:
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        text = (config.rootpath / "pyproject.toml").read_text(encoding="utf-8")
        if "harness" in tomllib.loads(text).get("tool", {}):
            return True
    plugins = config.pluginmanager.get_plugins()
    conftests = [plugin for plugin in plugins if str(getattr(plugin, "__file__", "")).endswith("conftest.py")]
    values = [value for plugin in conftests for value in list(vars(plugin).values())]
    return any(DECLARES in getattr(value, "__dict__", ()) for value in values)


class Workers:
    """The controller's view of its workers; without pytest-xdist there are none."""

    def __init__(self) -> None:
        self.share: Share | None = None
        self.told: dict[str, str] = {}  # what else workers are told
        self.crashed = False
        self.lines: list[str] = []
        self.left: list[str] = []
        self.unmatched: list[list[str] | None] = []
        self._nodes: list[Any] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist has no types for its hooks
        """Tell a worker, new or in place of a dead one, which run it is part of."""
        node.workerinput[KEY] = asdict(self.begin_share())
        node.workerinput |= self.told
        self._nodes.append(node)

    def begin_share(self) -> Share:
        """Return what this process decides for its workers, made when it is first asked for."""
        if self.share is None:
            for module in _NEEDED_LATER:
                import_module(module)
            self.share = runs.share.Share.begin()
        return self.share

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:  # noqa: ANN401
        """Take what a worker has to say at its end."""
        self.crashed = self.crashed or bool(error)
        news = (getattr(node, "workeroutput", None) or {}).get(KEY, {})
        self.lines += news.get("lines", ())
        self.left += news.get("left", ())
        self.unmatched.append(news.get("unmatched"))

    def interrupt(self) -> None:
        """Make workers end their tests now: xdist would wait for them, and kill them after 10 s."""
        for node in self._nodes:
            # The popen of execnet's gateway; workers on other machines have none and no stacks of ours.
            process = getattr(getattr(node.gateway, "_io", None), "popen", None)
            if process is not None:
                with contextlib.suppress(OSError):
                    process.send_signal(signal.SIGTERM)


class Voice:
    """Says lines of ours to the user at once; those of a worker are said by its controller."""

    def __init__(self, config: pytest.Config, workers: Workers) -> None:
        self.lines: list[str] = []  # of a worker, which its controller has not got yet
        self._config = config
        self._plugins = config.pluginmanager
        self._workers = workers
        self._said: set[str] = set()
        self.has_begun = False

    @property
    def is_worker(self) -> bool:
        """Whether this process is a worker, which pytest-xdist tells only after it has parsed the command line."""
        return is_worker(self._config)

    def say(self, line: str) -> None:
        """Print a line past pytest's capturing; what several workers have to say only once, and no steps with -q."""
        if isinstance(line, artifacts.Step):
            if self._is_quiet():
                return
            line = str(line)  # execnet takes no other kinds of text
        if self.is_worker:
            self.lines.append(line)
            return
        if self._workers.share:
            if line in self._said:
                return
            self._said.add(line)
        reporter = self._plugins.getplugin("terminalreporter")
        if reporter is None:
            if not self.has_begun:  # before pytest has anybody who reports
                print(f"harness: {line}", flush=True)
            return
        with self.past_capture():
            reporter.ensure_newline()
            reporter.write_line(github.guarded(f"harness: {line}", os.environ))

    def flush(self) -> None:
        """Have all that was said out, before a process ends at once."""
        if reporter := self._plugins.getplugin("terminalreporter"):
            with self.past_capture():
                reporter.flush()

    def _is_quiet(self) -> bool:
        """Return whether pytest was asked to say little, as far as that is known before its options are."""
        early = getattr(self._config, "known_args_namespace", None)
        return int(getattr(self._config.option, "verbose", None) or getattr(early, "verbose", None) or 0) < 0

    def is_of_whole_suite(self) -> bool:
        """Return whether the user has chosen no tests by name, expression or marker."""
        option = self._config.option
        chosen = ("keyword", "markexpr", "deselect", "lf", "stepwise")
        return not (
            any(getattr(option, name, None) for name in chosen) or any("::" in one for one in self._config.args)
        )

    def has_said(self, line: str) -> bool:
        """Return whether a line was said on behalf of a worker."""
        return line in self._said

    def hand_over(self, report: pytest.TestReport) -> None:
        """Have a report carry to the controller what a worker has to say."""
        setattr(report, LINES, self.lines)
        self.lines = []

    def past_capture(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which pytest captures nothing."""
        capture = self._plugins.getplugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
