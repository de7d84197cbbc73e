"""A reliable channel that says that each tenth packet has come, and does not deliver it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from e3x import endpoint
from e3x.channels import ReliableChannel
from th_test.__main__ import main

if TYPE_CHECKING:
    from e3x.packets import Packet


class Losing(ReliableChannel):
    """Loses packets that it acknowledges."""

    def _deliver(self, packet: Packet) -> str:
        if self._done % 10 == 0 and packet.body:
            return "it is lost"
        return super()._deliver(packet)


endpoint.KINDS[True] = Losing

sys.exit(main(sys.argv[1:]))
