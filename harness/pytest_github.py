"""The plugin on GitHub Actions: failed and broken tests beside their lines, a summary of the step, and quiet logs.

All is written by the process that speaks to the user: the controller, where there are workers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import github
from harness.errors import BROKEN_STACK
from harness.pytest_verdict import blame

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from harness.pytest_outcomes import Outcomes

MOST = 10  # GitHub shows no more errors of a step
_ANOTHER = "pytest_github_actions_annotate_failures"  # a plugin that annotates what failed


class GitHub:
    """What is told to GitHub Actions at the end of a session that asked for a stack."""

    def __init__(self, config: pytest.Config, outcomes: Outcomes, environ: Mapping[str, str]) -> None:
        self._config = config
        self._outcomes = outcomes
        self._environ = environ
        self._failed: dict[str, github.Annotation] = {}
        self._broken: dict[str, list[tuple[str, github.Annotation]]] = {}
        self._fence: github.Fence | None = None

    # -- in the course of a session -----------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that failed, or was broken, with its line."""
        if not report.failed or report.nodeid in self._failed:
            return
        message = _message(report)
        file, line = self._place(report)
        if code := blame(report)[1]:
            kind = "broken" if code == BROKEN_STACK else "error"
            annotation = github.Annotation(f"{kind}: {report.nodeid}", message, file, line)
            self._broken.setdefault(_cause(message), []).append((report.nodeid, annotation))
        else:
            self._failed[report.nodeid] = github.Annotation(f"failed: {report.nodeid}", message, file, line)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that could not be collected."""
        if report.failed:
            file = github.file_in_workspace(self._config.rootpath / report.nodeid.partition("::")[0], self._environ)
            reason = report.longreprtext.strip().splitlines()[-1:]
            self._failed[report.nodeid] = github.Annotation(f"error: {report.nodeid}", "".join(reason), file, 1)

    def _place(self, report: pytest.TestReport) -> tuple[str, int]:
        """Return the file of a test, and the line in it that failed, else the one where the test begins."""
        name, begin, _ = report.location
        path = self._config.rootpath / name
        entries = getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", ())
        places = [place for entry in entries if (place := getattr(entry, "reprfileloc", None))]
        here = self._config.invocation_params.dir
        lines = [place.lineno for place in places if here / place.path == path or Path(place.path).name == path.name]
        return github.file_in_workspace(path, self._environ), lines[-1] if lines else (begin or 0) + 1

    # -- its end ------------------------------------------------------------------------------------------------

    def annotations(self) -> list[github.Annotation]:
        """Return what is to be shown: each cause of broken tests once, then failed tests; at most ten."""
        causes = []
        for tests in self._broken.values():
            names, first = {name for name, _ in tests}, tests[0][1]
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            causes.append(github.Annotation(first.title + more, first.message, first.file, first.line))
        another = self._config.pluginmanager.hasplugin(_ANOTHER)
        return [*causes, *([] if another else self._failed.values())][:MOST]

    def summarize(self) -> str:
        """Append what the run's folder tells to the summary of the step; return what hindered that, else ""."""
        folder, path = self._outcomes.folder_path, self._environ.get(github.SUMMARY)
        if folder is None or not path:
            return ""
        from harness.reporting.markdown import markdown  # noqa: PLC0415 - not for plain tests
        from harness.reporting.shown import read_run  # noqa: PLC0415 - as above

        try:
            with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as summary:
                summary.write(f"{markdown(read_run(folder))}\n")
        except OSError as error:
            return f"{github.SUMMARY} {path} cannot be written: {error.strerror or error}"
        return ""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, None, None]:  # noqa: ANN401 - no public type
        """Have nothing that tests and services wrote pass for a command; fold what is long; annotate at the end."""
        if not self._outcomes.concluded:
            return (yield)
        if problem := self.summarize():
            self._outcomes.notes.append(problem)
        fold = github.group("what failed, in full") if self._failed or self._broken else ""
        self._close(terminalreporter, fold)
        try:
            return (yield)
        finally:
            self._open(terminalreporter)
            for annotation in self.annotations():
                terminalreporter.write_line(str(annotation))

    def unfold(self, terminal: Any) -> None:  # noqa: ANN401 - as above
        """End what is folded: the short summary is to be seen."""
        if self._fence is not None and (self._failed or self._broken):
            self._open(terminal)
            self._close(terminal, github.END_GROUP)

    def _close(self, terminal: Any, command: str) -> None:  # noqa: ANN401 - as above
        """Give a last command, "" for none, and have no other heeded."""
        if command:
            terminal.write_line(command)
        self._fence = github.Fence.make()
        terminal.write_line(self._fence.begin)

    def _open(self, terminal: Any) -> None:  # noqa: ANN401 - as above
        """Have commands heeded again."""
        if self._fence is not None:
            terminal.ensure_newline()
            terminal.write_line(self._fence.end)
            self._fence = None


def _message(report: pytest.TestReport) -> str:
    """Return why a test failed as one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else report.longreprtext
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _cause(message: str) -> str:
    """Return what is the same of the tests that one service broke, run or not."""
    return message.removeprefix("Not run: ").casefold()
