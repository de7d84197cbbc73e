"""Keeps a stack up, and after each change of a file does the least: replaces services, or only runs the tests again."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness import clock
from harness.engine.sources import WRITTEN_BY_PEOPLE, Source
from harness.errors import ConfigError, HarnessError
from harness.runs.changes import all_remembered
from harness.runs.choice import choose
from harness.runs.known import all_kept, listed_or_none, services_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from harness.config import Settings
    from harness.engine.snapshots import Snapshot

NOTHING, TESTS, REPLACE, UP = "nothing", "tests", "replace", "up"
QUIET = 0.2  # seconds without a change after which what came together is one: a checkout of a branch takes longer
LONGEST = 10.0
LATE = 0.3  # seconds after which the last change under tests was told
_STEP, _TOGETHER = 50, 1600  # milliseconds, of the watching library
_SHOWN = 3
_STACK_SUFFIXES = (".yaml", ".yml", ".env")
_SIGNALLED = 128


class Hands(Protocol):
    """What is done by other commands."""

    def up(self) -> object:
        """Bring the stack up, or replace what changed of it. Raises HarnessError."""
        ...

    def down(self) -> None:
        """Take down what is up. Raises HarnessError."""
        ...

    def test(self, words: Sequence[str]) -> int:
        """Run the suite, with further words for pytest; return its exit code. Raises HarnessError."""
        ...


@dataclass(frozen=True)
class Grounds:
    """What a change is judged by.

    Attributes:
        root: the project's folder.
        files: the files of the stacks that are up, or were to be.
        besides: folders in it that do not matter, such as that of runs.
        sources: stack -> the sources of its services.
    """

    root: Path
    files: frozenset[Path] = frozenset()
    besides: tuple[Path, ...] = ()
    sources: Mapping[str, Snapshot] = field(default_factory=dict)

    def matters(self, path: Path) -> bool:
        """Return whether a change of a path may be a reason for anything."""
        if path in self.files or self.services_of(path):
            return True
        everything = Source(self.root, besides=self.besides, named=True)
        if not path.is_relative_to(self.root) or not everything.counts(path):
            return False
        return all(everything.may_hold(folder) for folder in path.parents if folder.is_relative_to(self.root))

    def services_of(self, path: Path) -> list[str]:
        """Return the services that a path is a source of."""
        return sorted({name for snapshot in self.sources.values() for name in snapshot.holds(path)})

    def outside(self) -> list[Path]:
        """Return what is to be watched beside the project's folder."""
        sources = {path for one in self.sources.values() for paths in one.folders().values() for path in paths}
        return sorted(path for path in sources | self.files if not path.is_relative_to(self.root) and path.exists())


@dataclass(frozen=True)
class Action:
    """What is done about some changes: ``nothing``, ``tests``, ``replace`` some services, or the stack ``up`` again."""

    kind: str
    services: tuple[str, ...] = ()


def decide(paths: Collection[Path], grounds: Grounds, changed: Collection[str], *, broken: bool = False) -> Action:
    """Return the least that is to be done about changes.

    Args:
        paths: the files that changed.
        grounds: what they are judged by.
        changed: the services that do not run what their sources say now.
        broken: whether the stack is not up, or not as it should be.
    """
    mattering = [path for path in paths if grounds.matters(path)]
    if not mattering:
        return Action(NOTHING)
    if broken or any(_is_of_stack(path, grounds) for path in mattering):
        return Action(UP)
    if changed:
        return Action(REPLACE, tuple(sorted(changed)))
    # A source that was written again as it was is no reason for anything.
    others = [path for path in mattering if not grounds.services_of(path) and path.suffix in WRITTEN_BY_PEOPLE]
    return Action(TESTS) if others else Action(NOTHING)


def _is_of_stack(path: Path, grounds: Grounds) -> bool:
    beside = {file.parent for file in grounds.files}
    return path in grounds.files or (path.parent in beside and path.name.endswith(_STACK_SUFFIXES))


def in_words(paths: Collection[Path], root: Path) -> str:
    """Return which files changed, a few by name."""
    names = sorted(str(path.relative_to(root) if path.is_relative_to(root) else path) for path in paths)
    rest = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {rest:,} more changed" if rest > 0 else f"{shown} changed"


def refuse_lacking() -> None:
    """Do nothing when files can be watched. Raises ConfigError with what is missing."""
    if find_spec("watchfiles") is None:
        raise ConfigError(
            "watch needs the library watchfiles, which is not installed",
            hint="pip install 'integration-harness[watch]'",
        )


