"""Who is told how runs end, how suites stand as they were told, and a message to see that it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError
from harness.notices import memory, sending, whereabouts
from harness.notices.message import Message
from harness.notices.places import Places, find_places
from harness.notices.telling import Ended, Writer, suite_of
from harness.reporting.shown import read_run

if TYPE_CHECKING:
    from harness.config import Settings

HINT = 'urls = ["NOTICE_MAIL"] in [tool.harness.notices], and NOTICE_MAIL=mailtos://USER:PASSWORD@HOST?to=WHO'


@dataclass(frozen=True)
class Shown:
    """What is known of notices.

    Attributes:
        places: who gets them, without secrets.
        problems: who cannot be told, and why.
        state: the file in which it is kept how suites stand.
        suites: how they stand.
        waiting: to whom what is yet to be sent.
    """

    places: tuple[str, ...]
    problems: tuple[str, ...]
    state: str
    suites: tuple[dict[str, Any], ...]
    waiting: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "places": list(self.places),
            "problems": list(self.problems),
            "state": self.state,
            "suites": list(self.suites),
            "waiting": list(self.waiting),
        }

    def __str__(self) -> str:
        lines = [f"notices go to {place}" for place in self.places] or ["notices go to nobody"]
        lines += [f"problem: {problem}" for problem in self.problems]
        for suite in self.suites:
            lines.append(f"{suite['verdict']:<7} {_named(suite)}, since its last run at {suite['when']}")
        lines += [f"waiting: {entry['change']} for {entry['to']}" for entry in self.waiting]
        return "\n".join([*lines, f"kept in {self.state}"])


def _named(suite: dict[str, Any]) -> str:
    words = (suite["system"], suite["branch"] and f"branch {suite['branch']}", suite["engine"], suite["words"])
    return ", ".join(word for word in words if word)


def show(settings: Settings) -> Shown:
    """Return what is known; nothing is sent.

    Raises:
        ConfigError: what was kept cannot be read.
    """
    found = find_places(settings.notices, settings.environ, settings.root)
    try:
        state = memory.read(settings.notices_state)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"{settings.notices_state} cannot be read: {why}", hint="the next run keeps it aside and begins a new one"
        ) from error
    return Shown(
        tuple(place.shown for place in found.places),
        tuple(problems(found)),
        str(settings.notices_state),
        tuple(entry.as_dict() for entry in memory.standings(state)),
        tuple(
            {"to": entry.to, "change": entry.change.sentence, "title": entry.message.title} for entry in state.outbox
        ),
    )


def problems(found: Places) -> list[str]:
    """Return what hinders that somebody is told."""
    unset = [f"variable {name} is not set, so nothing goes there" for name in found.unset]
    apprise = [] if sending.is_installed() else [f"Apprise is not installed: {sending.INSTALL}"]
    return [*apprise, *found.problems, *unset]


def sample(settings: Settings) -> Message:
    """Return the message that a change in the newest run would be told with, as far as there is one."""
    folder = settings.logs / "latest"
    if not (folder / "run.json").is_file():
        return _hello(settings)
    run = read_run(folder.resolve())
    code = run.facts.get("exit_code")
    bad = [(f"{test['status']}", test["test"], test["line"]) for test in run.bad]
    ended = Ended(int(code) if isinstance(code, int) else -9, run.folder, run.facts, shown=bad)
    return Writer(settings, suite_of(settings), ended).sample()


def _hello(settings: Settings) -> Message:
    project = whereabouts.project_of(settings.environ, settings.root)
    return Message(f"[{project}] a test of notices", more=("This is what a notice of this project comes by.",))


def test(settings: Settings) -> list[tuple[str, str]]:
    """Send a message that says that it is a test to everybody; return who, and why it was not taken, "" when it was.

    Raises:
        ConfigError: nobody is named, or nobody can be told.
    """
    found = find_places(settings.notices, settings.environ, settings.root)
    wrong = problems(found)
    if not settings.notices.urls:
        raise ConfigError("No notices are configured, so there is nobody to send a test to", hint=HINT)
    if not found.places:
        raise ConfigError.of([f"notices: {problem}" for problem in wrong])
    results = sending.send_all([(place, _hello(settings)) for place in found.places])
    sent = [(place.shown, problem) for place, problem in zip(found.places, results, strict=True)]
    return [*sent, *((problem, "nothing was sent") for problem in wrong)]
