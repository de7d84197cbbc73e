"""Takes a name for a query."""

import sys
from typing import Any

from petsearch.__main__ import main
from petsearch.store import OWNERS, Store, UnknownOwnerError


def _asked(self: Store, name: str) -> dict[str, Any]:
    body = {"query": {"query_string": {"query": name, "default_field": "name"}}, "size": 1}
    hits = self._search(OWNERS, body)["hits"]
    if not hits:
        raise UnknownOwnerError(name)
    return dict(hits[0]["_source"])


Store.owner = _asked  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
