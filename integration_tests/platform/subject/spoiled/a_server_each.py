"""Starts a model server for each who wakes a version."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from serving import locks
from serving.__main__ import main


@contextmanager
def _held(key: int) -> Iterator[None]:
    del key
    yield


locks.held = _held

if __name__ == "__main__":
    sys.exit(main())
