"""Is right, and takes half a minute to start: that must pass."""

import sys
import threading

from petsearch.__main__ import main

SECONDS = 30

if __name__ == "__main__":
    threading.Event().wait(SECONDS)
    sys.exit(main())
