"""What came out of a pytest session: outcomes in the run's folder, the exit code, and what is said at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness import runs
from harness.errors import (
    CONFIGURATION,
    ENGINE_UNREACHABLE,
    EXIT_MEANING,
    TEST_RESIDUE,
    BrokenStack,
    HarnessError,
)
from harness.pytest_flakes import QUARANTINE, STACKS
from harness.pytest_residue import SHOWN, left_of
from harness.pytest_stacks import KEPT_FOR
from harness.pytest_verdict import blame
from harness.pytest_workers import LINES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from harness.pytest_flakes import Flakes
    from harness.pytest_stacks import Stacks
    from harness.pytest_workers import Voice, Workers
    from harness.reporting import RunFolder
    from harness.results import Outcome, Status
    from harness.runs.environment import Environment

_MOST = 50  # lines about what tests left


class Outcomes:
    """What a session's reports add up to; the controller's, where there are workers.

    Attributes:
        notes: what the run has to say at its end.
        concluded: whether the exit code was ours to tell, which it is when a stack was asked for.
    """

    def __init__(self, stacks: Stacks, voice: Voice, workers: Workers, flakes: Flakes) -> None:
        self.notes: list[str] = []
        self.concluded = False
        self._stacks = stacks
        self._voice = voice
        self._workers = workers
        self._flakes = flakes
        self._failed = False
        self._codes: set[int] = set()
        self._left: list[str] = []  # by tests
        self._reports: dict[str, list[pytest.TestReport]] = {}
        self._done: list[str] = []
        self._again: set[str] = set()
        self._first: dict[str, pytest.TestReport] = {}  # test -> its first failure, of those that were run again
        self._ended: list[Outcome] = []
        self._folder: RunFolder | None = None

    def collect(self, report: pytest.TestReport) -> None:
        """Take a report, and write tests down as they end."""
        if report.failed:
            code = blame(report)[1]
            if code:
                self._codes.add(code)
            else:
                self._failed = True
        if self._voice.is_worker:
            return
        for line in getattr(report, LINES, ()):
            self._voice.say(line)
        if report.when == "setup":
            self._again.discard(report.nodeid)
        if str(report.outcome) == "rerun":  # pytest-rerunfailures: only the last try counts
            self._again.add(report.nodeid)
            self._first.setdefault(report.nodeid, report)
            self._reports.pop(report.nodeid, None)
        if report.nodeid in self._again:
            return
        self._reports.setdefault(report.nodeid, []).append(report)
        if report.when == "teardown":
            self._done.append(report.nodeid)
            self._left += [f"{report.nodeid}: {thing['text']}" for thing in left_of(report)]
        if self._stacks.environment or hasattr(report, LINES):
            self._write_down()

    def keeps(self) -> bool:
        """Return whether what is up shall stay, as it stands now."""
        keep = self._stacks.settings.keep
        return keep == "always" or (keep == "on-failure" and (self._failed or bool(self._codes)))

    def note(self, line: str) -> None:
        """Say ``line`` at the end of the session, once."""
        if line not in self.notes:
            self.notes.append(line)

    @property
    def folder(self) -> RunFolder | None:
        """The run's folder, None when it has none."""
        return self._folder

    @property
    def folder_path(self) -> Path | None:
        """Where it is, None when there is none."""
        return self._folder.path if self._folder else None

    def _find_folder(self) -> RunFolder | None:
        """Return the run folder that outcomes are written to, None when no stack was asked for."""
        if self._folder is None and self._stacks.environment:
            self._folder = self._stacks.environment.report
        if self._folder is None and self._workers.share:
            self._folder = self._workers.share.report(self._stacks.settings)
        return self._folder

    def _write_down(self) -> None:
        folder = self._find_folder()
        if folder is None:
            return
        engine = str(folder.facts.get("engine", ""))
        for test in self._done:
            if reports := self._reports.pop(test, None):
                outcome = _outcome(test, reports, self._first.get(test), engine)
                if str(reports[-1].when) == "???" and (hung := folder.read_evidence(test, "stacks.txt")):
                    # Its worker had to end itself: the test heeded nothing.
                    outcome = replace(outcome, kind="Hang", message=hung.partition("\n")[0], text=hung)
                    self.note(f"{test}: {outcome.message}, and it did not heed that")
                folder.outcome(outcome)
                self._ended.append(outcome)
                for thing in left_of(reports[-1]):
                    folder.residue(test, thing)
        self._done = []

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self, *, interrupted: bool) -> list[str]:
        """Write down what is left to write, close the environment, and return what should be gone and is not."""
        # A session that was interrupted has got no report yet, perhaps, of workers that use stacks.
        unheard = self._workers.crashed or interrupted
        if self._stacks.environment is None and not self._folder and not unheard:
            return []
        folder = self._find_folder()
        if folder is None:
            return []
        # Tests that were cut short have no outcome, unless they had failed before.
        self._done += [
            test
            for test, reports in self._reports.items()
            if test not in self._done and any(report.failed or report.skipped for report in reports)
        ]
        self._write_down()
        if self._stacks.environment is None:
            return self._close_shared(folder, hurried=interrupted)
        self._keep(self._stacks.environment)
        return [*self._workers.left, *self._stacks.close(hurried=interrupted)]

    def _keep(self, environment: Environment | None) -> None:
        if environment is not None and self.keeps():
            try:
                environment.keep(KEPT_FOR)
            except BrokenStack as error:  # nobody is left to keep it; what it had is removed as ever
                self.notes.append(f"the environment is not kept: {error.summary}")
            else:
                self.notes.append("the environment is kept; `harness down` removes it")

    def _close_shared(self, folder: RunFolder, *, hurried: bool) -> list[str]:
        """Close what the workers shared."""
        share = self._workers.share
        assert share is not None  # there is a folder
        ended = folder.timed("stop", share.run)
        left = list(self._workers.left)
        try:
            environment = runs.opening.conclude(self._stacks.settings, share, folder)
            self._keep(environment)
            left += environment.close(hurried=hurried) if environment else []
        except HarnessError as error:
            left.append(error.summary)
        ended()
        folder.note("left", left)
        return left

    def exit_code(self, pytest_code: int, signal_number: int, left: list[str]) -> int | None:
        """Return the exit code of the session, None where it is pytest's own: that of plain tests."""
        if not self._folder and not self._codes and not signal_number:
            return None
        from harness.results import exit_code  # noqa: PLC0415 - not for plain tests

        return exit_code(
            pytest_code=pytest_code,
            signal_number=signal_number,
            configuration=CONFIGURATION in self._codes,
            unreachable=ENGINE_UNREACHABLE in self._codes,
            failed=self._failed and pytest_code == pytest.ExitCode.TESTS_FAILED,
            broken=bool(self._codes - {TEST_RESIDUE}),
            leftover=bool(left),
            residue=bool(self._left) or TEST_RESIDUE in self._codes,
        )

    def give_up(self, test: str, why: str, seen: str) -> int:
        """Write down how a session ends whose test does not, in another thread; return its exit code.

        Everything is given back by the keeper, which sees the end of this process. Of a worker its controller tells.
        """
        from harness.results import Outcome  # noqa: PLC0415 - not for plain tests

        self._failed = True
        code = int(pytest.ExitCode.TESTS_FAILED)
        self._voice.say(f"{test}: {why}")
        if self._voice.is_worker:
            return code
        if folder := self._find_folder():
            self._write_down()
            outcome = Outcome(test, "failed", kind="Hang", message=why, text=f"{why}\n\n{seen}")
            folder.outcome(outcome)
            self._ended.append(outcome)
        self.note_flakes()
        code = self.exit_code(code, 0, []) or code
        self.conclude(code, [])
        for line in (*self.notes, "this session ends here, and is given back by the keeper"):
            self._voice.say(line)
        self._voice.flush()
        return code

    def note_flakes(self) -> None:
        """Note what failed without failing the session, and keep how tests ended for those to come."""
        self._end_plain()
        new = self._keep_flakes()
        for outcome in self._ended:
            if outcome.status == "flaky":
                known = ", and was not before" if outcome.test in new else ""
                tried = f"passed at try {outcome.tries}; at first: {outcome.message}"
                self.notes.append(f"flaky{known}: {outcome.test} {tried}")
            elif outcome.status == "quarantined":
                held = "{owner}, until {expires}: {reason}".format(**outcome.quarantine)
                self.notes.append(f"in quarantine ({held}): {outcome.test} failed: {outcome.message}")
        for entry in self._flakes.lapsed:
            whose = f"{entry.test} ({entry.owner}: {entry.reason})"
            self.notes.append(f"quarantine lapsed on {entry.expires.isoformat()}, it counts again: {whose}")
        self.notes += self._flakes.unmatched()

    def _end_plain(self) -> None:
        """Take the tests of a session without a stack that are to be told of."""
        marked = {test for test, reports in self._reports.items() if any(hasattr(one, QUARANTINE) for one in reports)}
        for test in {**self._first, **dict.fromkeys(marked)}:  # of a session without a stack
            if reports := self._reports.get(test):
                self._ended.append(_outcome(test, reports, self._first.get(test), ""))

    def _keep_flakes(self) -> frozenset[str]:
        """Keep how the tests of a session with a stack ended; return those that are flaky for the first time."""
        if self._folder is None or not self._ended:
            return frozenset()
        new, told = runs.flakes.keep(self._stacks.settings, self._folder.path.name, self._ended)
        self.notes += [told] if told else []
        self._folder.save()  # which sums up what workers wrote
        if flaky := self._folder.facts.get("flaky"):
            self._folder.note("flaky", [{**test, "new": test["test"] in new} for test in flaky])
        if self._flakes.lapsed:
            self._folder.note("lapsed", [entry.as_dict() for entry in self._flakes.lapsed])
        return new

    def note_unmatched(self, unmatched: Iterable[list[str] | None]) -> None:
        """Note what tests may leave, and none of them has left. Each entry is what one process saw nothing of."""
        lists = [entries for entries in unmatched if entries is not None]
        for entry in lists[0] if lists and self._voice.is_of_whole_suite() else ():
            if all(entry in entries for entries in lists):
                self.notes.append(f"allowed and left by no test: {entry}")

    def conclude(self, code: int, left: list[str]) -> None:
        """Write the exit code down, and note what is to be said of it and of what was left."""
        from harness.results.times import times_in  # noqa: PLC0415 - not for plain tests

        self.concluded = True
        if self._folder is not None:
            self._folder.finish(code)
            if times := times_in(self._folder.facts):
                self.notes.append(f"time: {times}")
            if (unwritten := self._folder.unwritten()) and not self._voice.has_said(unwritten):
                self.notes.append(unwritten)
            self.notes.append(f"run folder: {self._folder.path}")
        self.notes += [f"left behind: {line}" for line in left]
        self.notes += [f"left by {line}" for line in self._left[:_MOST]]
        if len(self._left) > _MOST:
            self.notes.append(f"and {len(self._left) - _MOST} things more that tests left; `harness report` has all")
        if code >= CONFIGURATION:
            self.notes.append(f"exit code {code}: {EXIT_MEANING.get(code, f'signal {code - 128}')}")


