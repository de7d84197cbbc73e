"""A reliable channel that delivers each second packet before the one that was sent before it."""

from __future__ import annotations

import sys

from e3x import endpoint
from e3x.channels import ReliableChannel
from th_test.__main__ import main


class Reordering(ReliableChannel):
    """Waits for two packets, and delivers the later one first."""

    def _catch_up(self) -> str:
        why = ""
        while self._done + 1 in self._early:
            first = self._early[self._done + 1]
            if self._done + 2 not in self._early and not first.json.get("end"):
                break
            later = self._early.pop(self._done + 2, None)
            del self._early[self._done + 1]
            self._done += 2 if later else 1
            for packet in (later, first):
                why = self._deliver(packet) if packet else why
        return why


endpoint.KINDS[True] = Reordering

sys.exit(main(sys.argv[1:]))
