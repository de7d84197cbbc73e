"""Whose fault the end of a test is: broken is told from failed in its reports, and what explains a failure added."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import artifacts, runs, witnesses
from harness.clock import now
from harness.errors import CONFIGURATION, BrokenStack, ConfigError, EngineUnreachableError, HarnessError, Residue

if TYPE_CHECKING:
    from harness.pytest_stacks import Stacks
    from harness.runs.environment import Environment
    from harness.runs.evidence import Mark

_ERROR = "harness_error"
_PHASE = "harness_phase"  # on reports that are counted as errors of set-up: the phase that they are of


class _Test:
    """What is known of a test while it runs.

    Attributes:
        broken: why it is broken, as its first report says.
        met: what was broken already when its fixtures began to be torn down.
        parted: what had broken when a fixture gave its stack back.
        marks: moment -> where the logs stood.
        since: when it began.
    """

    def __init__(self) -> None:
        self.marks: dict[str, Mark] = {}
        self.since: float | None = None
        self.forget()

    def forget(self) -> None:
        """Begin anew: it may be run again."""
        self.broken: HarnessError | None = None
        self.met: HarnessError | None = None
        self.parted: HarnessError | None = None


_TEST = pytest.StashKey[_Test]()


def _test(item: pytest.Item) -> _Test:
    return item.stash.setdefault(_TEST, _Test())


class Verdicts:
    """What becomes of the reports of a session's tests."""

    def __init__(self, stacks: Stacks) -> None:
        self._stacks = stacks
        self._in_body = False  # reports made in there are of subtests

    # -- in the course of a test --------------------------------------------------------------------------------

    def forget(self, item: pytest.Item) -> None:
        """A test is about to begin."""
        _test(item).forget()

    def begin(self, item: pytest.Item) -> None:
        """Note where the logs stand as a test begins. Raises HarnessError when what it needs is broken."""
        self._mark(item, "begin")
        _test(item).since = witnesses.begin()
        use = self._stacks.begin_use(item)
        if use and use.stacks and self._stacks.judge and (broken := self._stacks.judge.standing(use.stacks)):
            raise broken

    def begin_body(self, item: pytest.Item) -> None:
        """The test's own code begins."""
        self._stacks.begin_use(item)
        self._mark(item, "body")
        self._in_body = True

    def end_body(self) -> None:
        """It has ended."""
        self._in_body = False

    def begin_teardown(self, item: pytest.Item) -> None:
        """Note what is broken before fixtures are torn down: what they then trip over is no fault of theirs."""
        if self._stacks.judge and self._stacks.environment:
            _test(item).met = self._stacks.judge.standing(frozenset(self._stacks.environment.brought))

    def look_at_parting(self) -> None:
        """Keep what has broken since a test's fixtures began to be torn down: when it is judged, the stack is gone."""
        item = self._stacks.item
        if item is None or self._stacks.judge is None or _test(item).met or _test(item).parted:
            return
        use = self._stacks.begin_use(item)
        if use is not None:
            _test(item).parted, _ = self._stacks.judge.verdict(use, failed=False)

    def _mark(self, item: pytest.Item, moment: str) -> None:
        if self._stacks.environment is not None:
            _test(item).marks[moment] = runs.evidence.mark(self._stacks.environment)

    # -- its end ------------------------------------------------------------------------------------------------

    def judge(self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None) -> None:
        """Relabel a report whose stack broke, whatever its test made of that, and attach what explains a failure."""
        if report.when == "call" or not report.skipped:
            self._decide(item, report, error)
        if report.failed and not isinstance(error, ConfigError):  # what the test wrote is wrong; no log tells more
            self._attach_evidence(item, report)

    def _decide(self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None) -> None:
        test = _test(item)
        if report.when == "teardown" and report.failed and test.met:
            if test.broken:
                # Fixtures trip over the same dead service once more; one death is one error.
                report.outcome, report.longrepr = "passed", None
            else:
                self._relabel(item, report, test.met, was=report.longreprtext)
            return
        ours = _fault(report, error)
        if ours and str(ours).startswith("Not run: "):
            self._relabel(item, report, ours)
            return
        text = report.longreprtext if report.failed else ""
        if test.broken:  # under a subtest; what follows in the same test is of it
            if report.when == "call" and (report.failed or not self._in_body):
                self._relabel(item, report, test.broken, was=text)
            elif ours:
                self._relabel(item, report, ours)
            return
        broken = test.parted or self._ask_judge(item, report, text)
        if ours:
            self._relabel(item, report, ours)
        elif broken and not hasattr(report, "wasxfail"):  # what is known to fail may do so by the end of a service
            self._relabel(item, report, broken, was=text)

    def _ask_judge(self, item: pytest.Item, report: pytest.TestReport, text: str) -> HarnessError | None:
        """Return what broke under a test; what else is known of its services becomes a part of the report."""
        self._mark(item, "end")
        use = self._stacks.begin_use(item)
        if use is None or self._stacks.judge is None:
            return None
        try:
            broken, remarks = self._stacks.judge.verdict(use, failed=report.failed, text=text)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in here, the test has its own outcome
            broken, remarks = None, [f"its services could not be looked at: {type(error).__name__}: {error}"]
        if remarks:
            _show(item, report, "services", "\n".join(remarks))
        return broken

    def _relabel(self, item: pytest.Item, report: pytest.TestReport, error: HarnessError, was: str = "") -> None:
        """Have pytest count the report as an error (E): one of the body as it counts a fault of set-up."""
        _test(item).broken = _test(item).broken or error
        report.outcome = "failed"
        if report.when == "call":  # what fails in a teardown is an error already
            setattr(report, _PHASE, report.when)
            report.when = "setup"
        note_kind(report, type(error).__name__, error.exit_code)
        if was or not self._wants_traceback():
            report.longrepr = f"{error}\n\nthe test itself:\n{was}" if was else str(error)

    def _wants_traceback(self) -> bool:
        try:
            return self._stacks.settings.environ.get("HARNESS_TRACEBACK", "") not in ("", "0")
        except HarnessError:
            return False

    # -- evidence -----------------------------------------------------------------------------------------------

    def _attach_evidence(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Show and keep what explains a failure. It must not be lost to what goes wrong with its evidence."""
        try:
            if self._stacks.environment is not None:
                self._show_logs(self._stacks.environment, item, report)
            self._hear_witnesses(item, report)
        except Exception as error:  # noqa: BLE001 - see above
            _show(item, report, "harness", f"no evidence: {type(error).__name__}: {error}")

    def _show_logs(self, environment: Environment, item: pytest.Item, report: pytest.TestReport) -> None:
        use = self._stacks.begin_use(item)
        if use is None or self._stacks.judge is None:
            return
        marks = runs.evidence.Marks(**{"begin": runs.evidence.Mark(), **_test(item).marks})
        noise = self._stacks.judge.noise(use)
        for name, lines in runs.evidence.save_evidence(environment, item.nodeid, marks, noise).items():
            _show(item, report, f"service {name}", lines)

    def _hear_witnesses(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Attach what the clients that a test used saw; those of a dead service are not sent to ask it."""
        test = _test(item)
        heard = witnesses.hear(now() if test.since is None else test.since, ask=not test.broken)
        if not heard:
            return
        # What a message holds may be no text for a terminal, nor, as half a surrogate pair, for any file.
        heard = {
            subject: artifacts.printable(text.encode(errors="backslashreplace")) for subject, text in heard.items()
        }
        for title, text in heard.items():
            _show(item, report, title, text)
        if self._stacks.environment is not None:
            runs.evidence.save_testimony(self._stacks.environment, item.nodeid, heard)


def _fault(report: pytest.TestReport, error: BaseException | None) -> HarnessError | None:
    """Return the error of a report when that is ours to tell, None when it is the test's own or there is none."""
    if isinstance(error, BrokenStack | EngineUnreachableError | Residue):
        return error
    in_setup = isinstance(error, HarnessError) and report.when == "setup" and error.exit_code >= CONFIGURATION
    return error if isinstance(error, HarnessError) and in_setup else None


def _show(item: pytest.Item, report: pytest.TestReport, title: str, text: str) -> None:
    """Show evidence with a failed test."""
    report.sections.append((f"Captured stdout {title}", text))
    # pytest's own junit.xml takes only what was added to the item.
    item.add_report_section("call", f"stdout {title}", text)


def note_kind(report: pytest.TestReport, kind: str, code: int = 0) -> None:
    """Have a report carry the type of its error, and the exit code that it has where it is none of the test's own."""
    report.user_properties.append((_ERROR, f"{kind}:{code}"))


def blame(report: pytest.TestReport) -> tuple[str, int]:
    """Return (error type, exit code) that a report carries, ("", 0) for a real failure, a success or a collection."""
    kind, _, code = str(dict(getattr(report, "user_properties", ())).get(_ERROR, "")).partition(":")
    return kind, int(code or 0)


def restore_phase(report: pytest.TestReport) -> None:
    """Undo, after it was counted as an error of set-up: what the summary says of it is where it came from."""
    report.when = getattr(report, _PHASE, report.when)
