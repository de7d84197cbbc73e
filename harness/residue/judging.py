"""Whose a thing is that was left: looks before and after tests and fixtures, and what is judged from them.

What stands at a moment is known by a look at each watcher, made only where a glance differs from the one before it. A
*baseline* is what stood before a test, or before the set-up of a fixture of wider scope. What that set-up makes is the
fixture's: it is put into the baselines of all that go on meanwhile. When the fixture has been torn down it is taken out
of them again, so what still stands is left, by the fixture.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.clock import Deadline, poll
from harness.errors import BrokenStack, HarnessError
from harness.residue.allowing import is_of
from harness.residue.watching import Left, difference

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from harness.residue.allowing import Allowing
    from harness.residue.watching import Watcher

PATIENCE = 2.0  # seconds in which what is just ending may end
_YOUNG_TURNS = 3  # looks at least that are of the first tenth of it, however long they take


class _Watched:
    """A watcher, and what stood there when it looked last."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.glance: Hashable = watcher.glance()  # before the look: what comes between them makes the next one differ
        self.things: Mapping[str, str] = dict(watcher.look())

    def refresh(self) -> None:
        """Look again if need be. Raises HarnessError or OSError."""
        glance = self.watcher.glance()
        if glance != self.glance:
            self.things = dict(self.watcher.look())
            self.glance = glance

    def doubt(self) -> None:
        """Have the next ``refresh`` look: after a glance that is as before, what was seen may still be gone."""
        self.glance = object()


@dataclass(eq=False)
class Baseline:
    """What stood at a moment.

    Attributes:
        things: what each watcher saw.
    """

    things: dict[_Watched, Mapping[str, str]]


@dataclass(frozen=True)
class _Step:
    """What became of a thing while a fixture was set up; None for what is not there."""

    watched: _Watched
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Found:
    """A thing that was left.

    Attributes:
        thing: it.
        by: the fixture that left it, "" for the test itself.
    """

    thing: Left
    by: str = ""

    def __str__(self) -> str:
        """Return it as one line for people."""
        return f"{self.thing}" + (f" [left by {self.by}]" if self.by else "")


@dataclass
class _Made:
    """What a fixture that is set up has made."""

    label: str
    steps: list[_Step] = field(default_factory=list)


