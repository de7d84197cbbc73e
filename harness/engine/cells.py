"""What the place of a cell is on every engine: a stack of the environment whose services are the cell's roles."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from harness.engine.streams import DAEMON_GRACE, Ears
from harness.errors import BrokenStack, HarnessError
from harness.keeper.messages import Acquire, End, Release, Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from harness.engine.driver import Place
    from harness.engine.known import Known
    from harness.keeper.messages import Event
    from harness.matrix.site import Heard

SHARED, LOGS = "/shared", "/logs"
REMOVAL_BUDGET = 60.0


def stack_of(cell: str, number: int, run: str = "") -> str:
    """Return what the stack of a cell is called; ``number`` is of this use of it in a run."""
    return f"cell-{hashlib.sha256(f'{run} {cell} {number}'.encode()).hexdigest()[:12]}"


class KeptSite:
    """The part of a cell's place that the keeper has: it ends roles and removes everything.

    Args:
        place: the environment.
        stack: what the cell is called in it.
        folder: of the cell's evidence.
        hear: told what roles write, and of their ends.
        grace: seconds in which the streams of a role that has ended are waited for.
    """

    def __init__(
        self, place: Place, stack: str, folder: Path, hear: Callable[[Heard], None], grace: float = DAEMON_GRACE
    ) -> None:
        self._place, self._stack, self._folder = place, stack, folder
        self._hear, self._grace = hear, grace
        self._ears: Ears | None = None
        self._is_held = False

    def tell(self, role: str, line: bytes) -> None:
        """Write to a role's standard input."""
        self._heard().send(role, line)

    def terminate(self, roles: Collection[str]) -> None:
        """Ask roles to end. Raises HarnessError."""
        self._place.link.ask(End(self._stack, list(roles)))

    def kill(self, roles: Collection[str]) -> None:
        """End roles, and whatever they forked. Raises HarnessError."""
        self._place.link.ask(End(self._stack, list(roles), kill=True), timeout=REMOVAL_BUDGET)

    def leave(self) -> str:
        """Let the roles that live stay, for whoever holds the stack; return its name. Raises HarnessError."""
        if not self._is_held:
            raise BrokenStack(f"{self._stack} was not created, so nothing of it can stay")
        self._settle()
        self._place.divert(self._stack, _deaf)
        if self._ears:
            self._ears.close()
        return self._stack

    def remove(self) -> tuple[str, ...]:
        """Remove all that was made; return what could not be, in words."""
        left: list[str] = []
        try:
            if self._is_held:
                self._is_held = False
                left += self._place.link.ask(Release(self._stack), timeout=REMOVAL_BUDGET)["left"]
        except HarnessError as error:
            left += [] if self._place.link.lost else [error.summary]  # whoever finds its keeper gone removes it all
        self._place.divert(self._stack, None)
        if self._ears:
            self._ears.close()
        return tuple(left)

    def _settle(self) -> None:
        """Have the keeper know what its services are, for later runs. Raises HarnessError."""
        services = {known.service: known.as_dict() for known in self._known()}
        self._place.link.ask(Settled(self._stack, {"services": services, **self._more()}))

    def _known(self) -> Iterable[Known]:
        """Return what is to be known of the roles."""
        raise NotImplementedError

    def _more(self) -> dict[str, Any]:
        """Return what else is to be known of the cell."""
        return {}

    def _listen(self) -> None:
        """Have a thread that hears the roles' streams."""
        self._ears = Ears(self._stack, self._hear, self._grace)

    def _acquire(self) -> None:
        """Have the keeper know the cell's stack. Raises HarnessError."""
        self._place.divert(self._stack, self._told)
        self._place.link.ask(Acquire(self._stack, []))
        self._is_held = True

    def _heard(self) -> Ears:
        if self._ears is None:
            raise BrokenStack(f"{self._stack} was not created")
        return self._ears

    def _told(self, event: Event | None) -> None:
        """Hear from the keeper that something has happened to a role, or that there is no keeper any more."""
        raise NotImplementedError


def _deaf(_: Event | None) -> None:
    """Hear nothing: what becomes of a role that was left is no event of its run."""
