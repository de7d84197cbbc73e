"""A lock for each thing that one request at a time may change. The platform is one process, so they are in it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_table = threading.Lock()
_locks: dict[int, tuple[threading.Lock, int]] = {}


@contextmanager
def held(key: int) -> Iterator[None]:
    """Hold the lock of a key; it is forgotten when nobody holds it or waits for it."""
    with _table:
        lock, users = _locks.get(key, (threading.Lock(), 0))
        _locks[key] = (lock, users + 1)
    try:
        with lock:
            yield
    finally:
        with _table:
            users = _locks[key][1] - 1
            if users:
                _locks[key] = (lock, users)
            else:
                del _locks[key]
