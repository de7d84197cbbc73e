"""A telehash that changes one bit of what it sends in channels, before it is encrypted."""

from __future__ import annotations

import sys
from typing import Any

from e3x.exchange import Exchange
from th_test.__main__ import main

shut = Exchange.shut


def flipped(self: Exchange, head: dict[str, Any], body: bytes) -> bytes:
    """Return a packet that says something else."""
    return shut(self, head, body[:-1] + bytes([body[-1] ^ 1]) if body else body)


Exchange.shut = flipped  # type: ignore[method-assign]

sys.exit(main(sys.argv[1:]))
