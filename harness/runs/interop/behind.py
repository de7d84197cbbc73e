"""Cells that are removed behind the others' backs: what is over takes no slot while an engine clears it away."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from harness.clock import Deadline
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.matrix.site import Site

MOST = 2  # at a time: an engine runs out of networks at about 30, and 28 cells may run


class Behind:
    """Removes places of cells in threads of its own.

    Args:
        most: how many at a time. What comes beyond that is removed while its caller waits: with 0, all.
    """

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(most)
        self._threads: list[threading.Thread] = []

    def remove(self, site: Site) -> tuple[str, ...]:
        """Remove a place, or begin to; return what could not be, in words, as far as it was waited for.

        What is not waited for and cannot be removed is tried again, and told, when the environment is given back.
        Raises as ``Site.remove``.
        """
        if not self._free.acquire(blocking=False):
            return site.remove()
        thread = threading.Thread(target=self._remove, args=(site,), name="harness-cell-removal", daemon=True)
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        thread.start()
        return ()

    def wait(self, within: float) -> None:
        """Wait until nothing is being removed, ``within`` seconds at most."""
        deadline = Deadline.after(within)
        for thread in self._threads:
            thread.join(deadline.remaining())

    def _remove(self, site: Site) -> None:
        try:
            site.remove()
        except (HarnessError, OSError):
            return  # as above
        finally:
            self._free.release()
