"""Begins without the streams that it had stored."""

import sys

from forwarder.__main__ import main
from forwarder.app import Forwarder

Forwarder._last_stored = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001 - broken on purpose

if __name__ == "__main__":
    sys.exit(main())
