"""Sends each idle update twice."""

import sys

from forwarder.__main__ import main
from forwarder.app import Forwarder
from forwarder.commands import Stream
from forwarder.updates import Update

_repeat = Forwarder.repeat


def _twice(self: Forwarder, stream: Stream, update: Update) -> None:
    _repeat(self, stream, update)
    _repeat(self, stream, update)


Forwarder.repeat = _twice  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
