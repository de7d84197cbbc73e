"""Gives the engine four times the time that it is told to."""

import sys

from petsearch.__main__ import main
from petsearch.store import Store

_init = Store.__init__


def _patient(self: Store, url: str, timeout: float) -> None:
    _init(self, url, 4 * timeout)


Store.__init__ = _patient  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