class Changes:
    """The files that changed since they were taken last, as another thread sees them.

    Args:
        matters: whether a path is of interest.
    """

    def __init__(self, matters: Callable[[Path], bool]) -> None:
        self._matters = matters
        self._paths: set[Path] = set()
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._last = 0.0

    @contextmanager
    def watching(self, paths: Sequence[Path]) -> Iterator[None]:
        """Watch files, and folders with what is below them, for as long as the block takes."""
        from watchfiles import watch as follow  # noqa: PLC0415 - an extra, for this command only

        stop = threading.Event()

        def see() -> None:
            seen = follow(
                *paths,
                watch_filter=lambda _, path: self._matters(Path(path)),
                step=_STEP,
                debounce=_TOGETHER,
                stop_event=stop,
                rust_timeout=200,
                raise_interrupt=False,
                ignore_permission_denied=True,
            )
            for some in seen:
                self.note(Path(path) for _, path in some)

        thread = threading.Thread(target=see, name="harness-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(2.0)

    def note(self, paths: Iterable[Path]) -> None:
        """Take note of changes."""
        with self._lock:
            self._paths |= set(paths)
            self._last = clock.now()
        self._news.set()

    def take(self, late: float = 0.0) -> set[Path]:
        """Return what changed until now, after ``late`` seconds in which that may still be told."""
        for _ in clock.poll(clock.Deadline.after(late)) if late else ():
            pass
        with self._lock:
            taken, self._paths = self._paths, set()
        return taken

    def wait(self) -> set[Path]:
        """Return what changed, once something has and nothing more does."""
        for _ in clock.poll(clock.Deadline.after(clock.LIFTED), wake=self._news):
            if self._paths:
                break
        for _ in clock.poll(clock.Deadline.after(LONGEST)):
            if clock.now() - self._last > QUIET:
                break
        return self.take()


def watch(settings: Settings, say: Callable[[str], None], hands: Hands, words: Sequence[str]) -> int:
    """Bring the stack up, run the tests, and after each change do the least and run them again, failed ones first.

    What was up before stays up; what this has brought up is gone when it ends.

    Args:
        settings: what was asked for.
        say: takes lines for the user.
        hands: what other commands do.
        words: for pytest.

    Returns:
        128 + n when signal n came while tests ran; else it goes on.

    Raises:
        ConfigError: there is no stack, something written is wrong, or watchfiles is not installed.
        LeftoverError: something of what it has brought up could not be removed.
    """
    refuse_lacking()
    files = settings.stack_files(settings.default_stack())
    was_up = choose(settings).is_up
    first = [] if any(word in ("no:cacheprovider", "--ff", "--lf") for word in words) else ["--ff"]
    watching = _Watching(settings, say, hands, files)
    try:
        return watching.go([*first, *words])
    finally:
        if not was_up and all_kept(settings):
            hands.down()


class _Watching:
    """A stack that is kept up while its files are watched."""

    def __init__(self, settings: Settings, say: Callable[[str], None], hands: Hands, files: Sequence[Path]) -> None:
        self._settings, self._say, self._hands, self._files = settings, say, hands, files
        self._broken = False
        self._grounds = Grounds(settings.root)
        self._habits: set[Path] = set()  # what changed under the last tests

    def go(self, words: Sequence[str]) -> int:
        """Go on until a signal came while tests ran; return 128 + n for that."""
        self._up(is_first=True)
        self._say(f"watching {self._settings.root}; Ctrl-C ends it")
        action = Action(NOTHING if self._broken else TESTS)
        while True:
            changes, places = Changes(self._matters), self._places()
            with changes.watching(places):
                while self._places() == places:  # else what is watched has become another
                    if action.kind != NOTHING and (code := self._hands.test(words)) > _SIGNALLED:
                        return code
                    action = self._await(changes)
                    if action.kind in (REPLACE, UP):
                        self._up()
                        action = Action(NOTHING) if self._broken else action

    def _matters(self, path: Path) -> bool:
        return self._grounds.matters(path)  # what these are changes

    def _places(self) -> list[Path]:
        return [self._settings.root, *self._grounds.outside()]

    def _await(self, changes: Changes) -> Action:
        """Return what is to be done next, once something is."""
        during = changes.take(LATE)
        # What tests write each time they run is no reason to run them again.
        paths = {path for path in during if path not in self._habits or _is_of_stack(path, self._grounds)}
        self._habits = during
        is_told = False
        while (action := self._decide(paths)).kind == NOTHING:
            if not is_told:
                self._say("waiting for a change" + ("; the stack is not up" if self._broken else ""))
            is_told = True
            paths = changes.wait()
        services = f" {', '.join(action.services)}" if action.services else ""
        self._say(f"{in_words(paths, self._settings.root)}; next: {action.kind}{services}")
        return action

    def _decide(self, paths: set[Path]) -> Action:
        changed = [line.service for line in listed_or_none(self._settings) if line.changed] if paths else []
        return decide(paths, self._grounds, changed, broken=self._broken)

    def _up(self, *, is_first: bool = False) -> None:
        """Bring the stack up, or tell why it is not. Raises ConfigError when that is so from the beginning."""
        try:
            self._hands.up()
            self._broken = False
        except HarnessError as error:
            if is_first and isinstance(error, ConfigError):
                raise
            self._say(str(error))
            self._broken = True
        self._grounds = _grounds(self._settings, self._files)


def _grounds(settings: Settings, files: Sequence[Path]) -> Grounds:
    """Return what changes are judged by now."""
    listed = set(files)
    sources: dict[str, Snapshot] = {}
    for record in all_kept(settings).values():
        sources |= all_remembered(Path(record.folder))
        for facts in services_of(record)["stacks"].values():
            listed |= {Path(file) for file in (facts["record"] or {}).get("files", ())}
    return Grounds(settings.root, frozenset(listed), (settings.logs,), sources)
