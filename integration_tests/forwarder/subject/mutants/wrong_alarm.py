"""Says MAJOR where the alarm is MINOR."""

import sys
from dataclasses import replace

from forwarder import app
from forwarder.__main__ import main
from forwarder.updates import Converter, Update


class Alarmist(Converter):
    """Exaggerates."""

    def convert(self, update: Update) -> bytes:
        """Return the message for ``update``."""
        return super().convert(replace(update, severity=2) if update.severity == 1 else update)


app.Converter = Alarmist  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(main())
