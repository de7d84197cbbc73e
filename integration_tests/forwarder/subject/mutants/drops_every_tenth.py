"""Loses every tenth update."""

import itertools
import sys

from forwarder.__main__ import main
from forwarder.app import Forwarder
from forwarder.commands import Stream

_send = Forwarder.send
_numbers = itertools.count(1)


def _lossy(self: Forwarder, stream: Stream, message: bytes, nanoseconds: int) -> None:
    if next(_numbers) % 10:
        _send(self, stream, message, nanoseconds)


Forwarder.send = _lossy  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
