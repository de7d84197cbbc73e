"""A telehash that derives the key of what it sends from the wrong ephemeral key."""

from __future__ import annotations

import sys
from hashlib import sha256

from e3x import cs3a
from th_test.__main__ import main

begin = cs3a.Session.__init__


def wrongly(self: cs3a.Session, ephemeral: cs3a.Pair, theirs: bytes) -> None:
    """Begin a session that the other side cannot read."""
    begin(self, ephemeral, theirs)
    self._out = sha256(self._out).digest()


cs3a.Session.__init__ = wrongly  # type: ignore[method-assign]

sys.exit(main(sys.argv[1:]))
