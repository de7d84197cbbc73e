"""Writes another file identifier than f142 into its messages."""

import sys

from forwarder import app
from forwarder.__main__ import main
from forwarder.updates import Converter, Update


class Mislabelling(Converter):
    """Calls its messages f144."""

    def convert(self, update: Update) -> bytes:
        """Return the message for ``update``."""
        message = super().convert(update)
        return message[:4] + b"f144" + message[8:]


app.Converter = Mislabelling  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(main())
