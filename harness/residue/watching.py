"""One kind of thing that tests may leave: how it is looked at, and what two looks at it differ in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

Change = Literal["added", "changed", "removed"]


@dataclass(frozen=True, order=True)
class Left:
    """A thing that a test left other than it found it.

    Attributes:
        kind: of its watcher.
        name: the thing, unique in its kind.
        detail: what is known of it, "" for nothing; of a thing that is gone, what was known.
        change: whether it was not there before, was there with another detail, or is there no more.
    """

    kind: str
    name: str
    detail: str = ""
    change: Change = "added"

    def __str__(self) -> str:
        """Return it as one line for people."""
        change = "" if self.change == "added" else f" ({self.change})"
        return f"{self.kind}: {self.name}{change}" + (f": {self.detail}" if self.detail else "")


class Watcher(Protocol):
    """Looks at one kind of thing.

    Both looks raise HarnessError or OSError when they cannot be made; that is said once, and is never a verdict.

    Attributes:
        kind: what it looks at, in the plural: "processes", "sql tables".
        counts_removed: whether a thing that is gone is residue: a table is, a process that has ended is not.
        is_shared: whether other processes make such things in the same place, as in a store: where tests run in several
            workers, only what carries the namespace of a worker can then be said to be of it.
    """

    @property
    def kind(self) -> str:
        """See above."""

    @property
    def counts_removed(self) -> bool:
        """See above."""

    @property
    def is_shared(self) -> bool:
        """See above."""

    def glance(self) -> Hashable:
        """Return cheap counters: as long as they are equal there is nothing to look at."""

    def look(self) -> Mapping[str, str]:
        """Return thing -> its detail, both one short line."""


def difference(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Left, ...]:
    """Return what two looks differ in: what was added or changed, by name, then what was removed."""
    added = [
        Left(kind, name, detail, "changed" if name in before else "added")
        for name, detail in sorted(after.items())
        if before.get(name) != detail
    ]
    return (*added, *(Left(kind, name, before[name], "removed") for name in sorted(before.keys() - after.keys())))
