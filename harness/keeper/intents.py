"""What is about to be made is written down first; so whoever comes later finds it, however this process ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.keeper.logs import wait_for
from harness.keeper.own_log import say

if TYPE_CHECKING:
    import asyncio

    from harness.ownership.ledger import LedgerWriter

REFRESH = 1.0


class Intents:
    """The ledger of an environment, and how much it has announced."""

    def __init__(self, ledger: LedgerWriter) -> None:
        self.ledger = ledger
        self.count = 0
        self._cleared_at = -1  # how many intents there had been when everything was last seen to be gone

    def intend(self, act: str, **facts: object) -> None:
        """Have it written down that something is about to be made, on disk where it outlives the machine's end."""
        self.count += 1
        self.ledger.restore()  # a line in a file that somebody has deleted is of no use
        write = self.ledger.append if act == "start" else self.ledger.write
        write("intent", act=act, **facts)

    @property
    def is_cleared(self) -> bool:
        """Whether everything was seen to be gone, and nothing was about to be made since."""
        return self._cleared_at == self.count

    def clear(self, count: int) -> None:
        """Take note that all that was announced by the first ``count`` intents is gone: there is no ledger any more."""
        self.ledger.delete()
        self._cleared_at = count

    async def mind(self, ended: asyncio.Event) -> None:
        """Write the ledger again, within a second, when somebody has removed, replaced or changed it."""
        trouble = ""
        while not ended.is_set():
            await wait_for(ended, REFRESH)
            if not self.ledger.is_deleted:
                trouble = self._restore(trouble)

    def _restore(self, told: str) -> str:
        """Write the ledger again if need be; return what is in the way, which is said when it is not ``told``."""
        try:
            trouble = "gone or changed, written again" if self.ledger.restore() else ""
            told = ""
        except HarnessError as error:
            trouble = f"gone, and cannot be written again: {error.summary}"
        except OSError as error:
            trouble = f"gone, and cannot be written again: {error.strerror}"
        if trouble not in ("", told):
            say(f"the ledger was {trouble}")
        return trouble
