"""Flaky tests in pytest: failed ones are run again, where that is wanted, and those in quarantine do not count.

Running again is what pytest-rerunfailures does; what it made of a test is told from its reports.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from harness import runs
from harness.errors import ConfigError
from harness.pytest_stacks import may_declare
from harness.pytest_verdict import blame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.pytest_stacks import Stacks
    from harness.results.quarantine import Entry, Quarantine

QUARANTINE = "harness_quarantine"  # on reports of failures that do not count: what their entry says
STACKS = "harness_stacks"  # on reports: NAME=FINGERPRINT of the stacks that the test used
_PLUGIN = "rerunfailures"
_VARIABLES = ("HARNESS_RERUNS", "HARNESS_QUARANTINE")
_FILE = "quarantine.toml"
_PARTIAL = ("keyword", "markexpr", "lf", "deselect", "ignore", "ignore_glob", "pyargs")  # options that leave tests out


class Flakes:
    """What a session does with tests that fail now and then."""

    def __init__(self, config: pytest.Config, stacks: Stacks) -> None:
        self._config = config
        self._stacks = stacks
        self._quarantine: Quarantine | None = None
        self._tests: set[str] = set()
        self._is_whole = True

    def begin(self) -> None:
        """Read what is in quarantine, and have failed tests run again where that is wanted.

        Raises:
            ConfigError: something in a file is wrong, or the plugin that runs tests again is not there.
        """
        if not _may_be_declared(self._config):
            return
        settings = self._stacks.settings
        self._quarantine = runs.flakes.quarantine_of(settings)
        option, plugins = self._config.option, self._config.pluginmanager
        if not settings.reruns or plugins.is_blocked(_PLUGIN) or getattr(option, "usepdb", False):
            return
        if not plugins.hasplugin(_PLUGIN):
            asked = f"{settings.reruns} reruns ({settings.origins['reruns']})"
            raise ConfigError(
                f"{asked} need pytest-rerunfailures, which is not installed",
                hint="install the extra `flakes`: pip install 'integration-harness[flakes]'",
            )
        if option.reruns is None and not self._config.getini("reruns"):  # its own are nearer
            option.reruns = settings.reruns

    # -- each test ----------------------------------------------------------------------------------------------

    def judge(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Have a failure of a test in quarantine not count, and a broken test not run again."""
        self._note_stacks(item, report)
        if not report.failed:
            return
        is_broken = bool(blame(report)[1])
        entry = self._quarantine.holds(item.nodeid) if self._quarantine and not is_broken else None
        if (is_broken or entry) and self._config.pluginmanager.hasplugin(_PLUGIN):
            item.add_marker(pytest.mark.flaky(reruns=0, condition=False), append=False)
        if entry:
            setattr(report, QUARANTINE, entry.as_dict())
            report.outcome = "skipped"
            report.wasxfail = f"quarantined ({entry})"

    def _note_stacks(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Have a report carry what the stacks of its test are."""
        if self._stacks.environment is not None:
            known = self._stacks.environment.fingerprints
            names = sorted(name for name in self._stacks.uses.of(item) if name in known)
            setattr(report, STACKS, [f"{name}={known[name]}" for name in names])

    # -- what was collected -------------------------------------------------------------------------------------

    def pytest_deselected(self) -> None:
        """Note that tests were left out."""
        self._is_whole = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note that something could not be collected."""
        self._is_whole = self._is_whole and not report.failed

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what was collected."""
        self._tests.update(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Note what a worker has collected."""
        self._tests.update(ids)

    def _scopes(self) -> list[str]:
        """Return the files and folders of which every test was collected, from pytest's root folder."""
        option = self._config.option
        if not self._is_whole or any(getattr(option, name, None) for name in _PARTIAL):
            return []
        found = []
        for word in self._config.args:
            with suppress(ValueError):  # it is elsewhere
                path = (self._config.invocation_params.dir / word).relative_to(self._config.rootpath)
                found += [] if "::" in word else [path.as_posix().removeprefix(".")]
        return found

    # -- the end ------------------------------------------------------------------------------------------------

    @property
    def lapsed(self) -> tuple[Entry, ...]:
        """Entries of the quarantine that mean nothing any more."""
        return self._quarantine.lapsed if self._quarantine else ()

    def unmatched(self) -> list[str]:
        """Return a line for each entry of the quarantine that means no test, as far as that can be told."""
        if self._quarantine is None or not self._tests:
            return []
        found = self._quarantine.unmatched(self._tests, self._scopes())
        return [f"quarantine: {entry.test} ({entry.owner}) is no test of this suite" for entry in found]


def status_of(report: pytest.TestReport) -> tuple[str, str, Any] | None:
    """Return how pytest shall count and show a report, None where that is its own to say."""
    if getattr(report, QUARANTINE, None):
        return "quarantined", "q", ("QUARANTINED", {"yellow": True})
    if report.when == "call" and report.passed and getattr(report, "rerun", 0) > 0:
        return "flaky", "f", ("FLAKY", {"yellow": True})
    return None


def _may_be_declared(config: pytest.Config) -> bool:
    """Return whether there may be something to do. Nothing of ours is loaded where there is not."""
    if any(os.environ.get(name) for name in _VARIABLES) or may_declare(config, b"reruns", b"quarantine"):
        return True
    return any((folder / _FILE).exists() for folder in (config.rootpath, *config.rootpath.parents))
