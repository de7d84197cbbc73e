"""What tests leave at a container engine: what bears their name, and networks and volumes of their environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.ownership import objects

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping

    from harness.daemon import Api


@dataclass(frozen=True)
class EngineObjects:
    """Containers, networks and volumes that can be said to be of the test that runs.

    An engine is everybody's. So what a test made counts only where its name has the test's own in it (fixture ``ns``),
    and networks and volumes also by the label of this environment; its containers are watched as services.

    Attributes:
        api: the engine.
        env: the environment.
        names: gives the names that the test that runs was given.
    """

    api: Api
    env: str
    names: Callable[[], Collection[str]]
    kind = "engine"
    counts_removed = False
    is_shared = False

    def glance(self) -> Hashable:
        """Return all of it: there is little. Raises HarnessError."""
        return tuple(sorted(self.look().items()))

    def look(self) -> Mapping[str, str]:
        """Return thing -> its detail. Raises HarnessError."""
        label = f"{objects.RUN}={self.env}"
        found = {}
        for kind in ("network", "volume"):
            for listed in objects.list_all(self.api, kind, label=[label]):
                found[str(objects.as_object(kind, listed))] = "of this environment"
        names = self.names()
        for kind in objects.KINDS if names else ():
            for listed in objects.list_all(self.api, kind):
                thing = objects.as_object(kind, listed)
                if bears(thing.name, names) and thing.labels.get(objects.RUN) != self.env:
                    found[str(thing)] = f"{listed.get('Image')}, {listed.get('State')}" if kind == "container" else ""
        return found


def bears(name: str, names: Collection[str]) -> bool:
    """Return whether the name of a thing has one of these in it, also where it must have ``-`` in place of ``_``."""
    return any(given in name.replace("-", "_") for given in names)
