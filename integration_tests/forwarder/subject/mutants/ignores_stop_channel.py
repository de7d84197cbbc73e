"""Takes the command to stop a channel, and goes on with it."""

import sys

from forwarder.__main__ import main
from forwarder.app import Forwarder
from forwarder.commands import Command

_execute = Forwarder.execute


def _ignore(self: Forwarder, command: Command) -> None:
    if not command.channel:
        _execute(self, command)


Forwarder.execute = _ignore  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