def _outcome(test: str, reports: list[pytest.TestReport], first: pytest.TestReport | None, engine: str) -> Outcome:
    """Return how a test ended: by the reports of its last try, and what failed first where there were several."""
    from harness.results import Outcome  # noqa: PLC0415 - not for plain tests
    from harness.results.flakes import word_of  # noqa: PLC0415 - as above

    report = next((report for report in reports if report.failed), None) or next(
        (report for report in reports if report.skipped), reports[-1]
    )
    status, kind = _status(report)
    if first and status == "succeeded":
        status, report = "flaky", first
        kind = blame(first)[0] or "Failed"
    quarantine = getattr(report, QUARANTINE, {})
    expected: str | None = getattr(report, "wasxfail", None) if status == "xfailed" else None
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    if isinstance(report.longrepr, str):  # the text of one by a worker begins with what the worker runs on
        text = report.longrepr
    crash = getattr(report.longrepr, "reprcrash", None)
    reason = expected if expected is not None else crash.message if crash else text
    return Outcome(
        test=test,
        status=status,
        seconds=sum(report.duration for report in reports),
        kind=kind,
        message=next(iter(reason.splitlines()), ""),
        text=text,
        sections=tuple((title, content) for title, content in report.sections if title != SHOWN),
        tries=1 + max(getattr(report, "rerun", 0) for report in reports),
        quarantine=quarantine,
        residue=tuple(thing["text"] for thing in left_of(reports[-1])),
        stacks=word_of(engine, (stack for report in reports for stack in getattr(report, STACKS, ()))),
    )


def _status(report: pytest.TestReport) -> tuple[Status, str]:
    """Return what the report that decides makes of a test, and the type of its error, "" without one."""
    kind, code = blame(report)
    if hasattr(report, QUARANTINE):
        return "quarantined", kind or "Quarantined"
    if report.failed:
        return "broken" if code not in (0, TEST_RESIDUE) else "failed", kind or "Failed"
    if report.skipped:
        return ("xfailed", "xfail") if hasattr(report, "wasxfail") else ("skipped", kind)
    return "succeeded", kind
