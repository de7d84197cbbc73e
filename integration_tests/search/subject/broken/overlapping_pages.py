"""Begins a page with the last pet of the page before."""

import sys

from petsearch.__main__ import main
from petsearch.store import PETS, Page, Store


def _overlapping(self: Store, owner: str, page: int, size: int) -> Page:
    self.owner(owner)
    body = {
        "query": {"term": {"owner": owner}},
        "sort": ["name", "tag"],
        "from": max((page - 1) * size - 1, 0),
        "size": size,
        "track_total_hits": True,
    }
    found = self._search(PETS, body)
    return Page(found["total"]["value"], [hit["_source"] for hit in found["hits"]])


Store.pets = _overlapping  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
