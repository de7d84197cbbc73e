"""Takes the wildcards of a REMOVE as letters."""

import sys

from forwarder.__main__ import main
from forwarder.commands import Pattern, Stream


def _letter_by_letter(self: Pattern, stream: Stream) -> bool:
    return self.channel == stream.channel


Pattern.matches = _letter_by_letter  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
