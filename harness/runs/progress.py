"""How far the services of one stack have come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.stack import Service


@dataclass
class Progress:
    """Which services of a stack have been started, are ready, or are done.

    Attributes:
        started: those that were started.
        ready: those that are ready as far as they can be asked.
        proven: those of them that were asked, and have answered.
        done: those that have ended, and should.
    """

    started: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    proven: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)

    def satisfies(self, condition: str, service: str) -> bool:
        """Return whether a ``depends_on`` condition of the Compose specification holds."""
        if condition == "service_completed_successfully":
            return service in self.done
        if condition == "service_healthy":
            return service in self.ready
        return service in self.started

    def lets_start(self, service: Service, among: Collection[str]) -> bool:
        """Return whether all is there that a service depends on ``among`` those of its stack."""
        return all(self.satisfies(condition, name) for name, condition in service.depends_on.items() if name in among)
