"""Once the engine was down, it is for good."""

import sys
from typing import Any

from petsearch.__main__ import main
from petsearch.store import EngineDownError, Store

_owner = Store.owner
_down: list[EngineDownError] = []


def _latched(self: Store, name: str) -> dict[str, Any]:
    if _down:
        raise _down[0]
    try:
        return _owner(self, name)
    except EngineDownError as error:
        _down.append(error)
        raise


Store.owner = _latched  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
