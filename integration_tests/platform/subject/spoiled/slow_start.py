"""Is right, and takes eight seconds to start: that must pass."""

import sys
import threading

from serving.__main__ import main

SECONDS = 8


if __name__ == "__main__":
    threading.Event().wait(SECONDS)
    sys.exit(main())
