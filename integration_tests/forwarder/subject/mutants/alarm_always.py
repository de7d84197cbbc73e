"""Repeats the alarm with every update, changed or not."""

import sys

from forwarder import app
from forwarder.__main__ import main
from forwarder.updates import Converter, Update


class Forgetful(Converter):
    """Does not remember the last alarm."""

    def convert(self, update: Update) -> bytes:
        """Return the message for ``update``."""
        self._alarm = None
        return super().convert(update)


app.Converter = Forgetful  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(main())
