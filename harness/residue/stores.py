"""What tests leave in databases, stores, search engines and brokers, and how what bears a test's name is removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from harness.clock import Deadline
from harness.errors import HarnessError
from harness.helpers.late import state_of
from harness.residue.watching import Left

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from harness.residue.watching import Watcher
    from harness.stack import Store

_T = TypeVar("_T")

WITHIN = 2.0  # seconds for each answer: no test is to wait for a store that is down
# Kind of store -> what its lasting things are called, and those that are to end by themselves, "" where it has none.
_KINDS = {
    "postgres": ("postgres", "postgres sessions"),
    "redis": ("redis", ""),
    "search": ("search", ""),
    "kafka": ("kafka topics", "kafka groups"),
}


@dataclass(frozen=True)
class Place:
    """A service that keeps something for tests.

    Attributes:
        stack: its stack.
        service: its name.
        kind: ``postgres``, ``redis``, ``search`` or ``kafka``.
        where: how it is connected to; of a broker ``host:port``.
    """

    stack: str
    service: str
    kind: str
    where: Store | str


class State(Protocol):
    """What is in a store. Each question raises HarnessError or OSError when there is no answer in time."""

    def close(self) -> None:
        """Disconnect."""

    def glance(self) -> Hashable:
        """Return cheap counters of what lasts."""

    def look(self) -> Mapping[str, str]:
        """Return what lasts: thing -> its detail."""

    def passing(self) -> Mapping[str, str]:
        """Return what is to end by itself: thing -> its detail."""

    def remove(self, prefix: str) -> Mapping[str, str]:
        """Remove what is named so; return thing -> why it could not be."""


class Kept:
    """A place with a connection that is kept, and made again once when it is broken.

    What could not be asked then is not asked again: a store that is down makes one test wait, not all.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._state: State | None = None
        self._lost: Exception | None = None

    def ask(self, question: Callable[[State], _T]) -> _T:
        """Return an answer. Raises HarnessError or OSError."""
        if self._lost:
            raise self._lost
        deadline = Deadline.after(WITHIN * 0.9)
        try:
            if self._state is not None:
                try:
                    return question(self._state)
                except (HarnessError, OSError):
                    self.close()
                    if deadline.expired():  # it is there, and does not answer
                        raise
            self._state = cast("State", state_of(self.place.kind, self.place.where, within=WITHIN))
            return question(self._state)
        except (HarnessError, OSError) as error:
            self.close()
            self._lost = _told(self.place, error)
            raise self._lost from error

    def close(self) -> None:
        """Disconnect, for now."""
        if self._state is not None:
            self._state.close()
        self._state = None


def _told(place: Place, error: HarnessError | OSError) -> HarnessError:
    summary = error.summary if isinstance(error, HarnessError) else str(error)
    return HarnessError(f"service {place.service!r}: {summary}")


@dataclass(frozen=True)
class Lasting:
    """What lasts in a place until somebody removes it: tables and their rows, keys, indices, topics."""

    kept: Kept
    is_shared: bool
    counts_removed = True

    @property
    def kind(self) -> str:
        """What is looked at."""
        return _KINDS[self.kept.place.kind][0]

    def glance(self) -> Hashable:
        """Return counters. Raises HarnessError."""
        return self.kept.ask(lambda state: state.glance())

    def look(self) -> Mapping[str, str]:
        """Return thing -> its detail. Raises HarnessError."""
        return _named(self.kept.place, self.kept.ask(lambda state: state.look()))


@dataclass(frozen=True)
class Passing:
    """What is to end by itself in a place: transactions, locks, members of groups. That it has ended is no residue."""

    kept: Kept
    is_shared: bool
    counts_removed = False

    @property
    def kind(self) -> str:
        """What is looked at."""
        return _KINDS[self.kept.place.kind][1]

    def glance(self) -> Hashable:
        """Return all of it: there is little. Raises HarnessError."""
        return tuple(sorted(self.look().items()))

    def look(self) -> Mapping[str, str]:
        """Return thing -> its detail. Raises HarnessError."""
        return _named(self.kept.place, self.kept.ask(lambda state: state.passing()))


def _named(place: Place, things: Mapping[str, str]) -> dict[str, str]:
    return {f"{place.service}: {thing}": detail for thing, detail in things.items()}


class Stores:
    """The places of an environment that were asked until now, with their connections."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Kept] = {}

    def at(self, place: Place) -> Kept:
        """Return what asks a place."""
        return self._kept.setdefault((place.stack, place.service), Kept(place))

    def watchers(self, place: Place, *, is_shared: bool) -> list[Watcher]:
        """Return what watches a place; ``is_shared``: whether tests of other processes use it at the same time."""
        kept = self.at(place)
        return [Lasting(kept, is_shared), *([Passing(kept, is_shared)] if _KINDS[place.kind][1] else [])]

    def remove(self, places: Iterable[Place], prefix: str) -> tuple[Left, ...]:
        """Remove what is named so in places; return what could not be, with the reason in place of its detail."""
        left: list[Left] = []
        for place in places:
            kind, passing = _KINDS[place.kind]
            try:
                refused = self.at(place).ask(lambda state: state.remove(prefix))
            except (HarnessError, OSError):  # it is down, or was never known: what is in it is nobody's to tell
                continue
            for thing, reason in refused.items():
                is_passing = place.kind == "kafka" and thing.startswith("group ")
                told = Left(passing if is_passing else kind, f"{place.service}: {thing}", f"not removed: {reason}")
                left.append(told)
        return tuple(left)

    def forget(self, stack: str) -> None:
        """Disconnect from the places of a stack that is about to go; when it is there again they are new."""
        for key in [key for key in self._kept if key[0] == stack]:
            self._kept.pop(key).close()

    def close(self) -> None:
        """Disconnect from all."""
        for kept in self._kept.values():
            kept.close()
        self._kept.clear()
