"""Ends when an owner is not there."""

import os
import sys
from typing import Any

from petsearch.__main__ import main
from petsearch.store import Store, UnknownOwnerError

_owner = Store.owner


def _last(self: Store, name: str) -> dict[str, Any]:
    try:
        return _owner(self, name)
    except UnknownOwnerError:
        os._exit(3)


Store.owner = _last  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
