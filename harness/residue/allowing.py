"""What may be left by tests, with the reason, and whose a thing is by the namespace in its name."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.config.residue import Allowed
    from harness.residue.watching import Left

# What the fixture `ns` gives begins with "w3_"; names that may have no "_" have "-".
_NAMESPACE = re.compile(r"(?:^|[^A-Za-z0-9])w(\d+)[_-]")


class Allowing:
    """What may be left.

    Args:
        entries: of the project.

    Attributes:
        matched: those that something was allowed by.
    """

    def __init__(self, entries: Sequence[Allowed]) -> None:
        self._entries = entries
        self.matched: set[Allowed] = set()

    def without_allowed(self, things: Iterable[Left]) -> list[Left]:
        """Return those that may not be left."""
        return [thing for thing in things if not self._allows(thing)]

    def _allows(self, thing: Left) -> bool:
        matching = [one for one in self._entries if one.kind == thing.kind and fnmatchcase(thing.name, one.name)]
        self.matched.update(matching)
        return bool(matching)


def is_of(worker: str, name: str, *, alone: bool) -> bool:
    """Return whether a thing in a place that others use as well can be said to be of a worker's tests.

    Args:
        worker: its number in namespaces: ``0``.
        name: the thing.
        alone: whether it is the only worker: what bears no namespace is its own then.
    """
    namespace = _NAMESPACE.search(name)
    return namespace[1] == worker if namespace else alone