class Watch:
    """Watches over the tests of one process.

    Args:
        allowing: what may be left.
        say: takes a line for the user.
        worker: the number that stands in namespaces of these tests.
        alone: whether no other process runs tests of this session.
        patience: seconds in which what is just ending may end.
    """

    def __init__(
        self,
        allowing: Allowing,
        say: Callable[[str], None],
        *,
        worker: str = "0",
        alone: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self._allowing = allowing
        self._say = say
        self._worker = worker
        self._alone = alone
        self._patience = patience
        self._watched: dict[object, list[_Watched]] = {}
        self._said: set[str] = set()
        self._baselines: list[Baseline] = []
        self._test: Baseline | None = None
        self._made: dict[object, _Made] = {}
        self._culprits: dict[tuple[_Watched, str], str] = {}

    # -- what is watched ----------------------------------------------------------------------------------------

    def add(self, watchers: Iterable[Watcher], owner: object = None) -> None:
        """Watch more from now on, until ``drop``: what stands there now is nobody's."""
        for watcher in watchers:
            try:
                watched = _Watched(watcher)
            except (HarnessError, OSError) as error:
                self._tell(watcher, error)
                continue
            self._watched.setdefault(owner, []).append(watched)
            for baseline in self._baselines:
                baseline.things[watched] = watched.things

    def drop(self, owner: object) -> None:
        """Watch no more what was added for ``owner``: it is about to go."""
        for watched in self._watched.pop(owner, ()):
            self._forget(watched)

    def _forget(self, watched: _Watched) -> None:
        for baseline in self._baselines:
            baseline.things.pop(watched, None)
        for made in self._made.values():
            made.steps = [step for step in made.steps if step.watched is not watched]

    def _tell(self, watcher: Watcher, error: Exception) -> None:
        summary = error.summary if isinstance(error, HarnessError) else str(error)
        line = f"{watcher.kind} cannot be watched for what tests leave: {summary}"
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _refresh(self) -> None:
        """Look at everything again; what cannot be looked at is left out from now on."""
        for group in self._watched.values():
            for watched in list(group):
                try:
                    watched.refresh()
                except (HarnessError, OSError) as error:
                    group.remove(watched)
                    self._forget(watched)
                    self._tell(watched.watcher, error)

    def _now(self) -> Baseline:
        self._refresh()
        return Baseline({watched: watched.things for group in self._watched.values() for watched in group})

    # -- fixtures -----------------------------------------------------------------------------------------------

    def begin_set_up(self) -> Baseline:
        """Return what stands before a fixture of wider scope than a test's is set up."""
        baseline = self._now()
        self._baselines.append(baseline)
        return baseline

    def end_set_up(self, before: Baseline, fixture: object = None, label: str = "") -> None:
        """Have what stands now and did not stand ``before`` be the fixture's; without one it is the session's."""
        self._baselines = [baseline for baseline in self._baselines if baseline is not before]
        self._refresh()
        steps = [
            _Step(watched, left.name, things.get(left.name), watched.things.get(left.name))
            for watched, things in before.things.items()
            for left in difference(watched.watcher.kind, things, watched.things)
            if (watched, left.name) not in self._culprits
        ]
        for baseline in self._baselines:
            for step in steps:
                _put(baseline, step.watched, step.name, step.after)
        if fixture is not None and steps:
            self._made[fixture] = _Made(label, steps)

    def is_watched(self, fixture: object) -> bool:
        """Return whether a fixture that is set up has made something."""
        return fixture in self._made

    def end_tear_down(self, fixture: object) -> None:
        """Have what a fixture made, which has been torn down now, be expected to be gone."""
        made = self._made.pop(fixture, None)
        for step in made.steps if made else ():
            self._culprits[step.watched, step.name] = made.label if made else ""
            for baseline in self._baselines:
                if baseline.things.get(step.watched, {}).get(step.name) == step.after:
                    _put(baseline, step.watched, step.name, step.before)

    # -- tests --------------------------------------------------------------------------------------------------

    def begin_test(self) -> None:
        """A test begins: what stands now is not its own."""
        self._baselines = [baseline for baseline in self._baselines if baseline is not self._test]
        self._culprits.clear()
        self._test = self._now()
        self._baselines.append(self._test)

    def end_test(self) -> tuple[Found, ...]:
        """Return what a test, and the fixtures that were torn down after it, have left.

        What is ending has ``patience`` to do so, in whose first tenth another thing may take its place, as a daemon
        takes that of its parent. What was not there at each look after that is none: somebody goes on working.
        Of a test whose stack broke nothing is said.
        """
        left: list[Found] = []
        is_young = True
        try:
            deadline = Deadline.after(self._patience)
            for turn in poll(deadline):
                is_young = turn < _YOUNG_TURNS or deadline.elapsed() < self._patience / 10
                left = self._look_again(left, is_first=turn == 0, is_young=is_young)
                if not left:
                    break
            if left and is_young:  # the machine stood still: none of the looks was one that judges
                left = self._look_again(left, is_first=False, is_young=False)
        except BrokenStack:
            left = []
        with suppress(ValueError):
            self._baselines.remove(self._test)  # type: ignore[arg-type] # of None it would have been nothing
        self._test = None
        self._culprits.clear()
        return tuple(left)

    def _look_again(self, left: list[Found], *, is_first: bool, is_young: bool) -> list[Found]:
        """Return what stands now of ``left``, and, while the wait is young, what has come since."""
        if not is_first:
            self._doubt()
        self._refresh()
        stood = {(one.thing.kind, one.thing.name) for one in left}
        seen = [one for one in self._judge() if is_young or (one.thing.kind, one.thing.name) in stood]
        if is_first and seen:
            gc.collect()  # what is held by nothing but a circle is not left
        return seen

    def _doubt(self) -> None:
        """Have everything be looked at again where something seems to be left."""
        for watched, things in self._test.things.items() if self._test else ():
            if things is not watched.things and things != watched.things:
                watched.doubt()

    def _judge(self) -> list[Found]:
        test, left = self._test, []
        for watched, things in test.things.items() if test else ():
            watcher = watched.watcher
            if things is watched.things:
                continue
            differing = [
                thing
                for thing in difference(watcher.kind, things, watched.things)
                if (thing.change != "removed" or watcher.counts_removed)
                and is_of(self._worker, thing.name, alone=self._alone or not watcher.is_shared)
            ]
            left += [
                Found(thing, self._culprits.get((watched, thing.name), ""))
                for thing in self._allowing.without_allowed(differing)
            ]
        return left


def _put(baseline: Baseline, watched: _Watched, name: str, detail: str | None) -> None:
    """Have a thing be in a baseline, or not, as ``detail`` says."""
    if watched in baseline.things:
        things = {**baseline.things[watched]}
        things.pop(name, None)
        if detail is not None:
            things[name] = detail
        baseline.things[watched] = things
