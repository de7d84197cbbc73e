"""Ends without a word, with exit code 3, when it is told to stop a channel."""

import os
import sys

from forwarder.__main__ import main
from forwarder.app import Forwarder
from forwarder.commands import Command

_execute = Forwarder.execute


def _die(self: Forwarder, command: Command) -> None:
    if command.channel:
        os._exit(3)
    _execute(self, command)


Forwarder.execute = _die  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
