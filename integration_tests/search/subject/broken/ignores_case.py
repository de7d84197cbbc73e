"""Finds an owner whatever the case of the letters."""

import sys
from typing import Any

from petsearch.__main__ import main
from petsearch.store import OWNERS, Store, UnknownOwnerError


def _any_case(self: Store, name: str) -> dict[str, Any]:
    body = {"query": {"term": {"name": {"value": name, "case_insensitive": True}}}, "size": 1}
    hits = self._search(OWNERS, body)["hits"]
    if not hits:
        raise UnknownOwnerError(name)
    return dict(hits[0]["_source"])


Store.owner = _any_case  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
