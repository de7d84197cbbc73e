"""Takes an index that is lost for an owner who is not there."""

import sys
from typing import Any

from petsearch.__main__ import main
from petsearch.store import EngineDownError, Store, UnknownOwnerError

_owner = Store.owner


def _unknown(self: Store, name: str) -> dict[str, Any]:
    try:
        return _owner(self, name)
    except EngineDownError as error:
        if "lacks an index" in str(error):
            raise UnknownOwnerError(name) from error
        raise


Store.owner = _unknown  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
