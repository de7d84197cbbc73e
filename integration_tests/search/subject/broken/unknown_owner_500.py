"""Fails when an owner is not there, as if it had not been thought of."""

import sys
from typing import Any

from petsearch.__main__ import main
from petsearch.store import Store, UnknownOwnerError

_owner = Store.owner


def _first(self: Store, name: str) -> dict[str, Any]:
    try:
        return _owner(self, name)
    except UnknownOwnerError as error:
        raise IndexError("list index out of range") from error


Store.owner = _first  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
