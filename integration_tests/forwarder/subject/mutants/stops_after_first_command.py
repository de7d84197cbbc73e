"""Obeys one command, and none after it."""

import sys

from forwarder.__main__ import main
from forwarder.app import Forwarder
from forwarder.commands import Command

_execute = Forwarder.execute
_taken: list[Command] = []


def _once(self: Forwarder, command: Command) -> None:
    _taken.append(command)
    if len(_taken) == 1:
        _execute(self, command)


Forwarder.execute = _once  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
