"""What is done about notices when a run has ended: how it stands, what of that is news, who gets it.

Nothing that goes wrong here changes how the run ends: it is said in a line, and what could not be sent is tried again
at the end of the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import last_lines
from harness.errors import EXIT_MEANING, HarnessError
from harness.notices import memory, sending, whereabouts
from harness.notices.memory import Memory, Suite, Waiting
from harness.notices.message import Message, named
from harness.notices.places import Place, find_places, problems_of
from harness.notices.redaction import Redactor
from harness.notices.secrets import known_secrets
from harness.notices.standing import Change, Standing, meaning_of, verdict_of
from harness.ownership.locks import locked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config import Settings
    from harness.notices.message import Kind
    from harness.results import Outcome

Send = Callable[[Sequence[tuple[Place, Message]]], list[str]]
LOCK_BUDGET = sending.BUDGET + 10.0  # another run may be sending
AT_ONCE = 8
LOG_LINES = 30
LONGEST_PART = 40  # characters of what a title has of how a part of a suite was chosen
_LOUD = ("error", "exception", "traceback", "critical", "fatal", "panic")


@dataclass(frozen=True)
class Ended:
    """A run that has ended.

    Attributes:
        code: its exit code; -9 or 137 where it was killed.
        folder: its folder, None for none.
        facts: its run.json.
        outcomes: how its tests ended.
        errors: (file, last line) of what could not be collected, or another reason that there are no tests.
        words: how pytest was told to run a part of the suite, "" for all of it.
        shown: as ``bad`` below, of a run that is only known by its reports.
    """

    code: int
    folder: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Sequence[Outcome] = ()
    errors: Sequence[tuple[str, str]] = ()
    words: str = ""
    shown: Sequence[tuple[str, str, str]] = ()

    def standing(self) -> Standing | None:
        """Return how its suite stands, None where it says nothing of it."""
        verdict = verdict_of(self.code, collected=not self.errors)
        if verdict is None:
            return None
        flakes = frozenset(str(flaky["test"]) for flaky in self.facts.get("flaky") or ())
        lapsed = frozenset(map(_lapsed, self.facts.get("lapsed") or ()))
        return Standing(verdict, tuple(test for _, test, _ in self.bad), flakes, lapsed)

    @property
    def bad(self) -> list[tuple[str, str, str]]:
        """How they ended, node ids and first error lines of tests that are no good, broken ones first."""
        bad = [(one.status, one.test, one.message) for one in self.outcomes if one.status in ("failed", "broken")]
        errors = [("error", *error) for error in self.errors]
        return [*errors, *self.shown, *sorted(bad, key=lambda entry: entry[0] != "broken")]


def _lapsed(entry: Mapping[str, str]) -> str:
    """Return an entry of the quarantine as one text; one that is given more time is another when that is over, too."""
    return f"{entry['test']} ({entry['owner']}, until {entry['expires']}: {entry['reason']})"


def tell(settings: Settings, ended: Ended, send: Send = sending.send_all) -> list[str]:
    """Tell those who want to know what is news since the last run; return lines for the user.

    Args:
        settings: of the run.
        ended: the run.
        send: sends messages to places, and returns for each why it was not taken.
    """
    try:
        return _tell(settings, ended, send)
    except HarnessError as error:
        return [f"notices: {error.summary}"]
    except OSError as error:
        return [f"notices: {error.filename or settings.notices_state}: {error.strerror or error}"]
    except KeyboardInterrupt:
        return ["notices: interrupted; what was not sent is tried again at the end of the next run"]
    except Exception as error:  # noqa: BLE001 - whatever it is: the verdict of a run never depends on who hears of it
        return [f"notices: {type(error).__name__}: {error}"]


def _tell(settings: Settings, ended: Ended, send: Send) -> list[str]:
    found = find_places(settings.notices, settings.environ, settings.root)
    lines = [f"notices: {problem}" for problem in problems_of(found)]
    standing = ended.standing()
    if standing is None or not found.places:
        return lines
    suite = suite_of(settings, ended.words)
    path = settings.notices_state
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(path.with_name(f"{path.name}.lock"), LOCK_BUDGET, purpose="to tell how a run ended"):
        known, told = memory.read_or_begin(path)
        lines += [f"notices: {told}"] * bool(told)
        writer = Writer(settings, suite, ended)
        when = int(time.time())
        news = known.change(suite, standing, when)
        names = [place.name for place in found.places]
        after = known.with_news(suite, news, names, writer.message, when).with_run(suite, standing, when)
        after = after.for_places(settings.notices.urls)
        lines += [f"notices: {_flipped(entry)}" for entry in dropped(known, after)]
        memory.write(path, after)  # before it is sent: who is killed meanwhile tells it once more, not never
        sent, problems = _send(after, found.places, send)
        memory.write(path, after.without(sent))
    return [*lines, *problems, *_sent_lines(sent)]


def suite_of(settings: Settings, words: str = "") -> Suite:
    """Return what a run of the suite is compared with."""
    system = settings.system.name if settings.system else ""
    return Suite(whereabouts.branch_of(settings.environ, settings.root), system, settings.engine, words)


def dropped(before: Memory, after: Memory) -> list[Waiting]:
    """Return what waited and is no news any more."""
    waiting = {(entry.suite, entry.to) for entry in after.outbox}
    return [entry for entry in before.outbox if (entry.suite, entry.to) not in waiting]


def _flipped(entry: Waiting) -> str:
    return f"what {entry.to} had not got ({entry.change.sentence}) is no news any more"


def _send(state: Memory, places: Sequence[Place], send: Send) -> tuple[list[Waiting], list[str]]:
    """Try what is in the outbox; return what was sent, and a line for each place that did not take it."""
    by_name = {place.name: place for place in places}
    due = [entry for entry in state.outbox if entry.to in by_name][-AT_ONCE:]  # what this run has to say is last
    results = send([(by_name[entry.to], entry.message) for entry in due])
    sent = [entry for entry, problem in zip(due, results, strict=True) if not problem]
    problems = {by_name[entry.to].shown: problem for entry, problem in zip(due, results, strict=True)}
    return sent, [
        f"notices: {shown} was not reached: {problem}; it is tried again at the end of the next run"
        for shown, problem in problems.items()
        if problem
    ]


def _sent_lines(sent: Sequence[Waiting]) -> list[str]:
    by_sentence: dict[str, list[str]] = {}
    for entry in sent:
        by_sentence.setdefault(entry.change.sentence, []).append(entry.to)
    return [f"notice sent to {', '.join(names)}: {sentence}" for sentence, names in by_sentence.items()]


class Writer:
    """Writes what is told of a run; what takes long is done when the first message is written.

    Args:
        settings: of the run.
        suite: what it is about.
        ended: the run.
    """

    def __init__(self, settings: Settings, suite: Suite, ended: Ended) -> None:
        self._settings = settings
        self._suite = suite
        self._ended = ended
        self._redactor: Redactor | None = None

    def message(self, change: Change) -> Message:
        """Return the message about a change, with no secret in it."""
        if self._redactor is None:
            found = find_places(self._settings.notices, self._settings.environ, self._settings.root)
            urls = [secret for place in found.places for secret in place.secrets]
            self._redactor = Redactor([*urls, *known_secrets(self._settings)])
        return self._message(change).cleaned(self._redactor.clean)

    def sample(self) -> Message:
        """Return the message by which it would be told that all was the other way round before."""
        standing = self._ended.standing() or Standing("broken")
        return self.message(Change("red" if standing.verdict == "green" else "green", standing.verdict))

    def _message(self, change: Change) -> Message:
        settings, suite, ended = self._settings, self._suite, self._ended
        environ, root = settings.environ, settings.root
        project, engine = whereabouts.project_of(environ, root), str(ended.facts.get("engine") or suite.engine)
        branch = suite.branch or "no branch"
        commit = whereabouts.commit_of(environ, root)
        facts = {
            "What changed": change.sentence,
            "Why": "" if change.now == "green" else meaning_of(ended.code),
            "System": suite.system,
            "Branch": f"{branch}, commit {commit}" if commit else branch,
            "Engine": engine,
            "Tests": ", ".join(f"{n} {how}" for how, n in sorted((ended.facts.get("outcomes") or {}).items())),
            "Only": suite.words,
            "Run": ended.folder.name if ended.folder else "",
        }
        flaky = {str(one["test"]): str(one.get("line", "")) for one in ended.facts.get("flaky") or ()}
        tests = [("flaky", test, flaky[test]) for test in sorted(change.flakes) if test in flaky]
        bad = ended.bad if change.now != "green" else []
        more = [f"and {len(bad) - 5} more tests"] * (len(bad) > 5)  # noqa: PLR2004 - as many as a message has
        more += named(change.flakes - flaky.keys(), "flaky before")
        more += named(change.lapsed, "lapsed, so that they count again")
        more += [str(reason) for reason in [ended.facts.get("reason")] if reason and change.now == "broken"]
        left = [*(ended.facts.get("left") or ())] if change.now == "red" else []
        more += [f"left behind: {thing}" for thing in left[:5]]
        part = suite.words if len(suite.words) <= LONGEST_PART else "a part"
        where = f"{suite.system or 'tests'}{part and f' ({part})'} on {engine}"
        return Message(
            f"[{project}] {where}, {branch}: {change.sentence}",
            tuple((name, value) for name, value in facts.items() if value),
            (*bad[:5], *tests),
            tuple(more),
            log_of(ended) if bad else ("", ""),
            whereabouts.link_of(environ, settings.notices.runs, ended.folder),
            kind_of(change),
        )


def kind_of(change: Change) -> Kind:
    """Return what colour news have."""
    if change.before != change.now:
        return "success" if change.now == "green" else "failure"
    return "warning"


def log_of(ended: Ended) -> tuple[str, str]:
    """Return whose log says most of the first test that is no good, and its end; ("", "") where there is none.

    That is the log of the service that the error names; else, of the logs that are kept of the test, the first that
    tells of an error, or that has anything in it.
    """
    if ended.folder is None or not ended.bad:
        return "", ""
    _, test, why = ended.bad[0]
    services: Mapping[str, Any] = ended.facts.get("services") or {}
    for name, log in services.items():
        short = name.rpartition("/")[2]
        if f"'{short}'" in why or f"'{name}'" in why:
            lines = last_lines(ended.folder / str(log["log"]), LOG_LINES, int(log.get("start") or 0))
            if lines:
                return f"the log of {short}", "\n".join(lines)
    from harness.reporting import folder_of_failure  # noqa: PLC0415 - it is the reports' own name for it

    logs = sorted(folder_of_failure(ended.folder, test).glob("*.log"))
    ends = {log.stem: "\n".join(last_lines(log, LOG_LINES)) for log in logs}
    ends = {name: end for name, end in ends.items() if end.strip()}
    loud = [name for name, end in ends.items() if any(word in end.lower() for word in _LOUD)]
    name = next(iter([*loud, *ends]), "")
    return (f"the log of {name}, during {test}", ends[name]) if name else ("", "")


def reason_of(code: int) -> str:
    """Return an exit code in words."""
    return f"exit code {code}: {EXIT_MEANING.get(code, meaning_of(code))}"
