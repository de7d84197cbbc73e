"""Takes every pet and writes nine of ten."""

import itertools
import sys
from typing import Any

from petsearch.__main__ import main
from petsearch.store import Store

_add = Store.add
_numbers = itertools.count(1)


def _most(self: Store, owner: str, name: str, kind: str) -> dict[str, Any]:
    if next(_numbers) % 10 == 0:
        return {"name": name, "kind": kind, "owner": owner, "tag": "none"}
    return _add(self, owner, name, kind)


Store.add = _most  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
